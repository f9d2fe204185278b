"""Whether this process lives, and whether it can serve: one word each, for whoever asks; details go to the log."""

import logging
from collections.abc import Callable
from functools import cache

import redis
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit import selectors as audit

logger = logging.getLogger(__name__)
EVENTS_AHEAD = 10_000  # fewer, and the audit log may be full before the beat has made room


class NotReadyError(Exception):
    """One thing that this process needs is missing; the text is for the log."""


@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Answer as long as the process serves at all."""
    return _word("live", 200)


@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 when database, migrations, broker and audit log can take work, and 503 otherwise."""
    for check in CHECKS:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the answer is "no" and never a page of details
            logger.warning("not ready: %s: %s: %s", check.__name__, type(error).__name__, error)
            return _word("unready", 503)
    return _word("ready", 200)


def _word(word: str, status: int) -> HttpResponse:
    return HttpResponse(word, content_type="text/plain", status=status)


def database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@cache
def migrations() -> None:
    """Compare the migrations of this code with those of the database, until they have been the same once.

    A process keeps its code, and migrations are never taken back under it; an error is not remembered.
    """
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise NotReadyError(f"{len(missing)} migrations are not applied")


def broker() -> None:
    client = redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_connect_timeout=1, socket_timeout=1)
    try:
        client.ping()
    finally:
        client.close()


def audit_log() -> None:
    room = audit.head_room()
    if room <= EVENTS_AHEAD:
        raise NotReadyError(f"the audit log has room for {room} events only")


CHECKS: tuple[Callable[[], None], ...] = (database, migrations, broker, audit_log)
