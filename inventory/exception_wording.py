"""How exceptions read on a page."""

from datetime import datetime

from inventory.chips import Chip
from inventory.clause_wording import demands_of
from inventory.models import ExceptionState, Key, PolicyClause, PolicyException
from inventory.policy import Verdict

ENDING_DAYS = 14
_LOOKS: dict[str, Chip] = {
    ExceptionState.EXPIRED: Chip("rest", "expired"),
    ExceptionState.ENDED: Chip("rest", "ended early"),
    ExceptionState.SUPERSEDED: Chip("rest", "renewed"),
}


def exception_chip(exception: PolicyException, now: datetime) -> Chip:
    """Say how an exception stands at an instant. One whose day has come is over, closed already or not."""
    if exception.state != ExceptionState.STANDING:
        return _LOOKS[exception.state]
    if exception.until <= now:
        return _LOOKS[ExceptionState.EXPIRED]
    days = (exception.until.date() - now.date()).days
    look = "soon" if days <= ENDING_DAYS else "hold"
    return Chip(look, f"ends in {days} day{'' if days == 1 else 's'}")


def binding_words(key: Key, clause: PolicyClause, verdict: Verdict) -> str:
    """Say what a clause demands of a key, as a choice in a form."""
    said = f"{clause.requirement}, {clause.label}" if clause.requirement else clause.label
    decides = verdict.winning is not None and verdict.winning.clause_id == clause.pk and key.rotate_by is not None
    due = f" (decides: due {key.rotate_by:%-d %B %Y})" if decides else ""
    return f"{said}: {'; '.join(demands_of(clause))}{due}"
