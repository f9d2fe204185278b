"""The pages of changes that wait: what each person sees on them, and what a forged POST does."""

from datetime import date

import pytest
import time_machine
from django.urls import reverse

from inventory import services
from inventory.held_views import confirm, reject
from inventory.models import HeldChange, Key
from tests.inventory.test_imports import file_of, row
from tests.inventory.working import brought
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, last_number, make_key, make_owner, seal
from tests.people import sign_in

pytestmark = pytest.mark.django_db
ROTATED = date(2026, 10, 3)
LIST = "/inventory/heldchange/"


def page(name, pk):
    return reverse(f"admin:inventory_{name}", args=[pk])


def said_on(answer):
    return " ".join(answer.content.decode().split())


@pytest.fixture(autouse=True)
def clock():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def key(carol):
    return make_key(owner=make_owner("carol", carol.email, user_id=carol.pk))


@pytest.fixture
def held(key, carol):
    return services.report_rotation(pk=key.pk, rotated_on=ROTATED, evidence="change 4711", actor=by(carol), now=NOW)


def test_an_owner_reports_a_rotation_and_sees_that_it_waits(client, key, carol):
    sign_in(client, carol)
    assert "Report a rotation" in said_on(client.get(page("key_change", key.pk)))
    answer = client.post(
        page("key_report_rotation", key.pk),
        {"rotated_on": "2026-10-03", "evidence": "change 4711", "url": "ci.example.org/4711"},
        follow=True,
    )
    shown = said_on(answer)
    assert "billing/stripe stays as it is for now: the change waits until somebody of DevOps confirms it." in shown
    assert "Waiting for confirmation" in shown
    assert "Report a rotation" not in shown
    held = HeldChange.objects.get()
    assert (held.requested_by, held.evidence.url) == (carol, "https://ci.example.org/4711")

    own = said_on(client.get(page("heldchange_change", held.pk)))
    assert "You asked for this" in own
    assert ">Withdraw<" in own
    assert ">Confirm<" not in own


def test_somebody_of_devops_finds_it_and_confirms_it(client, key, held, bob):
    sign_in(client, bob)
    assert "Confirm or reject 1 change" in said_on(client.get("/"))
    listed = said_on(client.get(LIST))
    assert '<span class="count soon">1<span' in listed
    assert "because Carol Example says it was rotated on 3 October 2026" in listed
    shown = said_on(client.get(page("heldchange_change", held.pk)))
    assert "moves from 11 October 2026 to 1 January 2027" in shown
    assert "The key gets version 2; version 1 is deactivated as superseded." in shown
    assert "change 4711" in shown
    assert ">Confirm<" in shown
    assert ">Withdraw<" not in shown

    answer = client.post(page("heldchange_confirm", held.pk), {"reason": "seen in the store"}, follow=True)
    assert "The change of billing/stripe is confirmed and done." in said_on(answer)
    assert "Nothing waits for confirmation" in said_on(answer)
    assert Key.objects.get().current_number == 2
    seal()
    assert "for Carol Example" in said_on(client.get(page("key_change", key.pk)))
    assert "billing/stripe" in said_on(client.get(LIST + "?state=decided"))
    assert "seen in the store" in said_on(client.get(page("heldchange_change", held.pk)))


def test_an_edit_that_gives_more_time_is_asked_for(client, key, bob):
    sign_in(client, bob)
    form = client.get(page("key_edit", key.pk)).context["form"]
    entered = {name: form[name].value() for name in form.fields if form[name].value()}
    answer = client.post(
        page("key_edit", key.pk), entered | {"environment": "test", "reason": "it is a test key"}, follow=True
    )
    assert "the change waits until somebody of DevOps confirms it" in said_on(answer)
    held = HeldChange.objects.get()
    assert (held.changes, held.reason, held.kind) == ({"environment": "test"}, "it is a test key", "edit")
    assert Key.objects.get().environment == "production"
    shown = said_on(client.get(page("heldchange_change", held.pk)))
    assert "because Bob Example wants to change: Environment." in shown
    assert "One waits already" in said_on(client.get(page("key_edit", key.pk)))
    answer = client.post(page("key_edit", key.pk), entered | {"environment": "staging", "reason": "x"})
    assert "Another change of billing/stripe waits for confirmation already." in said_on(answer)


def test_the_requester_s_forged_post_is_refused_and_recorded(client, key, bob):
    held = services.report_rotation(pk=key.pk, rotated_on=ROTATED, evidence="x", actor=by(bob), now=NOW)
    sign_in(client, bob)
    seal()
    for door in ("heldchange_confirm", "heldchange_reject"):
        number = last_number()
        assert client.post(page(door, held.pk), {"reason": "mine"}).status_code == 403
        seal()
        assert actions_since(number) == ["key.rotated"]
        event = events_of("key.rotated")[-1]
        assert (event.said.outcome, event.said.actor_id) == ("refused", bob.ref)
    held.refresh_from_db()
    assert (held.state, Key.objects.get().current_number) == ("pending", 1)


@pytest.mark.parametrize("name", ["alice", "carol", "dave", "erin"])
def test_nobody_else_decides(client, held, name, request):
    person = request.getfixturevalue(name)
    sign_in(client, person)
    shown = said_on(client.get(page("heldchange_change", held.pk)))
    assert ">Confirm<" not in shown
    assert (">Withdraw<" in shown) == (name == "carol")
    for door in ("confirm", "reject"):
        assert client.post(page(f"heldchange_{door}", held.pk), {"reason": "x"}).status_code == 403
    if name != "carol":
        assert client.post(page("heldchange_withdraw", held.pk), {"reason": "x"}).status_code == 403
    held.refresh_from_db()
    assert held.state == "pending"


def test_a_superuser_is_refused_too(client, held, alice, as_role):
    with as_role("command"):
        alice.is_superuser = True
        alice.save()
    sign_in(client, alice)
    assert client.post(page("heldchange_confirm", held.pk), {"reason": "x"}).status_code == 403
    held.refresh_from_db()
    assert held.state == "pending"


@pytest.mark.parametrize(
    ("name", "status"), [("alice", 200), ("bob", 200), ("carol", 200), ("dave", 403), ("erin", 403)]
)
def test_who_reports_a_rotation(client, name, status, request):
    key = make_key()
    sign_in(client, request.getfixturevalue(name))
    assert client.get(page("key_report_rotation", key.pk)).status_code == status
    assert ("Report a rotation" in said_on(client.get(page("key_change", key.pk)))) == (status == 200)
    answer = client.post(page("key_report_rotation", key.pk), {"rotated_on": "2026-10-03", "evidence": "x"})
    assert (answer.status_code == 302) == (status == 200) == HeldChange.objects.exists()


def test_somebody_without_role_sees_nothing(client, held, mallory):
    sign_in(client, mallory)
    for address in (LIST, page("heldchange_change", held.pk), page("key_report_rotation", held.key_id)):
        assert client.get(address).status_code in {302, 403}


def test_decisions_are_posted_with_a_reason(client, held, bob):
    sign_in(client, bob)
    for door in ("confirm", "reject", "withdraw"):
        assert client.get(page(f"heldchange_{door}", held.pk)).status_code == 405
    answer = client.post(page("heldchange_confirm", held.pk), {"reason": ""})
    assert "Nothing was decided." in said_on(answer)
    held.refresh_from_db()
    assert held.state == "pending"
    client.post(page("heldchange_reject", held.pk), {"reason": "the store shows the old one"})
    held.refresh_from_db()
    assert (held.state, held.decided_by) == ("rejected", bob)
    answer = client.post(page("heldchange_confirm", held.pk), {"reason": "after all"})
    assert "This change of billing/stripe is rejected already." in said_on(answer)


def test_the_requester_withdraws(client, held, carol):
    sign_in(client, carol)
    client.post(page("heldchange_withdraw", held.pk), {"reason": "wrong key"})
    held.refresh_from_db()
    assert (held.state, held.decision_reason) == ("withdrawn", "wrong key")


def test_what_the_key_has_overtaken_says_so_and_is_closed(client, key, held, bob):
    services.edit_key(
        pk=key.pk, changes={"notes": "x"}, expected_revision=key.revision, actor=ACTOR, reason="x", now=NOW
    )
    sign_in(client, bob)
    shown = said_on(client.get(page("heldchange_change", held.pk)))
    assert "The key was changed after this was asked" in shown
    assert ">Confirm<" not in shown
    answer = client.post(page("heldchange_confirm", held.pk), {"reason": "x"})
    assert "it cannot be confirmed any more" in said_on(answer)
    held.refresh_from_db()
    assert held.state == "void"


def test_a_wrong_report_says_what_is_wrong(client, key, carol):
    sign_in(client, carol)
    answer = client.post(page("key_report_rotation", key.pk), {"rotated_on": "2026-07-01", "evidence": "x"})
    assert "was last rotated on 13 July 2026 already" in said_on(answer)
    answer = client.post(page("key_report_rotation", key.pk), {"rotated_on": "2026-10-03", "evidence": ""})
    assert "Mend what is marked below." in said_on(answer)
    assert not HeldChange.objects.exists()


def test_the_preview_of_an_import_shows_what_would_be_held(client, bob, as_role):
    make_key(name="a")
    sign_in(client, bob)
    content = file_of(row("a", Last_rotated="2026-11-01"))
    taken = {"content": content, "file_name": "x.csv", "reason": "x", "person": bob.pk, "now": NOW}
    address = page("key_import_preview", services.take_file(**taken).pk)
    answer = brought(client, as_role, address)
    shown = said_on(answer)
    assert "Confirming changes nothing yet: 1 row would give a key more time, and waits for somebody of DevOps" in shown
    assert "Ask DevOps for 1 change" in shown
    assert "To be rotated by" in shown
    assert "<ins>30 January 2027</ins>" in shown
    client.post(address, {"plan_digest": answer.context["plan"].digest})
    answer = brought(client, as_role, address)
    assert "0 new, 0 changed, 0 unchanged, 0 refused, 1 held" in said_on(answer)
    held = HeldChange.objects.get()
    assert (held.kind, held.requested_by, held.requested_by_ref) == ("import", bob, f"user:{bob.pk}")
    shown = said_on(brought(client, as_role, page("key_import_preview", services.take_file(**taken).pk)))
    assert "nothing is asked again" in shown
    assert "Ask DevOps" not in shown


def test_the_doors_that_decide_ask_for_a_second_factor_just_now():
    assert confirm.requires_step_up
    assert reject.requires_step_up


def test_the_list_asks_a_number_of_questions_that_does_not_grow(client, carol, bob, django_assert_max_num_queries):
    sign_in(client, bob)
    for number in range(30):
        key = make_key(name=f"key {number}")
        services.report_rotation(pk=key.pk, rotated_on=ROTATED, evidence="x", actor=by(carol), now=NOW)
    with django_assert_max_num_queries(16):
        assert said_on(client.get(LIST)).count("1 January 2027") == 30
    held = HeldChange.objects.first()
    with django_assert_max_num_queries(14):
        client.get(page("heldchange_change", held.pk))
    with django_assert_max_num_queries(30):
        client.get(page("key_change", held.key_id))


def test_a_rotation_that_gives_a_key_its_first_date_says_so(client, carol, bob):
    key = make_key(name="free", kind="dek", environment="test", created_on=None, last_rotated_on=None)
    services.report_rotation(pk=key.pk, rotated_on=date(2026, 11, 1), evidence="x", actor=by(carol), now=NOW)
    sign_in(client, bob)
    assert "free must be rotated by 1 November 2027, where it had no date" in said_on(client.get(LIST))
