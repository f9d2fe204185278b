"""Looks that end: a server that never answers costs seconds, and its words are shown without our secrets in them."""

import base64
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote, urlsplit

import psycopg
import redis
from django.conf import settings
from django.db import Error as DatabaseError

from audit.deadlines import within
from keyvault_admin.health import NotReadyError

PATIENCE_SECONDS = 5.0
SOCKET_SECONDS = 2
LONGEST_WORDS = 200
SHORTEST_SECRET = 4


class StrangeAnswerError(Exception):
    """A server answered what its client library does not expect, and the library stumbled."""


# What may happen when a server is asked; anything else is a mistake of ours. smtplib's errors are OSErrors.
FAILURES = (DatabaseError, psycopg.Error, redis.RedisError, StrangeAnswerError, NotReadyError, OSError, ValueError)


def bounded(look: Callable[[], None]) -> None:
    """Look, and stop waiting after PATIENCE_SECONDS.

    Raises: one of FAILURES, TimeoutError among them.
    """
    try:
        within(PATIENCE_SECONDS, look)
    except FAILURES:
        raise
    except Exception as error:  # what a hostile server makes of a library is no mistake of ours
        raise StrangeAnswerError(type(error).__name__) from error


def words_of(error: Exception) -> str:
    """Return what an error says on one line: no secret of ours, no control characters, not much of it."""
    said = str(error)
    for secret in sorted(set(_forms(_secrets())), key=len, reverse=True):
        said = said.replace(secret, "***")
    said = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
    return f"{type(error).__name__}: {said[:LONGEST_WORDS]}" if said else type(error).__name__


def _secrets() -> Iterator[str]:
    yield str(settings.SECRET_KEY)
    earlier = (*settings.SEALING_KEYS_PREVIOUS, *settings.DIGEST_KEYS_PREVIOUS)
    of_one_process = [key for key in (settings.SIGNING_KEY, settings.MASTER_KEY) if key is not None]
    for key in (settings.SEALING_KEY, settings.DIGEST_KEY, *of_one_process, *earlier):
        yield base64.b64encode(key).decode()
    yield str(settings.DATABASES["default"]["PASSWORD"] or "")
    yield settings.CELERY_BROKER_URL
    yield unquote(urlsplit(settings.CELERY_BROKER_URL).password or "")
    yield settings.EMAIL_HOST_PASSWORD or ""


def _forms(secrets: Iterator[str]) -> Iterator[str]:
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            yield from (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode())
