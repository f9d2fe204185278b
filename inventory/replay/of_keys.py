"""How each event about a key goes into what the log tells of it: the same steps as the services', from their words."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from audit.actions import Action
from audit.body import Subject
from inventory.lifecycle import dates
from inventory.models.exception import ExceptionState
from inventory.replay.told import Fields, Happened, Told, count_up, moment, person, without
from inventory.states import RevocationReason, State

MOMENTS = frozenset({"activates_at", "protect_until", "process_until"})
# What an event says beside the facts, and what follows from them: none of it is a fact of the key.
_BESIDE = frozenset({
    "rotate_by", "winning_clause", "accepted_until", "weaknesses", "expires_on", "version", "state", "findings"
})  # fmt: skip
Step = Callable[[Told, Happened, Subject], None]


def version_name(number: int) -> str:
    return f"version {number}"


def finding_name(code: str, nth: int) -> str:
    return f"finding {code}, no. {nth}"


def registered(told: Told, happened: Happened, subject: Subject) -> None:
    """Begin a record: its facts, and the first version as services.keys.first_version() has it."""
    state = State(str(happened.said.facts["state"]))
    number = int(happened.said.facts.get("generations", 1))
    told.fields = _facts(subject.after) | {"state": state.value, "current_number": number, "revision": 1}
    superseded = dates(State.DEACTIVATED, now=happened.said.at, reason=RevocationReason.SUPERSEDED)
    for earlier in range(1, number):
        told.parts[version_name(earlier)] = {"state": State.DEACTIVATED.value} | _plain(superseded)
    since = _day(told.fields.get("last_rotated_on") or told.fields.get("created_on"))
    version: Fields = {"state": state.value}
    if since:
        version["generated_on"] = since.isoformat()
    if state != State.PRE_ACTIVATION:
        began = datetime.combine(since, time(), tzinfo=UTC) if since else happened.said.at
        version["activated_at"] = moment(began)
    if state not in {State.PRE_ACTIVATION, State.ACTIVE}:
        reason = RevocationReason.KEY_COMPROMISE if state == State.COMPROMISED else ""
        version |= _dated(state, happened, reason)
    told.parts[version_name(number)] = version
    _judge(told, subject)


def edited(told: Told, happened: Happened, subject: Subject) -> None:
    told.fields |= _facts(subject.after)
    count_up(told.fields)


def rotated(told: Told, happened: Happened, subject: Subject) -> None:
    """Add the next version and end the one before, as lifecycle.supersede() does."""
    edited(told, happened, subject)
    number, rotated_on = int(str(subject.after["version"])), _day(subject.after.get("last_rotated_on"))
    before = told.parts.setdefault(version_name(number - 1), {})
    day = datetime.combine(rotated_on, time(), tzinfo=UTC) if rotated_on else happened.said.at
    began = before.get("activated_at")
    at = max(day, datetime.fromisoformat(began)) if began else day
    ended = dates(State.DEACTIVATED, now=at, reason=RevocationReason.SUPERSEDED)
    before |= {"state": State.DEACTIVATED.value} | _plain(ended)
    told.parts[version_name(number)] = {
        "state": State.ACTIVE.value,
        "generated_on": rotated_on.isoformat() if rotated_on else None,
        "activated_at": moment(at),
    }
    told.fields |= {"state": State.ACTIVE.value, "current_number": number}


def moved(told: Told, happened: Happened, subject: Subject) -> None:
    """Bring a version into another state: the current one, or the one that the event names, which is destroyed.

    Where it is revoked by that, `revocation_reason` says why.
    """
    state = State(str(subject.after["state"]))
    count_up(told.fields)
    number = subject.after.get("version")
    if number is not None and number != told.fields.get("current_number"):
        told.parts.setdefault(version_name(int(str(number))), {}).update(
            {"state": state.value} | _dated(state, happened, "")
        )
        return
    told.fields["state"] = state.value
    reason = str(subject.after.get("revocation_reason") or "")
    if (version := _current(told)) is not None:
        version |= {"state": state.value} | _dated(state, happened, reason)


def flagged(told: Told, happened: Happened, subject: Subject) -> None:
    told.fields["flagged_overdue_at"] = happened.at


def found(told: Told, happened: Happened, subject: Subject) -> None:
    """Open and close findings by the difference between the codes that were open and those that are."""
    was, now = _codes(subject.before), _codes(subject.after)
    for code in sorted(now - was):
        name = finding_name(code, _times(told, code) + 1)
        told.parts[name] = {"opened_at": happened.at, "closed_at": None}
    for code in was - now:
        last = told.parts.get(finding_name(code, _times(told, code)))
        if last is not None:
            last["closed_at"] = max(happened.at, last["opened_at"])


def judged(told: Told, happened: Happened, subject: Subject) -> None:
    _judge(told, subject)


def reported(told: Told, happened: Happened, subject: Subject) -> None:
    _report(told, happened, subject.after["evidence"])


def held(told: Told, happened: Happened, subject: Subject) -> None:
    """Note the evidence that came with a question, as reports were told before there were requests."""
    asked: Any = subject.after["held_change"]
    if evidence := asked.get("evidence"):
        _report(told, happened, {**evidence, "rotated_on": asked["after"].get("last_rotated_on")})


def _report(told: Told, happened: Happened, evidence: Any) -> None:  # noqa: ANN401 - as the log has it
    told.parts[evidence["ref"]] = {
        **{name: evidence[name] for name in ("rotated_on", "text", "url")},
        "reported_by": person(happened.said.actor_id),
        "reported_at": happened.at,
    }


def excepted(told: Told, happened: Happened, subject: Subject) -> None:
    """Note an exception that was granted, and that it takes the place of the one before."""
    said, after = happened.said, subject.after
    if before := subject.before.get("exception"):
        _over(told, str(before), ExceptionState.SUPERSEDED, happened)
    told.parts[str(after["exception"])] = {
        "clause": after["excepted_from"],
        "compensating_control": after["compensating_control"],
        "residual_risk": after["residual_risk"],
        "reason": said.reason,
        "granted_at": happened.at,
        "until": _instant(str(after["excepted_until"])),
        "longest_days": after["longest_days"],
        "request": said.facts["request"],
        "state": ExceptionState.STANDING.value,
    }


def _excepted_no_more(state: ExceptionState) -> Step:
    def close(told: Told, happened: Happened, subject: Subject) -> None:
        refs: Any = subject.before["exceptions"]
        for ref in refs:
            _over(told, ref, state, happened)

    return close


def _over(told: Told, ref: str, state: ExceptionState, happened: Happened) -> None:
    if (one := told.parts.get(ref)) is None:
        return  # granted before the log begins
    one |= {"state": state.value, "closed_at": happened.at}
    if state == ExceptionState.ENDED:
        one |= {"closed_by": person(happened.said.actor_id), "closed_because": happened.said.reason}


STEPS: Mapping[str, Step] = {
    Action.KEY_REGISTERED: registered,
    Action.KEY_IMPORTED: registered,
    Action.KEY_EDITED: edited,
    Action.KEY_ROTATED: rotated,
    Action.KEY_DATES_CHANGED: edited,
    Action.KEY_ACTIVATED: moved,
    Action.KEY_SUSPENDED: moved,
    Action.KEY_REACTIVATED: moved,
    Action.KEY_DEACTIVATED: moved,
    Action.KEY_COMPROMISED: moved,
    Action.KEY_DESTROYED: moved,
    Action.KEY_FLAGGED_OVERDUE: flagged,
    Action.KEY_DIGEST_REGISTERED: judged,
    Action.KEY_MATERIAL_JUDGED: judged,
    Action.KEY_ROTATION_REPORTED: reported,
    Action.KEY_CHANGE_HELD: held,
    Action.EXCEPTION_GRANTED: excepted,
    Action.EXCEPTION_ENDED: _excepted_no_more(ExceptionState.ENDED),
    Action.EXCEPTION_EXPIRED: _excepted_no_more(ExceptionState.EXPIRED),
    Action.FINDING_OPENED: found,
    Action.FINDING_CLOSED: found,
}
BEGINNINGS = frozenset({Action.KEY_REGISTERED, Action.KEY_IMPORTED})
# After these the date by which to rotate is worked out anew.
DERIVING = frozenset({
    *BEGINNINGS, Action.KEY_EDITED, Action.KEY_ROTATED, Action.EXCEPTION_GRANTED, Action.EXCEPTION_ENDED,
    Action.EXCEPTION_EXPIRED,
})  # fmt: skip


def _facts(said: Mapping[str, Any]) -> Fields:
    facts = without(said, _BESIDE)
    for name in MOMENTS & facts.keys():
        facts[name] = _instant(facts[name])
    return facts


def _dated(state: State, happened: Happened, reason: str) -> Fields:
    return _plain(dates(state, now=happened.said.at, reason=reason))


def _plain(changed: Mapping[str, Any]) -> Fields:
    return {name: moment(value) if isinstance(value, datetime) else str(value) for name, value in changed.items()}


def _judge(told: Told, subject: Subject) -> None:
    said = {name: subject.after[name] for name in ("weaknesses", "expires_on") if name in subject.after}
    if said and (version := _current(told)) is not None:
        version |= said


def _current(told: Told) -> Fields | None:
    number = told.fields.get("current_number")
    return told.parts.setdefault(version_name(number), {}) if number else None


def _codes(side: Mapping[str, Any]) -> set[str]:
    return {str(code) for code in side.get("findings", ())}


def _times(told: Told, code: str) -> int:
    """Count how often a finding was opened on the key so far."""
    nth = 0
    while finding_name(code, nth + 1) in told.parts:
        nth += 1
    return nth


def _day(text: Any) -> date | None:  # noqa: ANN401 - as the log has it
    return date.fromisoformat(text) if text else None


def _instant(text: str | None) -> str | None:
    return moment(text) if text else None
