"""Checks of what the code itself should never be talked out of: time, hidden factors, messages, versions."""

import re
import socket
from importlib import metadata
from urllib.parse import urlsplit

from django.conf import settings

from keyvault_admin.checks.places import is_reachable_from_outside
from keyvault_admin.checks.rules import Answer, Group, Rule

TAKE_BACK = "Take back what was changed in keyvault_admin/settings.py."
# The first version without a known hole that concerns us, and the hole.
FLOORS = {
    "django": ((5, 2, 19), "rights in the admin, and a silent downgrade of STARTTLS (CVE-2026-7666)"),
    "cryptography": ((50, 0, 0), "CVE-2026-69247"),
    "celery": ((5, 6, 3), "a worker that never comes back to its broker"),
}


def time_is_utc() -> Answer:
    """Due dates, lockouts and the stamps of the log are compared across processes."""
    if settings.TIME_ZONE == settings.CELERY_TIMEZONE == "UTC" and settings.USE_TZ:
        return Answer("Times are kept in UTC.")
    return Answer(
        f"TIME_ZONE is {settings.TIME_ZONE}, that of the beat {settings.CELERY_TIMEZONE}, and USE_TZ is "
        f"{settings.USE_TZ}.",
        TAKE_BACK,
    )


def factors_are_hidden() -> Answer:
    """Otherwise the pages of django-otp show seeds and their QR codes."""
    if settings.OTP_ADMIN_HIDE_SENSITIVE_DATA:
        return Answer("Seeds of second factors are hidden.")
    return Answer("OTP_ADMIN_HIDE_SENSITIVE_DATA is off: pages would show the seeds of second factors.", TAKE_BACK)


def messages_are_json() -> Answer:
    """A message in pickle runs code of whoever wrote it."""
    taken = {*settings.CELERY_ACCEPT_CONTENT, *settings.CELERY_RESULT_ACCEPT_CONTENT, settings.CELERY_TASK_SERIALIZER}
    if taken == {"json"}:
        return Answer("Workers take messages in JSON only.")
    return Answer(f"Workers take messages in {', '.join(sorted(taken))}.", TAKE_BACK)


def packages_are_mended() -> Answer:
    """The lock file holds newer ones; this finds an environment that was not made from it."""
    old = [
        f"{name} {metadata.version(name)} is older than {'.'.join(map(str, floor))} ({why})"
        for name, (floor, why) in FLOORS.items()
        if version_of(metadata.version(name)) < floor
    ]
    if old:
        return Answer(f"{'; '.join(old)}.", "Install what uv.lock names: make setup, or build the image anew.")
    return Answer(", ".join(f"{name} {metadata.version(name)}" for name in FLOORS) + ".")


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def inside_hosts_are_private() -> Answer:
    """What KEYVAULT_INSIDE_HOSTS says is believed for names, never for a public address. Asks the resolver."""
    used = {settings.DATABASES["default"]["HOST"], urlsplit(settings.CELERY_BROKER_URL).hostname, settings.EMAIL_HOST}
    declared = sorted(used & set(settings.INSIDE_HOSTS))
    for host in declared:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
        public = sorted(address for address in addresses if is_reachable_from_outside(address))
        if public:
            return Answer(
                f"KEYVAULT_INSIDE_HOSTS names {host}, whose address {public[0]} is a public one.",
                "Take it out of KEYVAULT_INSIDE_HOSTS and use TLS.",
            )
    if declared:
        return Answer(f"Taken at your word (KEYVAULT_INSIDE_HOSTS), and private: {', '.join(declared)}.")
    return Answer("KEYVAULT_INSIDE_HOSTS excuses no server.")


RULES = (
    Rule("face.E021", Group.HOUSE, "times are in UTC", time_is_utc),
    Rule("face.E022", Group.HOUSE, "seeds of second factors are hidden", factors_are_hidden),
    Rule("face.E023", Group.HOUSE, "workers take JSON only", messages_are_json),
    Rule("face.E024", Group.HOUSE, "packages have no known hole", packages_are_mended),
)
LIVE = (Rule("face.E025", Group.HOUSE, "inside hosts are private", inside_hosts_are_private),)
