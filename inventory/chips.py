"""How states, dates and judgements look and read: a class of the stylesheet and words. Colour never stands alone."""

from datetime import UTC, date, datetime
from typing import NamedTuple

from inventory.algorithms import Judgement, SourceStatus, Status
from inventory.findings import Severity
from inventory.models import Finding
from inventory.states import CAN_BE_OVERDUE, State

SOON_DAYS = 30


class Chip(NamedTuple):
    look: str  # late, soon, ok, hold or rest
    words: str


_STATE_LOOKS: dict[str, str] = {
    State.PRE_ACTIVATION: "rest",
    State.ACTIVE: "ok",
    State.SUSPENDED: "hold",
    State.DEACTIVATED: "rest",
    State.COMPROMISED: "late",
    State.DESTROYED: "rest",
    State.DESTROYED_COMPROMISED: "late",
}
_STATUS_CHIPS: dict[Status, Chip] = {
    Status.APPROVED: Chip("ok", "approved"),
    Status.EXCEPTION: Chip("soon", "needs an exception"),
    Status.LEGACY: Chip("soon", "legacy"),
    Status.NOT_YET: Chip("soon", "not approved yet"),
    Status.PROHIBITED: Chip("late", "prohibited"),
    Status.UNKNOWN: Chip("rest", "unknown"),
    Status.NOT_APPLICABLE: Chip("rest", "no algorithm"),
}


_SEVERITY_LOOKS: dict[int, str] = {
    Severity.CRITICAL: "late",
    Severity.HIGH: "late",
    Severity.MEDIUM: "soon",
    Severity.LOW: "rest",
}


def finding_chip(finding: Finding, now: datetime) -> Chip:
    """Say how much a finding matters, or until when it is accepted."""
    if finding.closed_at is None and finding.accepted_until and finding.accepted_until > now:
        return accepted_chip(finding.accepted_until)
    return severity_chip(finding.severity)


def severity_chip(severity: int) -> Chip:
    return Chip(_SEVERITY_LOOKS[severity], str(Severity(severity).label))


def state_chip(state: str) -> Chip:
    return Chip(_STATE_LOOKS[state], State(state).label)


def due_chip(rotate_by: datetime | None, state: str, now: datetime, accepted_until: datetime | None = None) -> Chip:
    """Say how far away the date of rotation is, in whole days of UTC, or until when it is accepted that it has passed.

    A key that is not late yet has the look of its date, whatever was accepted for later.
    """
    if state not in CAN_BE_OVERDUE:
        return Chip("rest", "not due")
    if rotate_by is None:
        return Chip("rest", "no date")
    days = (rotate_by.astimezone(UTC).date() - now.astimezone(UTC).date()).days
    if rotate_by <= now and accepted_until and accepted_until > now:
        return accepted_chip(accepted_until)
    if rotate_by <= now:
        return Chip("late", f"{-days} {_days(-days)} late" if days else "due today")
    return Chip("soon" if days <= SOON_DAYS else "ok", f"in {days} {_days(days)}")


def accepted_chip(until: datetime) -> Chip:
    return Chip("hold", f"accepted until {until.astimezone(UTC):%-d %b %Y}")


def _days(count: int) -> str:
    return "day" if count == 1 else "days"


def status_chip(status: Status) -> Chip:
    """Say what an algorithm is, and no more."""
    return _STATUS_CHIPS[status]


def algorithm_chip(judged: Judgement) -> Chip:
    """Say what the algorithm of a key is and when that changes: "legacy from 2031 (draft date)", "legacy since 2024".

    An algorithm that is approved for what exists, and no longer for new keys, looks as what comes next.
    """
    look = (
        "soon" if judged.status == Status.APPROVED and not judged.is_for_new_keys else status_chip(judged.status).look
    )
    words = _status_words(judged)
    draft = "" if judged.row is None else _DRAFT.get(judged.row.source_status, "")
    if judged.status_new == Status.PROHIBITED != judged.status:
        return Chip(look, f"{words}{draft}, not for new keys")
    return Chip(look, words + draft)


_DRAFT = {SourceStatus.DRAFT_DATE: " (draft date)", SourceStatus.DRAFT: " (draft)"}


def _status_words(judged: Judgement) -> str:
    words = status_chip(judged.status).words
    if judged.next_status and judged.next_status != judged.status and judged.changes_on:
        return f"{status_chip(judged.next_status).words} from {_from_day(judged.changes_on)}"
    if judged.status == Status.APPROVED and not judged.is_for_new_keys:
        return "approved for existing keys"
    if judged.row and judged.since and judged.row.has_ended(judged.since):
        return f"{words} since {_from_day(judged.since)}"
    return words


def _from_day(day: date) -> str:
    """Name a day on which something begins: a year for its first day."""
    return f"{day:%Y}" if (day.month, day.day) == (1, 1) else f"{day:%-d %B %Y}"
