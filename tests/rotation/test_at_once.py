"""What one person does alone: suspending, reporting a compromise, breaking the glass, and every misuse of that."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.actor import Actor
from inventory.errors import KeyMaterialError, ReasonMissingError
from inventory.models import Key
from inventory.replay.running import Run
from inventory.states import State
from rotation import approvals, at_once
from rotation.approval_wording import outcome
from rotation.approvals import Proof
from rotation.errors import (
    AlreadyCompromisedError,
    AnonymousReportError,
    DutyRoleTakenError,
    GlassChangedError,
    GlassNotForThisError,
    GlassNotTheirsError,
    GlassReasonTooShortError,
    GlassStillOpenError,
    NotAskingError,
    NotSigningError,
    OwnActError,
    OwnRequestError,
    ProofRefusedError,
    RotationError,
    SignedTwiceError,
)
from rotation.models import Digest, Duty, Request
from tests.conftest import make_person
from tests.inventory.world import NOW, actions_since, events_of, key_in, last_number, make_key, make_owner, seal
from tests.rotation.approval_world import WORKER, carry_out, proof_of, vote
from tests.rotation.duty_world import acting, sign

pytestmark = pytest.mark.django_db
WHY = "seen on a paste site an hour ago"


def report(key, person, reason=WHY, *, now=None):
    done = at_once.report_compromise(pk=key.pk, actor=acting(person), reason=reason, now=now or timezone.now())
    seal()
    return done


# Reporting


def test_everybody_reports_and_others_decide(as_role, alice, bob, carol, dave, erin):
    """Whatever the role, also of keys that are not theirs; the reporter asks for the revocation and does not vote."""
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
        key = key_in(state, name=f"is {state}")
        seal()
        number = last_number()
        with pytest.raises(AlreadyCompromisedError):
            report(key, carol)
        assert actions_since(number) == []


def test_the_log_tells_what_a_report_did(carol):
    """The inventory worked out from the log alone is that of the tables."""
    for state in (State.PRE_ACTIVATION, State.ACTIVE, State.SUSPENDED, State.DEACTIVATED):
        report(make_key(state=state, name=f"was {state}"), carol, now=NOW)
    assert list(Run().differences()) == []


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
    assert not Duty.objects.exists()
    assert not Request.objects.exists()


# Breaking the glass

EMERGENCY = "the key is on a paste site and DevOps cannot be reached"


def revocation(key, code="key_compromise"):
    return {"key": key.pk, "reason_code": code}


def break_glass(key, person, *, operation="key.revoke", entered=None, reason=EMERGENCY, now=None, **how):
    entered, actor = entered or revocation(key), how.pop("actor", None) or acting(person)
    digest = how.pop("digest", None) or at_once.glass_digest(operation, entered)
    proof = how.pop("proof", None) or proof_of(person)
    done = at_once.break_glass(
        operation=operation,
        entered=entered,
        digest=digest,
        actor=actor,
        reason=reason,
        proof=proof,
        now=now or timezone.now(),
    )
    seal()
    return done


def refused(error, *arguments, **how):
    """Say that it was refused, with that error, and left no request, duty or event."""
    seal()
    number, before = last_number(), (Request.objects.count(), Duty.objects.count(), Digest.objects.count())
    with pytest.raises(error) as raised:
        break_glass(*arguments, **how)
    seal()
    assert actions_since(number) == []
    assert (Request.objects.count(), Duty.objects.count(), Digest.objects.count()) == before
    return str(raised.value)


def test_one_person_breaks_the_glass_and_two_others_look_at_it(as_role, alice, bob, carol, dave, erin):
    sam = make_person("sam", "Security")
    gone = make_person("gone", "DevOps")
    with as_role("command"):
        type(gone).objects.filter(pk=gone.pk).update(is_active=False)
    key = make_key()
    shown = at_once.show_glass(operation="key.revoke", entered=revocation(key), actor=acting(alice), now=timezone.now())
    seal()
    number = last_number()
    request = break_glass(key, alice, digest=shown.digest)
    assert actions_since(number) == ["request.opened", "request.approved", "glass.broken", "duty.opened"]
    assert (request.state, request.is_break_glass, request.requested_by) == ("approved", True, alice)
    assert request.expires_at - request.requested_at == timedelta(hours=1)
    assert approvals.payload_of(request).steps == ()
    told = Digest.objects.filter(subject__startswith="Break-glass by Alice Example")
    assert {mail.recipient for mail in told} == {
        f"{one.username}@example.org" for one in (alice, bob, carol, dave, erin, sam)
    }
    assert all(sentence in told[0].text for sentence in shown.description.sentences)
    with as_role("worker"):
        assert carry_out(request).state == "executed"
    assert Key.objects.get(pk=key.pk).state == State.COMPROMISED

    duty = Duty.objects.get()
    assert (duty.kind, duty.request, duty.done_by) == ("break_glass", request, alice)
    other = make_key(name="other")
    assert "You have broken the glass already" in refused(GlassStillOpenError, other, alice)
    assert sign(duty, sam, "Security", words="right, it was public").state == "open"
    refused(GlassStillOpenError, other, alice)
    assert sign(duty, bob, "DevOps", words="agreed").state == "closed"
    assert break_glass(other, alice).state == "approved"


def test_nothing_says_that_who_broke_the_glass_had_approved_it(alice):
    request = break_glass(make_key(), alice)
    seal()
    (event,) = events_of("request.approved")
    assert event.said.facts["is_break_glass"] is True
    assert event.sentence == (
        "Alice Example let “Revoke a key” on billing/stripe go ahead by breaking the glass: nobody voted on it"
    )
    assert "Nobody votes on it" in outcome(request, at_machine=False)


def test_a_rotation_by_breaking_the_glass(as_role, alice, bob):
    key = make_key()
    entered = {"key": key.pk, "rotated_on": timezone.now().date().isoformat(), "evidence": "version 2", "url": ""}
    now = timezone.now()
    shown = at_once.show_glass(operation="key.rotation", entered=entered, actor=acting(bob), now=now)
    assert not Request.objects.exists()
    assert "version 1 is deactivated as superseded" in " ".join(shown.description.sentences)
    assert not key.rotation_evidence.exists()
    request = break_glass(key, bob, operation="key.rotation", entered=entered, digest=shown.digest)
    with as_role("worker"):
        assert carry_out(request).state == "executed"
    key.refresh_from_db()
    assert (key.current_number, key.last_rotated_on) == (2, now.date())


def test_misuse_of_the_glass_is_refused_and_leaves_nothing(as_role, alice, bob, carol, dave, erin, mallory):
    """APP-07, all but the races and SQL, which follow."""
    key, other = make_key(), make_key(name="other")
    for person in (carol, dave, erin, mallory):  # 1. by roles that have no part in it, also of their own keys
        refused(GlassNotTheirsError, key, person)
    owned = make_key(name="owned", owner=make_owner("carol", "carol@example.org", user_id=carol.pk))
    refused(GlassNotTheirsError, owned, carol)
    refused(GlassNotTheirsError, key, alice, actor=Actor.system("worker"))
    # 2. for what nobody does alone, in an emergency neither
    for code in ("key.destroy", "key.reactivate", "key.dates", "key.edit"):
        refused(GlassNotForThisError, key, alice, operation=code)
    # 3. without a second factor for this very act: none, a wrong one, one that was used, that of somebody else
    spent = proof_of(alice)
    break_glass(other, alice, proof=spent)
    sam = make_person("sam", "Security")
    sign(Duty.objects.get(), sam, "Security")
    sign(Duty.objects.get(), bob, "DevOps")
    for proof in (Proof(), Proof(code="000000"), spent, proof_of(bob)):
        refused(ProofRefusedError, key, alice, proof=proof)
    # 4. without a word, or with too few, or with the key itself among them
    for reason in ("", "  ", "urgent!", "x" * 19):
        refused(GlassReasonTooShortError, key, alice, reason=reason)
    refused(KeyMaterialError, key, alice, reason="this is it: ghp_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY2zA4")
    # 5. for something else than was shown, or for a key that has changed since
    refused(GlassChangedError, key, alice, digest=at_once.glass_digest("key.revoke", revocation(owned)))
    refused(GlassChangedError, key, alice, digest=at_once.glass_digest("key.revoke", revocation(key, "superseded")))
    # 6. twice: until two have signed
    with pytest.raises(RotationError):
        approvals.ask(  # the engine alone does not do it either: the duty would be missing
            operation="key.destroy", parameters={"key": key.pk}, actor=acting(alice), reason=EMERGENCY,
            now=timezone.now(), is_break_glass=True,
        )  # fmt: skip


def test_the_hour_ends_it(as_role, alice, bob):
    key, now = make_key(), timezone.now()
    request = break_glass(key, alice, now=now)
    with as_role("worker"):
        assert approvals.expire_due(actor=WORKER, now=now + timedelta(minutes=59)) == 0
        approvals.expire_due(actor=WORKER, now=now + timedelta(minutes=60))
        assert carry_out(request, now=now + timedelta(minutes=61)).state == "expired"
        seal()
    assert Key.objects.get(pk=key.pk).state == State.ACTIVE
    refused(GlassStillOpenError, make_key(name="other"), alice)  # it was broken all the same


def test_nobody_signs_for_their_own_glass_nor_twice_nor_two_of_one_role(alice, bob):
    both, sam, max_ = (
        make_person("both", "Security", "DevOps"),
        make_person("sam", "Security"),
        make_person("max", "DevOps"),
    )
    break_glass(make_key(), both)
    duty = Duty.objects.get()
    for role in ("Security", "DevOps"):
        with pytest.raises(OwnActError):
            sign(duty, both, role)
    sign(duty, sam, "Security")
    with pytest.raises(SignedTwiceError):
        sign(duty, sam, "Security")
    with pytest.raises(DutyRoleTakenError):
        sign(duty, alice, "Security")
    with pytest.raises(NotSigningError):
        sign(duty, alice, "DevOps")
    assert sign(duty, max_, "DevOps").state == "closed"
    # somebody with both roles fills one of the two places
    break_glass(make_key(name="next"), alice)
    duty = Duty.objects.get(state="open")
    sign(duty, both, "DevOps")
    with pytest.raises(SignedTwiceError):
        sign(duty, both, "Security")
