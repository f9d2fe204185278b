"""The lists of what keys belong to: their counts, and that these cost the same queries however many keys there are."""

from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from inventory import counts, services
from inventory.counts import KeysHeld, keys_of, sortable_by_counts
from inventory.models import Key, Owner, PolicyClause, Service
from tests.inventory.world import ACTOR, NOW, make_key, make_owner
from tests.people import sign_in

pytestmark = pytest.mark.django_db
LISTS = ["/inventory/owner/", "/inventory/service/", "/inventory/service/?o=-5", "/inventory/policyclause/"]


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


def service(name):
    return services.register_service(name=name, actor=ACTOR, now=NOW)


def add(count, **facts):
    """Put keys into the table without their services: active ones, one in two of them late."""
    made = Key.objects.bulk_create(
        Key(
            name=f"{facts.get('owner')}-{facts.get('service')}-{number}",
            kind="api_token",
            rotate_by=NOW - timedelta(days=1) if number % 2 else NOW + timedelta(days=50),
            winning_clause=PolicyClause.objects.order_by("pk")[0],
            **facts,
        )
        for number in range(count)
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE inventory_key SET state = 'active' WHERE id = ANY(%s)", [[key.pk for key in made]])


def queries(client, address):
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in asked if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]


@pytest.fixture
def world():
    """ann with four keys of the store, two late; bob with one of the desk, in time; carl and the attic with none."""
    ann, bob, carl = make_owner("ann"), make_owner("bob"), make_owner("carl")
    store, desk = service("store"), service("desk")
    service("attic")
    for number, rotated in enumerate(("2026-07-01", "2026-07-02", "2026-11-01", "2026-11-02")):
        make_key(name=f"store-{number}", owner=ann, service=store, last_rotated_on=_day(rotated))
    make_key(name="desk", owner=bob, service=desk, last_rotated_on=_day("2026-11-03"))
    return ann, bob, carl


def _day(text):
    return Key._meta.get_field("created_on").to_python(text)


def test_keys_of_counts_the_keys_and_the_late_ones_of_each_record(world):
    ann, bob, carl = world
    expected = {ann.pk: KeysHeld(4, 2), bob.pk: KeysHeld(1, 0), carl.pk: KeysHeld()}
    assert keys_of("owner", [ann.pk, bob.pk, carl.pk], NOW) == expected
    of_services = keys_of("service", list(Service.objects.order_by("name").values_list("pk", flat=True)), NOW)
    assert list(of_services.values()) == [KeysHeld(), KeysHeld(1, 0), KeysHeld(4, 2)]
    assert keys_of("owner", [], NOW) == {}


def test_keys_of_stops_counting(world, monkeypatch):
    monkeypatch.setattr(counts, "COUNTED", 1)
    assert keys_of("owner", [world[0].pk], NOW) == {world[0].pk: KeysHeld(2, 2)}


def test_records_are_sorted_by_their_counts(world):
    owners = sortable_by_counts(Owner.objects.all(), "owner", NOW)
    assert list(owners.order_by("-keys_late", "handle").values_list("handle", flat=True)) == ["ann", "bob", "carl"]
    assert list(owners.order_by("keys_held").values_list("handle", flat=True)) == ["carl", "bob", "ann"]


def test_what_is_accepted_or_belongs_to_nobody_makes_no_record_late(world):
    ann, bob, carl = world
    Key.objects.filter(owner=ann, rotate_by__lte=NOW).update(accepted_until=NOW + timedelta(days=9))
    Key.objects.filter(name="desk").update(rotate_by=NOW - timedelta(days=1), next_notice_at=NOW)
    make_key(name="nobody's", owner=None, created_on=None, last_rotated_on=_day("2026-01-01"))
    owners = sortable_by_counts(Owner.objects.all(), "owner", NOW)
    counted = owners.annotate(late=F("keys_late"), held=F("keys_held")).values_list("handle", "late", "held")
    assert set(counted) == {("ann", 0, 4), ("bob", 1, 1), ("carl", 0, 0)}
    held = keys_of("owner", [ann.pk, bob.pk, carl.pk], NOW)
    assert [(one.late, one.keys) for one in held.values()] == [(0, 4), (1, 1), (0, 0)]


def test_every_record_stands_on_one_page_of_the_list_sorted_by_late_keys(world, client, alice, monkeypatch):
    sign_in(client, alice)
    for name in ("east", "north", "south", "west"):
        service(name)
    monkeypatch.setattr("inventory.admin.records.ServiceAdmin.list_per_page", 3)
    for order in ("o=-5", "o=5", "o=-5.4"):
        pages = [
            client.get(f"/inventory/service/?{order}&p={number}").context["cl"].result_list for number in (1, 2, 3)
        ]
        names = [one.name for rows in pages for one in rows]
        assert sorted(names) == ["attic", "desk", "east", "north", "south", "store", "west"]
        assert names[-1 if order == "o=5" else 0] == "store"


def test_what_is_late_is_counted_once_a_statement_and_read_off_the_index_alone(world):
    by_late = sortable_by_counts(Service.objects.all(), "service", NOW).order_by("-keys_late")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
        query, values = by_late.query.sql_with_params()
        cursor.execute(f"EXPLAIN {query}", values)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Only Scan using key_can_be_overdue" in plan
    assert "InitPlan" in plan
    assert "SubPlan" not in plan  # which would be worked out for each record


def test_the_lists_show_the_counts_with_their_links_and_sort_by_them(world, client, alice):
    sign_in(client, alice)
    shown = client.get("/inventory/owner/").content.decode()
    assert f'href="/inventory/key/?owner={world[0].pk}">4</a>' in shown
    assert f'href="/inventory/key/?owner={world[0].pk}&amp;due=overdue">2</a>' in shown
    listed = client.get("/inventory/service/?o=-5").context["cl"].result_list
    assert listed[0].name == "store"
    listed = client.get("/inventory/service/?o=4").context["cl"].result_list
    assert [one.name for one in listed] == ["attic", "desk", "store"]
    page = client.get(f"/inventory/owner/{world[0].pk}/change/").content.decode()
    assert f'href="/inventory/key/?owner={world[0].pk}">4</a>' in page


def test_the_lists_cost_the_same_queries_with_few_keys_and_with_many(world, client, alice, as_owner):
    sign_in(client, alice)
    few = [len(queries(client, address)) for address in LISTS]
    with as_owner():
        add(300, owner=world[1], service=Service.objects.get(name="desk"))
    assert [len(queries(client, address)) for address in LISTS] == few  # owners, services, clauses
    assert max(few[:3]) <= 10
    assert few[3] <= 12


def test_filters_by_a_record_name_it_without_a_query_of_their_own(world, client, alice):
    sign_in(client, alice)
    ann, store = world[0], Service.objects.get(name="store")
    clause = Key.objects.filter(owner=ann)[0].winning_clause
    plain = queries(client, "/inventory/key/?o=0")
    chosen = f"/inventory/key/?o=0&owner={ann.pk}&service={store.pk}&clause={clause.pk}"
    assert len(queries(client, chosen)) == len(plain) <= 10
    shown = client.get(chosen).content.decode()
    for words in (": ann</summary>", ": store</summary>", f": {clause}</summary>"):
        assert words in shown


def test_filters_by_a_record_name_it_on_an_empty_page_too(world, client, alice):
    sign_in(client, alice)
    assert ": carl</summary>" in client.get(f"/inventory/key/?owner={world[2].pk}").content.decode()
    assert ": not in the inventory</summary>" in client.get("/inventory/key/?owner=987654").content.decode()


def test_a_list_of_a_few_keys_asks_for_them_by_their_keys(world, client, alice):
    ann, _, _ = world
    sign_in(client, alice)
    with CaptureQueriesContext(connection) as asked:
        found = client.get(f"/inventory/key/?owner={ann.pk}").context["cl"]
    (listed,) = (query["sql"] for query in asked if '"keyset_value"' in query["sql"])
    assert '"inventory_key"."id" IN (' in listed
    assert [key.name for key in found.result_list] == ["store-0", "store-1", "store-2", "store-3"]
    assert found.count_words == "4 keys"
