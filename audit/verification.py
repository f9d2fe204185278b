"""Whether the log is what was written: the chain over the bytes, then every copy against the bytes.

Both passes stream in number order and hold a few thousand rows at most. Neither believes the database: digests are
computed here, from the stored bytes. What no look at the database alone can show is a log that was rewritten from some
event to its end, or cut there, with the head made to fit; for that, compare the head's digest with one noted elsewhere.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from audit import body, canonical, chain, selectors
from audit.errors import AuditError
from audit.models import IdentityKey
from audit.sealing import PersonKeys, person_keys
from audit.stubs import stub_damage

CLOCK_TOLERANCE = timedelta(seconds=1)  # writers read the clock under one lock; what is more than this was set back
FETCHED_ROWS = 2_000
KEPT_WARNINGS = 20
COLUMNS = ("action", "outcome", "at", "recorded_at", "actor_kind", "actor_id", "actor_role", "on_behalf_of", "path")
LINKS = "COPY (SELECT number, id, digest, stamp, body FROM audit_event ORDER BY number) TO STDOUT (FORMAT BINARY)"
ROWS = (
    "SELECT number, id, stamp, body, identity, action, outcome, at, recorded_at, actor_kind, actor_id, actor_role, "
    "on_behalf_of, path FROM audit_event ORDER BY number"
)
LINES = "SELECT number, position, subject FROM audit_event_subject ORDER BY number, position"


class Link(NamedTuple):
    """One event as the chain sees it."""

    number: int
    id: bytes  # the sixteen bytes of the UUID
    digest: bytes
    stamp: bytes
    body: bytes


class Row(NamedTuple):
    """One event with the copies that stand beside its bytes."""

    number: int
    id: UUID
    stamp: bytes
    body: bytes
    identity: bytes | None
    columns: tuple[Any, ...]  # in the order of COLUMNS
    subjects: tuple[tuple[int, str], ...]  # (position, reference) of the index, in order


@dataclass(frozen=True)
class Position:
    """A place in the chain: where it begins, and where its head says it ends."""

    number: int
    digest: bytes


@dataclass(frozen=True)
class Finding:
    """The first event that is not as it was written, and what it looks like."""

    number: int
    event_id: UUID | None
    looks_like: str

    def __str__(self) -> str:
        return f"event {self.number} ({self.event_id or 'no id'}): {self.looks_like}"


@dataclass(frozen=True)
class Verdict:
    """What one verification saw."""

    end: Position
    events: int = 0
    findings: tuple[Finding, ...] = ()  # the first of each pass
    warnings: tuple[str, ...] = ()
    subjects: int = 0
    identities: int = 0  # opened and found as vouched for
    erased: int = 0  # no longer readable, as the person's key was destroyed

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass
class _Tally:
    """Counts of one pass."""

    events: int = 0
    subjects: int = 0
    identities: int = 0
    erased: int = 0
    warnings: list[str] = field(default_factory=list)


GENESIS = Position(0, chain.GENESIS)


def verify() -> Verdict:
    """Check the whole log in one snapshot; events that are appended meanwhile wait for the next time."""
    with _snapshot():
        head = selectors.head()
        end = Position(head.number, bytes(head.digest))
        tally = _Tally()
        begin = Position(*selectors.beginning())
        broken = _stub_finding(begin) or check_chain(_links(), begin=begin, end=end, tally=tally)
        differing = check_copies(_rows(), IdentityKeys(), tally=tally) or _stray_subject()
    return Verdict(
        end=end,
        events=tally.events,
        findings=tuple(found for found in (broken, differing) if found),
        warnings=tuple(tally.warnings),
        subjects=tally.subjects,
        identities=tally.identities,
        erased=tally.erased,
    )


def _stub_finding(begin: Position) -> Finding | None:
    """Return what is wrong with the stubs of dropped periods, on which the chain goes on."""
    damage = stub_damage()
    return Finding(begin.number, None, f"stub altered: {damage}") if damage else None


def check_chain(
    links: Iterable[tuple[Any, ...]], *, begin: Position, end: Position, tally: _Tally | None = None
) -> Finding | None:
    """Return the first event that does not continue the chain from `begin` to `end`; None when all of them do.

    `links` are tuples in the order of `Link`.
    """
    tally = tally or _Tally()
    number, digest, written = begin.number, begin.digest, b""
    rest = iter(links)
    for link in rest:  # the hot loop: a million turns, so it unpacks instead of naming
        here, _, sealed, stamp, raw = link
        if here != number + 1 or here > end.number or chain.chain_digest(digest, here, stamp, raw) != sealed:
            return _broken(Link._make(link), Position(number, digest), end, map(Link._make, rest))
        number, digest, before, written = here, sealed, written, stamp[chain.TIME_BYTES]
        if written < before:
            _warn(here, before, written, tally)
    tally.events = number - begin.number
    if number != end.number:
        return Finding(number + 1, None, f"missing: the log ends here, its head is event {end.number}")
    if digest != end.digest:
        return Finding(number, None, "head mismatch: the head has another digest than the last event")
    return None


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


def check_copies(rows: Iterable[Row], keys: IdentityKeys, *, tally: _Tally | None = None) -> Finding | None:
    """Return the first event with a column, a line of the subject index or an identity that its bytes do not say."""
    tally = tally or _Tally()
    for row in rows:
        difference = _difference(row, keys, tally)
        if difference:
            return Finding(row.number, row.id, difference)
    return None


def _difference(row: Row, keys: IdentityKeys, tally: _Tally) -> str:
    try:
        said, stamp = body.parse(row.body), chain.parse_stamp(row.stamp)
    except AuditError as error:
        return f"altered bytes: {error}"
    if row.id != said.id:
        return "altered column id"
    expected = (
        said.action,
        said.outcome,
        said.at,
        stamp.recorded_at,
        said.actor_kind,
        said.actor_id,
        said.actor_role,
        said.on_behalf_of,
        said.path,
    )
    for name, stored, meant in zip(COLUMNS, row.columns, expected, strict=True):
        if stored != meant:
            return f"altered column {name}"
    if row.subjects != tuple(enumerate((subject.ref for subject in said.subjects), start=1)):
        return "subject index mismatch: it does not list what the event is about"
    tally.subjects += len(row.subjects)
    return _identity_difference(row, said, keys, tally)


def _identity_difference(row: Row, said: body.Body, keys: IdentityKeys, tally: _Tally) -> str:
    """Return what is wrong with the sealed identity; "" also when it cannot be read because its key was erased."""
    if bool(said.identity_digest) != (row.identity is not None):
        return "identity altered: it was taken away or put beside an event that has none"
    if row.identity is None:
        return ""
    try:
        person = keys(body.identity_holder(said.actor_kind, said.actor_id, said.at))
        facts = person.sealer.unseal(row.identity, context=f"event:{said.id}") if person else None
    except KeyError:
        return "identity altered: the person's key was taken away without an erasure"
    except AuditError:
        return "identity altered: it does not open under the person's key (or the sealing key is another one)"
    if person is None or facts is None:
        tally.erased += 1
    elif person.digest(facts).hex() != said.identity_digest:
        return "identity altered: it is not the one that the event vouches for"
    else:
        tally.identities += 1
    return ""


def _broken(link: Link, last: Position, end: Position, rest: Iterator[Link]) -> Finding:
    """Say what the event that does not continue the chain looks like."""
    if link.number != last.number + 1:
        return _gap(link, last, rest)
    if link.number > end.number:
        words = f"head mismatch: it stands behind the head, which is event {end.number}"
        return Finding(link.number, UUID(bytes=link.id), words)
    return _mismatch(link, last, rest)


def _gap(link: Link, last: Position, rest: Iterator[Link]) -> Finding:
    """Say what a number that is not the next one looks like, from what follows it."""
    missing = last.number + 1
    moved = _moved(missing, last, itertools.chain((link,), rest))
    if moved:
        return Finding(missing, UUID(bytes=moved.id), f"out of order: it stands as event {moved.number}")
    return Finding(missing, None, f"missing: the next event is {link.number}")


def _mismatch(link: Link, last: Position, rest: Iterator[Link]) -> Finding:
    """Say what a wrong digest looks like, from what follows it."""
    following = next(rest, None)
    ahead = itertools.chain((following,) if following else (), rest)
    looks_like = "altered bytes: here, or in the event before together with its digest"
    if following and _follows(following, chain.chain_digest(last.digest, *_sealed(link))):
        looks_like = "altered column digest: the next event continues the digest that the bytes have"
    elif following and _follows(following._replace(number=following.number + 1), link.digest):
        looks_like = "missing: the event of this number was taken out and the later ones were renumbered"
    elif moved := _moved(link.number, last, ahead):
        looks_like = f"out of order: what belongs here stands as event {moved.number}; something was inserted or moved"
    return Finding(link.number, UUID(bytes=link.id), looks_like)


def _moved(number: int, last: Position, links: Iterable[Link]) -> Link | None:
    """Return the event that was written as this number, wherever it stands now."""
    return next((link for link in links if _follows(link._replace(number=number), last.digest)), None)


def _follows(link: Link, previous: bytes) -> bool:
    return chain.chain_digest(previous, *_sealed(link)) == link.digest


def _sealed(link: Link) -> tuple[int, bytes, bytes]:
    return link.number, link.stamp, link.body


def _warn(number: int, before: bytes, written: bytes, tally: _Tally) -> None:
    """Keep a warning when the server's clock was behind that of the event before."""
    try:
        behind = canonical.parse_timestamp(before.decode()) - canonical.parse_timestamp(written.decode())
    except ValueError:
        return  # the second pass reports it
    if behind > CLOCK_TOLERANCE and len(tally.warnings) < KEPT_WARNINGS:
        words = f"the server's clock was {behind.total_seconds():.0f} seconds behind the event before"
        tally.warnings.append(f"event {number}: {words}")


@contextmanager
def _snapshot() -> Iterator[None]:
    """Make everything inside see the database at one moment; inside a transaction, that one decides."""
    nested = connection.in_atomic_block
    with transaction.atomic():
        if not nested:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def _links() -> Iterator[tuple[Any, ...]]:
    """Stream the chain by COPY in binary form, the fastest way out of PostgreSQL."""
    with connection.cursor() as cursor, cursor.cursor.copy(LINKS) as copy:
        copy.set_types(["int8", "bytea", "bytea", "bytea", "bytea"])  # in binary form a UUID is its bytes
        yield from copy.rows()


def _rows() -> Iterator[Row]:
    """Stream the events with their lines of the subject index: two cursors, merged by number."""
    lines = _Lines(_stream(LINES))
    for number, event_id, stamp, raw, identity, *copies in _stream(ROWS):
        yield Row(number, event_id, stamp, raw, identity, tuple(copies), lines.of(number))


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


def _stream(query: str) -> Iterator[tuple[Any, ...]]:
    """Stream a query through a server cursor."""
    with connection.chunked_cursor() as cursor:
        cursor.cursor.itersize = FETCHED_ROWS
        cursor.execute(query)
        yield from cursor


def _stray_subject() -> Finding | None:
    """Return a line of the subject index that belongs to no event."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number, subject FROM audit_event_subject WHERE NOT EXISTS "
            "(SELECT FROM audit_event WHERE audit_event.number = audit_event_subject.number) ORDER BY number LIMIT 1"
        )
        stray = cursor.fetchone()
    return Finding(stray[0], None, f"subject index mismatch: a line for {stray[1]} without event") if stray else None
