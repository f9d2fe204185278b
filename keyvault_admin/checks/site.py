"""Checks of how browsers reach the site: names, TLS, cookies, nothing of a development server."""

from collections.abc import Iterable
from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings

from keyvault_admin.checks.places import is_loopback
from keyvault_admin.checks.rules import Answer, Group, Rule

ONE_YEAR = int(timedelta(days=365).total_seconds())
ONLY_HERE = "plain http is for this machine alone (loopback)"


def plain_http_stays_local() -> Answer:
    """Cookies without Secure are for localhost only."""
    if not settings.PLAIN_HTTP:
        return Answer("The site is served over https only.")
    names = {urlsplit(settings.SITE_URL).hostname or "", *settings.ALLOWED_HOSTS}
    if all(name and is_loopback(name) for name in names):
        return Answer(f"The site is served over plain http, under names of this machine only: {_listed(names)}.")
    return Answer(
        "The site is served over plain http under a name that others can reach.",
        "Put it behind TLS and unset KEYVAULT_PLAIN_HTTP, or leave only localhost in SITE_URL and ALLOWED_HOSTS.",
    )


def links_use_https() -> Answer:
    """Enrolment links and mails carry SITE_URL."""
    if urlsplit(settings.SITE_URL).scheme == "https":
        return Answer("Links in mails begin with https://.")
    if settings.PLAIN_HTTP:
        return Answer(f"Links in mails begin with http://: {ONLY_HERE}.")
    return Answer("SITE_URL does not begin with https://.", "Set it to the public address.")


def debug_is_off() -> Answer:
    """A page of debug shows settings and local variables to whoever causes an error."""
    if settings.DEBUG or settings.DEBUG_PROPAGATE_EXCEPTIONS:
        return Answer(
            "DEBUG is on.", "Set DEBUG and DEBUG_PROPAGATE_EXCEPTIONS to False in the settings of the process."
        )
    return Answer("DEBUG is off.")


def hosts_are_named() -> Answer:
    """Any other name in a request is refused before a link is made from it."""
    wide = [name for name in settings.ALLOWED_HOSTS if "*" in name or name.startswith(".")]
    mend = "Set ALLOWED_HOSTS to the names of the site, separated by commas."
    if wide:
        return Answer(f"ALLOWED_HOSTS answers to names that nobody chose: {_listed(wide)}.", mend)
    if not settings.ALLOWED_HOSTS:
        return Answer("ALLOWED_HOSTS is empty: every request is refused.", mend)
    return Answer(f"The site answers to {_listed(settings.ALLOWED_HOSTS)} only.")


def forms_come_from_here() -> Answer:
    origins = settings.CSRF_TRUSTED_ORIGINS
    wide = [name for name in origins if "*" in name or (not settings.PLAIN_HTTP and not name.startswith("https://"))]
    if wide:
        return Answer(
            f"CSRF_TRUSTED_ORIGINS takes forms from {_listed(wide)}.",
            "Name each origin in full, with https:// before it.",
        )
    return Answer(
        f"Forms are taken from {_listed(origins)}." if origins else "Forms are taken from the site itself only."
    )


def https_is_forced() -> Answer:
    """Redirected to TLS at the first visit, and never asked without it again."""
    if settings.PLAIN_HTTP:
        return Answer(f"There is no redirect to https and no HSTS: {ONLY_HERE}.")
    missing = [] if settings.SECURE_SSL_REDIRECT else ["SECURE_SSL_REDIRECT is off"]
    if settings.SECURE_HSTS_SECONDS < ONE_YEAR:
        missing.append(f"HSTS lasts {settings.SECURE_HSTS_SECONDS} s instead of a year")
    if not settings.SECURE_HSTS_INCLUDE_SUBDOMAINS:
        missing.append("HSTS leaves out the names below this one")
    if missing:
        return Answer(f"{'; '.join(missing)}.", "Take back what was changed in keyvault_admin/settings.py.")
    return Answer("Plain http is redirected to https, and HSTS lasts a year.")


def cookies_are_kept() -> Answer:
    """Read by no script, sent over TLS to this very name, and not along with forms of other sites."""
    wrong = []
    for kind in ("SESSION", "CSRF"):
        if not getattr(settings, f"{kind}_COOKIE_HTTPONLY"):
            wrong.append(f"{kind}_COOKIE_HTTPONLY is off")
        if getattr(settings, f"{kind}_COOKIE_SAMESITE") not in {"Lax", "Strict"}:
            wrong.append(f"{kind}_COOKIE_SAMESITE is neither Lax nor Strict")
        if not settings.PLAIN_HTTP and not getattr(settings, f"{kind}_COOKIE_SECURE"):
            wrong.append(f"{kind}_COOKIE_SECURE is off")
        if not settings.PLAIN_HTTP and not getattr(settings, f"{kind}_COOKIE_NAME").startswith("__Host-"):
            wrong.append(f"{kind}_COOKIE_NAME does not begin with __Host-")
    if wrong:
        return Answer(f"{'; '.join(wrong)}.", "Take back what was changed in keyvault_admin/settings.py.")
    if settings.PLAIN_HTTP:
        return Answer(f"Cookies are HttpOnly and SameSite, without Secure: {ONLY_HERE}.")
    return Answer("Cookies are Secure, HttpOnly, SameSite, and bound to this very name.")


def proxy_is_known() -> Answer:
    """The web process ends no TLS: without a proxy that it believes, every request is redirected for ever."""
    if settings.PLAIN_HTTP:
        return Answer(f"No proxy stands before the web process: {ONLY_HERE}.")
    if settings.TRUSTED_PROXIES < 1:
        return Answer(
            "TRUSTED_PROXIES is 0: every request is redirected to https, and everybody has the address of the proxy.",
            "Put a proxy that ends TLS before the web process, and set TRUSTED_PROXIES to how many there are.",
        )
    return Answer(f"{settings.TRUSTED_PROXIES} of the addresses in X-Forwarded-For are believed.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


RULES = (
    Rule("face.E001", Group.SITE, "plain http is for this machine only", plain_http_stays_local),
    Rule("face.E002", Group.SITE, "links begin with https", links_use_https),
    Rule("face.E016", Group.SITE, "debug is off", debug_is_off),
    Rule("face.E017", Group.SITE, "the names of the site are listed", hosts_are_named),
    Rule("face.E018", Group.SITE, "forms come from named origins", forms_come_from_here),
    Rule("face.E019", Group.SITE, "https is forced, with HSTS", https_is_forced),
    Rule("face.E020", Group.SITE, "cookies are kept to this site", cookies_are_kept),
    Rule("face.W002", Group.SITE, "the proxy is known", proxy_is_known),
)
