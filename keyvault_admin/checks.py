"""What environment variables cannot express, looked at by `check --deploy`. Ids: face.E001 …, face.W001 …"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError, connection

from keyvault_admin.access.models import User

LOOPBACK = {"localhost", "127.0.0.1", "::1", "[::1]"}


@register(Tags.security, deploy=True)
def plain_http_stays_local(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:  # noqa: ANN401
    """Cookies without Secure are for localhost only."""
    host = urlsplit(settings.SITE_URL).hostname
    if not settings.PLAIN_HTTP or {host, *settings.ALLOWED_HOSTS} <= LOOPBACK:
        return []
    return [
        Error(
            "The site is served over plain http under a name that others can reach.",
            hint="Put it behind TLS and unset KEYVAULT_PLAIN_HTTP, or leave only localhost in SITE_URL and "
            "ALLOWED_HOSTS.",
            id="face.E001",
        )
    ]


@register(Tags.security, deploy=True)
def links_use_https(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:  # noqa: ANN401
    """Enrolment links and mails carry SITE_URL."""
    if settings.PLAIN_HTTP or urlsplit(settings.SITE_URL).scheme == "https":
        return []
    return [Error("SITE_URL does not begin with https://.", hint="Set it to the public address.", id="face.E002")]


@register(Tags.database, deploy=True)
def nobody_is_superuser(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **options: Any,  # noqa: ANN401
) -> list[CheckMessage]:
    """Runs with `check --deploy --database default`."""
    if not databases:
        return []
    try:
        active = User.objects.filter(is_active=True, is_superuser=True).count()
    except DatabaseError:  # before the first migration
        connection.close()
        return []
    if not active:
        return []
    return [
        checks.Warning(
            f"{active} active superusers. Being superuser opens no page here, so nobody needs it.",
            hint="Give the people roles, and take the flag away as the owner of the database.",
            id="face.W001",
        )
    ]
