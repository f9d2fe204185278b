"""A connection to a source: one at a time, short, in a session whose limits and path are set before it is used."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import make_conninfo

from rotation.models import RewrapSource
from rotation.sources.errors import UnreachableError
from rotation.sources.places import Place, password_of, place_of, tls_of

CONNECT_SECONDS = 5
_SESSION = {
    "search_path": "pg_catalog",
    "statement_timeout": "60s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "30s",
    "row_security": "off",  # rather an error than rows that are not shown, and so not counted
    "timezone": "UTC",
    "client_encoding": "UTF8",
}
# What the other database says, by the class or the code of SQLSTATE, in words that hold nothing of its own.
_WORDS: dict[str, LiteralString] = {
    "28": "it refuses the login or the password",
    "3D": "it has no database of that name",
    "53": "it is out of connections, memory or disk",
    "55": "a lock there was held for too long",
    "57": "it stopped the statement, because that took too long or because it is being stopped",
    "42501": "the login may not do what it has to",
    "25006": "it takes no writes",
}

# The same, of what libpq says without a code while it connects: the first part that stands in it counts.
_SAID = {
    "pg_hba.conf": "its pg_hba.conf does not let this login into that database from here",
    "authentication method": "it does not ask for the password by SCRAM-SHA-256, which alone gives nothing away",
    "channel binding": "its TLS ends before it, or it does not bind the password to its certificate",
    "authentication failed": _WORDS["28"],
    "not permitted to log in": _WORDS["28"],
    "read-only": "it is a standby, which may lag behind",
    "root certificate": "the file of the CA holds no certificate",
    "certificate verify failed": "its certificate is not of the CA in the file, or it is not valid now",
    "does not match host name": "its certificate is for another name than that of the host",
    "does not support ssl": "it speaks no TLS",
    "ssl": "no TLS connection with it came about",
    "does not exist": _WORDS["3D"],
}
_NAMES = re.compile(r'"[^"]*"')  # a message repeats what was asked for: that says nothing of what went wrong


@contextmanager
def reading(source: RewrapSource) -> Iterator[psycopg.Connection]:
    """Open a connection that sees one moment and writes nothing. Raises: SourceError, also for what fails inside."""
    with _connected(source) as connection:
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            yield connection


@contextmanager
def writing(source: RewrapSource) -> Iterator[psycopg.Connection]:
    """Open a connection whose one transaction is committed at the end. Raises: as reading()."""
    with _connected(source) as connection:
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        with connection.transaction():
            yield connection


def conninfo_of(source: RewrapSource, place: Place) -> str:
    """Return what libpq is asked for; nothing is left to its defaults, files and environment that matters for safety.

    Raises: SecretFileError.
    """
    return make_conninfo(
        host=",".join([place.host] * len(place.addresses)),
        hostaddr=",".join(place.addresses),  # those that were looked at, whatever the name says a moment later
        port=place.port,
        dbname=source.database,
        user=source.login,
        password=password_of(source),
        connect_timeout=CONNECT_SECONDS,
        application_name="keyvault-admin",
        target_session_attrs="read-write",  # a standby may lag behind what it is asked to count
        require_auth="scram-sha-256",
        options=" ".join(f"-c {name}={value}" for name, value in _SESSION.items()),
        keepalives_idle=10,
        tcp_user_timeout=30_000,
        **tls_of(source, place),
    )


@contextmanager
def _connected(source: RewrapSource) -> Iterator[psycopg.Connection]:
    try:
        asked = conninfo_of(source, place_of(source.host, source.port))
        connection = psycopg.connect(asked, autocommit=True)  # transactions are those of the blocks
    except psycopg.Error as error:
        raise _unreachable(source, error) from None  # its message holds names, and perhaps rows
    try:
        yield connection
    except psycopg.Error as error:
        raise _unreachable(source, error) from None
    finally:
        connection.close()


def _unreachable(source: RewrapSource, error: psycopg.Error) -> UnreachableError:
    code = error.sqlstate or ""
    words = _WORDS.get(code) or _WORDS.get(code[:2]) or _without_code(error)
    return UnreachableError(f"The source {source.name} could not be used: {words}.")


def _without_code(error: psycopg.Error) -> str:
    """Say what libpq says without a code: it was not reached at all, or not by whom it should be."""
    if error.sqlstate:
        return f"it answered with the error {error.sqlstate}"
    said = _NAMES.sub("", str(error)).lower()
    return next((words for part, words in _SAID.items() if part in said), "it cannot be reached")
