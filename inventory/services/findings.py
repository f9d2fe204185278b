"""Opening and closing findings by the difference between what is wrong now and what stands open."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Greatest

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.services import Subject, record
from inventory.examining import around_new, examined, open_findings, touched_by
from inventory.findings import Surroundings, findings
from inventory.models import Finding, Key
from inventory.selectors import share_clauses
from inventory.terms import KeyKind

KEYS_AT_ONCE = 1_000
_AT_ONCE = 5_000
_FOLLOWING = ("severity", "clause", "facts", "accepted_until")  # what an open finding says, kept as the record says it
_QUEUES = 1_024
_ABOVE_OTHERS = (KeyKind.KEK.value, KeyKind.MASTER_KEY.value)


@dataclass(kw_only=True)
class Difference:
    """What would have to change so that what stands open is what is wrong."""

    opened: list[Finding] = field(default_factory=list)  # not saved yet
    closed: list[Finding] = field(default_factory=list)
    changed: list[Finding] = field(default_factory=list)  # open before and after, and saying something else now
    names: dict[int, str] = field(default_factory=dict)
    open_before: dict[int, set[str]] = field(default_factory=dict)

    @property
    def keys(self) -> set[int]:
        return {finding.key_id for finding in (*self.opened, *self.closed, *self.changed)}


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """What a stretch of a review did; `last` is the last key of it, None when there are no more."""

    last: int | None
    keys: int
    opened: Counter[str]  # by code
    closed: Counter[str]
    changed: int


@transaction.atomic
def refresh_findings(*, keys: Collection[int], actor: Actor, now: datetime) -> None:
    """Open and close what is found wrong with keys, given by id, and with those that depend on them.

    In the transaction of the change that may have caused it, after that change and as its last act; the caller holds
    the clauses (share_clauses) since before it locked the keys it changed, without key update. Who takes something away
    on which another key depends, such as a parent, gives that one as well. Two who change keys under the same one wait
    for each other here, so that neither misses what the other did.
    Events: finding.opened and finding.closed, each for up to 1,000 keys, none when nothing differs.
    Queries: 5, and for each 1,000 keys at most 12 and 1 for each event.
    """
    if not keys:
        return
    every = touched_by(keys)
    _queue(every, keys)
    _refresh(every, actor=actor, now=now)


def _refresh(pks: Collection[int], *, actor: Actor, now: datetime) -> None:
    judged_by = around_new(now)
    for some in batched(sorted(pks), KEYS_AT_ONCE):
        found = difference(some, judged_by)
        _write(found, now)
        _record(found, actor=actor, now=now)


def batched(pks: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    return (pks[start : start + size] for start in range(0, len(pks), size))


def difference(pks: Collection[int], judged_by: Surroundings) -> Difference:
    """Compare what is wrong with keys with what stands open on them. Nothing is written. Queries: 7 or 8."""
    now = judged_by.now
    stands = {(finding.key_id, finding.code): finding for finding in open_findings(pks)}
    found = Difference()
    for pk, code in stands:
        found.open_before.setdefault(pk, set()).add(code)
    for key, around in examined(pks, judged_by):
        found.names[key.pk] = key.name
        for wrong in findings(key, around):
            said = {
                "severity": wrong.severity.value,
                "clause": wrong.clause,
                "facts": dict(wrong.facts),
                "accepted_until": wrong.accepted_until,
            }
            known = stands.pop((key.pk, wrong.code), None)
            if known is None:
                found.opened.append(Finding(key=key, code=wrong.code, opened_at=now, **said))
            elif any(getattr(known, name) != said[name] for name in _FOLLOWING):
                for name in _FOLLOWING:
                    setattr(known, name, said[name])
                found.changed.append(known)
    found.closed.extend(stands.values())
    return found


def review_findings(*, after: int, actor: Actor, now: datetime, dry_run: bool = False) -> Reviewed:
    """Examine the next thousand keys after an id, for what time alone changes.

    Where nothing differs, nothing is locked or written. Otherwise the keys that differ are locked and examined once
    more; what somebody else is changing at this moment is theirs to refresh. Events as in refresh_findings().
    """
    pks = list(Key.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:KEYS_AT_ONCE])
    found = difference(pks, around_new(now))
    if found.keys and not dry_run:
        found = _refresh_unlocked(found.keys, actor=actor, now=now)
    return Reviewed(
        last=pks[-1] if pks else None,
        keys=len(pks),
        opened=Counter(finding.code for finding in found.opened),
        closed=Counter(finding.code for finding in found.closed),
        changed=len(found.changed),
    )


@transaction.atomic
def _refresh_unlocked(pks: Collection[int], *, actor: Actor, now: datetime) -> Difference:
    share_clauses()
    locked = (
        Key.objects.filter(pk__in=pks).order_by("pk").select_for_update(of=("self",), skip_locked=True, no_key=True)
    )
    free = list(locked.values_list("pk", flat=True))
    _queue(free, free)
    found = difference(free, around_new(now))
    _write(found, now)
    _record(found, actor=actor, now=now)
    return found


def _queue(every: Iterable[int], changed: Iterable[int]) -> None:
    """Wait until nobody else refreshes a key that several changes could touch, up to the end of the transaction.

    Locks of numbers, not of rows: who has changed a DEK must not ask for the row of its KEK, which somebody may hold
    who waits for the DEK. The numbers are taken in order, after all rows, and few enough for the table of locks.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext('inventory.findings'), queue) FROM ("
            "SELECT DISTINCT (id %% %s)::int AS queue FROM inventory_key"
            " WHERE id = ANY(%s) AND (kind = ANY(%s) OR NOT id = ANY(%s)) ORDER BY queue) AS queues",
            [_QUEUES, list(every), list(_ABOVE_OTHERS), list(changed)],
        )


# One document for all rows: an import opens tens of thousands, which is several times as fast as a row at a time.
_OPEN = """
INSERT INTO inventory_finding (key_id, code, severity, clause, opened_at, facts, accepted_until)
SELECT key_id, code, severity, clause, %s, facts, accepted_until
  FROM jsonb_to_recordset(%s::jsonb)
    AS f(key_id bigint, code text, severity smallint, clause text, facts jsonb, accepted_until timestamptz)
"""


def _open(opened: Sequence[Finding], now: datetime) -> None:
    if not opened:
        return
    names = ("key_id", "code", "severity", "clause", "facts", "accepted_until")
    rows = json.dumps([{name: getattr(finding, name) for name in names} for finding in opened], default=str)
    with connection.cursor() as cursor:
        cursor.execute(_OPEN, [now, rows])


def _write(found: Difference, now: datetime) -> None:
    _open(found.opened, now)
    Finding.objects.bulk_update(found.changed, _FOLLOWING, batch_size=_AT_ONCE)
    if found.closed:
        closed_at = Greatest(Value(now), F("opened_at"))  # a clock set back closes nothing before it was opened
        Finding.objects.filter(pk__in=[finding.pk for finding in found.closed]).update(closed_at=closed_at)


def _record(found: Difference, *, actor: Actor, now: datetime) -> None:
    """Record first what opened, then what closed: each says which codes were open before it and after it."""
    stands = found.open_before
    for action, changed in ((Action.FINDING_OPENED, found.opened), (Action.FINDING_CLOSED, found.closed)):
        by_key: dict[int, set[str]] = {}
        for finding in changed:
            by_key.setdefault(finding.key_id, set()).add(finding.code)
        subjects = []
        for pk, codes in by_key.items():
            before = stands.get(pk, set())
            stands[pk] = before | codes if action == Action.FINDING_OPENED else before - codes
            subjects.append(_subject(pk, found.names[pk], sorted(before), sorted(stands[pk])))
        for batch in batches(subjects):
            record(action, actor=actor, now=now, subjects=batch)


def _subject(pk: int, name: str, before: Sequence[str], after: Sequence[str]) -> Subject:
    return Subject(ref=f"key:{pk}", label=name, before={"findings": list(before)}, after={"findings": list(after)})
