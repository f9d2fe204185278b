"""Closing a period: its events are exported and verified, and a stub for them is written down. They stay in the log."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from django.db import DatabaseError, connection, transaction
from django.db.models import Max

from audit import chain, notes, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, timestamp
from audit.errors import PeriodError
from audit.models import Event, Period, SignedCheckpoint
from audit.notes import Checkpoint
from audit.periods import files, section
from audit.periods.files import Written
from audit.services import Subject, record
from audit.tiles import stored_nodes
from audit.tree import consistency_proof, is_consistent, peaks_of

REFUSED = "KA002"  # the SQLSTATE of a sentence of the database's own about periods
BUSY = {"55P03", "40P01"}  # a lock was not had in time, or two waited for each other
ONE_AT_A_TIME = "audit.periods"
LEFT_OUT = "names, mail addresses, addresses and browsers of who acted: their sealed bytes stay in the database"


@dataclass(frozen=True)
class Candidate:
    """The next period that could be closed, and whether it is time."""

    number: int
    first: int
    last: int
    begin: chain.Position
    newest_at: datetime

    @property
    def ref(self) -> str:
        return f"audit_period:{self.number}"

    @property
    def label(self) -> str:
        return f"events {self.first:,} to {self.last:,}"


@dataclass(frozen=True)
class Exported:
    """What stands on disk, and what it proves."""

    file: Written
    root: bytes
    checkpoint: Checkpoint
    proof: list[bytes]


def next_candidate() -> Candidate | None:
    """Return the oldest full partition that is not closed yet; None when the log has none. Four queries."""
    last = Period.objects.order_by("-number").first()
    begin = chain.Position(last.last, bytes(last.digest_after)) if last else chain.BEGINNING
    end = selectors.partition_end(begin.number + 1)
    if end is None or end > selectors.head().number:
        return None
    held = Event.objects.filter(number__gt=begin.number, number__lte=end)
    newest = held.aggregate(newest=Max("recorded_at"))["newest"]
    if newest is None:
        raise PeriodError(f"Events {begin.number + 1:,} to {end:,} are missing. Run verify_audit.")
    return Candidate(last.number + 1 if last else 1, begin.number + 1, end, begin, newest)


def refuse_young(candidate: Candidate, *, retention: timedelta, until: date | None, now: datetime) -> None:
    """Raises: PeriodError while the newest event of the period must be kept, or is of a later day than `until`."""
    kept_until = candidate.newest_at + retention
    if kept_until > now:
        raise PeriodError(
            f"Period {candidate.number} ({candidate.label}) must be kept until {kept_until:%-d %B %Y}: its newest "
            f"event is of {candidate.newest_at:%-d %B %Y}, and events are kept for {retention.days:,} days."
        )
    if until is not None and candidate.newest_at.astimezone(UTC).date() > until:
        raise PeriodError(
            f"Period {candidate.number} ({candidate.label}) has events up to {candidate.newest_at:%-d %B %Y}, which is "
            f"after {until:%-d %B %Y}."
        )


def close_period(*, out: Path, retention: timedelta, until: date | None, actor: Actor, now: datetime) -> Period | None:
    """Export the next period into the folder and write down its stub; None when no partition is full.

    A run that was stopped leaves a file and no stub; the next one finds it and goes on. Event: audit.period_closed.
    Raises: PeriodError.
    """
    with _alone():
        candidate = next_candidate()
        if candidate is None:
            return None
        refuse_young(candidate, retention=retention, until=until, now=now)
        exported = _export(candidate, out)
        _read_back(candidate, exported)
        _write_beside(candidate, exported, retention, now)
        return _write_down(candidate, exported, retention, actor=actor, now=now)


def _export(candidate: Candidate, out: Path) -> Exported:
    """Write the file, while the events are followed as chain and tree; nothing that does not follow is written down."""
    checkpoint = covering_checkpoint(candidate.last)
    nodes = stored_nodes()
    try:
        peaks = peaks_of(nodes, candidate.begin.number)
        proof = consistency_proof(nodes, candidate.last, checkpoint.size)
    except LookupError as error:
        raise PeriodError(f"The stored tree is not whole: {error} Run verify_audit.") from error
    follower = section.Follower(candidate.begin, peaks)

    def lines() -> Iterator[bytes]:
        yield section.header_of(checkpoint.origin, candidate.begin, peaks)
        for link in section.stored_links(candidate.first, candidate.last):
            follower.follow(link)
            yield section.line_of(link)
        if not is_consistent(candidate.last, follower.root(), checkpoint.size, checkpoint.root, proof):
            raise PeriodError(f"The events are not those that the checkpoint of {checkpoint.size:,} events signed.")

    file = files.write_once(out / f"{name_of(candidate)}.ndjson", lines())
    return Exported(file, follower.root(), checkpoint, proof)


def covering_checkpoint(size: int) -> Checkpoint:
    """Return the first checkpoint over at least so many events, as its signature vouches for it.

    Raises: PeriodError when there is none; NoteError when nobody we know has signed it.
    """
    row = SignedCheckpoint.objects.filter(size__gte=size).order_by("size").first()
    if row is None:
        raise PeriodError(
            f"No checkpoint covers event {size:,}. Run manage.py checkpoint, and see that the signer runs."
        )
    text, _ = notes.open_note(row.note, selectors.signing_epochs().values())
    signed = notes.parse_checkpoint(text)
    if (signed.size, signed.digest) != (row.size, bytes(row.digest)):
        raise PeriodError(f"The note of the checkpoint at {row.size:,} says something else than its row.")
    return signed


def name_of(candidate: Candidate) -> str:
    """Return what the three files of a period are called, without suffix."""
    return f"audit-period-{candidate.number:06}-events-{candidate.first}-{candidate.last}"


def _read_back(candidate: Candidate, exported: Exported) -> None:
    """Read the file from disk as a stranger would, and come to the same end. Raises: PeriodError."""
    lines = files.lines_of(exported.file.path)
    begin, peaks = section.read_header(next(lines, b""))
    follower = section.Follower(begin, peaks)
    for line in lines:
        follower.follow(section.read_link(line))
    if (begin, follower.position.number, follower.root()) != (candidate.begin, candidate.last, exported.root):
        raise PeriodError(f"{exported.file.path} does not hold what was written to it. Look at the disk.")
    if files.digest_of(exported.file.path) != exported.file.digest:
        raise PeriodError(f"{exported.file.path} changed while it was read.")


def _write_beside(candidate: Candidate, exported: Exported, retention: timedelta, now: datetime) -> None:
    """Put the checkpoint's note and a manifest beside the file. A manifest of a run that was stopped stays."""
    note = SignedCheckpoint.objects.values_list("note", flat=True).get(size=exported.checkpoint.size)
    files.write_once(exported.file.path.with_suffix(".checkpoint"), [note.encode()])
    manifest = exported.file.path.with_suffix(".manifest.json")
    said = {
        "log": exported.checkpoint.origin,
        "period": candidate.number,
        "first": candidate.first,
        "last": candidate.last,
        "digest_before": candidate.begin.digest.hex(),
        "root": exported.root.hex(),
        "checkpoint": exported.checkpoint.size,
        "consistency": [digest.hex() for digest in exported.proof],
        "file": exported.file.path.name,
        "bytes": exported.file.size,
        "sha256": exported.file.digest.hex(),
        "left_out": LEFT_OUT,
        "retention_days": retention.days,
        "newest_event": timestamp(candidate.newest_at),
        "exported_at": timestamp(now),
    }
    if not manifest.exists():
        files.write_once(manifest, [json.dumps(said, indent=2).encode(), b"\n"])


def _write_down(
    candidate: Candidate, exported: Exported, retention: timedelta, *, actor: Actor, now: datetime
) -> Period:
    facts: dict[str, JSON] = {
        "first": candidate.first,
        "last": candidate.last,
        "root": exported.root.hex(),
        "checkpoint": exported.checkpoint.size,
        "retention_days": retention.days,
        "file": exported.file.path.name,
        "bytes": exported.file.size,
        "sha256": exported.file.digest.hex(),
    }
    subject = Subject(ref=candidate.ref, label=candidate.label)
    with said_by_database(), transaction.atomic(), connection.cursor() as cursor:
        record(Action.AUDIT_PERIOD_CLOSED, actor=actor, now=now, subjects=[subject], facts=facts)
        cursor.execute(
            "SELECT audit_close_period(%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                candidate.number,
                exported.root,
                exported.checkpoint.size,
                b"".join(exported.proof),
                retention.days,
                exported.file.path.name,
                exported.file.size,
                exported.file.digest,
            ],
        )
    return selectors.periods().get(number=candidate.number)


@contextmanager
def said_by_database() -> Iterator[None]:
    """Hand on what the database says about a period. Raises: PeriodError."""
    try:
        yield
    except DatabaseError as error:
        raise PeriodError(_in_words(error)) from error


def _in_words(error: DatabaseError) -> str:
    state, said = getattr(error.__cause__, "sqlstate", None), getattr(error.__cause__, "diag", None)
    if state == REFUSED and said is not None and said.message_primary:
        return str(said.message_primary)
    if state in BUSY:
        return (
            "The log was in use all the while, by verify_audit, an export or a dump of the database. Nothing was "
            "changed: try again when it is done."
        )
    return f"The database did not do it, and nothing was changed: {error}"


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time export. Held by the connection, not by a transaction that would last for minutes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [ONE_AT_A_TIME])
        if not cursor.fetchone()[0]:
            raise PeriodError("Somebody else is closing a period at this moment. Try again when they are done.")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [ONE_AT_A_TIME])
