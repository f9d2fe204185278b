"""The doors of the inventory in the admin: who may see and do what, and that no form writes what services derive.

What the pages say stands in tests/keyvault_admin/test_pages.py.
"""

import sys
from datetime import date

import pytest
import time_machine
from django.urls import reverse

from audit.models import Event
from inventory.models import Key
from inventory.states import State
from tests.inventory.world import NOW, events_of, key_in, make_key, make_owner, seal
from tests.people import sign_in

pytestmark = pytest.mark.django_db
LIST = "/inventory/key/"
# The doors try all pairs on every run (test_doors); here those states that somebody would want to leave.
EVERY_STATE = (
    tuple(State) if "tests.full" in sys.modules else (State.PRE_ACTIVATION, State.SUSPENDED, State.COMPROMISED)
)


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


def names(client, **query):
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return [key.name for key in answer.context["cl"].result_list]


def entered(key=None, **changes):
    """Return what a browser sends from the form of a key."""
    said = {
        "name": "billing/stripe",
        "kind": "api_token",
        "environment": "production",
        "created_on": "2026-01-10",
        "last_rotated_on": "2026-07-13",
        "is_shared": "unknown",
        "is_exportable": "unknown",
        "reason": "a mistake",
    }
    return said | ({"revision": key.revision} if key else {"state": "active"}) | changes


@pytest.fixture
def five(db):
    ann = make_owner("ann", "ann@example.org")
    make_key(name="late", owner=ann)
    make_key(name="soon", last_rotated_on=date(2026, 9, 1), algorithm="AES-256-GCM")
    make_key(name="far", environment="test", kind="kek", last_rotated_on=date(2026, 11, 1))
    make_key(name="unknown age", created_on=None, last_rotated_on=None)
    key_in(State.DESTROYED, name="gone", storage_location="vault of the old office")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["gone", "late", "soon", "far", "unknown age"]),
        ({"due": "overdue"}, ["late"]),
        ({"due": "soon"}, ["soon"]),
        ({"due": "none"}, ["unknown age"]),
        ({"missing": "age"}, ["unknown age"]),
        ({"missing": "owner"}, ["gone", "soon", "far", "unknown age"]),
        ({"environment__exact": "test"}, ["far"]),
        ({"kind__exact": "kek"}, ["far"]),
        ({"state__exact": "destroyed"}, ["gone"]),
        ({"q": "AES-256"}, ["soon"]),
        ({"q": "aNN"}, ["late"]),
        ({"q": "old office"}, ["gone"]),
        ({"q": "100%_"}, []),
        ({"q": "'; DROP TABLE x --"}, []),
    ],
)
def test_the_list_filters_and_searches(client, alice, five, query, found):
    sign_in(client, alice)
    assert sorted(names(client, **query)) == sorted(found)


def test_the_list_begins_with_what_is_late_for_longest_and_sorts_by_the_age_it_shows(client, alice, five):
    sign_in(client, alice)
    assert names(client)[-1] == "unknown age"
    assert names(client)[2:4] == ["soon", "far"]
    columns = [name for name in client.get(LIST).context["cl"].list_display if name != "action_checkbox"]
    by_age = names(client, o=str(columns.index("age") + 1))
    dated = [name for name in by_age if name != "unknown age"]
    assert dated[-2:] == ["soon", "far"]


@pytest.mark.parametrize("role", ["alice", "bob", "carol", "dave", "erin"])
def test_every_role_sees_the_inventory(client, role, request, five):
    sign_in(client, request.getfixturevalue(role))
    assert len(names(client)) == 5
    assert client.get(f"{LIST}{Key.objects.first().pk}/change/").status_code == 200


# role → what of the doors opens: register, import, edit, suspend (of somebody else's key)
DOORS = {
    "alice": {"add", "import", "edit", "suspend", "activate"},
    "bob": {"add", "import", "edit", "suspend", "activate"},
    "carol": {"add"},
    "dave": set(),
    "erin": set(),
}


@pytest.mark.parametrize("role", DOORS)
def test_each_door_opens_for_its_roles(client, role, request):
    key = make_key()
    paths = {"add": f"{LIST}add/", "import": f"{LIST}import/"}
    paths |= {act: f"{LIST}{key.pk}/{act}/" for act in ("edit", "suspend", "activate")}
    sign_in(client, request.getfixturevalue(role))
    for method in (client.get, client.post):
        answers = {act: method(path).status_code for act, path in paths.items()}
        assert answers == {act: 200 if act in DOORS[role] else 403 for act in paths}
    assert Key.objects.get().revision == key.revision


def test_nobody_without_a_role_or_a_second_factor_gets_in(client, mallory, alice):
    key = make_key()
    client.force_login(alice)
    for path in (LIST, f"{LIST}add/", f"{LIST}{key.pk}/change/", f"{LIST}{key.pk}/suspend/", f"{LIST}import/"):
        assert client.get(path).status_code == 302
        assert client.post(path, {"reason": "x"}).status_code == 302
    assert Key.objects.get().state == State.ACTIVE


@pytest.mark.parametrize("state", EVERY_STATE, ids=lambda state: state.value)
def test_no_post_writes_a_state_or_a_derived_fact(client, alice, state):
    """STM-01, the doors of the admin: each pair is tried through every form, with the state smuggled in."""
    key = key_in(state)
    sign_in(client, alice)
    smuggled = {"rotate_by": "2099-01-01", "rotate_by_0": "2099-01-01", "current_number": 9, "winning_clause": ""}
    due = key.rotate_by
    for target in State:
        wrong = smuggled | {"state": target.value, "_save": "Save"}
        stored = Key.objects.get(pk=key.pk)
        client.post(f"{LIST}{key.pk}/edit/", entered(stored, notes=f"to {target}", **wrong))
        client.post(f"{LIST}{key.pk}/change/", entered(stored, **wrong))
        client.post(LIST, {"action": "delete_selected", "_selected_action": key.pk, **wrong})
        assert client.post(f"{LIST}{key.pk}/delete/", {"post": "yes"}).status_code == 403
        stored.refresh_from_db()
        assert stored.state == stored.versions.get().state == state
        assert stored.notes == f"to {target}"
        assert (stored.rotate_by, stored.current_number) == (due, 1)


@pytest.mark.parametrize("target", State, ids=lambda state: state.value)
def test_a_key_is_registered_as_active_or_not_yet_in_use(client, alice, target):
    sign_in(client, alice)
    answer = client.post(f"{LIST}add/", entered(state=target.value))
    passes = target in {State.ACTIVE, State.PRE_ACTIVATION}
    assert answer.status_code == (302 if passes else 200)
    assert list(Key.objects.values_list("state", flat=True)) == ([target] if passes else [])


def test_suspending_is_recorded_with_the_person_and_their_reason(client, alice):
    key = make_key()
    sign_in(client, alice)
    assert client.post(f"{LIST}{key.pk}/suspend/", {"reason": ""}).status_code == 200
    assert Key.objects.get().state == State.ACTIVE
    assert client.post(f"{LIST}{key.pk}/suspend/", {"reason": "seen in a log"}).status_code == 302
    assert client.post(f"{LIST}{key.pk}/suspend/", {"reason": "once more"}).status_code == 200
    seal()
    (event,) = events_of("key.suspended")
    assert (event.said.actor_id, event.said.actor_role, event.said.reason) == (alice.ref, "Security", "seen in a log")
    assert event.said.path == f"POST {LIST}{key.pk}/suspend/"
    assert event.said.verified_by.startswith("totp:")


def test_a_form_sent_back_as_it_came_changes_nothing(client, alice):
    key = make_key(notes="two\nlines", purpose="a\n\nb")
    sign_in(client, alice)
    form = client.get(f"{LIST}{key.pk}/edit/").context["form"]
    shown = {name: form[name].value() for name in form.fields}
    sent = {name: said if isinstance(said, list) else str(said) for name, said in shown.items() if said is not None}
    sent |= {"notes": "two\r\nlines", "purpose": "a\r\n\r\nb", "never_rotated": "", "reason": "x"}
    assert client.post(f"{LIST}{key.pk}/edit/", {name: text for name, text in sent.items() if text}).status_code == 302
    seal()
    assert not Event.objects.filter(action="key.edited").exists()
    assert Key.objects.get().notes == "two\nlines"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "taken"}, "A key of this name is registered already."),
        ({"last_rotated_on": "2026-12-24"}, "This lies after today, 2026-11-21 (UTC)."),
        ({"created_on": "9999-12-31", "last_rotated_on": ""}, "This lies after today"),
        ({"last_rotated_on": "2025-01-01"}, "This lies before the creation date."),
        ({"notes": "token ghp_a1B2c3D4e5F6g7H8i9J0"}, "The notes looks like key material"),
        ({"revision": 7}, "was changed by somebody else"),
        ({"revision": "x"}, "was changed by somebody else"),
        ({"reason": ""}, "This field is required."),
    ],
)
def test_a_refused_edit_says_why_on_its_page(client, alice, changes, said):
    make_key(name="taken")
    key = make_key()
    sign_in(client, alice)
    answer = client.post(f"{LIST}{key.pk}/edit/", entered(key, **changes))
    assert answer.status_code == 200
    form = answer.context["form"]
    assert said in str(form.errors) or "revision" in form.errors
    assert Key.objects.get(pk=key.pk).revision == 1


@pytest.mark.parametrize("pk", ["0", "99999999999999999999999", "abc", "1e3", "²", "-1", "None"])
def test_a_key_that_does_not_exist_is_not_found(client, alice, pk):
    sign_in(client, alice)
    assert client.get(f"{LIST}{pk}/change/").status_code == 404


def test_owners_and_services_are_registered_through_their_services(client, alice):
    sign_in(client, alice)
    answer = client.post(
        reverse("admin:inventory_owner_add"), {"handle": " Ann ", "mail": "Ann@Example.org", "kind": "person"}
    )
    assert answer.status_code == 302
    assert client.post(reverse("admin:inventory_service_add"), {"name": "billing"}).status_code == 302
    answer = client.post(reverse("admin:inventory_owner_add"), {"handle": "ANN", "kind": "person"})
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors
    seal()
    (event,) = events_of("owner.registered")
    assert event.said.actor_id == alice.ref
    assert len(events_of("service.registered")) == 1
