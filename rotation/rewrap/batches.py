"""One batch in three beats: leased before, brought over here outside any transaction, written down in one.

What stands afterwards is all of it or nothing: the new wrappings are there, the old ones are gone, the event says so
and the job has counted it. Whoever was taken for dead meanwhile finds another lease, and writes nothing.
"""

import hashlib
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from inventory import custody
from inventory.custody import Refusal
from rotation.models import RewrapBatch
from rotation.rewrap import hot, quarantine
from rotation.rewrap.elsewhere import ranges
from rotation.rewrap.errors import ChangedMeanwhileError, LeaseLostError
from rotation.rewrap.ground import Ground
from rotation.rewrap.hot import Row
from rotation.rewrap.leasing import Lease

_NUMBER, _LENGTH = struct.Struct(">Q"), struct.Struct(">I")
_DONE = """
UPDATE rotation_rewrapbatch
   SET state = 'done', leased_until = NULL, done_at = greatest(begun_at, %s), rewrapped = %s, quarantined = %s,
       digest = %s
 WHERE id = %s AND state = 'leased' AND attempts = %s AND leased_until = %s
"""
_PROGRESS = """
UPDATE rotation_rewrapjob
   SET rewrapped = rewrapped + %s, verified = verified + %s, bound = bound + %s, changed_at = greatest(changed_at, %s)
 WHERE id = %s
"""


class Done(NamedTuple):
    """What came of a batch."""

    rewrapped: int
    verified: int
    bound: int
    quarantined: int


@dataclass(kw_only=True)
class _Brought:
    """DEKs in the order of their ids: what they are wrapped as now, and what they shall be."""

    deks: list[int] = field(default_factory=list)
    old: list[bytes] = field(default_factory=list)
    new: list[bytes] = field(default_factory=list)
    spare: list[int] = field(default_factory=list)  # of them: under the target already, looked at, not to be added
    found: list[tuple[int, bytes]] = field(default_factory=list)  # binding digests of those that had none
    refused: list[quarantine.Refused] = field(default_factory=list)
    verified: int = 0

    @property
    def digest(self) -> bytes:
        """Return SHA-256 over each DEK: id ‖ length ‖ old wrapping ‖ length ‖ new wrapping."""
        number, length = _NUMBER.pack, _LENGTH.pack
        return hashlib.sha256(
            b"".join(
                part
                for dek, old, new in zip(self.deks, self.old, self.new, strict=True)
                for part in (number(dek), length(len(old)), old, length(len(new)), new)
            )
        ).digest()


def run_batch(ground: Ground, lease: Lease, *, actor: Actor, now: datetime) -> Done:
    """Bring a leased range over. Outside any transaction. Events: rewrap.batch_done, rewrap.quarantined.

    Raises: BackendError, and nothing has changed; LeaseLostError where somebody else has the range by now.
    """
    if ground.source is not None:
        return _run_elsewhere(ground, lease, actor, now)
    try:
        return _brought_over(ground, lease, actor, now, is_careful=lease.attempts > 1)
    except ChangedMeanwhileError:
        return _brought_over(ground, lease, actor, now, is_careful=True)


def _brought_over(ground: Ground, lease: Lease, actor: Actor, now: datetime, *, is_careful: bool) -> Done:
    began = time.monotonic()
    brought = _bring(ground, lease, is_careful=is_careful)
    if lease.version is not None:
        quarantine.tell(ground, lease.version, brought.refused, actor=actor, now=now)
    return _write(ground, lease, brought, actor, now + timedelta(seconds=time.monotonic() - began))


def _bring(ground: Ground, lease: Lease, *, is_careful: bool) -> _Brought:
    """Wrap what is in the range anew, and look at it again; nothing is written yet.

    Careful: some of it may be under the target already. That one is opened too before the old one goes.
    """
    brought = _Brought()
    rows = hot.read(ground, lease)
    if is_careful:
        rows = _look_at_present(ground, rows, brought)
    if not rows or lease.version is None:
        return brought
    answers = custody.rewrap(
        ground.uri,
        ground.algorithm,
        ground.old[lease.version],
        ground.target_id,
        [row.item for row in rows],
        verify_percent=ground.verify_percent,
    )
    for (dek, item), answer in zip(rows, answers, strict=True):
        if isinstance(answer, Refusal):
            brought.refused.append(_refused(dek, item, answer))
            continue
        brought.deks.append(dek)
        brought.old.append(item.wrapped)
        brought.new.append(answer.wrapped)
        brought.verified += answer.is_verified
        if item.binding is None and answer.binding is not None:
            brought.found.append((dek, answer.binding))
    return brought


def _look_at_present(ground: Ground, rows: Sequence[Row], brought: _Brought) -> list[Row]:
    """Set apart what is under the target already and opens there; return what is not there yet."""
    present = hot.there(ground, [row.dek for row in rows])
    there = [row for row in rows if row.dek in present]
    items = [row.item._replace(wrapped=present[row.dek]) for row in there]
    seen = custody.check(ground.uri, ground.target_id, items, algorithm=ground.algorithm) if items else []
    for (dek, item), found in zip(there, seen, strict=True):
        if isinstance(found, Refusal):
            brought.refused.append(_refused(dek, item, found))
            continue
        brought.deks.append(dek)
        brought.old.append(item.wrapped)
        brought.new.append(present[dek])
        brought.spare.append(dek)
        brought.verified += 1
    return [row for row in rows if row.dek not in present]


def _refused(dek: int, item: custody.Item, refusal: Refusal) -> quarantine.Refused:
    return quarantine.Refused(dek, int(item.dek_id.removeprefix(b"key:")), item.number, refusal.reason)


@transaction.atomic
def _write(ground: Ground, lease: Lease, brought: _Brought, actor: Actor, now: datetime) -> Done:
    """Write a batch down: the lease first, because it says whether this may be, and the job last."""
    count, digest = len(brought.deks), brought.digest
    _mark_done(lease, now, count, len(brought.refused), digest)
    bound = _swap(ground, lease, brought)
    done = Done(count, brought.verified, bound, len(brought.refused))
    quarantine.resolve(ground, brought.deks, now=now, is_any=ground.has_history)
    quarantine.put(ground, lease.version, brought.refused, actor=actor, now=now)
    _tell(ground, lease, done, digest, actor, now)
    _progress(ground, done, now)
    return done


def _swap(ground: Ground, lease: Lease, brought: _Brought) -> int:
    if not brought.deks or lease.version is None:
        return 0
    spare = set(brought.spare)
    added = [(dek, new) for dek, new in zip(brought.deks, brought.new, strict=True) if dek not in spare]
    hot.add(ground, [dek for dek, _ in added], [new for _, new in added])
    hot.remove(lease.version, brought.deks, brought.old)
    return hot.bind(brought.found)


def _mark_done(lease: Lease, now: datetime, rewrapped: int, refused: int, digest: bytes) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_DONE, [now, rewrapped, refused, digest, lease.batch, lease.attempts, lease.until])
        if cursor.rowcount != 1:
            raise LeaseLostError(f"Batch {lease.number} is somebody else's by now.")


def _progress(ground: Ground, done: Done, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_PROGRESS, [done.rewrapped, done.verified, done.bound, now, ground.job])


def _tell(ground: Ground, lease: Lease, done: Done, digest: bytes, actor: Actor, now: datetime) -> None:
    """Write the event of a batch; one that has found nothing to bring over leaves none."""
    if not done.rewrapped:
        return
    facts: dict[str, JSON] = {
        "batch": lease.number,
        "pass": lease.pass_number,
        "first": lease.first,
        "last": lease.last,
        "rewrapped": done.rewrapped,
        "verified": done.verified,
        "bound": done.bound,
        "digest": digest.hex(),
    }
    versions = [ground.subjects[version] for version in (lease.version, ground.target) if version is not None]
    record(Action.REWRAP_BATCH_DONE, actor=actor, now=now, subjects=[ground.itself, *versions], facts=facts)


def _run_elsewhere(ground: Ground, lease: Lease, actor: Actor, now: datetime) -> Done:
    """Let the rows of a source be brought over there, then count them here. Done twice there, it changes nothing."""
    began = time.monotonic()
    batch = RewrapBatch.objects.select_related("job__source__kek", "job__target").get(pk=lease.batch)
    carried = ranges().run(batch.job, batch, actor=actor, now=now)
    done = Done(carried.rewrapped, carried.verified, carried.bound, len(carried.refused))
    now += timedelta(seconds=time.monotonic() - began)
    with transaction.atomic():
        _mark_done(lease, now, done.rewrapped, done.quarantined, carried.digest)
        quarantine.put_rows(ground, carried.refused, actor=actor, now=now)
        _tell(ground, lease, done, carried.digest, actor, now)
        _progress(ground, done, now)
    return done
