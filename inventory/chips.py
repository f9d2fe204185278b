"""How a state and a date look and read: a class of the stylesheet and words. Pure; colour never stands alone."""

from datetime import UTC, datetime
from typing import NamedTuple

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


def state_chip(state: str) -> Chip:
    return Chip(_STATE_LOOKS[state], State(state).label)


def due_chip(rotate_by: datetime | None, state: str, now: datetime) -> Chip:
    """Say how far away the date of rotation is, in whole days of UTC."""
    if state not in CAN_BE_OVERDUE:
        return Chip("rest", "not due")
    if rotate_by is None:
        return Chip("rest", "no date")
    days = (rotate_by.astimezone(UTC).date() - now.astimezone(UTC).date()).days
    if rotate_by <= now:
        return Chip("late", f"{-days} {_days(-days)} late" if days else "due today")
    return Chip("soon" if days <= SOON_DAYS else "ok", f"in {days} {_days(days)}")


def _days(count: int) -> str:
    return "day" if count == 1 else "days"
