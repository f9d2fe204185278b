"""Changes of the rules that leave some key more time or another measure: clauses, and a lower threat level."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import Subject, record
from inventory.errors import RetiredClauseError, StaleError
from inventory.finding_effects import ClauseChange
from inventory.models import PolicyClause, ThreatLevel
from inventory.permits import Permit
from inventory.selectors import hold_clauses
from inventory.services.clauses import (
    CLAUSE_FACTS,
    carry_out,
    check_entered,
    clause_snapshot,
    refresh_after,
    set_threat_level,
)
from inventory.services.keys import require


@transaction.atomic
def register_clause(
    *,
    code: str,
    facts: Mapping[str, Any],
    expected_changes: str | None = None,
    permit: Permit,
    actor: Actor,
    reason: str,
    now: datetime,
) -> PolicyClause:
    """Put a new clause in force, and every key that it decides on its date. Waits until nobody derives dates.

    `facts` holds values for names of CLAUSE_FACTS; `expected_changes` is the digest over the keys' changes that
    people voted on.
    Events: clause.registered, with what it did to the keys, and those of refresh_findings().
    Raises: EffectChangedError, KeyMaterialError, ValidationError.
    """
    require(reason)
    check_entered(facts, CLAUSE_FACTS)
    hold_clauses()
    clause = PolicyClause(code=code, **facts)
    clause.full_clean()
    clause.save()
    change = ClauseChange(None, clause.terms)
    effect = carry_out(expected_changes, now, change)
    after = {name: value for name, value in clause_snapshot(clause).items() if value}
    subject = Subject(ref=clause.ref, label=clause.label, after={"code": code, **after})
    record(
        Action.CLAUSE_REGISTERED,
        actor=actor,
        now=now,
        reason=reason,
        subjects=[subject],
        facts=effect.facts | permit.facts,
    )
    refresh_after(change, actor=actor, now=now)
    return clause


@transaction.atomic
def edit_clause(
    *,
    pk: int,
    changes: Mapping[str, Any],
    expected_revision: int,
    expected_changes: str | None = None,
    permit: Permit,
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
    check_entered(changes, CLAUSE_FACTS)
    clause = _lock(pk, expected_revision)
    different = {name: value for name, value in changes.items() if getattr(clause, name) != value}
    if not different:
        return clause
    before, terms = clause_snapshot(clause), clause.terms
    for name, value in different.items():
        setattr(clause, name, value)
    _store(clause, list(different))
    change = ClauseChange(terms, clause.terms)
    effect = carry_out(expected_changes, now, change)
    after = clause_snapshot(clause)
    subject = Subject(
        ref=clause.ref,
        label=clause.label,
        before={name: before[name] for name in different},
        after={name: after[name] for name in different},
    )
    record(
        Action.CLAUSE_EDITED, actor=actor, now=now, reason=reason, subjects=[subject], facts=effect.facts | permit.facts
    )
    refresh_after(change, actor=actor, now=now)
    return clause


@transaction.atomic
def retire_clause(
    *,
    pk: int,
    expected_revision: int,
    expected_changes: str | None = None,
    permit: Permit,
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
    change = ClauseChange(clause.terms, None)
    effect = carry_out(expected_changes, now, change)
    subject = Subject(ref=clause.ref, label=clause.label, before={"is_in_force": True}, after={"is_in_force": False})
    record(
        Action.CLAUSE_RETIRED,
        actor=actor,
        now=now,
        reason=reason,
        subjects=[subject],
        facts=effect.facts | permit.facts,
    )
    refresh_after(change, actor=actor, now=now)
    return clause


def lower_threat_level(
    *,
    changes: Mapping[str, Any],
    expected_revision: int,
    expected_changes: str | None = None,
    permit: Permit,
    actor: Actor,
    reason: str,
    now: datetime,
) -> ThreatLevel:
    """Set the threat level so that more of the longest ages is left. As services.clauses.set_threat_level()."""
    return set_threat_level(
        changes=changes,
        expected_revision=expected_revision,
        expected_changes=expected_changes,
        permit=permit,
        actor=actor,
        reason=reason,
        now=now,
    )


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
