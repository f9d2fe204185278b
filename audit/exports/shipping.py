"""The log on its way to a SIEM: read after the cursor, hand over, and only then move the cursor.

One process at a time works on a cursor (an advisory lock of the session, which dies with it). What is handed over must
follow on what was: the digests are computed here, so a log that was rewritten before the cursor, or is damaged behind
it, is not shipped, and says so.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

from audit import chain, selectors
from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import AuditError
from audit.exports.reading import (
    PAGE_EVENTS,
    Chosen,
    ExportError,
    beginning_at,
    digest_at,
    in_pages,
    log_name,
)
from audit.exports.sinks import Piece, Sink, SinkError, configured_sinks
from audit.models import Event, ExportCursor
from audit.services import Subject, record

logger = logging.getLogger(__name__)

EXPORT = "export"  # the kind of a cursor that a person moves by export_audit
MOST_EVENTS = 20_000  # to one sink in one run; the next run goes on
HEARTBEAT = timedelta(days=1)  # what follows from shipping itself waits that long for something else to come along
MOST_CHARACTERS = 500


class CursorMovedError(AuditError):
    """Somebody else has moved the cursor meanwhile; what they delivered stands."""


@dataclass(frozen=True)
class Shipped:
    """How a run to one sink ended."""

    name: str
    events: int = 0
    error: str = ""
    is_busy: bool = False  # another process is at it, and does what is to be done


def ship(*, actor: Actor, now: datetime) -> list[Shipped]:
    """Ship what waits to every sink of the settings, outside any transaction; a sink that fails does not stop others.

    Events: audit.shipped for each piece; refused or failed when a sink begins to take nothing. Raises: SinkError for
    settings that cannot be read.
    """
    sinks = configured_sinks()
    gone = ExportCursor.objects.filter(retired_at=None).exclude(kind=EXPORT).exclude(name__in=sinks)
    gone.update(retired_at=now, failing_since=None, error="")
    return [_ship_to(sink, actor=actor, now=now) for sink in sinks.values()]


def cursor_named(name: str, *, kind: str, now: datetime) -> ExportCursor:
    """Return the cursor of that name, made at first need where the log begins. Raises: ExportError for another kind."""
    first, digest = selectors.beginning()
    made = {"kind": kind, "number": first, "digest": digest, "begun_at": now}
    cursor, _ = ExportCursor.objects.get_or_create(name=name, defaults=made)
    if cursor.kind != kind:
        raise ExportError(f"The cursor {name} belongs to a sink of the settings: choose another name.")
    return cursor


def refuse_rewritten(cursor: ExportCursor) -> None:
    """Refuse a log in which the last event that was delivered is another one now, or is gone. Raises: ExportError."""
    if digest_at(cursor.number) != bytes(cursor.digest):
        raise ExportError(
            f"The log was rewritten: event {cursor.number} is not the one that was delivered. Nothing is sent. Run "
            "verify_audit with your checkpoints, and keep what the SIEM has."
        )


def move(
    cursor: ExportCursor,
    *,
    number: int,
    digest: bytes,
    length: int,
    facts: dict[str, JSON],
    actor: Actor,
    now: datetime,
) -> None:
    """Move a cursor forward, unless somebody else has. Event: audit.shipped. Raises: CursorMovedError."""
    with transaction.atomic():
        ours = ExportCursor.objects.filter(name=cursor.name, revision=cursor.revision)
        moved = ours.update(
            number=number,
            digest=digest,
            length=length,
            revision=cursor.revision + 1,
            moved_at=now,
            failing_since=None,
            error="",
            retired_at=None,
        )
        if not moved:
            raise CursorMovedError(f"Somebody else has moved the cursor {cursor.name} meanwhile.")
        _record(cursor, {**facts, "after": cursor.number, "number": number}, Outcome.DONE, actor=actor, now=now)
    cursor.refresh_from_db()


def _ship_to(sink: Sink, *, actor: Actor, now: datetime) -> Shipped:
    with _alone(sink.name) as alone:
        if not alone:
            return Shipped(sink.name, is_busy=True)
        cursor = cursor_named(sink.name, kind=sink.kind, now=now)
        begun = cursor.number
        try:
            refuse_rewritten(cursor)
            for chosen in _waiting(cursor, sink, now):
                _hand_over(cursor, sink, chosen, actor=actor, now=now)
        except (SinkError, ExportError) as error:
            outcome = Outcome.REFUSED if isinstance(error, ExportError) else Outcome.FAILED
            _fail(cursor, str(error)[:MOST_CHARACTERS], outcome, actor=actor, now=now)
            return Shipped(sink.name, cursor.number - begun, str(error))
        return Shipped(sink.name, cursor.number - begun)


def _waiting(cursor: ExportCursor, sink: Sink, now: datetime) -> Iterator[Chosen]:
    """Yield what is to be sent, a page at a time and never across the end of a file."""
    head, since = selectors.head().number, cursor.moved_at or cursor.begun_at
    has_news = selectors.events_to_sign(cursor.number) > 0 or now - since >= HEARTBEAT
    end = min(head, cursor.number + MOST_EVENTS) if has_news or cursor.failing_since else cursor.number
    while cursor.number < end:  # whoever takes a piece moves the cursor behind it
        yield Chosen(cursor.number, min(end, cursor.number + PAGE_EVENTS, sink.takes_until(cursor.number)))


def _hand_over(cursor: ExportCursor, sink: Sink, chosen: Chosen, *, actor: Actor, now: datetime) -> None:
    rows = [row for page in in_pages(chosen) for row in page]
    digest = _followed(bytes(cursor.digest), chosen, rows)
    begins = sink.begins_file(chosen.after, cursor.length)
    piece = Piece(
        after=chosen.after,
        length=cursor.length,
        begin=sink.form.begin(beginning_at(chosen.after)) if begins else b"",
        rows=rows,
        lines=sink.form.lines(rows, sink.with_names, log_name()),
    )
    length = sink.deliver(piece)
    facts: dict[str, JSON] = {"format": sink.form.name, "with_names": sink.with_names, "events": len(rows)}
    move(cursor, number=chosen.until, digest=digest, length=length, facts=facts, actor=actor, now=now)


def _followed(digest: bytes, chosen: Chosen, rows: list[Event]) -> bytes:
    """Return the digest of the last row, provided that each follows on the one before. Raises: ExportError."""
    for number, row in enumerate(rows, start=chosen.after + 1):
        stamp, body = bytes(row.stamp), bytes(row.body)
        digest = chain.chain_digest(digest, number, stamp, body)
        if row.number != number or digest != bytes(row.digest):
            raise ExportError(f"Event {number} does not follow on what was delivered. Run verify_audit.")
    if len(rows) != chosen.count:
        raise ExportError(f"Event {chosen.after + len(rows) + 1} is missing. Run verify_audit.")
    return digest


def _fail(cursor: ExportCursor, error: str, outcome: Outcome, *, actor: Actor, now: datetime) -> None:
    """Write down that a sink takes nothing; an event only when that begins."""
    logger.warning("The log does not leave for %s: %s", cursor.name, error)
    with transaction.atomic():
        ours = ExportCursor.objects.filter(name=cursor.name, revision=cursor.revision)
        changed = ours.update(failing_since=cursor.failing_since or now, error=error, retired_at=None)
        if changed and cursor.failing_since is None:
            _record(cursor, {"error": error, "after": cursor.number}, outcome, actor=actor, now=now)


def _record(cursor: ExportCursor, facts: dict[str, JSON], outcome: Outcome, *, actor: Actor, now: datetime) -> None:
    subject = Subject(ref=f"export_cursor:{cursor.name}"[:300], label=cursor.name)
    record(Action.AUDIT_SHIPPED, actor=actor, now=now, subjects=[subject], facts=facts, outcome=outcome)


@contextmanager
def _alone(name: str) -> Iterator[bool]:
    """Hold the lock of one sink as long as this session works on it, or say that somebody else has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('audit.ship'), hashtext(%s))", [name])
        (taken,) = cursor.fetchone()
    try:
        yield bool(taken)
    finally:
        if taken:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtext('audit.ship'), hashtext(%s))", [name])
