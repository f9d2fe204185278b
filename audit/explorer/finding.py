"""Events that answer a question, a page at a time, in the order of the log; as cheap at the millionth as at the first.

Every filter has an index that ends in the number (migration 0006), so a page is read from it in order. Where a filter
has several values (who acted or on whose behalf, the nouns of a group), each is read in order by itself and they are
merged: no index serves them at once. What is searched are the copies beside the bytes; what is shown are the bytes.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import or_

from django.db.models import (
    BigIntegerField,
    DateTimeField,
    Exists,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
)
from django.db.models.functions import Coalesce

from audit.counting import COUNTED, count_each
from audit.explorer.asked import Asked, number_of, uuid_of
from audit.explorer.groups import GROUPS, actions_of
from audit.keyset import Order, Page, Place, page_of
from audit.models import Event, EventSubject

ORDER = Order("log", F("number"), BigIntegerField(), is_unique=True, descending=True)
GREATEST = 2**63 - 1
SET_BACK = timedelta(hours=2)  # a clock that was set back by less than this hides no event of a period
NOUN = Func(F("action"), Value("."), Value(1), function="split_part", output_field=TextField())
# The time as no index has it: the numbers around a period lead, or a long period would be read whole and sorted.
MOMENT = Func(F("recorded_at"), template="(%(expressions)s + interval '0')", output_field=DateTimeField())
DOOR = Func(F("path"), template="substr(%(expressions)s, strpos(%(expressions)s, ' ') + 1)", output_field=TextField())


@dataclass(frozen=True)
class Found:
    """The events of a question as one set or several that share no event."""

    branches: tuple[QuerySet[Event], ...]

    def page(self, *, size: int, after: str = "", before: str = "") -> Page:
        """Return one page, the newest event first. Queries: 1; 1 more where it turned out to be the first."""
        return page_of(self.take, ORDER, size=size, after=after, before=before)

    def take(self, place: Place | None, count: int, *, backwards: bool = False) -> list[Event]:
        """Return at most so many events beyond a place, or from the end. Queries: 1."""
        slices = [beyond(branch, place, backwards=backwards)[:count] for branch in self.branches]
        if len(slices) == 1:
            return list(slices[0])
        merged = slices[0].union(*slices[1:], all=True)
        return list(merged.order_by("number" if backwards else "-number")[:count])

    def count(self) -> int:
        """Count the events, no further than one more than COUNTED. Queries: 1."""
        return min(sum(count_each({str(at): branch for at, branch in enumerate(self.branches)}).values()), COUNTED + 1)


def beyond(rows: QuerySet[Event], place: Place | None, *, backwards: bool) -> QuerySet[Event]:
    """Return the rows behind a place in their order, or in front of it in the reverse one."""
    if place is not None:
        rows = rows.filter(number__gt=place.pk) if backwards else rows.filter(number__lt=place.pk)
    return rows.order_by("number" if backwards else "-number")


def find(asked: Asked) -> Found:
    """Return what answers a question; nothing is asked of the database yet."""
    rows = Event.objects.annotate(keyset_value=F("number")).alias(noun=NOUN, door=DOOR, moment=MOMENT)
    several = [alternatives for alternatives in (_named(asked), _who(asked), _action(asked)) if alternatives]
    several.sort(key=lambda alternatives: len(alternatives) > 1)
    for condition in (_on(asked), _path(asked), _outcome(asked), _when(asked)):
        rows = rows.filter(condition)
    while several and len(several[0]) == 1:
        rows = rows.filter(several.pop(0)[0])
    if not several:
        return Found((rows,))
    first, *others = several
    for alternatives in others:
        rows = rows.filter(_any_of(asked) if alternatives == _action(asked) else reduce(or_, alternatives))
    return Found(tuple(rows.filter(alternative) for alternative in first))


def _named(asked: Asked) -> list[Q]:
    """A number, an id of an event, or a reference of whoever acted or of a subject."""
    if not asked.q:
        return []
    number, event_id = number_of(asked.q), uuid_of(asked.q)
    if number is not None:
        return [Q(number=number)]
    if event_id is not None:
        return [Q(event_id=event_id)]
    is_subject = _is_subject(asked.q)
    return [is_subject, *(each & ~is_subject for each in _acting(asked.q))]


def _who(asked: Asked) -> list[Q]:
    return _acting(asked.who) if asked.who else []


def _acting(reference: str) -> list[Q]:
    return [Q(actor_id=reference), Q(on_behalf_of=reference) & ~Q(actor_id=reference)]


def _action(asked: Asked) -> list[Q]:
    if not asked.action:
        return []
    return [Q(noun=noun) for noun in GROUPS.get(asked.action, ())] or [Q(action=asked.action)]


def _any_of(asked: Asked) -> Q:
    """The actions of a group by name: where the group does not lead, an index can compare them."""
    return Q(action__in=[action.value for action in actions_of(asked.action)])


def _on(asked: Asked) -> Q:
    return _is_subject(asked.on) if asked.on else Q()


def _is_subject(reference: str) -> Q:
    return Q(Exists(EventSubject.objects.filter(subject=reference, number=OuterRef("number"))))


def _path(asked: Asked) -> Q:
    if not asked.path:
        return Q()
    _, space, door = asked.path.rpartition(" ")
    return Q(door=door, path=asked.path) if space else Q(door=door) & ~Q(path="")


def _outcome(asked: Asked) -> Q:
    return Q(outcome=asked.outcome) if asked.outcome else Q()


def _when(asked: Asked) -> Q:
    """The days, and the numbers between which they lie, so that every index can begin and end there.

    The numbers have room for a clock that was set back, and the times are compared besides.
    """
    condition = Q()
    if asked.when and (begin := asked.when.begin):
        earlier = Event.objects.filter(recorded_at__lt=begin - SET_BACK).order_by("-recorded_at", "-number")
        condition &= Q(moment__gte=begin, number__gt=Coalesce(Subquery(earlier.values("number")[:1]), 0))
    if asked.when and (end := asked.when.end):
        later = Event.objects.filter(recorded_at__gte=end + SET_BACK).order_by("recorded_at", "number")
        condition &= Q(moment__lt=end, number__lt=Coalesce(Subquery(later.values("number")[:1]), GREATEST))
    return condition
