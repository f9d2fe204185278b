"""Stretches of the log by number: every event is in exactly one of those that follow upon each other.

Times cannot promise that: a clock that was set back gives later events earlier times.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from audit.actions import Action, Outcome
from audit.models import Event
from audit.selectors import ReadEvent, read


def first_written_at() -> datetime | None:
    """Return when the server wrote the oldest event that is kept; None for an empty log. One query."""
    return Event.objects.order_by("number").values_list("recorded_at", flat=True).first()


def last_before(moment: datetime) -> int:
    """Return the number of the last event that the server wrote before an instant, 0 for none; one query.

    It is looked for from the end of the log, so that it costs as little as there is after the instant.
    """
    earlier = Event.objects.filter(recorded_at__lt=moment).order_by("-number")
    return earlier.values_list("number", flat=True).first() or 0


def done_between(actions: Sequence[Action], *, after: int, through: int) -> Iterator[int]:
    """Give the numbers of what was done, refusals apart, behind one event and up to another; one query, by index."""
    found = Event.objects.filter(action__in=actions, outcome=Outcome.DONE, number__gt=after, number__lte=through)
    return found.order_by("number").values_list("number", flat=True).iterator()


def numbered(numbers: Sequence[int]) -> dict[int, ReadEvent]:
    """Return the events of these numbers that are in the log; two queries, none for none."""
    if not numbers:
        return {}
    return {event.number: event for event in read(Event.objects.filter(number__in=numbers))}
