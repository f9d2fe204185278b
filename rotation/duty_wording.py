"""How duties read on a page: chips, whose signatures are given and missing, what whoever looks may do."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from inventory.chips import Chip
from rotation import duties
from rotation.models import Duty, DutyKind, DutySignature, DutyState, Verdict

A_DAY = timedelta(days=1)
WHAT = {
    DutyKind.SUSPENSION: "One person may suspend a key at once. Somebody else says within a day whether it was right.",
    DutyKind.REPORT: "Everybody may report a compromise, and it takes effect at once. Somebody else says within a day "
    "whether it was right.",
    DutyKind.BREAK_GLASS: "Somebody did alone what needs the votes of others. One person of Security and one of DevOps "
    "look at it within a day; until both have signed, whoever did it can break no other glass.",
    DutyKind.STILL_SUSPENDED: "A suspension is for as long as people need to decide. After 72 hours somebody says what "
    "becomes of the key: back into use, or revoked, each by two votes.",
}
VERDICTS = {Verdict.IN_ORDER: Chip("ok", "in order"), Verdict.FINDING: Chip("late", "finding")}


@dataclass(frozen=True)
class Place:
    """A signature that is given or missing."""

    roles: Sequence[str]  # one of which fills it
    signature: DutySignature | None
    chip: Chip | None


def due_chip(duty: Duty, now: datetime) -> Chip:
    """Say how far away the date of a duty is, in hours within a day of it; a closed one is not late any more."""
    if duty.state == DutyState.CLOSED:
        return Chip("rest", "closed")
    if duty.due_at <= now:
        return Chip("late", f"{_span(now - duty.due_at)} late")
    return Chip("soon", f"in {_span(duty.due_at - now)}")


def _span(length: timedelta) -> str:
    if length >= 2 * A_DAY:
        return f"{length.days} days"
    hours = int(length.total_seconds()) // 3600
    if hours:
        return f"{hours} hour{'' if hours == 1 else 's'}"
    minutes = max(int(length.total_seconds()) // 60, 1)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"


def doer(duty: Duty) -> str:
    """Return who did it: a person's name, or the command that somebody ran."""
    return str(duty.done_by or duty.done_by_ref.removeprefix("command:"))


def places(duty: Duty, signatures: Sequence[DutySignature]) -> list[Place]:
    """Return the signatures, then what is missing."""
    given = [Place((one.role,), one, VERDICTS[Verdict(one.verdict)]) for one in signatures]
    missing = duties.needed(duty) - len(given)
    if duty.state == DutyState.CLOSED or missing <= 0:
        return given
    left = [role for role in duties.SIGNING if role not in {one.role for one in signatures}]
    if missing == 1:
        return [*given, Place(left, None, None)]
    return [*given, *(Place((role,), None, None) for role in left)]


def open_roles(
    duty: Duty, signatures: Sequence[DutySignature], *, person: int, own_roles: Collection[str]
) -> list[str]:
    """Return the roles for which this person can sign now."""
    is_theirs = person == duty.done_by_id or any(one.person_id == person for one in signatures)
    if duty.state == DutyState.CLOSED or is_theirs:
        return []
    taken = {one.role for one in signatures}
    return [role for role in duties.SIGNING if role in own_roles and role not in taken]
