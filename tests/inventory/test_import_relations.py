"""Which services use a key and which keys stand above it, as files say it: compared, refused, written, exported."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory import services
from inventory.circles import circles
from inventory.models import (
    Finding,
    Integration,
    Key,
    KeyConsumer,
    KeyParent,
    Owner,
    Service,
    Tenant,
    Vendor,
)
from inventory.reading import read_inventory
from inventory.services import ImportOptions, Relations
from inventory.services.relations import relations_of
from inventory.terms import Relation
from inventory.wording import planned
from rotation.models import Request
from tests.deciding import IMPORTER
from tests.inventory.test_imports import bring, plan
from tests.inventory.test_records import relate, service
from tests.inventory.test_round_trip import FORMATS, exported
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, facts, last_number, make_key, make_owner, seal

pytestmark = pytest.mark.django_db
HEADER = "Name,Type,Used by,Approved to use it,Wrapped by,Derived from"


def file_of(*lines, header=HEADER):
    return "\n".join([header, *lines]).encode()


def links():
    return {(one.child.name, one.parent.name, one.relation) for one in KeyParent.objects.all()}


def users(name):
    return dict(KeyConsumer.objects.filter(key__name=name).values_list("service__name", "is_approved"))


def refusals(done):
    return [(one.row, one.field, one.problem) for one in done.refused]


# What goes in


def test_relations_go_in_with_new_keys_and_their_events_name_them():
    number = last_number()
    done = bring(file_of("dek,DEK,mail; billing,billing,kek,master", "kek,KEK,,,master,", "master,Master key,,,,"))
    assert done.summary == "3 new, 0 changed, 0 unchanged, 0 refused"
    assert users("dek") == {"mail": False, "billing": True}
    assert links() == {
        ("dek", "kek", "wrapped_by"), ("dek", "master", "derived_from"), ("kek", "master", "wrapped_by"),
    }  # fmt: skip
    seal()
    assert actions_since(number) == ["service.registered", "key.imported", "inventory.imported"]
    (event,) = events_of("key.imported")
    dek = next(one for one in event.said.subjects if one.label == "dek")
    refs = {key.name: key.ref for key in Key.objects.all()} | {one.name: one.ref for one in Service.objects.all()}
    assert set(dek.after["consumers"]) == {refs["mail"], refs["billing"]}
    assert dek.after["approved_consumers"] == [refs["billing"]]
    assert (dek.after["wrapped_by"], dek.after["derived_from"]) == ([refs["kek"]], [refs["master"]])
    assert relations_of(Key.objects.get(name="dek")).snapshot["wrapped_by"] == [refs["kek"]]


def test_a_cell_says_all_of_them_and_a_blank_takes_nothing_away():
    lines = "a,DEK,x; y,x,k1,", "k1,KEK,,,,", "k2,KEK,,,,"
    bring(file_of(*lines))
    assert bring(file_of(*lines)).summary == "0 new, 0 changed, 3 unchanged, 0 refused"
    assert bring(file_of("a,DEK,,,,")).summary == "0 new, 0 changed, 1 unchanged, 0 refused"
    seal()
    number, revision = last_number(), Key.objects.get(name="a").revision
    done = bring(file_of('a,DEK,"x,z",z,k2,'))
    assert done.summary == "0 new, 1 changed, 0 unchanged, 0 refused"
    assert (users("a"), links()) == ({"x": False, "z": True}, {("a", "k2", "wrapped_by")})
    assert Key.objects.get(name="a").revision == revision + 1
    seal()
    assert actions_since(number) == ["service.registered", "key.edited", "inventory.imported"]
    (subject,) = events_of("key.edited")[0].said.subjects
    assert set(subject.before) == {"consumers", "approved_consumers", "wrapped_by"}
    assert subject.before["wrapped_by"] == [Key.objects.get(name="k1").ref]


def test_the_preview_shows_relations_before_and_after():
    bring(file_of("a,DEK,x; y,x,k1,", "k1,KEK,,,,", "k2,KEK,,,,"))
    done = plan(file_of("a,DEK,y; z,,k2,"))
    ((_change, lines),) = planned(done.changed)
    assert [tuple(line) for line in lines] == [
        ("Used by", "x, y", "y, z"), ("Approved to use it", "x", ""), ("Wrapped by", "k1", "k2"),
    ]  # fmt: skip
    assert [one.name for one in done.services] == ["z"]


def test_a_service_that_is_left_out_does_not_use_the_key():
    content, left = file_of("a,KEK,x; y,x,,"), ImportOptions(left_out=frozenset({"service:x"}))
    done = services.plan_import(content=content, now=NOW, options=left)
    assert [one.name for one in done.services_left_out] == ["x"]
    bring(content, options=left)
    assert users("a") == {"y": False}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Verwendet von", "consumers"), ("Utilisé par", "consumers"), ("Usado por", "consumers"),
        ("Consumers", "consumers"), ("Freigegeben für", "approved_consumers"), ("Verpackt mit", "wrapped_by"),
        ("Chiffré par", "wrapped_by"), ("Abgeleitet von", "derived_from"), ("Derivado de", "derived_from"),
    ],
)  # fmt: skip
def test_foreign_headers_are_understood(header, name):
    content = f"Name,Type,{header}\na,KEK,b\n".encode()
    read = read_inventory(content, today=NOW.date(), max_bytes=1000, max_rows=10)
    assert (read.columns[header], getattr(read.rows[0].facts, name)) == (name, ("b",))


def test_a_changed_parent_opens_and_closes_the_findings_of_those_above():
    weak = make_key(name="weak", kind="kek", algorithm="AES-128-GCM", size_bits=128)
    bring(file_of("strong,KEK,,,,", "dek,DEK,,,weak,"))
    Key.objects.filter(name="dek").update(algorithm="AES-256-GCM", size_bits=256)
    open_ones = Finding.objects.filter(code="kek-weaker-than-deks", closed_at__isnull=True)
    bring(b"Name,Type,Notes\ndek,DEK,touched\n")
    assert [one.key_id for one in open_ones] == [weak.pk]
    bring(file_of("dek,DEK,,,strong,"))
    assert not open_ones.all().exists()


# What is refused


def test_unknown_keys_above_refuse_the_row_and_all_below_it():
    make_key(name="known", kind="kek")
    done = bring(
        file_of(
            "a,DEK,,,nowhere,", "b,DEK,,,a,", "c,DEK,,,b; known,", "d,DEK,,,known,", "known,KEK,,,,a", "e,magic,,,,",
            "f,DEK,,,e,",
        )
    )  # fmt: skip
    absent, stays_out = 'There is no key named "{}" in the inventory, and this file brings none.', "is refused."
    found = refusals(done)
    assert found[0] == (2, "wrapped_by", absent.format("nowhere"))
    assert [(row, name) for row, name, _ in found] == [
        (2, "wrapped_by"), (3, "wrapped_by"), (4, "wrapped_by"), (6, "derived_from"), (7, "kind"), (8, "wrapped_by"),
    ]  # fmt: skip
    assert all(problem.endswith(stays_out) for row, _, problem in found if row in {3, 4, 6})
    assert (links(), Key.objects.count()) == ({("d", "known", "wrapped_by")}, 2)


def test_circles_are_refused_within_the_file_and_with_the_inventory():
    top, middle = make_key(name="top", kind="kek"), make_key(name="middle", kind="kek")
    relate(middle, parents=frozenset({(top.pk, Relation.WRAPPED_BY.value)}))
    done = bring(
        file_of("a,KEK,,,b,", "b,KEK,,,c,", "c,KEK,,,,a", "own,KEK,,,own,", "top,KEK,,,low,", "low,KEK,,,middle,")
    )
    assert [(row, name) for row, name, _ in refusals(done)] == [
        (2, "wrapped_by"), (3, "wrapped_by"), (4, "derived_from"), (5, "wrapped_by"), (6, "wrapped_by"),
        (7, "wrapped_by"),
    ]  # fmt: skip
    assert done.refused[0].problem == "Each of these would stand above itself: a, b, c."
    assert links() == {("middle", "top", "wrapped_by")}


def test_a_circle_that_another_refusal_would_leave_behind_is_refused():
    """a leaves b in the same file in which b comes under a: sound only if both rows go in, so neither has to."""
    a, b = make_key(name="a", kind="kek"), make_key(name="b", kind="kek")
    make_key(name="c", kind="kek")
    relate(a, parents=frozenset({(b.pk, Relation.WRAPPED_BY.value)}))
    done = bring(file_of("a,KEK,,,c; nowhere,", "b,KEK,,,a,"))
    assert [row for row, _, _ in refusals(done)] == [2, 3]
    assert links() == {("a", "b", "wrapped_by")}


def test_circles_are_found_at_once_however_long_the_chain():
    chain = {number: {number + 1} for number in range(50_000)}
    assert circles(chain) == []
    assert circles(chain | {50_000: {0}}) == [set(range(50_001))]
    assert circles({1: {1}, 2: {3}, 3: {2}, 4: {1, 2}}) == [{1}, {2, 3}]


def test_who_is_approved_uses_the_key():
    done = bring(file_of("a,KEK,x,y,,", "b,KEK,,x,,", "c,DEK,,,a,"))
    assert refusals(done)[:2] == [
        (2, "approved_consumers", "Approved to use it, and not said to use it: y."),
        (3, "approved_consumers", "Approved to use it, and not said to use it: x."),
    ]
    assert not Key.objects.exists()


def test_a_row_that_gives_more_time_does_not_change_relations_with_it():
    make_key(name="a")
    header = "Name,Type,Last rotated,Used by"
    done = bring(file_of("a,API token,2026-11-01,x", header=header))
    assert done.summary == "0 new, 0 changed, 0 unchanged, 1 refused"
    assert done.refused[0].field == "last_rotated_on, consumers"
    assert not Request.objects.exists()
    assert bring(file_of("a,API token,,x", header=header)).summary == "0 new, 1 changed, 0 unchanged, 0 refused"
    done = bring(file_of("a,API token,2026-11-01,x", header=header), actor=IMPORTER)
    assert done.summary.endswith("0 refused, 1 held")


WHOLE = "Name,Type,Owner,Creator,Service,Vendor,Tenant,Integration,Used by,Wrapped by,Last rotated,Name of the secret"


@pytest.mark.parametrize(
    "line",
    [
        "gone,DEK,{names},nowhere,,",  # an orphan
        "gone,KEK,{names},gone,,",  # a circle
        "gone,DEK,{names},,,taken",  # the scope of another key
        "known,API token,{names},,2020-01-01,",  # it contradicts the record
    ],
)
def test_a_row_that_is_refused_late_registers_nothing(line):
    make_key(name="known")
    make_key(name="other", kind="dek", secret_name="taken")
    make_owner("hal")
    refused = line.format(names="owner-x,hal@example.org,service-x,vendor-x,tenant-x,integration-x,user-x")
    done = bring(file_of(refused, "good,KEK,ann,,billing,acme,,,mail,,,", header=WHOLE))
    assert (len(done.new), len(done.refused), done.owners_with_mail) == (1, 1, [])
    assert set(Owner.objects.values_list("handle", "mail")) == {("hal", ""), ("ann", "")}
    assert set(Service.objects.values_list("name", flat=True)) == {"billing", "mail"}
    assert [one.name for one in Vendor.objects.all()] == ["acme"]
    assert not Tenant.objects.exists()
    assert not Integration.objects.exists()


def test_who_is_left_out_of_a_row_that_is_refused_is_not_offered():
    left = ImportOptions(left_out=frozenset({"owner:ann", "service:x"}))
    header = "Name,Type,Owner,Used by,Wrapped by"
    done = services.plan_import(content=file_of("a,DEK,ann,x,nowhere", header=header), now=NOW, options=left)
    assert (done.owners_left_out, done.services_left_out) == ([], [])


@pytest.mark.parametrize("cell", ['"""a"" b"', '"a\tb"'])
def test_a_list_that_is_not_clear_is_refused(cell):
    (refusal,) = bring(file_of(f"a,KEK,,,{cell},")).refused
    assert refusal.field == "wrapped_by"


# There and back


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_export_of_relations_brings_nothing_new(file_format):
    names = ["k1", "k, 2", 'k; "3"', "=k4", "NA k"]
    above = [make_key(name=name, kind="kek") for name in names]
    several = [service(name) for name in ("billing", "Billing system", "a, b", "none", "=1+1")]
    services.register_key(
        facts=facts(name="below", service=several[1], purpose="x"),
        relations=Relations(
            consumers={one.pk: number % 2 == 0 for number, one in enumerate(several)},
            parents=frozenset((key.pk, relation.value) for key in above for relation in Relation),
        ),
        actor=ACTOR, reason="x", now=NOW,
    )  # fmt: skip
    done = services.plan_import(content=exported(file_format), now=NOW)
    assert refusals(done) == []
    assert [(one.fields, one.relating) for one in done.changed] == []
    before = relations_of(Key.objects.get(name="below"))
    KeyParent.objects.all().delete()
    KeyConsumer.objects.all().delete()
    Key.objects.filter(name="below").update(service=None)
    content = exported(file_format)
    assert bring(content).summary == "0 new, 0 changed, 6 unchanged, 0 refused"  # blanks take nothing away
    again = relate(Key.objects.get(name="below"), consumers=before.consumers, parents=before.parents)
    assert relations_of(again) == before


def test_relations_cost_statements_and_not_rows():
    def cost(rows, prefix):
        lines = [f"{prefix}{number},DEK,s{number % 7}; t,t,{prefix}kek," for number in range(rows)]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            bring(file_of(*lines, f"{prefix}kek,KEK,,,,"))
        return len(captured)

    first = cost(2, "a")
    assert cost(200, "b") <= first
