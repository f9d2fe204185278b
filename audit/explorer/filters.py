"""The list of events: its filters, which an address holds, and its pages."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.db.models import Max, Min, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from audit import selectors
from audit.actions import Outcome
from audit.counting import COUNTED
from audit.explorer import addresses, asked, finding, people
from audit.explorer.asked import NAMES, QUICK, Asked, AskedError, Days
from audit.explorer.groups import GROUPS, actions_of, group_of, words_of
from audit.keyset import KeysetChangeList, Page
from audit.models import Event
from audit.sentences import NAMED_SUBJECTS

TYPED = ("who", "on", "path", "where")  # beside the menus of links


class MenuFilter(admin.SimpleListFilter):
    """A menu of links; the list itself reads the address."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        return queryset


class ActionFilter(MenuFilter):
    """What happened: a group, and the actions of the group that is chosen."""

    title = "what"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's own signature
        chosen = self.value() or ""
        group = chosen if chosen in GROUPS else group_of(chosen)
        choices = []
        for name in GROUPS:
            choices.append((name, words_of(name)))
            if name == group:
                choices += [(action.value, f"· {words_of(action)}") for action in actions_of(name)]
        known = {name for name, _ in choices}
        return choices if not chosen or chosen in known else [*choices, (chosen, words_of(chosen))]


class OutcomeFilter(MenuFilter):
    """How it ended."""

    title = parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's own signature
        return [(outcome.value, outcome.value) for outcome in Outcome]


class WhenFilter(MenuFilter):
    """The last days, or two days that were typed."""

    title = parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Django's own signature
        chosen = self.value() or ""
        quick = [(name, "today" if days == 1 else f"the last {days} days") for name, days in QUICK.items()]
        return quick if not chosen or chosen in QUICK else [*quick, (chosen, _days_words(chosen))]


def _days_words(chosen: str) -> str:
    try:
        days = asked.days_of(chosen, timezone.now().date())
    except AskedError:
        return chosen
    return days_words(days) if days else ""


def days_words(days: Days) -> str:
    """Return a period in words."""
    words = [f"{day.day} {day:%b %Y}" for day in (days.first, days.last) if day]
    if days.first and days.last:
        return words[0] if days.first == days.last else f"{words[0]} to {words[1]}"
    return f"from {words[0]}" if days.first else f"until {words[0]}"


@dataclass(frozen=True)
class TypedFilter:
    """A filter that is typed: its menu holds a form."""

    name: str
    title: str
    hint: str
    label: str
    chosen: str = ""  # what the closed menu says
    clear: str = ""  # the address without it


HINTS = {
    "when": ("between days", "", ""),
    "who": ("who", "Name, account or reference: alice, user:3, beat", "Who acted, or on whose behalf"),
    "on": ("on what", "key:12, user:3, clause:4", "Reference of a subject"),
    "path": ("path", "/login/ or POST /login/", "Path of the door, whole"),
    "where": ("from where", "192.0.2.7 or 192.0.2.0/24", "Address or network"),
}


class EventChangeList(KeysetChangeList):
    """Finds the events of its page by the address and reads them from their bytes.

    Queries: 4 (events, identities, names of people, count), 1 more where a page turned out to be the first.
    """

    asked: Asked
    names: dict[str, str]
    looked: addresses.Looked | None = None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Event]:  # noqa: ANN401 - Django's own signature
        for name in TYPED:
            self.filter_params.pop(name, None)
        rows = super().get_queryset(request, exclude_parameters)
        params = {name: str(self.params.get(name, "")) for name in NAMES} | {"q": self.query}
        try:
            self.asked = asked.read(params, today=timezone.now().date())
        except AskedError as error:
            raise IncorrectLookupParameters(error) from error
        self.found = finding.find(self.asked)
        return rows

    def apply_select_related(self, qs: QuerySet[Event]) -> QuerySet[Event]:
        return qs

    def read(self) -> None:
        self.page = self._read_page()
        self.result_count, self.count_words = self._count_events()

    def _read_page(self) -> Page:
        if self.asked.where is None:
            shown = self.found.page(size=self.list_per_page, after=self.after, before=self.before)
        else:
            shown, self.looked = addresses.page(self.found, self.asked.where, size=self.list_per_page, after=self.after)
        told = selectors.read(shown.rows)  # type: ignore[arg-type] # a page of events
        people_named = [subject.ref for event in told if event.said for subject in event.said.subjects[:NAMED_SUBJECTS]]
        self.names = people.names_of([*people_named, self.asked.who])
        for row, event in zip(shown.rows, told, strict=True):
            vars(row)["told"] = event.naming(self.names)
        return shown

    def _count_events(self) -> tuple[int, str]:
        if self.looked is not None:
            count = len(self.page.rows)
            return count, f"{_events(count)} of the {self.looked.events:,} looked at"
        if not self.asked.is_anything:
            numbers = Event.objects.aggregate(first=Min("number"), last=Max("number"))
            count = numbers["last"] - numbers["first"] + 1 if numbers["last"] else 0
            return count, _events(count)
        if not (self.page.has_previous or self.page.has_next):
            return len(self.page.rows), _events(len(self.page.rows))
        count = self.found.count()
        return count, f"more than {COUNTED:,} events" if count > COUNTED else _events(count)

    @cached_property
    def typed_filters(self) -> list[TypedFilter]:
        """The filters that are typed, with what each says now."""
        return list(self._typed())

    def _typed(self) -> Iterator[TypedFilter]:
        for name, (title, hint, label) in HINTS.items():
            typed = TypedFilter(name, title, hint, label)
            chosen = self._chosen_words(name)
            yield replace(typed, chosen=chosen, clear=self.get_query_string(remove=[name])) if chosen else typed

    def _chosen_words(self, name: str) -> str:
        if name == "when":
            return ""  # the menu beside it says it
        chosen = getattr(self.asked, name)
        if name == "who" and chosen:
            return f"{self.names[chosen]} ({chosen})" if chosen in self.names else chosen
        return str(chosen or "")

    @property
    def kept(self) -> str:
        """The query string that a form gives back, so that filters combine."""
        return self.get_query_string(remove=[SEARCH_VAR] if not self.query else []).removeprefix("?")


def _events(count: int) -> str:
    return f"{count:,} {'event' if count == 1 else 'events'}"
