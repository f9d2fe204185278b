"""Revoking, destroying and re-activating keys, and changing the dates that move their states by themselves."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, parse_timestamp, timestamp
from audit.selectors import last_about
from inventory.guarded import transitions
from inventory.models import Key
from inventory.permits import Permit
from inventory.services.keys import PERIOD
from inventory.states import RevocationReason, State
from rotation.errors import WrongParametersError
from rotation.operations import register
from rotation.operations.affected import (
    becoming,
    chosen,
    facts_of,
    keys_in,
    lateness,
    lines_of,
    named,
    targets_of,
    title,
    whom,
)
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step

BOTH = (Step(SECURITY), Step(DEVOPS))
ELSEWHERE = "Nothing is switched off where it is kept: whoever runs it there must be told."
# Who brought a key into suspension: by suspending it, or by registering it as suspended.
_SUSPENDED_BY = (Action.KEY_SUSPENDED, Action.KEY_REGISTERED, Action.KEY_IMPORTED)


def _pks(payload: Payload) -> list[int]:
    return [int(target.ref.removeprefix("key:")) for target in payload.targets]


# Revoke


def draft_revoke(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key or keys, and reason_code. Raises: NotRevocableError, NoSuchKeyError, WrongParametersError."""
    code = str(parameters.get("reason_code"))
    if code not in RevocationReason.values:
        raise WrongParametersError
    keys = chosen(parameters, hold=hold)
    becomes = {key.pk: transitions.check_revocable(key, code) for key in keys}
    return Draft(targets=targets_of(keys), facts=facts_of(keys, lambda key: becomes[key.pk], now))


def describe_revoke(payload: Payload) -> Description:
    reason = RevocationReason(str(payload.parameters["reason_code"])).label
    if transitions.revoked_state(str(payload.parameters["reason_code"])) == State.COMPROMISED:
        ends = "It can no longer protect anything, and opens what it protected only by an exception."
    else:
        ends = "It can no longer protect anything new, and may still open what it protected."
    sentences = [
        *becoming(payload, f" with reason {reason}"),
        _of_each(payload, ends),
        *whom(payload),
        *lateness(payload),
        ELSEWHERE,
        "This cannot be undone: a revoked key never comes back into use.",
    ]
    lines = [*lines_of(payload), Line(label="Reason for revoking", text=reason)]
    return Description(title=title("Revoke", payload), sentences=sentences, lines=lines)


def _of_each(payload: Payload, sentence: str) -> str:
    return sentence if len(payload.targets) == 1 else sentence.replace("It ", "Each ", 1)


def execute_revoke(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    code = str(payload.parameters["reason_code"])
    for pk in _pks(payload):
        transitions.revoke_key(pk=pk, reason_code=code, permit=permit, actor=actor, reason=payload.reason, now=now)


REVOKE = register(
    Operation(
        code="key.revoke",
        title="Revoke a key",
        action=Action.KEY_DEACTIVATED,
        askers=(SECURITY, DEVOPS),
        steps=BOTH,
        draft=draft_revoke,
        describe=describe_revoke,
        execute=execute_revoke,
        owner_may_ask=True,
        breaks_glass=True,
    )
)


# Destroy


def draft_destroy(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key or keys, destroyed_on, method, evidence. Raises: as guarded.check_destroyable()."""
    words, day = _destruction(parameters)
    keys = chosen(parameters, hold=hold)
    for key in keys:
        transitions.check_destroyable(key, words, day, now)
    facts = facts_of(keys, lambda _: State.DESTROYED, now)
    unreached = dict.fromkeys(sentence for key in keys for sentence in transitions.not_reached(key))
    return Draft(targets=targets_of(keys), facts=facts | {"not_reached": list(unreached)})


def _destruction(parameters: Mapping[str, JSON]) -> tuple[dict[str, str], date]:
    words = {name: str(parameters.get(name) or "").strip() for name in ("method", "evidence")}
    try:
        day = date.fromisoformat(str(parameters.get("destroyed_on")))
    except ValueError as error:
        raise WrongParametersError from error
    if not all(words.values()):
        raise WrongParametersError
    return words, day


def describe_destroy(payload: Payload) -> Description:
    words, day = _destruction(payload.parameters)
    unreached: Any = payload.facts["not_reached"]
    sentences = [
        *becoming(payload),
        "What was protected with it and is still under it can never be opened again.",
        *whom(payload),
        *lateness(payload),
        *unreached,
        "The inventory deletes nothing where the key is kept: it records that this was done.",
        "This cannot be undone by anybody.",
    ]
    lines = [
        *lines_of(payload),
        Line(label="Destroyed on", text=f"{day:%-d %B %Y}"),
        Line(label="How", text=words["method"]),
        Line(label="Witness or evidence", text=words["evidence"]),
    ]
    return Description(title=title("Destroy", payload), sentences=sentences, lines=lines)


def execute_destroy(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    words, day = _destruction(payload.parameters)
    for pk in _pks(payload):
        transitions.destroy_key(
            pk=pk, destroyed_on=day, permit=permit, actor=actor, reason=payload.reason, now=now, **words
        )


DESTROY = register(
    Operation(
        code="key.destroy",
        title="Destroy a key",
        action=Action.KEY_DESTROYED,
        askers=(SECURITY, DEVOPS),
        steps=BOTH,
        draft=draft_destroy,
        describe=describe_destroy,
        execute=execute_destroy,
    )
)


# Re-activate


def draft_reactivate(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key. Who suspended it does not vote. Raises: IllegalTransitionError, PeriodOverError."""
    (key,) = _one(parameters, hold=hold)
    transitions.check_reactivable(key, now)
    excluded, facts = _suspension(key)
    return Draft(
        targets=targets_of([key]), facts=facts_of([key], lambda _: State.ACTIVE, now) | facts, excluded=excluded
    )


def _one(parameters: Mapping[str, JSON], *, hold: bool) -> list[Key]:
    if "keys" in parameters:
        raise WrongParametersError
    return chosen(parameters, hold=hold)


def _suspension(key: Key) -> tuple[list[str], dict[str, JSON]]:
    """Return who suspended the key, which the log says, and when and why."""
    event = last_about(key.ref, _SUSPENDED_BY)
    if event is None or event.said is None:
        return [], {"suspended_at": None, "suspended_because": ""}
    said = event.said
    people = sorted({who for who in (said.actor_id, said.on_behalf_of) if who.startswith("user:")})
    return people, {"suspended_at": timestamp(said.at), "suspended_because": said.reason}


def describe_reactivate(payload: Payload) -> Description:
    sentences = [
        *becoming(payload),
        "From then on it may protect again, and open what it protected.",
        *whom(payload, "be told that they may use it again"),
        *lateness(payload),
        *(["Whoever suspended it has no vote on this."] if payload.excluded else []),
    ]
    lines = lines_of(payload)
    if at := payload.facts["suspended_at"]:
        lines.append(Line(label="Suspended", text=_moment(str(at))))
    if why := payload.facts["suspended_because"]:
        lines.append(Line(label="Suspended because", text=str(why)))
    return Description(title=title("Re-activate", payload), sentences=sentences, lines=lines)


def execute_reactivate(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    for pk in _pks(payload):
        transitions.reactivate_key(pk=pk, permit=permit, actor=actor, reason=payload.reason, now=now)


REACTIVATE = register(
    Operation(
        code="key.reactivate",
        title="Re-activate a key",
        action=Action.KEY_REACTIVATED,
        askers=(SECURITY, DEVOPS),
        steps=BOTH,
        draft=draft_reactivate,
        describe=describe_reactivate,
        execute=execute_reactivate,
    )
)


# Dates


def draft_dates(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key, and dates by their names, as timestamps or null. Raises: DatesError, ValidationError."""
    dates = _dates(parameters)
    (key,) = _one(parameters, hold=hold)
    before = {name: getattr(key, name) for name in dates}
    targets, facts = targets_of([key]), facts_of([key], lambda _: None, now)
    transitions.check_dates(key, dates, now)
    changed: dict[str, JSON] = {
        name: {"before": _said(before[name]), "after": _said(at)} for name, at in dates.items() if before[name] != at
    }
    return Draft(targets=targets, facts=facts | {"dates": changed})


def _dates(parameters: Mapping[str, JSON]) -> dict[str, datetime | None]:
    said = parameters.get("dates")
    if not isinstance(said, Mapping) or not said or said.keys() - set(PERIOD):
        raise WrongParametersError
    try:
        return {name: None if at is None else parse_timestamp(str(at)) for name, at in said.items()}
    except ValueError as error:
        raise WrongParametersError from error


def _said(at: datetime | None) -> str | None:
    return timestamp(at) if at else None


def _moment(said: str) -> str:
    return f"{parse_timestamp(said):%-d %B %Y, %H:%M} UTC"


_THEN = {
    "activates_at": ("It comes into use by itself on {}.", "It does not come into use by itself any more."),
    "protect_until": (
        "It is deactivated by itself on {}: from then on it protects nothing new.",
        "It is not deactivated by itself any more: it protects for as long as nobody ends that.",
    ),
    "process_until": (
        "It may open what it protected until {}.",
        "It may open what it protected for as long as it is there.",
    ),
}
_CALLED = {
    "activates_at": "Comes into use",
    "protect_until": "Protects until",
    "process_until": "Opens what it protected until",
}


def describe_dates(payload: Payload) -> Description:
    (key,) = keys_in(payload)
    changed: Any = payload.facts["dates"]
    state = State(key["state"]).label.lower()
    sentences = [f"{named(key)} is {state} and stays so now; its period of use changes."]
    lines = lines_of(payload)
    for name in PERIOD:
        if name not in changed:
            continue
        before, after = changed[name]["before"], changed[name]["after"]
        sentences.append(_THEN[name][0].format(_moment(after)) if after else _THEN[name][1])
        text = _moment(after) if after else "no date"
        lines.append(Line(label=_CALLED[name], text=text, before=_moment(before) if before else "no date"))
    return Description(
        title=title("Change the dates of", payload),
        sentences=[*sentences, *whom(payload, "be told of the dates")],
        lines=lines,
    )


def execute_dates(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    for pk in _pks(payload):
        transitions.set_dates(
            pk=pk, dates=_dates(payload.parameters), permit=permit, actor=actor, reason=payload.reason, now=now
        )


DATES = register(
    Operation(
        code="key.dates",
        title="Change a key's dates",
        action=Action.KEY_DATES_CHANGED,
        askers=(DEVOPS,),
        steps=(Step(SECURITY),),
        draft=draft_dates,
        describe=describe_dates,
        execute=execute_dates,
        owner_may_ask=True,
    )
)
