"""Checks of the addresses we talk to: TLS that is verified wherever it leaves this machine, and passwords."""

import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from kombu.utils.url import parse_url

from keyvault_admin.checks.places import Place, place_of
from keyvault_admin.checks.rules import Answer, Group, Rule

LEAST_PASSWORD = 16
SMTP = "django.core.mail.backends.smtp.EmailBackend"
BROKER_FORM = "rediss://:PASSWORD@HOST:PORT/0?ssl_cert_reqs=required&ssl_ca_certs=/path"


def database_place() -> Place:
    """Where the database is; `hostaddr` may point elsewhere than the name does."""
    target = settings.DATABASES["default"]
    return place_of(target["HOST"], target["OPTIONS"].get("hostaddr", ""))


def broker_place() -> Place:
    return place_of(urlsplit(settings.CELERY_BROKER_URL).hostname or "")


def mail_place() -> Place:
    return place_of(settings.EMAIL_HOST or "")


def database_is_verified() -> Answer:
    """verify-full alone compares the name; `require` talks to whoever answers."""
    mode, place = settings.DATABASES["default"]["OPTIONS"].get("sslmode", ""), database_place()
    if mode == "verify-full":
        return Answer("The database is reached over TLS, its certificate and name verified.")
    if place is not Place.ELSEWHERE:
        return Answer(f"The database is reached without verified TLS, which is fine here: {place.value}.")
    return Answer(
        f"DATABASE_URL has {f'sslmode={mode}' if mode else 'no sslmode'}: anybody on the way can be the database.",
        "Append ?sslmode=verify-full&sslrootcert=/path to DATABASE_URL.",
    )


def broker_has_password() -> Answer:
    """Whoever may write there can make workers run any task of ours, at any time."""
    if urlsplit(settings.CELERY_BROKER_URL).password:
        return Answer("The broker is asked with a password.")
    return Answer(
        "CELERY_BROKER_URL has no password: the broker is open to whoever reaches it.",
        "Set `requirepass` in the broker, and give the password as redis://:PASSWORD@HOST:PORT/0.",
    )


def refuse_open_broker() -> None:
    """Stop a process that would serve with a broker that anybody on its network can write to.

    Raises: ImproperlyConfigured.
    """
    answer = broker_has_password()
    if answer.mend and broker_place() is not Place.LOOPBACK:
        raise ImproperlyConfigured(f"{answer.said} {answer.mend}")


def broker_is_verified() -> Answer:
    """As Celery reads the URL: a rediss:// without ssl_cert_reqs is encrypted, and verifies nothing."""
    try:
        secure: dict[str, Any] = parse_url(settings.CELERY_BROKER_URL).get("ssl") or {}
    except (KeyError, ValueError):
        return Answer("CELERY_BROKER_URL cannot be read.", f"Give it as {BROKER_FORM}.")
    is_tls = urlsplit(settings.CELERY_BROKER_URL).scheme == "rediss"
    if is_tls and secure.get("ssl_cert_reqs") == ssl.CERT_REQUIRED and secure.get("ssl_check_hostname", True) is True:
        return Answer("The broker is reached over TLS, its certificate and name verified.")
    place = broker_place()
    if place is not Place.ELSEWHERE:
        return Answer(f"The broker is reached without verified TLS, which is fine here: {place.value}.")
    return Answer(
        "The broker's certificate is not verified." if is_tls else "The broker is reached without TLS.",
        f"Give CELERY_BROKER_URL as {BROKER_FORM}.",
    )


def mail_is_sent_over_tls() -> Answer:
    """Mails name people and keys, and carry the password of the mail account before them."""
    if settings.EMAIL_BACKEND != SMTP:
        if settings.IS_LOCAL:
            return Answer("Mails are written to files of the embedded engines; none leaves this machine.")
        return Answer(
            f"Mails are sent to nobody: they go to {settings.EMAIL_BACKEND}.",
            "Set EMAIL_URL to smtp+tls://USER:PASSWORD@HOST:587.",
        )
    if settings.EMAIL_USE_SSL or settings.EMAIL_USE_TLS:
        return Answer("Mails are sent over TLS, the server's certificate and name verified.")
    place = mail_place()
    if place is not Place.ELSEWHERE:
        return Answer(f"Mails are sent without TLS, which is fine here: {place.value}.")
    return Answer(
        "Mails are sent in clear.",
        "Set EMAIL_URL to smtp+tls://USER:PASSWORD@HOST:587 (STARTTLS) or smtp+ssl://USER:PASSWORD@HOST:465.",
    )


def passwords_are_long() -> Answer:
    """Of database and broker: machines remember them, so they need not be short."""
    broker = unquote(urlsplit(settings.CELERY_BROKER_URL).password or "")
    given = {"the database": str(settings.DATABASES["default"]["PASSWORD"]), "the broker": broker}
    short = [name for name, password in given.items() if 0 < len(password) < LEAST_PASSWORD]
    if short:
        return Answer(
            f"The password of {' and of '.join(short)} has fewer than {LEAST_PASSWORD} characters.",
            "Set a new one: openssl rand -hex 32",
        )
    return Answer(
        f"The passwords of database and broker have at least {LEAST_PASSWORD} characters, where there is one."
    )


def sender_is_named() -> Answer:
    """Mail servers refuse, or people never answer to, a sender at localhost."""
    if settings.IS_LOCAL or not settings.DEFAULT_FROM_EMAIL.rstrip(">").endswith("@localhost"):
        return Answer(f"Mails come from {settings.DEFAULT_FROM_EMAIL}.")
    return Answer(
        f"Mails come from {settings.DEFAULT_FROM_EMAIL}, where nobody can answer.",
        "Set DEFAULT_FROM_EMAIL to an address of yours.",
    )


RULES = (
    Rule("face.E030", Group.DATABASE, "TLS to the database is verified", database_is_verified),
    Rule("face.E031", Group.BROKER, "the broker is asked with a password", broker_has_password),
    Rule("face.E032", Group.BROKER, "TLS to the broker is verified", broker_is_verified),
    Rule("face.E033", Group.MAIL, "mail is sent over TLS", mail_is_sent_over_tls),
    Rule("face.W003", Group.KEYS, "passwords of database and broker are long", passwords_are_long),
    Rule("face.W004", Group.MAIL, "the sender of mails is somebody", sender_is_named),
)
