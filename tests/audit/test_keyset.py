"""Paging by keyset: every row once, in order, whatever the values, the direction and the cursor."""

import base64
import json
from datetime import date, timedelta
from itertools import chain

import pytest
from django.db import transaction
from django.db.models import CharField, DateField, DateTimeField, F
from django.db.models.functions import Coalesce
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.counting import about, count_and_find, count_up_to, shown
from audit.keyset import END, Order, from_cursor, page, to_cursor
from inventory.models import Key, PolicyClause
from tests.inventory.world import NOW

pytestmark = pytest.mark.django_db
ORDERS = {
    "due": Order("due", F("rotate_by"), DateTimeField(), is_nullable=True),
    "name": Order("name", F("name"), CharField(), is_unique=True),
    "age": Order("age", Coalesce("last_rotated_on", "created_on"), DateField(), is_nullable=True),
}
DAYS = st.none() | st.integers(0, 3)


def day(number):
    return None if number is None else date(2026, 1, 1) + timedelta(days=number)


@pytest.fixture
def clause(db):
    return PolicyClause.objects.first()


def fill(rows, clause):
    """Put keys into the table whose values are full of ties and gaps; return them in the order that is asked for."""
    return Key.objects.bulk_create(
        Key(
            name=f"{'äZa'[number % 3]}{number}",
            kind="api_token",
            rotate_by=None if due is None else NOW + timedelta(days=due),
            winning_clause=clause,
            created_on=day(created),
            last_rotated_on=day(rotated) if created is None or rotated is None or rotated >= created else None,
        )
        for number, (due, created, rotated) in enumerate(rows)
    )


def value_of(order, key):
    if order.name == "age":
        return key.last_rotated_on or key.created_on
    return key.rotate_by if order.name == "due" else key.name


def expected(order, keys):
    """Sort in Python: those with a value, in both directions before those without."""
    with_value = [key for key in keys if value_of(order, key) is not None]
    without = [key for key in keys if value_of(order, key) is None]
    with_value.sort(key=lambda key: (value_of(order, key), key.pk), reverse=order.descending)
    without.sort(key=lambda key: key.pk, reverse=order.descending)
    return [key.pk for key in with_value + without]


def walk(order, size, start, way):
    """Follow the links to the end; return the pages in reading order."""
    pages, shown_page = [], page(Key.objects.all(), order, size=size, **start)
    while True:
        pages.append([row.pk for row in shown_page.rows])
        if way == "after":
            if not shown_page.has_next:
                return pages
            shown_page = page(Key.objects.all(), order, size=size, after=shown_page.last)
        else:
            if not shown_page.has_previous:
                return pages[::-1]
            shown_page = page(Key.objects.all(), order, size=size, before=shown_page.first)
        assert len(pages) < 100


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(DAYS, DAYS, DAYS), max_size=23),
    size=st.integers(1, 7),
    name=st.sampled_from(sorted(ORDERS)),
    descending=st.booleans(),
)
def test_walking_to_either_end_meets_every_row_once_and_in_order(clause, rows, size, name, descending):
    order = ORDERS[name].__class__(**{**vars(ORDERS[name]), "descending": descending})
    with transaction.atomic():
        keys = fill(rows, clause)
        wanted = expected(order, keys)
        forwards, backwards = walk(order, size, {}, "after"), walk(order, size, {"before": END}, "before")
        assert list(chain.from_iterable(forwards)) == wanted
        assert backwards[0] == wanted[:size]  # the first page is always full
        assert list(chain.from_iterable(backwards[1:])) == wanted[len(wanted) - sum(map(len, backwards[1:])) :]
        assert len(wanted) <= sum(map(len, backwards)) < len(wanted) + size
        assert [len(rows) for rows in forwards[:-1]] == [size] * (len(forwards) - 1)
        if len(forwards) > 1:  # there and back again
            second = page(Key.objects.all(), order, size=size, after=page(Key.objects.all(), order, size=size).last)
            back = page(Key.objects.all(), order, size=size, before=second.first)
            assert [row.pk for row in back.rows] == forwards[0]
            assert (back.has_previous, back.has_next) == (False, True)
        transaction.set_rollback(True)


def test_a_cursor_survives_the_row_it_was_made_from(clause):
    keys = fill([(1, None, None), (2, None, None), (3, None, None)], clause)
    first = page(Key.objects.all(), ORDERS["due"], size=2)
    Key.objects.filter(pk=keys[1].pk).update(rotate_by=None)
    rows = page(Key.objects.all(), ORDERS["due"], size=2, after=first.last).rows
    assert [row.pk for row in rows] == [keys[2].pk, keys[1].pk]


def packed(said):
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "é", "====", "A" * 3_000, "%00", "e30", "[]", base64.b64encode(b"[" * 1_500).decode(),
        packed(["due", "never", 1]), packed(["due", "2026-01-01", -1]), packed(["due", "2026-01-01", 2**63]),
        packed(["due", "2026-01-01", "1"]), packed(["due", "2026-01-01", True]), packed(["due", 5, 1]),
        packed(["name", "a", 1]), packed(["due", {}, 1]), packed(["due", "2026-01-01"]), packed(["due", "\0", 1]),
        packed(["due", "9999999-01-01", 1]), packed({"due": 1}), packed(None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["after", "before"])
def test_a_cursor_that_is_none_shows_the_first_page(clause, cursor, way):
    keys = fill([(1, None, None), (2, None, None)], clause)
    assert from_cursor(ORDERS["due"], cursor) is None
    assert [row.pk for row in page(Key.objects.all(), ORDERS["due"], size=1, **{way: cursor}).rows] == [keys[0].pk]


@pytest.mark.parametrize("text", ["a\0b", "\ud800", None, 7])
def test_a_cursor_never_brings_text_that_the_database_cannot_hold(text):
    assert from_cursor(ORDERS["name"], packed(["name", text, 1])) is None


def test_a_cursor_that_leads_nowhere_shows_the_first_page(clause):
    keys = fill([(1, None, None), (2, None, None)], clause)
    last = page(Key.objects.all(), ORDERS["due"], size=5).last
    assert [row.pk for row in page(Key.objects.all(), ORDERS["due"], size=5, after=last).rows] == [
        key.pk for key in keys
    ]
    first = page(Key.objects.all(), ORDERS["due"], size=5).first
    found = page(Key.objects.all(), ORDERS["due"], size=1, before=first)
    assert ([row.pk for row in found.rows], found.has_previous, found.has_next) == ([keys[0].pk], False, True)


def test_an_empty_list_is_one_empty_page():
    for start in ({}, {"before": END}, {"after": "x"}):
        found = page(Key.objects.all(), ORDERS["due"], size=5, **start)
        assert (list(found.rows), found.has_previous, found.has_next) == ([], False, False)


def test_a_cursor_returns_what_it_was_made_from(clause):
    fill([(1, 1, 2), (None, None, None)], clause)
    for order in ORDERS.values():
        for row in page(Key.objects.all(), order, size=5).rows:
            assert from_cursor(order, to_cursor(order, row)) == (value_of(order, row), row.pk)


def test_counting_stops_past_what_is_asked(clause):
    fill([(1, None, None)] * 5, clause)
    assert [count_up_to(Key.objects.all(), most) for most in (3, 5, 9)] == [4, 5, 5]
    assert (shown(10_000), shown(10_001), about(1_234_567), about(999_999)) == (
        "10,000", "10,000+", "about 1,230,000", "about 1,000,000",
    )  # fmt: skip


def test_a_few_rows_are_counted_and_named_in_one_query(clause, django_assert_num_queries):
    kept = {key.pk for key in fill([(1, 1, 1)] * 5, clause)}
    with django_assert_num_queries(2):
        count, keys = count_and_find(Key.objects.all(), few=5)
        assert (count, set(keys)) == (5, kept)
        assert count_and_find(Key.objects.all(), few=4, most=4) == (5, None)
    assert count_and_find(Key.objects.filter(name="nobody's"), few=5) == (0, [])
