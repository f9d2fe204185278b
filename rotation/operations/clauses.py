"""Changing the rules: clauses, and a threat level that leaves more time. What it does to the keys is part of the vote.

Whoever asks has seen the effect and names it by its digest (`seen`); what people vote on carries its counts. It is
carried out only while it would do the same to the same keys.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.clause_wording import changed_lines, consequence_of, named, will_do
from inventory.effects import Effect, simulate
from inventory.errors import EffectChangedError, NothingChangesError, RetiredClauseError, StaleError
from inventory.finding_effects import SampledKey, findings_facts
from inventory.findings import title_of
from inventory.guarded import clauses as guarded
from inventory.models import PolicyClause, ThreatLevel
from inventory.models.threat import lowers
from inventory.permits import Permit
from inventory.selectors import hold_clauses_patiently
from inventory.services.clauses import CLAUSE_FACTS, LEVEL_FACTS, check_entered, clause_snapshot
from rotation.errors import NotLoweringError, WrongParametersError
from rotation.operations import register
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Link, Operation, Payload, Step, Target

Parameters = Mapping[str, JSON]
_NOTHING = "nothing"


class Proposal(NamedTuple):
    """What is asked of a clause or of the threat level: the record as it would be, unsaved, and what differs."""

    record: PolicyClause | ThreatLevel
    target: Target
    before: Mapping[str, JSON]
    after: Mapping[str, JSON]


def _draft(propose: Callable[[Parameters], Proposal], parameters: Parameters, now: datetime, *, hold: bool) -> Draft:
    """Look at what the change would do. Raises: EffectChangedError when it is not what somebody has seen."""
    if hold:
        hold_clauses_patiently()
    proposal = _proposed(propose, parameters)
    effect = _simulated(proposal.record, now)
    if effect.digest != parameters.get("seen"):
        raise EffectChangedError
    facts: dict[str, JSON] = {
        "label": proposal.target.label,
        "before": dict(proposal.before),
        "after": dict(proposal.after),
        "effect": effect.facts,
        "owners": effect.owners,
        "findings": findings_facts(effect.findings),
        "by_owner": [_share(one.owner_id, one.shares.become_late, one.shares.late_no_more) for one in effect.by_owner],
    }
    return Draft(targets=[proposal.target], facts=facts)


def _proposed(propose: Callable[[Parameters], Proposal], parameters: Parameters) -> Proposal:
    proposal = propose(parameters)
    proposal.record.full_clean()
    return proposal


def _targets_now(propose: Callable[[Parameters], Proposal], parameters: Parameters) -> list[Target]:
    """Look at what would be changed, and at no key: what became of the effect is found out when it is carried out."""
    return [_proposed(propose, parameters).target]


def _simulated(record: PolicyClause | ThreatLevel, now: datetime) -> Effect:
    if isinstance(record, ThreatLevel):
        return simulate(threat=record, now=now)
    return simulate(clause=record, now=now)


def _share(owner: int | None, become_late: int, late_no_more: int) -> JSON:
    return {"owner": f"owner:{owner}" if owner else None, "become_late": become_late, "late_no_more": late_no_more}


def _said(parameters: Parameters, name: str, known: tuple[str, ...]) -> dict[str, Any]:
    said = parameters.get(name)
    if not isinstance(said, Mapping) or said.keys() - set(known):
        raise WrongParametersError
    check_entered(said, known)
    return dict(said)


def _clause(parameters: Parameters) -> PolicyClause:
    pk = parameters.get("clause")
    clause = PolicyClause.objects.filter(pk=pk).first() if isinstance(pk, int) else None
    if clause is None:
        raise WrongParametersError
    if not clause.is_in_force:
        raise RetiredClauseError(clause.label)
    if clause.revision != parameters.get("revision"):
        raise StaleError(clause.label)
    return clause


def _target(clause: PolicyClause) -> Target:
    return Target(ref=clause.ref, label=clause.label, revision=clause.revision)


def _registering(parameters: Parameters) -> Proposal:
    facts, code = _said(parameters, "facts", CLAUSE_FACTS), str(parameters.get("code"))
    clause = PolicyClause(code=code, **facts)
    target = Target(ref=f"new_clause:{code}", label=clause.label, revision=0)
    after = {name: value for name, value in clause_snapshot(clause).items() if value}
    return Proposal(clause, target, before={}, after={"code": code, **after})


def _editing(parameters: Parameters) -> Proposal:
    clause, said = _clause(parameters), _said(parameters, "changes", CLAUSE_FACTS)
    target = _target(clause)
    different = {name: value for name, value in said.items() if getattr(clause, name) != value}
    if not different:
        raise NothingChangesError
    before = {name: value for name, value in clause_snapshot(clause).items() if name in different}
    for name, value in different.items():
        setattr(clause, name, value)
    return Proposal(clause, target, before=before, after=different)


def _retiring(parameters: Parameters) -> Proposal:
    clause = _clause(parameters)
    target = _target(clause)
    clause.is_in_force = False
    return Proposal(clause, target, before={"is_in_force": True}, after={"is_in_force": False})


def _lowering(parameters: Parameters) -> Proposal:
    threat, said = ThreatLevel.objects.get(), _said(parameters, "changes", LEVEL_FACTS)
    if threat.revision != parameters.get("revision"):
        raise StaleError("The threat level")
    target = Target(ref=threat.ref, label="the threat level", revision=threat.revision)
    different = {name: value for name, value in said.items() if getattr(threat, name) != value}
    if not lowers(threat, different):
        raise NotLoweringError
    before: dict[str, JSON] = {name: getattr(threat, name) for name in different}
    for name, value in different.items():
        setattr(threat, name, value)
    return Proposal(threat, target, before=before, after=different)


def draft_register(parameters: Parameters, *, now: datetime, hold: bool) -> Draft:
    """Parameters: code, facts, seen. Raises: EffectChangedError, KeyMaterialError, ValidationError."""
    return _draft(_registering, parameters, now, hold=hold)


def draft_edit(parameters: Parameters, *, now: datetime, hold: bool) -> Draft:
    """Parameters: clause, revision, changes, seen. Raises: as draft_register(), StaleError, NothingChangesError."""
    return _draft(_editing, parameters, now, hold=hold)


def draft_retire(parameters: Parameters, *, now: datetime, hold: bool) -> Draft:
    """Parameters: clause, revision, seen. Raises: EffectChangedError, StaleError, RetiredClauseError."""
    return _draft(_retiring, parameters, now, hold=hold)


def draft_lower(parameters: Parameters, *, now: datetime, hold: bool) -> Draft:
    """Parameters: revision, changes, seen. Raises: EffectChangedError, StaleError, NotLoweringError."""
    return _draft(_lowering, parameters, now, hold=hold)


# Words


def _described(payload: Payload, title: str, first: str, url: str = "") -> Description:
    facts: Any = payload.facts
    sentences = [first, *will_do(facts["effect"], int(facts["owners"]))]
    changed = changed_lines(facts["before"], facts["after"])
    was = _NOTHING if facts["before"] else ""  # a new clause changes nothing that stood there
    lines = [Line(label=line.label, text=line.after or _NOTHING, before=line.before or was) for line in changed]
    if url:
        lines.insert(0, Line(label="Clause", text=str(facts["label"]), url=url))
    done = consequence_of(facts["effect"]) or _NOTHING
    lines.append(Line(label="Effect when it was asked", text=done))
    return Description(title=title, sentences=sentences, lines=[*lines, *_findings(facts.get("findings", ()))])


def _findings(by_code: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Yield a line for each kind of finding that opens, then for each that closes; of requests of before, none."""
    for how, count, keys in (("Opens", "opens", "opened"), ("Closes", "closes", "closed")):
        for one in by_code:
            if number := int(one[count]):
                text = f"on {number:,} key{'' if number == 1 else 's'} when it was asked"
                named_keys = named([SampledKey(*key) for key in one[keys]], number)
                links = [Link(name, _key_url(pk) if pk else "") for name, pk in named_keys]
                yield Line(label=f"{how}: {title_of(str(one['code']))}", text=text, links=links)


def _key_url(pk: int) -> str:
    return reverse("admin:inventory_key_change", args=[pk])


def describe_register(payload: Payload) -> Description:
    label = str(payload.facts["label"])
    first = f"{label} is a new clause. It holds for every key that it speaks of, beside all the others."
    return _described(payload, f"Register the clause {label}", first)


def _url(payload: Payload) -> str:
    return reverse("admin:inventory_policyclause_change", args=[payload.targets[0].ref.partition(":")[2]])


def describe_edit(payload: Payload) -> Description:
    label = str(payload.facts["label"])
    first = f"{label} says something else from then on, and every key that it speaks of follows."
    return _described(payload, f"Edit the clause {label}", first, _url(payload))


def describe_retire(payload: Payload) -> Description:
    label = str(payload.facts["label"])
    first = f"{label} is taken out of force for good. Its keys follow the clauses that are left."
    return _described(payload, f"Retire the clause {label}", first, _url(payload))


def describe_lower(payload: Payload) -> Description:
    first = "The threat level leaves more of the longest ages than now, so keys may be due later."
    return _described(payload, "Lower the threat level", first)


# Doing it


def _how(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> dict[str, Any]:
    return {
        "expected_changes": str(payload.parameters["seen"]),
        "permit": permit,
        "actor": actor,
        "reason": payload.reason,
        "now": now,
    }


def _which(payload: Payload) -> dict[str, Any]:
    target = payload.targets[0]
    return {"pk": int(target.ref.partition(":")[2]), "expected_revision": target.revision}


def execute_register(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    facts = _said(payload.parameters, "facts", CLAUSE_FACTS)
    guarded.register_clause(
        code=str(payload.parameters["code"]), facts=facts, **_how(payload, permit, actor, now)
    )  # fmt: skip


def execute_edit(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    changes = _said(payload.parameters, "changes", CLAUSE_FACTS)
    guarded.edit_clause(changes=changes, **_which(payload), **_how(payload, permit, actor, now))


def execute_retire(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    guarded.retire_clause(**_which(payload), **_how(payload, permit, actor, now))


def execute_lower(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    changes = _said(payload.parameters, "changes", LEVEL_FACTS)
    revision = payload.targets[0].revision
    guarded.lower_threat_level(changes=changes, expected_revision=revision, **_how(payload, permit, actor, now))


_GUARD: dict[str, Any] = {"askers": (SECURITY,), "steps": (Step(SECURITY), Step(DEVOPS))}

REGISTER = register(
    Operation(
        code="clause.register",
        title="Register a clause",
        action=Action.CLAUSE_REGISTERED,
        draft=draft_register,
        targets_now=partial(_targets_now, _registering),
        describe=describe_register,
        execute=execute_register,
        **_GUARD,
    )
)
EDIT = register(
    Operation(
        code="clause.edit",
        title="Edit a clause",
        action=Action.CLAUSE_EDITED,
        draft=draft_edit,
        targets_now=partial(_targets_now, _editing),
        describe=describe_edit,
        execute=execute_edit,
        **_GUARD,
    )
)
RETIRE = register(
    Operation(
        code="clause.retire",
        title="Retire a clause",
        action=Action.CLAUSE_RETIRED,
        draft=draft_retire,
        targets_now=partial(_targets_now, _retiring),
        describe=describe_retire,
        execute=execute_retire,
        **_GUARD,
    )
)
LOWER = register(
    Operation(
        code="threat_level.lower",
        title="Lower the threat level",
        action=Action.THREAT_LEVEL_CHANGED,
        draft=draft_lower,
        targets_now=partial(_targets_now, _lowering),
        describe=describe_lower,
        execute=execute_lower,
        **_GUARD,
    )
)
