"""Asking on the page of a key: who may, what is shown first, and that what is asked is what was shown."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse

from audit.actions import Action
from audit.models import Event
from inventory import services
from inventory.models import Key
from inventory.services import Relations
from inventory.states import State
from rotation.models import Digest, Request, RequestState
from tests.conftest import make_person
from tests.inventory.world import ACTOR, NOW, make_key, make_owner, seal
from tests.people import give_device, sign_in, verified_before

pytestmark = pytest.mark.django_db
WHY = {"reason": "Private key seen in a build log, ticket 4411"}
REVOKE = WHY | {"reason_code": "key_compromise"}
DESTROY = WHY | {"destroyed_on": "2026-11-20", "method": "purged", "evidence": "seen by ann"}


def url(what, key):
    return reverse(f"admin:rotation_request_ask_{what}", args=[key.pk])


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.content.decode()))


def asked_by_two_steps(client, what, key, said):
    """Look, then ask what was shown; return both pages."""
    shown = client.post(url(what, key), said)
    assert shown.status_code == 200, shown
    assert Request.objects.count() == 0
    return shown, client.post(url(what, key), said | {"seen": shown.context["rehearsed"].seen})


@pytest.fixture
def key(alice):
    service = services.register_service(name="crm-sync", actor=ACTOR, now=NOW)
    return make_key(
        name="crm-sync/partner-sftp", kind="ssh_key", service=service, relations=Relations(consumers={service.pk: True})
    )


def test_what_is_shown_is_what_is_asked(client, alice, bob, key):
    anna = make_person("anna", "Security")
    for person in (anna, bob):
        give_device(person)
    sign_in(client, alice)
    assert "Fill in the form and look first" in text_of(client.get(url("revoke", key)))
    seal()
    before = Event.objects.count(), Digest.objects.count()
    shown, done = asked_by_two_steps(client, "revoke", key, REVOKE)
    words = text_of(shown)
    assert "The SSH key crm-sync/partner-sftp, version 1, becomes Compromised with reason key compromise." in words
    assert "1 service uses it and must do without: crm-sync." in words
    assert "Nobody can fill" not in words
    (request,) = Request.objects.all()
    assert done.url == reverse("admin:rotation_request_change", args=[request.pk])
    assert (request.state, request.operation, request.reason) == (RequestState.OPEN, "key.revoke", WHY["reason"])
    assert request.title == "Revoke crm-sync/partner-sftp"
    page = text_of(client.get(done.url))
    for sentence in shown.context["rehearsed"].description.sentences:
        assert sentence in page
    seal()
    opened = Event.objects.filter(action=Action.REQUEST_OPENED)
    assert (opened.count(), Event.objects.count() > before[0]) == (1, True)


def test_looking_leaves_nothing(client, alice, key):
    sign_in(client, alice)
    seal()
    before = Event.objects.count()
    client.post(url("revoke", key), REVOKE)
    seal()
    assert (Request.objects.count(), Event.objects.count(), Digest.objects.count()) == (0, before, 0)


def test_another_wish_or_another_key_than_was_shown_is_shown_again(client, alice, key):
    sign_in(client, alice)
    seen = client.post(url("revoke", key), REVOKE).context["rehearsed"].seen
    again = client.post(url("revoke", key), REVOKE | {"reason_code": "superseded", "seen": seen})
    assert "is not what you were shown" in text_of(again)
    services.edit_key(pk=key.pk, changes={"notes": "n"}, expected_revision=1, actor=ACTOR, reason="test", now=NOW)
    again = client.post(url("revoke", key), REVOKE | {"seen": seen})
    assert "is not what you were shown" in text_of(again)
    assert Request.objects.count() == 0


def test_a_step_that_nobody_could_fill_is_said_at_once(client, alice, bob, key):
    sign_in(client, alice)  # alice is all of Security, and bob has no second factor
    words = text_of(client.post(url("revoke", key), REVOKE))
    assert words.count("Nobody can fill this step as things are") == 2
    give_device(bob)
    words = text_of(client.post(url("revoke", key), REVOKE))
    assert words.count("Nobody can fill this step as things are") == 1
    assert "another person with the role Security" in words


@pytest.mark.parametrize(
    ("what", "state", "said", "title"),
    [
        ("destroy", State.DEACTIVATED, DESTROY, "Destroy crm-sync/partner-sftp"),
        ("reactivate", State.SUSPENDED, WHY, "Re-activate crm-sync/partner-sftp"),
        ("dates", State.ACTIVE, WHY | {"protect_until": "2027-01-31T12:00"}, "Change the dates of"),
    ],
)
def test_each_page_asks_its_question(client, bob, what, state, said, title):
    key = make_key(name="crm-sync/partner-sftp", state=state)
    sign_in(client, bob)
    _, done = asked_by_two_steps(client, what, key, said)
    assert done.status_code == 302
    assert Request.objects.get().title.startswith(title)
    again = client.get(url(what, key))
    assert "Asked already" in text_of(again)
    assert Key.objects.get(pk=key.pk).state == state


@pytest.mark.parametrize(
    ("what", "said", "problem"),
    [
        ("revoke", REVOKE | {"reason": " "}, "This field is required"),
        ("revoke", WHY | {"reason_code": "weather"}, "Select a valid choice"),
        ("destroy", DESTROY | {"destroyed_on": "2099-01-01"}, "lies ahead"),
        ("destroy", DESTROY | {"method": ""}, "This field is required"),
        ("reactivate", WHY, "cannot become active"),
        ("dates", WHY, "the dates that billing/stripe has already"),
        ("dates", WHY | {"protect_until": "2020-01-01T00:00"}, "lies behind"),
        ("dates", WHY | {"process_until": "2099-01-01T00:00", "protect_until": "2099-02-01T00:00"}, "at least for"),
    ],
)
def test_what_cannot_be_asked_is_said_and_nothing_is_asked(client, bob, what, said, problem):
    key = make_key()
    sign_in(client, bob)
    page = client.post(url(what, key), said)
    assert problem in text_of(page)
    assert "Nothing was asked" in text_of(page)
    assert Request.objects.count() == 0


MAY = {
    "alice": {"revoke", "reactivate", "destroy"},
    "bob": {"revoke", "reactivate", "destroy", "dates"},
    "owner": {"revoke", "dates"},
    "carol": set(),
    "erin": set(),
    "dave": set(),
}


@pytest.mark.parametrize("who", MAY)
def test_only_who_may_ask_sees_the_links_and_the_pages(client, who, alice, bob, carol, dave, erin):
    people = {"alice": alice, "bob": bob, "owner": carol, "carol": carol, "dave": dave, "erin": erin}
    owner = make_owner("owner")
    if who == "owner":
        services.edit_owner(
            pk=owner.pk, changes={"user_id": carol.pk}, expected_revision=1, actor=ACTOR, reason="test", now=NOW
        )
    key = make_key(owner=owner, state=State.SUSPENDED)
    sign_in(client, people[who])
    dossier = client.get(reverse("admin:inventory_key_change", args=[key.pk])).content.decode()
    seal()
    before = Event.objects.count()
    for what in ("revoke", "reactivate", "destroy", "dates"):
        expected = 200 if what in MAY[who] else 403
        assert client.get(url(what, key)).status_code == expected, what
        assert (url(what, key) in dossier) == (what in MAY[who]), what
    seal()
    assert Event.objects.count() == before
    if "destroy" not in MAY[who]:
        assert client.post(url("destroy", key), DESTROY).status_code == 403
        seal()
        assert Event.objects.filter(action=Action.REQUEST_OPENED, outcome="refused").count() == 1


def test_links_lead_to_what_is_possible_in_the_state_and_not_asked_yet(client, bob):
    sign_in(client, bob)
    expected = {
        State.PRE_ACTIVATION: {"dates", "destroy"},
        State.ACTIVE: {"revoke", "dates", "destroy"},
        State.SUSPENDED: {"reactivate", "revoke", "dates", "destroy"},
        State.DEACTIVATED: {"dates", "destroy"},
    }
    for state, possible in expected.items():
        key = make_key(name=state.value, state=state)
        dossier = client.get(reverse("admin:inventory_key_change", args=[key.pk])).content.decode()
        assert {what for what in ("revoke", "reactivate", "destroy", "dates") if url(what, key) in dossier} == possible
    seen = client.post(url("destroy", key), DESTROY).context["rehearsed"].seen
    client.post(url("destroy", key), DESTROY | {"seen": seen})
    dossier = client.get(reverse("admin:inventory_key_change", args=[key.pk])).content.decode()
    assert url("destroy", key) not in dossier


def test_a_stale_second_factor_opens_no_page(client, bob):
    key = make_key()
    sign_in(client, bob)
    verified_before(client, timedelta(minutes=6))
    for what in ("revoke", "reactivate", "destroy", "dates"):
        assert client.get(url(what, key)).status_code in {302, 403}
        assert client.post(url(what, key), REVOKE).status_code in {302, 403}
    assert Request.objects.count() == 0
