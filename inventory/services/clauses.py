"""The rules as records: what is said of them, and the dates of all keys that follow when one of them changes.

A change of the rules leaves one event, however many keys get another date by it: a million events would say no more
than the one that names the clause, who changed it and why. It carries the counts and a digest over every (key, before,
after), and a replay of the log derives the same rows from the same clauses (docs/policies.md).

Clauses change by votes alone (inventory.guarded.clauses). One person may set the threat level so that no key gets more
time by it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.effects import (
    DECIDED_BY,
    DUE,
    EXCEPTED,
    SAME_COMBINATION,
    VERDICTS,
    Effect,
    be_patient,
    effect_of,
    verdicts,
)
from inventory.errors import EffectChangedError, KeyMaterialError, LowersThreatLevelError, StaleError
from inventory.examining import touched_by_clause
from inventory.finding_effects import ClauseChange
from inventory.models import PolicyClause, ThreatLevel
from inventory.models.threat import lowers
from inventory.permits import Permit
from inventory.policy import Rule
from inventory.recognise import holds_key_material
from inventory.selectors import hold_clauses, rules
from inventory.services.findings import refresh_findings
from inventory.services.keys import require

# What a person says of a clause. The code is said once, when it is registered.
CLAUSE_FACTS: tuple[str, ...] = (
    "source", "document", "section", "requirement", "text", "kinds", "environments", "classifications", "access",
    "longest_age_days", "on_events", "smallest_strength_bits", "forbidden_media", "allowed_media", "not_exportable",
    "runbook_required", "separate_per_environment", "separate_from_production",
)  # fmt: skip
LEVEL_FACTS: tuple[str, ...] = ("level", "elevated_percent", "high_percent")


@transaction.atomic
def set_threat_level(
    *,
    changes: Mapping[str, Any],
    expected_revision: int,
    expected_changes: str | None = None,
    permit: Permit | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> ThreatLevel:
    """Set the threat level, or what it leaves of the longest ages, and the dates of all keys with it (R65).

    `changes` holds values for names of LEVEL_FACTS. What leaves more of an age than before needs a permit, and the
    database looks the request up. Waits until nobody derives dates; locks the row.
    Event: threat_level.changed, with what it did to the keys; none when nothing changed.
    Raises: LowersThreatLevelError, StaleError, EffectChangedError, ValidationError.
    """
    require(reason)
    check_entered(changes, LEVEL_FACTS)
    hold_clauses()
    threat = ThreatLevel.objects.select_for_update().get()
    if threat.revision != expected_revision:
        raise StaleError("The threat level")
    before = {name: getattr(threat, name) for name in changes}
    if before == dict(changes):
        return threat
    if permit is None and lowers(threat, changes):
        raise LowersThreatLevelError
    for name, value in changes.items():
        setattr(threat, name, value)
    threat.changed_at = now
    threat.revision += 1
    threat.full_clean()
    threat.save(update_fields=[*changes, "changed_at", "revision"])
    effect = carry_out(expected_changes, now)
    subject = Subject(
        ref=threat.ref,
        label="the threat level",
        before={name: str(value) for name, value in before.items() if value != changes[name]},
        after={name: str(value) for name, value in changes.items() if value != before[name]},
    )
    facts = effect.facts | (permit.facts if permit else {})
    record(Action.THREAT_LEVEL_CHANGED, actor=actor, now=now, reason=reason, subjects=[subject], facts=facts)
    return threat


def refresh_after(change: ClauseChange, *, actor: Actor, now: datetime) -> None:
    """Open and close what follows from a clause, as every other change of a fact does; none where only ages differ.

    Nobody examines keys meanwhile: who does shares the clauses, which the caller holds alone.
    """
    before, after = change
    if before is None or after is None or replace(before, longest_age=None) != replace(after, longest_age=None):
        refresh_findings(keys=list(touched_by_clause(before, after)), actor=actor, now=now)


def clause_snapshot(clause: PolicyClause) -> dict[str, JSON]:
    """Return what a clause says, as the log writes it. No queries."""
    return {name: cast("JSON", getattr(clause, name)) for name in CLAUSE_FACTS}


def check_entered(facts: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise for what nobody may enter. Raises: ValueError, KeyMaterialError."""
    if unknown := facts.keys() - set(known):
        raise ValueError(f"nobody may say this: {', '.join(sorted(unknown))}")
    for name, value in facts.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and holds_key_material(text):
                raise KeyMaterialError(name.replace("_", " "))


# A new date, or another day until which it is accepted, takes an old flag of lateness away and is told of anew, as
# services.keys.derive() has it; the same by another clause leaves both. The revision stays: nobody has said anything
# else of the key. First the keys without an exception, so many at a time; then the few that have one.
KEYS_AT_ONCE = 50_000  # half a minute of writing on a machine that is busy with much else
_STRETCH = "SELECT max(id) FROM (SELECT id FROM inventory_key WHERE id > %s ORDER BY id LIMIT %s) AS k"
_DECIDED = DECIDED_BY.format("clause_id")
_STAYS = "k.rotate_by IS NOT DISTINCT FROM {due} AND k.accepted_until IS NOT DISTINCT FROM {accepted}"
_MOVE = """
WITH verdict AS ({verdicts}), excepted AS ({excepted})
UPDATE inventory_key k
   SET rotate_by = {due},
       winning_clause_id = {decided},
       accepted_until = {accepted},
       flagged_overdue_at = CASE WHEN {stays} THEN k.flagged_overdue_at END,
       next_notice_at = CASE WHEN {stays} THEN k.next_notice_at ELSE COALESCE({accepted}, {due}) - %(notice)s END
  FROM {among}
 WHERE {same} AND {which}
   AND (NOT ({stays}) OR k.winning_clause_id IS DISTINCT FROM {decided})
"""


def _move(*, accepted: str, among: str, which: str) -> str:
    said = {"due": DUE, "decided": _DECIDED, "accepted": accepted}
    return _MOVE.format(
        **said, stays=_STAYS.format(**said), verdicts=VERDICTS, excepted=EXCEPTED, same=SAME_COMBINATION, among=among,
        which=which,
    )  # fmt: skip


_MOVE_STRETCH, _MOVE_EXCEPTED = (
    _move(
        accepted="NULL::timestamptz",
        among="verdict v",
        which="k.id <> ALL(%(excepted)s) AND k.id > %(after)s AND k.id <= %(last)s",
    ),
    _move(accepted="e.until", among="verdict v, excepted e", which="e.id = k.id"),
)


def carry_out(expected_changes: str | None, now: datetime, change: ClauseChange | None = None) -> Effect:
    """Give every key the verdict of the clauses as they are now stored; return what that does.

    The caller holds the clauses, so between counting and writing no date moves, and calls refresh_after() with the same
    change as its last act. `expected_changes` is the digest of the effect that somebody saw.
    Queries: 4, and those of findings_effect_of() and of move_dates(). Raises: EffectChangedError.
    """
    clauses = rules()
    effect = effect_of(clauses, now, change)
    if expected_changes not in {None, effect.digest}:
        raise EffectChangedError
    if (moved := move_dates(clauses)) != effect.changed:
        raise RuntimeError(f"{moved} keys were changed and {effect.changed} counted")
    return effect


def move_dates(clauses: Sequence[Rule]) -> int:
    """Write the dates that follow from these rules to all keys; return how many changed.

    Each statement writes KEYS_AT_ONCE keys at most, so that none comes near a time-out, however many keys there are.
    Queries: 5 or 6, and 2 more for each further KEYS_AT_ONCE keys.
    """
    parameters = verdicts(clauses) | {"notice": timedelta(days=max(settings.NOTICE_DAYS))}
    moved = 0
    with connection.cursor() as cursor:
        be_patient(cursor)
        for after, last in _stretches(cursor):
            cursor.execute(_MOVE_STRETCH, parameters | {"after": after, "last": last})
            moved += int(cursor.rowcount)
        cursor.execute(_MOVE_EXCEPTED, parameters)
        return moved + int(cursor.rowcount)


def _stretches(cursor: Any) -> Iterator[tuple[int, int]]:  # noqa: ANN401 - a cursor of Django's or the driver's
    """Yield ranges of ids, each "after, up to", with KEYS_AT_ONCE keys at most; together they hold every key."""
    after = 0
    while True:
        cursor.execute(_STRETCH, [after, KEYS_AT_ONCE])
        (last,) = cursor.fetchone()
        if last is None:
            return
        yield after, last
        after = last
