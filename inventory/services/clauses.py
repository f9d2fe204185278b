"""Changing the rules: clauses and the threat level; the dates of all keys follow in the same transaction.

A change of the rules leaves one event, however many keys get another date by it: a million events would say no more
than the one that names the clause, who changed it and why. It carries the counts and a digest over every (key, before,
after), and a replay of the log derives the same rows from the same clauses (docs/policies.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.effects import DECIDED_BY, DUE, SAME_COMBINATION, VERDICTS, Effect, be_patient, effect_of, verdicts
from inventory.errors import EffectChangedError, KeyMaterialError, RetiredClauseError, StaleError
from inventory.examining import touched_by_clause
from inventory.models import PolicyClause, ThreatLevel
from inventory.policy import Clause, Rule
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
def register_clause(
    *,
    code: str,
    facts: Mapping[str, Any],
    expected_digest: str | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> PolicyClause:
    """Put a new clause in force, and every key that it decides on its date. Waits until nobody derives dates.

    `facts` holds values for names of CLAUSE_FACTS; `expected_digest` is that of the Effect which somebody saw.
    Events: clause.registered, with what it did to the keys, and those of refresh_findings().
    Raises: EffectChangedError, KeyMaterialError, ValidationError.
    """
    require(reason)
    _check_entered(facts, CLAUSE_FACTS)
    hold_clauses()
    clause = PolicyClause(code=code, **facts)
    clause.full_clean()
    clause.save()
    effect = _carry_out(expected_digest, now)
    after = {name: value for name, value in clause_snapshot(clause).items() if value}
    subject = Subject(ref=clause.ref, label=clause.label, after={"code": code, **after})
    record(Action.CLAUSE_REGISTERED, actor=actor, now=now, reason=reason, subjects=[subject], facts=effect.facts)
    _refresh_findings(None, clause.terms, actor=actor, now=now)
    return clause


@transaction.atomic
def edit_clause(
    *,
    pk: int,
    changes: Mapping[str, Any],
    expected_revision: int,
    expected_digest: str | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> PolicyClause:
    """Change what a clause says, and the date of every key on which it changes the verdict.

    Waits until nobody derives dates; locks the clause. Event: clause.edited with what changed before and after, and
    what that did to the keys; none when nothing changed.
    Raises: StaleError, RetiredClauseError, EffectChangedError, KeyMaterialError, ValidationError.
    """
    require(reason)
    _check_entered(changes, CLAUSE_FACTS)
    clause = _lock(pk, expected_revision)
    different = {name: value for name, value in changes.items() if getattr(clause, name) != value}
    if not different:
        return clause
    before, terms = clause_snapshot(clause), clause.terms
    for name, value in different.items():
        setattr(clause, name, value)
    _store(clause, list(different))
    effect = _carry_out(expected_digest, now)
    after = clause_snapshot(clause)
    subject = Subject(
        ref=clause.ref,
        label=clause.label,
        before={name: before[name] for name in different},
        after={name: after[name] for name in different},
    )
    record(Action.CLAUSE_EDITED, actor=actor, now=now, reason=reason, subjects=[subject], facts=effect.facts)
    _refresh_findings(terms, clause.terms, actor=actor, now=now)
    return clause


@transaction.atomic
def retire_clause(
    *,
    pk: int,
    expected_revision: int,
    expected_digest: str | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> PolicyClause:
    """Take a clause out of force for good; its row and its history stay. The keys follow the clauses that are left.

    Waits until nobody derives dates; locks the clause. Event: clause.retired, with what it did to the keys.
    Raises: StaleError, RetiredClauseError, EffectChangedError.
    """
    require(reason)
    clause = _lock(pk, expected_revision)
    clause.is_in_force = False
    _store(clause, ["is_in_force"])
    effect = _carry_out(expected_digest, now)
    subject = Subject(ref=clause.ref, label=clause.label, before={"is_in_force": True}, after={"is_in_force": False})
    record(Action.CLAUSE_RETIRED, actor=actor, now=now, reason=reason, subjects=[subject], facts=effect.facts)
    _refresh_findings(clause.terms, None, actor=actor, now=now)
    return clause


@transaction.atomic
def set_threat_level(
    *,
    changes: Mapping[str, Any],
    expected_revision: int,
    expected_digest: str | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> ThreatLevel:
    """Set the threat level, or what it leaves of the longest ages, and the dates of all keys with it (R65).

    `changes` holds values for names of LEVEL_FACTS. Waits until nobody derives dates; locks the row.
    Event: threat_level.changed, with what it did to the keys; none when nothing changed.
    Raises: StaleError, EffectChangedError, ValidationError.
    """
    require(reason)
    _check_entered(changes, LEVEL_FACTS)
    hold_clauses()
    threat = ThreatLevel.objects.select_for_update().get()
    if threat.revision != expected_revision:
        raise StaleError("The threat level")
    before = {name: getattr(threat, name) for name in changes}
    if before == dict(changes):
        return threat
    for name, value in changes.items():
        setattr(threat, name, value)
    threat.changed_at = now
    threat.revision += 1
    threat.full_clean()
    threat.save(update_fields=[*changes, "changed_at", "revision"])
    effect = _carry_out(expected_digest, now)
    subject = Subject(
        ref=threat.ref,
        label="the threat level",
        before={name: str(value) for name, value in before.items() if value != changes[name]},
        after={name: str(value) for name, value in changes.items() if value != before[name]},
    )
    record(Action.THREAT_LEVEL_CHANGED, actor=actor, now=now, reason=reason, subjects=[subject], facts=effect.facts)
    return threat


def _refresh_findings(before: Clause | None, after: Clause | None, *, actor: Actor, now: datetime) -> None:
    """Open and close what follows from the clause, as every other change of a fact does; none where only ages differ.

    Nobody examines keys meanwhile: who does shares the clauses, which the caller holds alone.
    """
    if before is None or after is None or replace(before, longest_age=None) != replace(after, longest_age=None):
        refresh_findings(keys=list(touched_by_clause(before, after)), actor=actor, now=now)


def clause_snapshot(clause: PolicyClause) -> dict[str, JSON]:
    """Return what a clause says, as the log writes it. No queries."""
    return {name: cast("JSON", getattr(clause, name)) for name in CLAUSE_FACTS}


def _check_entered(facts: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := facts.keys() - set(known):
        raise ValueError(f"nobody may say this: {', '.join(sorted(unknown))}")
    for name, value in facts.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and holds_key_material(text):
                raise KeyMaterialError(name.replace("_", " "))


def _lock(pk: int, expected_revision: int) -> PolicyClause:
    hold_clauses()
    clause = PolicyClause.objects.select_for_update().get(pk=pk)
    if clause.revision != expected_revision:
        raise StaleError(clause.label)
    if not clause.is_in_force:
        raise RetiredClauseError(clause.label)
    return clause


def _store(clause: PolicyClause, fields: Sequence[str]) -> None:
    clause.revision += 1
    clause.full_clean()
    clause.save(update_fields=[*fields, "revision"])


# A new date takes an old flag of lateness away and is told of anew, as services.keys.derive() has it; the same date by
# another clause leaves both. The revision stays: nobody has said anything else of the key.
_MOVE = f"""
WITH verdict AS ({VERDICTS})
UPDATE inventory_key k
   SET rotate_by = {DUE},
       winning_clause_id = {DECIDED_BY.format("clause_id")},
       flagged_overdue_at = CASE WHEN k.rotate_by IS NOT DISTINCT FROM {DUE} THEN k.flagged_overdue_at END,
       next_notice_at = CASE WHEN k.rotate_by IS NOT DISTINCT FROM {DUE} THEN k.next_notice_at
                             ELSE {DUE} - %(notice)s END
  FROM verdict v
 WHERE {SAME_COMBINATION}
   AND (k.rotate_by IS DISTINCT FROM {DUE} OR k.winning_clause_id IS DISTINCT FROM {DECIDED_BY.format("clause_id")})
"""  # noqa: S608 - made of our own words


def _carry_out(expected_digest: str | None, now: datetime) -> Effect:
    """Give every key the verdict of the clauses as they are now stored; return what that did. Queries: 6.

    The caller holds the clauses, so between counting and writing no date moves.
    """
    clauses = rules()
    effect = effect_of(clauses, now)
    if expected_digest not in {None, effect.digest}:
        raise EffectChangedError
    if (moved := _move_dates(clauses)) != effect.changed:
        raise RuntimeError(f"{moved} keys were changed and {effect.changed} counted")
    return effect


def _move_dates(clauses: Sequence[Rule]) -> int:
    with connection.cursor() as cursor:
        be_patient(cursor)
        cursor.execute(_MOVE, verdicts(clauses) | {"notice": timedelta(days=max(settings.NOTICE_DAYS))})
        return int(cursor.rowcount)
