"""The second pass: every column, line of the subject index and identity against the bytes of its event. Pure.

The bytes themselves are judged by the first pass; that they are canonical, and the times in their stamps, here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from audit import body, chain
from audit.errors import AuditError
from audit.sealing import PersonKeys
from audit.verification.damage import Damage, Finding

CLOCK_TOLERANCE = timedelta(seconds=1)  # writers read the clock under one lock; what is more than this was set back
KEPT_JUMPS = 20
COLUMNS = ("action", "outcome", "at", "recorded_at", "actor_kind", "actor_id", "actor_role", "on_behalf_of", "path")

# The keys of a person, None once erased. Raises: KeyError when there are none, AuditError when they do not open.
Keys = Callable[[str], PersonKeys | None]


class Row(NamedTuple):
    """One event with the copies that stand beside its bytes."""

    number: int
    id: UUID
    stamp: bytes
    body: bytes
    identity: bytes | None
    columns: tuple[Any, ...]  # in the order of COLUMNS
    subjects: tuple[tuple[int, str], ...]  # (position, reference) of the index, in order


@dataclass
class Tally:
    """What the second pass has counted."""

    subjects: int = 0
    identities: int = 0  # opened and found as vouched for
    erased: int = 0  # no longer readable, as the person's key was destroyed
    jumps: list[str] = field(default_factory=list)  # where the server's clock was set back; no finding


def check_copies(rows: Iterable[Row], keys: Keys, tally: Tally, written: datetime | None = None) -> Finding | None:
    """Return the first event with a copy that its bytes do not say; `written` is when the event before was."""
    for row in rows:
        try:
            said, stamp = body.parse(row.body), chain.parse_stamp(row.stamp)
        except AuditError as error:
            return Finding(row.number, Damage.EDIT, f"its bytes are none of ours: {error}", row.id)
        found = _difference(row, said, stamp, tally) or _identity_difference(row, said, keys, tally)
        if found:
            return Finding(row.number, *found, row.id)
        written = _later(row.number, written, stamp.recorded_at, tally)
    return None


def _difference(row: Row, said: body.Body, stamp: chain.Stamp, tally: Tally) -> tuple[Damage, str] | None:
    if row.id != said.id:
        return Damage.COPY, "the column id was altered"
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
    if row.columns != expected:
        pairs = zip(COLUMNS, row.columns, expected, strict=True)
        altered = next(name for name, stored, meant in pairs if stored != meant)
        return Damage.COPY, f"the column {altered} was altered"
    if row.subjects != tuple(enumerate((subject.ref for subject in said.subjects), start=1)):
        return Damage.COPY, "the subject index does not list what the event is about"
    tally.subjects += len(row.subjects)
    return None


def _identity_difference(row: Row, said: body.Body, keys: Keys, tally: Tally) -> tuple[Damage, str] | None:
    """Return what is wrong with the sealed identity; None also when it cannot be read because its key was erased."""
    if bool(said.identity_digest) != (row.identity is not None):
        return Damage.IDENTITY, "it was taken away, or put beside an event that has none"
    if row.identity is None:
        return None
    try:
        person = keys(body.identity_holder(said.actor_kind, said.actor_id, said.at))
        facts = person.sealer.unseal(row.identity, context=f"event:{said.id}") if person else None
    except KeyError:
        return Damage.IDENTITY, "the person's key was taken away without an erasure"
    except AuditError:
        return Damage.IDENTITY, "it does not open under the person's key (or the sealing key is another one)"
    if person is None or facts is None:
        tally.erased += 1
    elif person.digest(facts).hex() != said.identity_digest:
        return Damage.IDENTITY, "it is not the one that the event vouches for"
    else:
        tally.identities += 1
    return None


def _later(number: int, before: datetime | None, written: datetime, tally: Tally) -> datetime:
    """Note it when the server's clock was behind that of the event before; return what to compare the next one with."""
    if before and before - written > CLOCK_TOLERANCE and len(tally.jumps) < KEPT_JUMPS:
        behind = (before - written).total_seconds()
        words = f"the server's clock was {behind:.0f} seconds behind the event before"
        tally.jumps.append(f"{Damage.CLOCK}: event {number}: {words}")
    return written
