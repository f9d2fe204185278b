"""Vendors, consumers, parents, and what is said of owners and services: each change with its event, on its page too."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.urls import reverse

from inventory import selectors, services
from inventory.admin.records import ServiceAdmin
from inventory.errors import CycleError, ReasonMissingError, StaleError
from inventory.models import Key, KeyConsumer, KeyParent, Owner, Service, Vendor
from inventory.services import Relations
from inventory.services.relations import relations_of
from inventory.terms import Relation
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, facts, last_number, make_key, make_owner
from tests.people import sign_in

db = pytest.mark.django_db


def service(name, **said):
    return services.register_service(name=name, actor=ACTOR, now=NOW, **said)


def relate(key, **said):
    key = Key.objects.get(pk=key.pk)
    return services.edit_key(
        pk=key.pk, changes={}, expected_revision=key.revision, relations=Relations(**said), actor=ACTOR, reason="x",
        now=NOW,
    )  # fmt: skip


def under(*keys, relation=Relation.WRAPPED_BY):
    return {"parents": frozenset((key.pk, relation.value) for key in keys)}


# Consumers and parents


@db
def test_relations_are_registered_and_changed_with_the_key(seal_events):
    shop, mail = service("shop"), service("mail")
    kek = make_key(name="kek", kind="kek")
    key = services.register_key(
        facts=facts(name="dek", kind="dek"), relations=Relations(consumers={shop.pk: True}, **under(kek)),
        actor=ACTOR, reason="x", now=NOW,
    )  # fmt: skip
    seal_events()
    registered = events_of("key.registered")[-1].said.subjects[0].after
    assert (registered["consumers"], registered["approved_consumers"]) == ([shop.ref], [shop.ref])
    assert (registered["wrapped_by"], "derived_from" in registered) == ([kek.ref], False)
    number = last_number()
    relate(key, consumers={shop.pk: False, mail.pk: True}, **under(kek, relation=Relation.DERIVED_FROM))
    seal_events()
    assert actions_since(number) == ["key.edited"]
    (subject,) = events_of("key.edited")[-1].said.subjects
    assert subject.before == {
        "consumers": [shop.ref], "approved_consumers": [shop.ref], "wrapped_by": [kek.ref], "derived_from": [],
    }  # fmt: skip
    assert subject.after == {
        "consumers": sorted([shop.ref, mail.ref]), "approved_consumers": [mail.ref], "wrapped_by": [],
        "derived_from": [kek.ref],
    }  # fmt: skip
    assert relations_of(key).consumers == {shop.pk: False, mail.pk: True}
    assert Key.objects.get(pk=key.pk).revision == 2


@db
def test_an_edit_that_says_nothing_of_relations_leaves_them(seal_events):
    shop = service("shop")
    key = make_key()
    relate(key, consumers={shop.pk: True})
    seal_events()
    number = last_number()
    relate(key, consumers={shop.pk: True})
    seal_events()
    assert actions_since(number) == []
    services.edit_key(pk=key.pk, changes={"notes": "x"}, expected_revision=2, actor=ACTOR, reason="x", now=NOW)
    assert KeyConsumer.objects.get().is_approved


@db
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_circle_of_parents_is_refused_whatever_its_length(length):
    keys = [make_key(name=f"key {number}") for number in range(length)]
    for child, parent in pairwise(keys):
        relate(child, **under(parent))
    links = KeyParent.objects.count()
    for relation in Relation:
        with pytest.raises(CycleError, match="No key depends on itself"), transaction.atomic():
            relate(keys[-1], **under(keys[0], relation=relation))
    assert KeyParent.objects.count() == links == length - 1
    relate(keys[-1], **under(make_key(name="above")))


def test_two_who_close_a_circle_at_once_do_not_both_succeed(committed_db):
    first, second = make_key(name="first"), make_key(name="second")
    together = threading.Barrier(2)

    def put(child, parent):
        together.wait()
        try:
            relate(child, **under(parent))
        except CycleError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(put, first, second), pool.submit(put, second, first)]
        assert sorted(one.result() for one in done) == [False, True]
    assert KeyParent.objects.count() == 1


# Owners, services, vendors


@db
def test_an_owner_is_edited_without_names_in_the_log(seal_events, carol):
    owner = make_owner("ann", "ann@example.org")
    key = make_key(owner=owner)
    seal_events()
    services.edit_owner(
        pk=owner.pk, changes={"handle": "zoe", "mail": "zoe@example.org", "user_id": carol.pk, "is_active": True},
        expected_revision=1, actor=ACTOR, reason="married", now=NOW,
    )  # fmt: skip
    seal_events()
    (event,) = events_of("owner.edited")
    (subject,) = event.said.subjects
    assert (subject.ref, subject.before, subject.after) == (owner.ref, {"user": None}, {"user": carol.ref})
    assert event.said.facts == {"of_people": ["handle", "mail"]}
    assert not [word for word in ("ann", "zoe", "example.org") if word in event.raw.decode()]
    assert "ZOE" in Key.objects.get(pk=key.pk).search.text
    assert "ANN" not in Key.objects.get(pk=key.pk).search.text


@db
def test_whoever_can_be_told_again_is_told_again():
    owner = make_owner("ann", "ann@example.org")
    key = make_key(owner=owner)
    edit = {"actor": ACTOR, "reason": "x", "now": NOW, "pk": owner.pk}
    services.edit_owner(changes={"is_active": False}, expected_revision=1, **edit)
    Key.objects.update(next_notice_at=None)
    services.edit_owner(changes={"is_active": False}, expected_revision=2, **edit)  # nothing changes
    assert Key.objects.get(pk=key.pk).next_notice_at is None
    services.edit_owner(changes={"is_active": True}, expected_revision=2, **edit)
    assert Key.objects.get(pk=key.pk).next_notice_at is not None


@db
def test_a_service_and_a_vendor_are_edited_with_before_and_after(seal_events):
    stripe = services.register_vendor(name="Stripe", actor=ACTOR, now=NOW)
    team = make_owner("payments", kind="team")
    shop = service("shop", tier=2)
    key = make_key(service=shop)
    seal_events()
    number = last_number()
    changes = {"name": "store", "tier": 1, "team": team, "vendor": stripe, "data_classes": ["restricted", "internal"]}
    how = {"actor": ACTOR, "reason": "review", "now": NOW}
    for revision in (1, 2):  # the second time nothing changes
        services.edit_service(pk=shop.pk, changes=changes, expected_revision=revision, **how)
        services.edit_vendor(pk=stripe.pk, changes={"notes": "DPA signed"}, expected_revision=revision, **how)
    seal_events()
    assert actions_since(number) == ["service.edited", "vendor.edited"]
    (subject,) = events_of("service.edited")[0].said.subjects
    assert subject.before == {
        "name": "shop",
        "tier": subject.before["tier"],
        "team": None,
        "vendor": None,
        "data_classes": [],
    }
    assert (subject.after["team"], subject.after["vendor"]) == (team.ref, stripe.ref)
    assert subject.after["data_classes"] == ["internal", "restricted"]
    assert "STORE" in Key.objects.get(pk=key.pk).search.text
    (subject,) = events_of("vendor.edited")[0].said.subjects
    assert (subject.before, subject.after) == ({"notes": ""}, {"notes": "DPA signed"})


@db
def test_an_edit_needs_its_reason_and_a_record_that_can_be():
    owner, shop = make_owner("ann"), service("shop")
    vendor = services.register_vendor(name="Stripe", actor=ACTOR, now=NOW)
    for act, pk in (
        (services.edit_owner, owner.pk),
        (services.edit_service, shop.pk),
        (services.edit_vendor, vendor.pk),
    ):
        with pytest.raises(ReasonMissingError):
            act(pk=pk, changes={}, expected_revision=1, actor=ACTOR, reason=" ", now=NOW)
    how = {"expected_revision": 1, "actor": ACTOR, "reason": "x", "now": NOW}
    with pytest.raises(ValidationError):
        services.edit_service(pk=shop.pk, changes={"tier": 5}, **how)
    with pytest.raises(ValidationError):
        services.edit_owner(pk=owner.pk, changes={"handle": "Ann"}, **how)
    assert (Service.objects.get().tier, Owner.objects.get().handle) == (None, "ann")


def edits():
    """Return for each kind of record: its service, the record, two different edits of it, and its page."""
    owner, shop = make_owner("ann"), service("shop")
    vendor = services.register_vendor(name="Stripe", actor=ACTOR, now=NOW)
    return {
        "owner": (services.edit_owner, owner, {"kind": "team"}, {"is_active": False}),
        "service": (services.edit_service, shop, {"tier": 1}, {"description": "sells"}),
        "vendor": (services.edit_vendor, vendor, {"name": "Stripe Ltd"}, {"notes": "DPA signed"}),
    }


@pytest.mark.parametrize("what", ["owner", "service", "vendor"])
def test_of_two_who_edit_a_record_at_once_one_is_told(committed_db, what):
    act, record, *changes = edits()[what]
    together = threading.Barrier(2)

    def edit(change):
        together.wait()
        try:
            act(pk=record.pk, changes=change, expected_revision=1, actor=ACTOR, reason="x", now=NOW)
        except StaleError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(edit, changes))
    assert sorted(done) == [False, True]
    now = type(record).objects.get(pk=record.pk)
    assert now.revision == 2
    assert [all(getattr(now, name) == value for name, value in change.items()) for change in changes] == done


@db
def test_whoever_edits_an_old_page_sees_what_changed_and_by_whom(client, alice, seal_events):
    act, shop, *_ = edits()["service"]
    team = make_owner("payments", kind="team")
    act(pk=shop.pk, changes={"tier": 1, "team": team}, expected_revision=1, actor=ACTOR, reason="the review", now=NOW)
    seal_events()
    sign_in(client, alice)
    address = reverse("admin:inventory_service_change", args=[shop.pk])
    for seen in ("1", "", "7"):  # of before, of nobody, of the future
        said = {"name": "shop", "description": "mine", "reason": "x", "expected_revision": seen}
        page = client.post(address, said)
        assert page.status_code == 200
        assert "was changed by somebody else" in page.content.decode()
    page = client.post(address, said | {"expected_revision": "1"}).content.decode()
    assert "changed team from nothing to payments, tier from nothing to 1 on 21 November 2026 at 09:00" in page
    assert "(“the review”)" in page
    assert "mine" in page  # what was entered is still there
    assert Service.objects.values_list("description", "tier").get(pk=shop.pk) == ("", 1)
    assert client.post(address, said | {"expected_revision": "2"}).status_code == 302


@db
def test_a_page_that_loses_by_a_moment_says_so(client, alice, monkeypatch):
    _, shop, *_ = edits()["service"]
    sign_in(client, alice)
    address = reverse("admin:inventory_service_change", args=[shop.pk])
    clean = ServiceAdmin.save_model

    def later(self, request, obj, form, change):
        Service.objects.filter(pk=obj.pk).update(revision=5)  # between the look at the form and the lock
        clean(self, request, obj, form, change)

    monkeypatch.setattr(ServiceAdmin, "save_model", later)
    said = {"name": "shop", "description": "mine", "reason": "x", "expected_revision": "1"}
    answer = client.post(address, said, follow=True)
    assert "was changed by somebody else" in answer.content.decode()
    assert Service.objects.get(pk=shop.pk).description == ""


# The report


@db
def test_services_without_a_key_are_found_in_one_query(django_assert_num_queries):
    own, used, bare, important = service("own"), service("used"), service("bare"), service("important", tier=1)
    make_key(service=own)
    relate(make_key(name="other"), consumers={used.pk: False})
    with django_assert_num_queries(1):
        found = selectors.uncovered_services()
    assert found == [important, bare]


@db
def test_the_report_says_tier_and_class_of_data_or_that_nothing_is_missing(client, dave):
    sign_in(client, dave)
    address = reverse("admin:inventory_service_uncovered")
    assert "Every service has a key record" in client.get(address).content.decode()
    service("ledger", tier=1, data_classes=["restricted"])
    service("wiki")
    page = client.get(address).content.decode()
    assert "2 services with neither" in page
    assert page.index("Tier 1: the business stops") < page.index("ledger") < page.index("No tier recorded")
    assert "1 restricted" in page
    assert 'class="count run"' not in page  # the figure is of the report, not of what waits in the navigation
    assert "1 of no recorded class" in page
    assert address in client.get(reverse("admin:inventory_service_changelist")).content.decode()


# The pages


@db
def test_the_page_of_a_key_says_what_dies_with_it(client, alice, django_assert_max_num_queries):
    shop, mail = service("shop"), service("mail")
    kek = make_key(name="the-kek", kind="kek")
    key = make_key()
    relate(key, consumers={shop.pk: True, mail.pk: False}, **under(kek))
    for number in range(12):
        relate(make_key(name=f"child {number:02}"), **under(key, relation=Relation.DERIVED_FROM))
    sign_in(client, alice)
    with django_assert_max_num_queries(30):  # 19 of its own, the rest for who asks
        page = client.get(reverse("admin:inventory_key_change", args=[key.pk])).content.decode()
    assert page.count("not approved") == 1
    assert "the-kek" in page
    assert "child 09" in page
    assert "child 10" not in page
    assert "12 in all" in page
    assert "What it may do now" in page


@db
def test_the_form_of_a_key_shows_and_saves_its_relations(client, alice):
    shop, mail = service("shop"), service("mail")
    kek = make_key(name="the-kek", kind="kek")
    key = make_key()
    relate(key, consumers={shop.pk: True}, **under(kek))
    sign_in(client, alice)
    address = reverse("admin:inventory_key_edit", args=[key.pk])
    form = client.get(address).context["form"]
    assert (form["consumers"].value(), form["wrapped_by"].value()) == ([shop.pk], "the-kek")
    sent = facts() | {"created_on": "2026-01-10", "last_rotated_on": "2026-07-13", "revision": 2, "reason": "x"}
    wrong = client.post(
        address, sent | {"consumers": [mail.pk], "approved_consumers": [shop.pk], "wrapped_by": "nobody"}
    )
    assert "Not said to use it: shop" in wrong.content.decode()
    assert "There is no key named nobody" in wrong.content.decode()
    right = {"consumers": [shop.pk, mail.pk], "approved_consumers": [mail.pk], "derived_from": "the-kek\r\n"}
    assert client.post(address, sent | right).status_code == 302
    after = relations_of(key)
    assert (after.consumers, after.parents) == ({shop.pk: False, mail.pk: True}, {(kek.pk, "derived_from")})


@db
def test_owners_services_and_vendors_are_edited_on_their_pages(client, alice, dave, seal_events):
    owner, shop = make_owner("ann"), service("shop")
    vendor = services.register_vendor(name="Stripe", actor=ACTOR, now=NOW)
    sign_in(client, alice)
    seal_events()
    number = last_number()
    pages = {
        reverse("admin:inventory_owner_change", args=[owner.pk]): {
            "handle": "Ann B", "mail": "Ann@Example.org", "kind": "person", "is_active": "on",
        },
        reverse("admin:inventory_service_change", args=[shop.pk]): {
            "name": "shop", "tier": "3", "team": owner.pk, "data_classes": ["internal"], "vendor": vendor.pk,
        },
        reverse("admin:inventory_vendor_change", args=[vendor.pk]): {"name": "Stripe", "notes": "card payments"},
    }  # fmt: skip
    for address, said in pages.items():
        said["expected_revision"] = 1
        for field in ("reason", "expected_revision", *said):
            assert f'name="{field}"' in client.get(address).content.decode()
        assert client.post(address, said).status_code == 200  # nobody said why
        assert client.post(address, said | {"reason": "review"}).status_code == 302
    seal_events()
    assert actions_since(number) == ["owner.edited", "service.edited", "vendor.edited"]
    assert Owner.objects.values_list("handle", "mail").get() == ("ann b", "ann@example.org")
    assert Service.objects.values_list("tier", "team", "vendor").get() == (3, owner.pk, vendor.pk)
    assert Vendor.objects.get().notes == "card payments"
    client.post(reverse("admin:logout"))
    sign_in(client, dave)
    for address, said in pages.items():
        assert client.get(address).status_code == 200
        assert client.post(address, said | {"reason": "mine"}).status_code == 403


@db
def test_a_key_is_registered_with_its_period_on_the_page(client, alice):
    sign_in(client, alice)
    address = reverse("admin:inventory_key_add")
    assert "Comes into use" in client.get(address).content.decode()
    sent = {
        "name": "new", "kind": "api_token", "state": "pre_activation", "activates_at": "2027-01-01T00:00",
        "protect_until": "2028-01-01T00:00", "reason": "x",
    }  # fmt: skip
    assert client.post(address, sent).status_code == 302
    key = Key.objects.get()
    assert (key.activates_at.isoformat(), key.protect_until.year) == ("2027-01-01T00:00:00+00:00", 2028)
    page = client.get(reverse("admin:inventory_key_change", args=[key.pk])).content.decode()
    assert "1 January 2027, 00:00" in page
    edit = client.get(reverse("admin:inventory_key_edit", args=[key.pk])).content.decode()
    assert "Comes into use" not in edit
    assert "How long" not in edit  # no heading over nothing
