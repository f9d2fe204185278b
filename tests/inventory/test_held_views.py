"""The doors that ask for what makes a key less late, and what each person sees of it."""

from datetime import date

import pytest
import time_machine
from django.urls import reverse

from inventory import services
from inventory.held_views import report
from inventory.models import Key, RotationEvidence
from rotation.approvals import payload_of
from rotation.models import Request
from tests.deciding import approve, by, request_of, waiting
from tests.inventory.test_imports import file_of, row
from tests.inventory.working import brought
from tests.inventory.world import NOW, make_key, make_owner, seal
from tests.people import sign_in

pytestmark = pytest.mark.django_db
ROTATED = date(2026, 10, 3)


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


def test_an_owner_reports_a_rotation_and_sees_that_it_waits(client, key, carol, bob):
    sign_in(client, carol)
    assert "Report a rotation" in said_on(client.get(page("key_change", key.pk)))
    answer = client.post(
        page("key_report_rotation", key.pk),
        {"rotated_on": "2026-10-03", "evidence": "change 4711", "url": "ci.example.org/4711"},
        follow=True,
    )
    shown = said_on(answer)
    assert "billing/stripe stays as it is for now: the change waits until somebody of DevOps approves it." in shown
    assert "Waiting for votes" in shown
    assert "Count billing/stripe as rotated" in shown
    assert "Report a rotation" not in shown
    assert (waiting().requested_by, RotationEvidence.objects.get().url) == (carol, "https://ci.example.org/4711")

    assert approve(waiting(), bob).state == "executed"
    seal()
    shown = said_on(client.get(page("key_change", key.pk)))
    assert "Waiting for votes" not in shown
    assert "for Carol Example" in shown
    assert "reported a rotation of it, done where it is kept" in shown
    assert "asked for “Count a key as rotated” on it: “It was rotated where it is kept, on 3 October 2026.”" in shown
    assert "<td> change 4711 </td>" in shown


def test_an_edit_that_gives_more_time_is_asked_for(client, key, bob):
    sign_in(client, bob)
    form = client.get(page("key_edit", key.pk)).context["form"]
    entered = {name: form[name].value() for name in form.fields if form[name].value()}
    answer = client.post(
        page("key_edit", key.pk), entered | {"environment": "test", "reason": "it is a test key"}, follow=True
    )
    assert "the change waits until somebody of DevOps approves it" in said_on(answer)
    request = waiting("key.edit")
    assert payload_of(request).parameters["changes"] == {"environment": "test"}
    assert request.reason == "it is a test key"
    assert Key.objects.get().environment == "production"
    assert "One waits already" in said_on(client.get(page("key_edit", key.pk)))
    answer = client.post(page("key_edit", key.pk), entered | {"environment": "staging", "reason": "x"})
    assert "Another change of billing/stripe waits for votes already." in said_on(answer)


@pytest.mark.parametrize(
    ("name", "status"), [("alice", 200), ("bob", 200), ("carol", 200), ("dave", 403), ("erin", 403)]
)
def test_who_reports_a_rotation(client, name, status, request):
    key = make_key()
    sign_in(client, request.getfixturevalue(name))
    assert client.get(page("key_report_rotation", key.pk)).status_code == status
    assert ("Report a rotation" in said_on(client.get(page("key_change", key.pk)))) == (status == 200)
    answer = client.post(page("key_report_rotation", key.pk), {"rotated_on": "2026-10-03", "evidence": "x"})
    assert (answer.status_code == 302) == (status == 200) == Request.objects.exists()


def test_somebody_without_role_reports_nothing(client, key, mallory):
    sign_in(client, mallory)
    assert client.get(page("key_report_rotation", key.pk)).status_code in {302, 403}


def test_a_wrong_report_says_what_is_wrong(client, key, carol):
    sign_in(client, carol)
    answer = client.post(page("key_report_rotation", key.pk), {"rotated_on": "2026-07-01", "evidence": "x"})
    assert "was last rotated on 13 July 2026 already" in said_on(answer)
    answer = client.post(page("key_report_rotation", key.pk), {"rotated_on": "2026-10-03", "evidence": ""})
    assert "Mend what is marked below." in said_on(answer)
    assert not Request.objects.exists()


def test_what_the_engine_refuses_is_said_on_the_form(client, key, carol, as_role):
    """Whoever may open the form and lost their role meanwhile."""
    sign_in(client, carol)
    services.report_rotation(pk=key.pk, rotated_on=ROTATED, evidence="x", actor=by(carol), now=NOW)
    answer = client.post(page("key_report_rotation", key.pk), {"rotated_on": "2026-10-04", "evidence": "x"})
    assert "Another change of billing/stripe waits for votes already." in said_on(answer)


def test_the_preview_and_the_end_of_an_import_lead_to_what_is_asked(client, bob, as_role):
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
    shown = said_on(brought(client, as_role, address))
    assert "0 new, 0 changed, 0 unchanged, 0 refused, 1 held" in shown
    request = waiting("key.edit")
    link = f'<a href="{reverse("admin:rotation_request_change", args=[request.pk])}">'
    assert f"{link}Give a more time</a>" in shown
    assert (payload_of(request).parameters["kind"], request.requested_by) == ("import", bob)
    shown = said_on(brought(client, as_role, page("key_import_preview", services.take_file(**taken).pk)))
    assert f"{link}asked already</a>, at an earlier time; nothing is asked again" in shown
    assert "Ask DevOps" not in shown


def test_an_import_of_somebody_who_lost_their_role_is_refused_as_a_whole(client, bob, as_role):
    make_key(name="a")
    sign_in(client, bob)
    content = file_of(row("a", Last_rotated="2026-11-01"), row("new"))
    taken = {"content": content, "file_name": "x.csv", "reason": "x", "person": bob.pk, "now": NOW}
    draft = services.take_file(**taken)
    answer = brought(client, as_role, page("key_import_preview", draft.pk))
    client.post(page("key_import_preview", draft.pk), {"plan_digest": answer.context["plan"].digest})
    with as_role("command"):
        bob.groups.clear()
    brought(client, as_role, "/")
    draft.refresh_from_db()
    assert (draft.state, "may ask for this" in draft.note) == ("refused", True)
    assert not Key.objects.filter(name="new").exists()


def test_the_door_that_asks_wants_a_second_factor_just_now():
    assert report.requires_step_up


def test_the_page_of_a_key_asks_a_number_of_questions_that_does_not_grow(
    client, key, carol, django_assert_max_num_queries
):
    asked = services.report_rotation(pk=key.pk, rotated_on=ROTATED, evidence="x", actor=by(carol), now=NOW)
    sign_in(client, carol)
    with django_assert_max_num_queries(30):
        client.get(page("key_change", key.pk))
    assert request_of(asked).state == "open"
