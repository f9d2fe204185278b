"""The list of keys at length: how many queries it costs, by which index it is read, and what hostile parameters do."""

import json
from datetime import date, timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.counting import COUNTED, count_or_estimate
from audit.keyset import page
from inventory.admin import KeyAdmin
from inventory.models import Key, PolicyClause
from inventory.selectors import search
from tests.inventory.world import NOW, make_key, make_owner
from tests.people import sign_in

pytestmark = pytest.mark.django_db
LIST = "/inventory/key/"


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


def fill(count, first=0):
    """Put keys into the table without their services: many, dated over a year, one in ten without a date."""
    clause, owner = PolicyClause.objects.first(), make_owner(f"owner{first}")
    Key.objects.bulk_create(
        (
            Key(
                name=f"key-{number:06}",
                kind="api_token",
                owner=owner,
                environment="staging" if number % 10 == 0 else "production",
                rotate_by=NOW + timedelta(days=number % 365) if number % 10 else None,
                winning_clause=clause if number % 10 else None,
                last_rotated_on=date(2026, 1, 1) + timedelta(days=number % 300) if number % 10 else None,
            )
            for number in range(first, first + count)
        ),
        batch_size=2_000,
    )


def queries(client, address):
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in asked if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]


def test_the_list_costs_the_same_few_queries_at_5_and_at_500_keys(client, alice):
    sign_in(client, alice)
    fill(5)
    addresses = [LIST, f"{LIST}?q=key&o=0", f"{LIST}?environment__exact=production&o=5", f"{LIST}?due=overdue"]
    few = [len(queries(client, address)) for address in addresses]
    fill(495, first=5)
    many = [len(queries(client, address)) for address in addresses]
    assert few == many
    assert max(many) <= 10
    assert not any("OFFSET" in asked for address in addresses for asked in queries(client, address))


def test_the_first_page_costs_the_same_queries_whatever_there_is(client, alice):
    sign_in(client, alice)
    fill(5)
    few = len(queries(client, "/"))
    fill(200, first=5)
    assert len(queries(client, "/")) == few <= 17


def test_links_lead_through_all_pages_and_keep_what_was_chosen(client, alice):
    sign_in(client, alice)
    fill(130)
    address, seen = "?environment__exact=production&o=0&q=key-", []
    while True:
        answer = client.get(f"{LIST}{address}")
        cl = answer.context["cl"]
        seen += [key.name for key in cl.result_list]
        if not cl.page.has_next:
            break
        assert 'rel="next"' in answer.content.decode()
        address = cl.next_link
        assert "environment__exact=production" in address
        assert "q=key-" in address
    assert seen == [f"key-{number:06}" for number in range(130) if number % 10]
    assert cl.count_words == "117 keys"
    back = client.get(f"{LIST}{cl.previous_link}").context["cl"]
    assert [key.name for key in back.result_list] == seen[50:100]
    last = client.get(f"{LIST}{cl.last_link}").context["cl"]
    assert [key.name for key in last.result_list] == seen[-50:]


HOSTILE = [
    "p=1000000000", "p=-1", "p=x", "all=", "e=1&p=2", "_facets=True", "after=x&before=y", "after=%00",
    "before=" + "A" * 5_000,
    "o=junk", "o=99", "o=-0.-0", "o=" + "1." * 1_000, "o=%00", "o=-", "q=%25%25%25%25", "q=%00", "q=%22",
    "q=" + "a" * 5_000,
    "q='", "q=\\", "q=%F0%9F%94%91", "q=_", "q=a%20b%20c", "bits=9999999999999", "owner=" + "9" * 400, "due=0001-01-01",
    "due=9999-12-31", "environment__exact=%27%20OR%201=1", "environment__exact=" + "x" * 5_000, "algorithm=%00",
]  # fmt: skip


@pytest.mark.parametrize("query", HOSTILE, ids=lambda query: query[:30])
def test_hostile_parameters_show_a_page(client, alice, query):
    sign_in(client, alice)
    make_key()
    assert client.get(f"{LIST}?{query}").status_code in {200, 400}


@pytest.mark.parametrize(
    "query",
    [
        "notes__regex=(a%2B)%2B", "owner__user__password__startswith=a", "state__in=active", "nothing=1",
        "name__contains=a",
        "&".join(f"a{number}=1" for number in range(10_000)), "&".join(["environment__exact=test"] * 10_000),
    ],
    ids=lambda query: query[:30],
)  # fmt: skip
def test_what_no_filter_asks_is_refused(client, alice, query):
    sign_in(client, alice)
    make_key()
    assert client.get(f"{LIST}?{query}").status_code == 400


def test_a_search_is_cut_at_100_characters(client, alice):
    sign_in(client, alice)
    make_key(name="a" * 100)
    assert client.get(f"{LIST}?q={'a' * 5_000}").context["cl"].result_count == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [("st", ["Stripe"]), ("ST", ["Stripe"]), ("ri", []), ("rip", ["Stripe"]), ("%", []), ("%%%%", []),
     ("  ", ["Stripe", "b-1"]),
     ("b-1", ["b-1"]), ("'b-1'", []), ("stripe x", []), ('"for ord"', ["Stripe"]), ("pay for", ["Stripe"])],
)  # fmt: skip
def test_short_words_search_the_beginning_of_names_and_others_the_whole_text(text, found):
    make_key(name="Stripe", purpose="pay for orders")
    make_key(name="b-1")
    assert sorted(search(Key.objects.all(), text).values_list("name", flat=True)) == found


# Plans


def nodes(plan):
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def plan_of(queryset):
    return list(nodes(json.loads(queryset.explain(format="JSON"))[0]["Plan"]))


def of_page(query, **start):
    """Return the plan of the statement that a page of the list sends."""
    with CaptureQueriesContext(connection) as asked:
        page(query, KeyAdmin.keyset_orders[start.pop("order", "due")], size=50, **start)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {asked[-1]['sql']}")
        return list(nodes(cursor.fetchone()[0][0]["Plan"]))


@pytest.fixture
def twenty_thousand(db, as_owner):
    fill(20_000)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("SELECT gin_clean_pending_list('keysearch_text')")  # as autovacuum does
        cursor.execute("ANALYZE inventory_key, inventory_keysearch")


def test_a_long_list_is_read_by_index_and_counted_as_far_as_it_pays(twenty_thousand, as_owner, client, alice):
    keys = Key.objects.select_related("owner", "service", "winning_clause")
    for order, index in (("due", "key_due"), ("key", "inventory_key_name"), ("age", "key_since")):
        first = page(keys, KeyAdmin.keyset_orders[order], size=50)
        for start in ({}, {"after": first.last}, {"before": "end"}):
            read = of_page(keys, order=order, **start)
            of_keys = [node for node in read if node.get("Relation Name") == "inventory_key"]
            assert [node["Node Type"] for node in of_keys] == ["Index Scan"], (order, start)
            assert of_keys[0]["Index Name"].startswith(index)
            assert not any("Sort" in node["Node Type"] for node in read), (order, start)
    overdue = plan_of(Key.objects.overdue(NOW).values("pk")[:10_001])
    assert "Seq Scan" not in {node["Node Type"] for node in overdue}
    for text, index in (("key-0012", "keysearch_text"), ("zz", "keysearch_begins")):
        read = plan_of(search(Key.objects.all(), text))
        assert index in {node.get("Index Name") for node in read}, text
    assert abs(count_or_estimate(Key) - 20_000) < 500
    the_count_of_a_long_list_is_an_estimate_and_that_of_a_filter_stops(client, alice)


def the_count_of_a_long_list_is_an_estimate_and_that_of_a_filter_stops(client, alice):
    sign_in(client, alice)
    assert client.get(LIST).context["cl"].count_words.startswith("about ")
    cl = client.get(f"{LIST}?environment__exact=production").context["cl"]
    assert (cl.result_count, cl.count_words) == (COUNTED + 1, "more than 10,000 keys")
    assert b"About 20,000 keys" in client.get(LIST).content
    assert b"about 20,000 keys" in client.get("/").content
