"""Granting an exception to a clause."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, parse_timestamp, timestamp
from inventory.errors import StaleError
from inventory.excepting import exceptions_of
from inventory.guarded.exceptions import check_said, grant_exception
from inventory.models import Key, PolicyClause
from inventory.permits import Permit
from inventory.services.exceptions import ExceptionTerms, check_exception, effect_of_exception
from rotation.errors import WrongParametersError
from rotation.operations import register
from rotation.operations.affected import chosen, facts_of, lines_of, named, targets_of, whom
from rotation.operations.base import MANAGEMENT, SECURITY, Description, Draft, Line, Operation, Payload, Step

_SAID = ("compensating_control", "residual_risk")


def draft(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key, clause and its revision, compensating_control, residual_risk, until (a day).

    Its target is the key alone, so that the key's owner may ask. Raises: as guarded.grant_exception(), NoSuchKeyError,
    WrongParametersError, StaleError.
    """
    (key,) = chosen(parameters, hold=hold) if "keys" not in parameters else [None]
    clause = _clause(parameters.get("clause"))
    if key is None or clause is None:
        raise WrongParametersError
    if clause.revision != parameters.get("revision"):
        raise StaleError(clause.label)
    terms = _read(parameters)
    check_said(terms)
    limit = check_exception(key, clause, terms.until, now)
    standing = next((one for one in exceptions_of(key) if one.clause_id == clause.pk), None)
    facts: dict[str, JSON] = {
        "clause": _of_clause(clause),
        "limit": {"days": limit.longest_days, "label": limit.label},
        "renews": {"ref": standing.ref, "until": timestamp(standing.until)} if standing else None,
        "effect": _effect(key, clause, terms.until, now),
    }
    return Draft(targets=targets_of([key]), facts=facts_of([key], lambda _: None, now) | facts)


def _clause(pk: JSON) -> PolicyClause | None:
    return PolicyClause.objects.filter(pk=pk).first() if isinstance(pk, int) else None


def _read(parameters: Mapping[str, JSON]) -> ExceptionTerms:
    said = {name: str(parameters.get(name) or "").strip() for name in _SAID}
    try:
        day = date.fromisoformat(str(parameters.get("until")))
    except ValueError as error:
        raise WrongParametersError from error
    if not all(said.values()):
        raise WrongParametersError
    return ExceptionTerms(**said, until=datetime.combine(day, time(), tzinfo=UTC))


def _of_clause(clause: PolicyClause) -> dict[str, JSON]:
    return {"ref": clause.ref, "label": clause.label, "requirement": clause.requirement, "text": clause.text}


def _effect(key: Key, clause: PolicyClause, until: datetime, now: datetime) -> dict[str, JSON]:
    accepted, findings = effect_of_exception(key, clause, until, now)
    return {
        "demands_age": clause.longest_age_days is not None,
        "accepted_before": timestamp(key.accepted_until) if key.accepted_until else None,
        "accepted_until": timestamp(accepted) if accepted else None,
        "findings": list(findings),
    }


def describe(payload: Payload) -> Description:
    facts: Any = payload.facts
    clause, key = facts["clause"], facts["keys"][0]
    until = _read(payload.parameters).until
    sentences = [
        f"{named(key)} need not do what {clause['label']} demands before {_day(until)}.",
        *_consequences(facts, key),
        f"It counts as accepted until then, never as compliant. On {_day(until)} it counts by the clause again, by "
        "itself; renewing it is a new vote, and Security may end it before.",
        *whom(payload, "know of it"),
    ]
    lines = [
        *lines_of(payload),
        Line(label="Clause", text=_clause_words(clause), url=_clause_url(clause)),
        Line(label="In its own words", text=str(clause["text"])),
        Line(label="Instead", text=str(payload.parameters["compensating_control"])),
        Line(label="Risk that remains", text=str(payload.parameters["residual_risk"])),
        Line(label="Until", text=_day(until), before=_said_day(facts["renews"] and facts["renews"]["until"])),
        Line(label="At most", text=f"{facts['limit']['days']} days: {facts['limit']['label']}"),
    ]
    verb = "Renew the exception" if facts["renews"] else "Accept an exception"
    return Description(title=f"{verb} of {key['name']} from {clause['label']}", sentences=sentences, lines=lines)


def _consequences(facts: Mapping[str, Any], key: Mapping[str, Any]) -> list[str]:
    effect = facts["effect"]
    said = []
    if accepted := effect["accepted_until"]:
        due = _said_day(key["rotate_by"])
        said.append(f"It must be rotated by {due}; being late is accepted from then until {_said_day(accepted)}.")
    elif effect["demands_age"]:
        said.append("It changes nothing about when the key is overdue: another clause decides that, or it ends before.")
    if effect["findings"]:
        said.append(f"Findings that are accepted: {', '.join(effect['findings'])}.")
    return said


def _clause_words(clause: Mapping[str, Any]) -> str:
    return f"{clause['requirement']}, {clause['label']}" if clause["requirement"] else str(clause["label"])


def _clause_url(clause: Mapping[str, Any]) -> str:
    return reverse("admin:inventory_policyclause_change", args=[str(clause["ref"]).partition(":")[2]])


def _day(instant: datetime) -> str:
    return f"{instant:%-d %B %Y}"


def _said_day(said: Any) -> str:  # noqa: ANN401 - a timestamp of the payload, or nothing
    return _day(parse_timestamp(str(said))) if said else ""


def execute(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    terms = _read(payload.parameters)
    key, clause = int(payload.targets[0].ref.partition(":")[2]), int(str(payload.parameters["clause"]))
    grant_exception(key=key, clause=clause, terms=terms, permit=permit, actor=actor, reason=payload.reason, now=now)


GRANT = register(
    Operation(
        code="exception.grant",
        title="Accept an exception to a clause",
        action=Action.EXCEPTION_GRANTED,
        askers=(SECURITY,),
        steps=(Step(MANAGEMENT), Step(SECURITY)),
        draft=draft,
        describe=describe,
        execute=execute,
        owner_may_ask=True,
        lifetime=timedelta(days=7),
    )
)
