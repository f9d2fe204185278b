"""Lists of any length in the admin: a page begins behind a row, never at a number, so the last costs as the first."""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, Protocol

from django.contrib import messages
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.views.main import ORDER_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.db.models import BooleanField, Expression, F, Field, Func, Model, OrderBy, QuerySet, TextField, Value
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from psycopg.errors import QueryCanceled

from audit.admin_base import AuditedAdmin
from audit.counting import COUNTED, about, count_and_find, count_or_estimate

AFTER, BEFORE, END = "after", "before", "end"
LONGEST_SEARCH = 100  # characters
FEW = 1_000  # rows that are found by their keys
_LONGEST_CURSOR = 2_000
_GREATEST_KEY = 2**63 - 1
_VALUE = "keyset_value"
_CHOSEN = re.compile(r"(-?)([0-9]{1,2})(?:\.|\Z)")


@dataclass(frozen=True)
class Order:
    """A total order: by one expression, rows without a value last in both directions, then by the primary key.

    The key is left out where the values are unique. An index on (expression, id) serves both directions.
    """

    name: str
    expression: Expression | F
    field: Field  # turns values into text and back
    is_nullable: bool = False
    is_unique: bool = False
    descending: bool = False

    @property
    def parts(self) -> tuple[Expression | F, ...]:
        return (self.expression,) if self.is_unique else (self.expression, F("pk"))

    def by(self, *, backwards: bool = False) -> list[OrderBy]:
        return [OrderBy(part, descending=self.descending != backwards) for part in self.parts]


class Place(NamedTuple):
    """Where a page begins: the value and the primary key of a row, whether it still exists or not."""

    value: Any
    pk: int


@dataclass(frozen=True)
class Page:
    rows: Sequence[Model]
    first: str = ""  # the cursors of the first and the last row
    last: str = ""
    has_previous: bool = False
    has_next: bool = False


class Take(Protocol):
    """Reads rows in an order beyond a place; from the beginning, or backwards from the end, for None."""

    def __call__(self, place: Place | None, count: int, *, backwards: bool = False) -> Sequence[Model]: ...


def to_cursor(order: Order, row: Model) -> str:
    """Return the place of a row as text for an address. It tells what the row shows, and is checked when it returns."""
    value = getattr(row, _VALUE)
    text = None if value is None else str(value)
    packed = json.dumps([order.name, text, row.pk], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_cursor(order: Order, cursor: str) -> Place | None:
    """Return the place that a cursor names, or None for what is none of this order."""
    if not cursor or len(cursor) > _LONGEST_CURSOR:
        return None
    try:
        name, text, pk = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        value = None if text is None else order.field.to_python(_sound(text))
    except (ValueError, TypeError, RecursionError, binascii.Error, ValidationError):
        return None
    is_key = type(pk) is int and 0 <= pk <= _GREATEST_KEY
    is_value = value is not None or (text is None and order.is_nullable)
    return Place(value, pk) if name == order.name and is_key and is_value else None


def _sound(text: object) -> str:
    """Return text that the database can hold. Raises: ValueError for any other."""
    if not isinstance(text, str) or "\0" in text:
        raise ValueError("no text of ours")
    text.encode()
    return text


def page(queryset: QuerySet, order: Order, *, size: int, after: str = "", before: str = "") -> Page:
    """Return one page: behind `after`, in front of `before` ("end" is the last page), or else the first.

    A cursor that is none, or leads nowhere, gives the first page. Queries: 1; 1 more where a page holds rows with a
    value and rows without one, and 1 more where it turned out to be the first.
    """
    rows_of = queryset.annotate(**{_VALUE: order.expression})
    return page_of(partial(_slice, rows_of, order), order, size=size, after=after, before=before)


def page_of(take: Take, order: Order, *, size: int, after: str = "", before: str = "") -> Page:
    """Return one page of whatever `take` takes: at most so many rows, annotated with their value, beyond a place."""
    if before:
        place = None if before == END else from_cursor(order, before)
        if place or before == END:
            found = take(place, size + 1, backwards=True)
            if len(found) > size or (before == END and found):
                has_previous = len(found) > size
                return _page(order, found[:size][::-1], has_previous=has_previous, has_next=place is not None)
    place = from_cursor(order, after)
    found = take(place, size + 1)
    if place and not found:
        place, found = None, take(None, size + 1)
    return _page(order, found[:size], has_previous=place is not None, has_next=len(found) > size)


def _page(order: Order, rows: Sequence[Model], *, has_previous: bool, has_next: bool) -> Page:
    if not rows:
        return Page(rows)
    return Page(rows, to_cursor(order, rows[0]), to_cursor(order, rows[-1]), has_previous, has_next)


def _slice(rows: QuerySet, order: Order, place: Place | None, count: int, *, backwards: bool = False) -> list[Model]:
    """Return rows behind a place, at most `count`: those with a value, then those without one, or the reverse.

    Two plain ranges instead of one condition with OR: an index serves each of them.
    """
    ordered = rows.order_by(*order.by(backwards=backwards))
    sorts_so_anyway = not order.descending  # PostgreSQL takes an absent value for the greatest
    if not order.is_nullable or (place is None and sorts_so_anyway):
        return list((ordered.filter(_behind(order, place, backwards=backwards)) if place else ordered)[:count])
    found: list[Model] = []
    halves = (False, True) if not backwards else (True, False)
    begins_at = halves[0] if place is None else place.value is None
    for is_absent in halves[halves.index(begins_at) :]:
        half = ordered.filter(**{f"{_VALUE}__isnull": is_absent})
        if place and is_absent == begins_at:
            half = half.filter(_behind(order, place, backwards=backwards))
        found += half[: count - len(found)]
        if len(found) == count:
            break
    return found


def _behind(order: Order, place: Place, *, backwards: bool) -> Expression:
    sign = " < " if order.descending != backwards else " > "
    if place.value is None:
        here: list[Expression | F] = [F("pk")]
        there: list[Value] = [Value(place.pk)]
    else:
        here = list(order.parts)
        there = [Value(place.value, output_field=order.field), Value(place.pk)][: len(here)]
    return Func(_row(here), _row(there), template="(%(expressions)s)", arg_joiner=sign, output_field=BooleanField())


def _row(parts: Sequence[Expression | F]) -> Func:
    return Func(*parts, template="(%(expressions)s)", output_field=TextField())


# The admin


class KeysetChangeList(ChangeList):
    """Pages by keyset, in one of the orders of its admin. `p` and `all` do nothing; an unknown order is none."""

    model_admin: "KeysetAdmin"
    order: Order
    page: Page
    count_words: str

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet:  # noqa: ANN401 - Django's own
        self.after, self.before = self._taken(AFTER), self._taken(BEFORE)
        self.query = self.query[:LONGEST_SEARCH].strip()
        if self.query and SEARCH_VAR in self.params:
            self.params[SEARCH_VAR], self.filter_params[SEARCH_VAR] = self.query, [self.query]
        return super().get_queryset(request, exclude_parameters)

    def _taken(self, name: str) -> str:
        self.filter_params.pop(name, None)
        return str(self.params.pop(name, ""))

    def get_ordering(self, request: HttpRequest, queryset: QuerySet) -> list[OrderBy]:  # type: ignore[override]
        self.order = self._chosen_order()
        return self.order.by()

    def _chosen_order(self) -> Order:
        """Return the order of the column that was clicked; the address keeps that one and no other."""
        orders = self.model_admin.keyset_orders
        chosen = _CHOSEN.match(str(self.params.get(ORDER_VAR, "")))
        number = int(chosen[2]) if chosen else len(self.list_display)
        name = self.list_display[number] if number < len(self.list_display) else None
        if chosen and isinstance(name, str) and name in orders:
            self.params[ORDER_VAR] = f"{chosen[1]}{number}"
            self.filter_params[ORDER_VAR] = [self.params[ORDER_VAR]]
            return replace(orders[name], descending=bool(chosen[1]))
        self.params.pop(ORDER_VAR, None)
        self.filter_params.pop(ORDER_VAR, None)
        return next(iter(orders.values()))

    def get_results(self, request: HttpRequest) -> None:
        self.read()
        self.result_list = self.page.rows
        self.full_result_count = None
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = True

    def read(self) -> None:
        """Set the page, and how many rows there are in all, in words too."""
        self.result_count, self.count_words, rows = self._counted()
        self.page = page(rows, self.order, size=self.list_per_page, after=self.after, before=self.before)

    def _counted(self) -> tuple[int, str, QuerySet]:
        """Return how many rows there are, in words too, and the rows.

        A few are asked for by their keys: in the order of the list, the database would look for them from its one end
        to the other.
        """
        if not self.queryset.query.where:
            count = count_or_estimate(self.model)
            return count, f"{about(count) if count > COUNTED else f'{count:,}'} {self._kind(count)}", self.queryset
        count, few = count_and_find(self.queryset, FEW)
        if count > COUNTED:
            return count, f"more than {COUNTED:,} {self._kind(count)}", self.queryset
        rows = self.queryset if few is None else self._like(few)
        return count, f"{count:,} {self._kind(count)}", rows

    def _kind(self, count: int) -> str:
        return str(self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural)

    def _like(self, keys: Sequence[Any]) -> QuerySet:
        """Return the rows of these keys, with the annotations and relations of the list."""
        rows = self.root_queryset.filter(pk__in=keys)
        return rows if rows.query.select_related else self.apply_select_related(rows)

    @property
    def has_pages(self) -> bool:
        return self.page.has_previous or self.page.has_next

    @property
    def first_link(self) -> str:
        return self.get_query_string()

    @property
    def previous_link(self) -> str:
        return self.get_query_string({BEFORE: self.page.first})

    @property
    def next_link(self) -> str:
        return self.get_query_string({AFTER: self.page.last})

    @property
    def last_link(self) -> str:
        return self.get_query_string({BEFORE: END})


class KeysetAdmin(AuditedAdmin):
    """A list that may be of any length. The first of `keyset_orders` is its own; names are those of `list_display`."""

    keyset_orders: ClassVar[dict[str, Order]]
    show_facets = ShowFacets.NEVER  # each would be a count of its own

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ANN401
        return KeysetChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow what the filters ask, and nothing else: "?notes__regex=" would read the whole table."""
        return lookup in {name for listed in self.list_filter for name in _asked(listed)}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            return super().changelist_view(request, extra_context)
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled) or not request.GET:
                raise
        messages.warning(request, "This took too long and was stopped. Search for more letters, or filter for less.")
        return redirect(request.path)


def _asked(listed: Any) -> tuple[str, ...]:  # noqa: ANN401 - a name or a class of a filter
    return (f"{listed}__exact",) if isinstance(listed, str) else (listed.parameter_name,)
