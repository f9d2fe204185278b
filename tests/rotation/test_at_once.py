"""What one person does alone: suspending, reporting a compromise, breaking the glass, and every misuse of that."""

import pytest
from django.utils import timezone

from audit.actor import Actor
from inventory.errors import KeyMaterialError, ReasonMissingError
from inventory.models import Key
from inventory.states import State
from rotation import at_once
from rotation.errors import (
    AlreadyCompromisedError,
    AnonymousReportError,
    NotAskingError,
    OwnRequestError,
)
from rotation.models import Duty, Request
from tests.conftest import make_person
from tests.inventory.world import actions_since, events_of, key_in, last_number, make_key, seal
from tests.rotation.approval_world import carry_out, vote
from tests.rotation.duty_world import acting

pytestmark = pytest.mark.django_db
WHY = "seen on a paste site an hour ago"


def report(key, person, reason=WHY, *, now=None):
    done = at_once.report_compromise(pk=key.pk, actor=acting(person), reason=reason, now=now or timezone.now())
    seal()
    return done


# Reporting


def test_everybody_reports_and_others_decide(as_role, alice, bob, carol, dave, erin):
    """Whatever the role, also of keys that are not theirs; the reporter asks for the revocation and has no vote on it."""
    sam = make_person("sam", "Security")
    for person in (alice, bob, carol, dave, erin):
        key = make_key(name=f"of {person.username}")
        seal()
        number = last_number()
        done = report(key, person)
        assert done.key.state == State.SUSPENDED
        assert actions_since(number) == ["key.suspended", "request.opened", "key.compromise_reported", "duty.opened"]
        request, duty = done.request, Duty.objects.get(key=key)
        assert (request.operation, request.requested_by, request.state) == ("key.revoke", person, "open")
        assert (duty.kind, duty.done_by, duty.request) == ("report", person, request)
        (told,) = [event for event in events_of("key.compromise_reported") if event.said.subjects[0].ref == key.ref]
        assert told.said.facts == {"was": "active", "is": "suspended", "request": request.ref}
    with pytest.raises(OwnRequestError):
        vote(alice, Request.objects.get(requested_by=alice))
    request = Request.objects.get(requested_by=carol)
    vote(sam, request)
    vote(bob, request)
    with as_role("worker"):
        assert carry_out(request).state == "executed"
    assert Key.objects.get(name="of carol").state == State.COMPROMISED


def test_what_a_report_does_depends_on_the_state(alice, bob, carol):
    expected = {
        State.PRE_ACTIVATION: State.COMPROMISED,  # T3
        State.ACTIVE: State.SUSPENDED,  # T7
        State.SUSPENDED: State.SUSPENDED,
        State.DEACTIVATED: State.COMPROMISED,  # T13
        State.DESTROYED: State.DESTROYED_COMPROMISED,  # A16
    }
    for source, target in expected.items():
        key = key_in(source, name=f"was {source}")
        done = report(key, carol)
        key.refresh_from_db()
        assert key.state == key.versions.get().state == target
        assert (done.request is not None) == (target == State.SUSPENDED)
        assert Duty.objects.filter(key=key, kind="report", done_by=carol).count() == 1
    for state in (State.COMPROMISED, State.DESTROYED_COMPROMISED):
        key, number = key_in(state, name=f"is {state}"), None
        seal()
        number = last_number()
        with pytest.raises(AlreadyCompromisedError):
            report(key, carol)
        assert actions_since(number) == []


def test_two_reports_of_one_key_are_one_request_and_two_duties(carol, dave):
    key = make_key()
    first, second = report(key, carol), report(key, dave)
    assert first.request == second.request
    assert Duty.objects.filter(key=key).count() == 2


def test_a_report_that_cannot_be_is_none(carol, dave):
    key = make_key()
    seal()
    number = last_number()
    for actor, reason, error in (
        (Actor.system("worker"), WHY, AnonymousReportError),
        (Actor(kind="anonymous", id="anonymous"), WHY, AnonymousReportError),
        (acting(carol), "  ", ReasonMissingError),
        (acting(carol), "ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4", KeyMaterialError),
        (acting(make_person("nobody")), WHY, NotAskingError),  # signed in, but without any role
    ):
        with pytest.raises(error):
            at_once.report_compromise(pk=key.pk, actor=actor, reason=reason, now=timezone.now())
    seal()
    assert actions_since(number) == []
    assert Key.objects.get(pk=key.pk).state == State.ACTIVE
    assert not Duty.objects.exists() and not Request.objects.exists()
