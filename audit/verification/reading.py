"""How a verification reads the log: one snapshot for everybody who takes part, and streams by number."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from audit.models import IdentityKey
from audit.sealing import PersonKeys, person_keys
from audit.verification.copies import Row
from audit.verification.damage import Damage, Finding
from audit.verification.links import BLOCK, Link

FETCHED_ROWS = 2_000
FETCHED_EVENTS = 32  # with their bodies, each up to a MB
HEAD_BYTES = 19 + 6  # before the first block: the head of COPY, and what stands before each
BLOCK_HEAD_BYTES = 6  # int16 1 ‖ int32 length
BLOCKS = """
COPY (
    SELECT (
        SELECT string_agg(int8send(number) || int8send(octet_length(stamp)) || stamp || int8send(octet_length(body))
                          || body || digest, '' ORDER BY number)
        FROM audit_event WHERE number > greatest(place, %(after)s) AND number <= least(place + %(block)s, %(last)s)
    ) FROM generate_series(%(first)s, %(last)s::bigint - 1, %(block)s) AS place
) TO STDOUT (FORMAT BINARY)
"""
LINKS = "SELECT number, digest, stamp, body, id FROM audit_event WHERE number > %s ORDER BY number"
ROWS = (
    "SELECT number, id, stamp, body, identity, action, outcome, at, recorded_at, actor_kind, actor_id, actor_role, "
    "on_behalf_of, path FROM audit_event WHERE number > %s AND number <= %s ORDER BY number"
)
LINES = (
    "SELECT number, position, subject FROM audit_event_subject WHERE number > %s AND number <= %s "
    "ORDER BY number, position"
)


@contextmanager
def snapshot(shared: str = "") -> Iterator[None]:
    """Make everything inside see the database at one moment: now, or when another session exported its snapshot.

    Inside a transaction, that one decides. Time limits are off: the work is long, and nothing is locked.
    """
    nested = connection.in_atomic_block
    if nested and shared:
        raise RuntimeError("A snapshot of another session cannot be taken inside a transaction.")
    with transaction.atomic(), connection.cursor() as cursor:
        if not nested:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if shared:
                cursor.execute("SET TRANSACTION SNAPSHOT %s", [shared])
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield


def exported_snapshot() -> str:
    """Return the name under which others can take the snapshot of this transaction while it lasts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot()")
        return str(cursor.fetchone()[0])


def blocks(after: int, last: int) -> Iterator[bytes]:
    """Stream the events after one number up to another, in blocks as links.Walk takes them."""
    asked = {"after": after, "last": last, "first": after - after % BLOCK, "block": BLOCK}
    with connection.cursor() as cursor, cursor.cursor.copy(BLOCKS, asked) as copy:
        skipped = HEAD_BYTES
        for piece in copy:
            block = bytes(piece[skipped:])
            skipped = BLOCK_HEAD_BYTES
            if block:
                yield block


def links(after: int) -> Iterator[Link]:
    """Stream all events after a number one by one."""
    for number, digest, stamp, body, event_id in _stream(LINKS, [after], FETCHED_EVENTS):
        yield Link(number, bytes(digest), bytes(stamp), bytes(body), event_id.bytes)


def rows(after: int, last: int) -> Iterator[Row]:
    """Stream events with their lines of the subject index: two cursors, merged by number."""
    lines = _Lines(_stream(LINES, [after, last], FETCHED_ROWS))
    for number, event_id, stamp, body, identity, *copies in _stream(ROWS, [after, last], FETCHED_EVENTS):
        yield Row(number, event_id, stamp, body, identity, tuple(copies), lines.of(number))


class _Lines:
    """Lines of the subject index in the order of numbers, handed out event by event."""

    def __init__(self, lines: Iterator[tuple[Any, ...]]) -> None:
        self._groups = itertools.groupby(lines, key=lambda line: line[0])
        self._number, self._lines = self._next()

    def of(self, number: int) -> tuple[tuple[int, str], ...]:
        """Return (position, reference) of the event; numbers only grow from call to call."""
        while self._number is not None and self._number < number:
            self._number, self._lines = self._next()
        return self._lines if self._number == number else ()

    def _next(self) -> tuple[int | None, tuple[tuple[int, str], ...]]:
        number, group = next(self._groups, (None, ()))
        return number, tuple((position, subject) for _, position, subject in group)


def _stream(query: str, parameters: list[Any], at_once: int) -> Iterator[tuple[Any, ...]]:
    """Stream a query through a server cursor, so many rows in memory."""
    with connection.chunked_cursor() as cursor:
        cursor.cursor.itersize = at_once
        cursor.execute(query, parameters)
        yield from cursor


class IdentityKeys:
    """The people's keys, opened at first need. Calling it gives the keys, None once erased.

    Raises: KeyError when the person has none, AuditError when it does not open.
    """

    def __init__(self) -> None:
        self._sealed = {
            person: None if sealed is None else bytes(sealed)
            for person, sealed in IdentityKey.objects.values_list("person", "sealed_key")
        }

    def __call__(self, person: str) -> PersonKeys | None:
        sealed = self._sealed[person]
        return None if sealed is None else person_keys(person, sealed)


def stray_subject() -> Finding | None:
    """Return a line of the subject index that belongs to no event."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number, subject FROM audit_event_subject WHERE NOT EXISTS "
            "(SELECT FROM audit_event WHERE audit_event.number = audit_event_subject.number) ORDER BY number LIMIT 1"
        )
        stray = cursor.fetchone()
    if stray is None:
        return None
    return Finding(stray[0], Damage.COPY, f"the subject index has a line for {stray[1]!a}, and there is no such event")
