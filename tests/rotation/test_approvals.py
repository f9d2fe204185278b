"""Asking, voting, ending and carrying out: who may do what, what is said about it, and what mail goes out."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.utils import OperationalError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.actor import Actor
from inventory import asking, services
from inventory.errors import InventoryError, KeyMaterialError, ReasonMissingError
from rotation import approvals, requests, tasks
from rotation.approvals import Ballot, Proof, batch_digest
from rotation.errors import (
    AlreadyAskedError,
    AlreadyVotedError,
    ClosedRequestError,
    CommentMissingError,
    NoBreakGlassError,
    NoStepError,
    NotAskingError,
    NotHereError,
    NothingAskedError,
    NotRequesterError,
    NotRetryingError,
    NotVotingError,
    ProofRefusedError,
    RotationError,
    TooManyBallotsError,
    UnknownOperationError,
)
from rotation.models import Digest, RequestState
from rotation.operations.base import Draft
from tests.conftest import make_person
from tests.inventory.world import NOW, actions_since, events_of, last_number, make_key, make_owner, seal
from tests.people import give_device, next_code
from tests.rotation.approval_world import (
    AT_MACHINE,
    NOTE,
    ONE_VOTE,
    TWICE,
    WORKER,
    OwnRuleError,
    actor_for,
    again,
    ask,
    carry_out,
    declared,
    later,
    operation,
    proof_of,
    vote,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _operations():
    with declared():
        yield


@pytest.fixture
def anna(any_db):
    """Another one of Security, who asks."""
    return make_person("anna", "Security")


@pytest.fixture
def approved(anna, alice, bob):
    """A request with its two votes."""
    request = ask(anna, make_key())
    vote(alice, request)
    vote(bob, request)
    return request


# The whole way


def test_mail_names_characters_that_would_turn_its_text_round(anna, alice):
    give_device(alice)
    ask(anna, make_key(name="crm\u202etni"))
    letter = Digest.objects.get(recipient=alice.email)
    assert "\u202e" not in letter.subject + letter.text + letter.html
    assert "⟦U+202E⟧" in letter.text


def test_one_that_cannot_be_claimed_keeps_nobody_waiting(as_role, as_owner, approved, anna, alice, bob):
    other = ask(anna, make_key(name="other"))
    vote(alice, other)
    vote(bob, other)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION no_claim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
            "CREATE TRIGGER no_claim BEFORE UPDATE OF state ON rotation_request FOR EACH ROW "
            f"WHEN (NEW.id = {approved.pk} AND NEW.state = 'executing') EXECUTE FUNCTION no_claim()"
        )
    with as_role("worker"):
        assert approvals.carry_out_due(actor=WORKER, now=timezone.now()) == 1
    approved.refresh_from_db(), other.refresh_from_db()
    assert (approved.state, other.state) == (RequestState.APPROVED, RequestState.EXECUTED)


def test_two_votes_of_two_roles_and_it_is_done_once(as_role, alice, bob, anna):
    give_device(alice), give_device(bob)
    key, before = make_key(), last_number()
    request = ask(anna, key, reason="the note is old")
    assert (request.state, request.title, request.short_digest) == (
        "open",
        "Note on billing/stripe",
        " ".join(bytes(request.digest).hex()[start : start + 4] for start in (0, 4, 8)),
    )
    first = vote(alice, request, comment="I looked at it")
    assert (first.role, first.request.state, first.verified_by) == (
        "Security", "open", f"totp:{alice.totp_devices.get().pk}",
    )  # fmt: skip
    assert vote(bob, request).request.state == RequestState.APPROVED
    with as_role("worker"):
        assert approvals.carry_out_due(actor=WORKER, now=timezone.now()) == 1
        assert approvals.carry_out_due(actor=WORKER, now=timezone.now()) == 0
        assert carry_out(request).state == RequestState.EXECUTED
    key.refresh_from_db()
    assert (key.notes, key.revision) == ("new", 2)
    seal()
    assert [action for action in actions_since(before) if action.startswith(("request", "key.edited"))] == [
        "request.opened", "request.voted", "request.voted", "request.approved", "key.edited", "request.executed",
    ]  # fmt: skip
    (done,) = events_of("request.executed")
    assert done.said.facts["request"] == request.ref
    assert done.said.facts["asked_by"] == anna.ref
    assert done.said.facts["approved_by"] == [alice.ref, bob.ref]
    assert done.said.facts["digest"] == bytes(request.digest).hex()
    assert (done.said.actor_id, done.said.on_behalf_of, done.said.reason) == ("worker", anna.ref, "the note is old")
    assert {subject.ref for subject in done.said.subjects} == {request.ref, key.ref}
    voted = events_of("request.voted")[0].said
    assert (voted.facts["approves"], voted.facts["role"], voted.facts["verified_by"], voted.verified_by) == (
        True, "Security", first.verified_by, first.verified_by,
    )  # fmt: skip


def test_mail_says_what_the_page_says(alice, bob, anna, as_role):
    give_device(alice), give_device(bob), give_device(anna)
    request = ask(anna, make_key(), note="call 4711", reason="the old number is wrong")
    calls = Digest.objects.filter(subject="Your vote: Note on billing/stripe")
    assert sorted(calls.values_list("recipient", flat=True)) == [alice.email, bob.email]  # not who asks
    letter = calls[0]
    for words in (
        "The note of billing/stripe will be replaced.", "Note: call 4711", "Anna Example: the old number is wrong",
        request.short_digest, f"/rotation/request/{request.pk}/change/", f"{request.expires_at:%H:%M} UTC",
    ):  # fmt: skip
        assert words in letter.text, words
    vote(alice, request)
    vote(bob, request)
    with as_role("worker"):
        carry_out(request)
    told = Digest.objects.filter(recipient=anna.email).order_by("composed_at").values_list("subject", flat=True)
    assert [subject.removeprefix("Note on billing/stripe ") for subject in told] == [
        "has one more vote", "was approved", "is done",
    ]  # fmt: skip


def test_who_can_vote_is_reminded_once_at_a_third_of_the_time(alice, bob, anna, as_role):
    give_device(alice), give_device(bob)
    request = ask(anna, make_key())
    vote(alice, request)
    early, late = request.expires_at - timedelta(hours=8, seconds=1), request.expires_at - timedelta(hours=8)
    with as_role("worker"):
        assert approvals.remind_due(actor=WORKER, now=early) == 0
        assert [approvals.remind_due(actor=WORKER, now=late) for _ in range(3)] == [1, 0, 0]
    (letter,) = Digest.objects.filter(subject__startswith="Still your vote")
    assert letter.recipient == bob.email


# Asking


def test_who_may_ask(alice, bob, carol, dave, mallory):
    key, another = make_key(owner=make_owner("carol", carol.email, user_id=carol.pk)), make_key(name="another")
    assert ask(carol, key).requested_by == carol  # the owner
    for person in (dave, mallory):
        with pytest.raises(NotAskingError, match="Security or people of DevOps or the owner of the key may ask"):
            ask(person, another)
    with pytest.raises(NotAskingError):
        ask(carol, make_key(name="not-hers"))
    for nobody in (Actor.system("worker"), Actor.system("beat"), Actor(kind="anonymous", id="anonymous")):
        with pytest.raises(NotAskingError):
            ask(nobody, make_key(name=f"for-{nobody.id}"))
    assert ask(Actor.system("command:test"), make_key(name="by-command")).requested_by is None
    with pytest.raises(NotAskingError):  # one vote only, and whoever ran the command could give it
        ask(Actor.system("command:test"), make_key(name="by-command-2"), operation=ONE_VOTE)
    request = ask(Actor.system("worker", on_behalf_of=alice.ref), make_key(name="imported"))
    assert (request.requested_by, request.requested_by_ref) == (alice, alice.ref)


def test_what_is_not_asked(alice):
    key = make_key()
    with pytest.raises(UnknownOperationError):
        ask(alice, key, operation="key.melt")
    with pytest.raises(ReasonMissingError):
        ask(alice, key, reason=" ")
    with pytest.raises(KeyMaterialError):
        ask(alice, key, reason="-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA")
    with pytest.raises(ValidationError):
        ask(alice, key, reason="x" * 2_001)
    empty = operation("test.nothing", draft=lambda *_, **__: Draft(targets=[]))
    with declared(empty), pytest.raises(NothingAskedError):
        ask(alice, key, operation="test.nothing")
    services.edit_key(
        pk=key.pk, changes={"notes": "refuse the draft"}, expected_revision=1, actor=WORKER, reason="x", now=NOW
    )
    with pytest.raises(InventoryError, match="stays as it is"):
        ask(alice, key)


def test_one_question_at_a_time_unless_the_record_has_changed(alice, bob):
    key = make_key()
    first = ask(alice, key)
    with pytest.raises(AlreadyAskedError, match=first.ref):
        ask(bob, key)
    services.edit_key(pk=key.pk, changes={"purpose": "x"}, expected_revision=1, actor=WORKER, reason="x", now=NOW)
    second = ask(bob, key)
    assert (again(first).state, again(second).state) == ("void", "open")
    third = ask(alice, key, now=second.expires_at)  # nobody has swept the second one yet
    assert (again(second).state, again(third).state) == ("expired", "open")
    seal()
    assert [event.said.subjects[0].ref for event in events_of("request.voided")] == [first.ref]


def test_thousands_are_asked_in_few_queries(alice, bob):
    give_device(bob)

    def measured(count):
        keys = [make_key(name=f"bulk-{count}-{number}") for number in range(count)]

        def draft_all(questions, *, now):
            return [operation(NOTE).draft(one, now=now, hold=False) for one in questions]

        with declared(operation("test.bulk", draft_all=draft_all)), CaptureQueriesContext(connection) as queries:
            asked = asking.ask_all(
                "test.bulk", [{"key": key.pk, "note": "n"} for key in keys], actor=actor_for(alice), reason="x", now=NOW
            )
            assert len(asked) == len({one.pk for one in asked}) == count
            assert asked[0].ref == f"request:{asked[0].pk}"
        return len(queries) - count  # the draft of this test reads each key

    measured(1)  # from the first event of a person on, their identity key is there
    assert measured(3) == measured(12) <= 17
    assert Digest.objects.filter(recipient=bob.email, subject="Your vote on 12 requests: Write a note").count() == 1


def test_what_waits_is_found_by_its_records(alice):
    one, two = make_key(name="one"), make_key(name="two")
    request = ask(alice, one)
    with CaptureQueriesContext(connection) as queries:
        found = asking.live([one.ref, two.ref])
    assert len(queries) == 1
    assert {ref: [asked.pk for asked in listed] for ref, listed in found.items()} == {one.ref: [request.pk]}
    assert found[one.ref][0].parameters == {"key": one.pk, "note": "new"}
    assert list(requests.about(one.ref)) == [request]
    approvals.withdraw(pk=request.pk, actor=actor_for(alice), reason="no", now=timezone.now())
    assert asking.live([one.ref]) == {}


# Voting


def test_who_may_not_vote(alice, bob, carol, anna):
    request = ask(anna, make_key(), parameters={"excluded": [bob.pk]})
    for person, words in ((anna, "You asked for this"), (bob, "have a part"), (carol, "not of that role")):
        with pytest.raises(NotVotingError, match=words):
            vote(person, request)
    for actor in (Actor.system("worker"), Actor.system("command:vote", on_behalf_of=alice.ref)):
        with pytest.raises(NotVotingError, match="in their own name"):
            vote(alice, request, actor=actor)
    vote(alice, request)
    with pytest.raises(AlreadyVotedError):
        vote(alice, request)
    another = make_person("another", "Security")
    with pytest.raises(NoStepError, match="waits for DevOps"):
        vote(another, request)
    assert vote(another, request, approves=False, comment="not today").request.state == RequestState.REJECTED


def test_somebody_in_two_roles_fills_one_step_and_leaves_the_other_to_others(alice, bob, anna):
    both = make_person("both", "Security", "DevOps")
    for person in (alice, both):
        give_device(person)
    first = ask(anna, make_key(name="one"))
    assert vote(both, first).role == "DevOps"  # nobody else is of DevOps with a second factor
    assert requests.missing_steps(first) == {"Security": 1}
    with pytest.raises(AlreadyVotedError):
        vote(both, first)
    give_device(bob)
    second = ask(alice, make_key(name="two"))
    assert vote(both, second).role == "Security"  # anna has no second factor, bob can vote for DevOps
    third = ask(anna, make_key(name="three"), operation=TWICE)
    assert requests.unfillable(third) == ()
    assert vote(both, third).role == "Security"  # two of Security are needed: alice and this one


def test_asking_tells_which_step_nobody_could_fill(alice, bob, anna):
    give_device(bob)
    request = ask(anna, make_key(), operation=TWICE)
    assert requests.unfillable(request) == ("Security",)
    give_device(alice)
    assert requests.unfillable(request) == ("Security",)  # two are needed, and who asked is none of them
    give_device(make_person("abel", "Security"))
    assert requests.unfillable(request) == ()


def test_a_wrong_code_is_counted_and_no_vote(alice, anna):
    device, request = give_device(alice), ask(anna, make_key())
    for proof in (Proof(code="000000"), Proof(), Proof(answer="{}", challenge=bytes(request.digest) + b"x" * 32)):
        with pytest.raises(ProofRefusedError):
            vote(alice, request, proof=proof)
    device.refresh_from_db()
    assert device.throttling_failure_count == 1  # what comes too early is not even looked at
    with pytest.raises(ProofRefusedError):  # right, but too early after wrong ones
        vote(alice, request)
    assert again(request).votes.count() == 0


def test_what_would_be_refused_anyway_spends_no_code(alice, anna):
    device, request = give_device(alice), ask(anna, make_key())
    code = Proof(code=next_code(device))
    with pytest.raises(CommentMissingError):
        approvals.vote(
            pk=request.pk, digest=bytes(request.digest), approves=False, proof=code, actor=actor_for(alice),
            now=timezone.now(),
        )  # fmt: skip
    with pytest.raises(KeyMaterialError):
        vote(alice, request, comment="-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA", proof=code)
    assert vote(alice, request, proof=code).verified_by == device.ref


def test_rejecting_closes_and_says_why(alice, anna):
    request = ask(anna, make_key())
    vote(alice, request, approves=False, comment="the note is right as it is")
    closed = again(request)
    assert (closed.state, closed.closed_because) == ("rejected", "Rejected: the note is right as it is")
    with pytest.raises(ClosedRequestError, match="is rejected"):
        vote(alice, request)
    letter = Digest.objects.get(recipient=anna.email)
    assert "The reason: the note is right as it is" in letter.text


def test_one_code_for_a_list_all_or_none(alice, bob, anna):
    give_device(alice)
    listed = [ask(anna, make_key(name=f"key-{number}")) for number in range(3)]
    ballots = [Ballot(request.pk, bytes(request.digest)) for request in reversed(listed)]
    assert batch_digest(ballots) == batch_digest(ballots[::-1]) != batch_digest(ballots[:2])
    assert batch_digest(ballots[:1]) == ballots[0].digest

    def vote_all(ballots, person=alice):
        return approvals.vote_all(
            ballots=ballots, approves=True, proof=proof_of(person), actor=actor_for(person), now=timezone.now()
        )

    with pytest.raises(RotationError):
        vote_all([*ballots[:2], Ballot(listed[0].pk, b"x" * 32)])
    assert not any(request.votes.exists() for request in listed)
    for wrong in ([], [ballots[0]] * 2, [Ballot(number, b"") for number in range(101)]):
        with pytest.raises(TooManyBallotsError):
            vote_all(wrong)
    assert len(vote_all(ballots)) == 3
    assert [put.request.state for put in vote_all(ballots, bob)] == ["approved"] * 3
    assert Digest.objects.filter(subject="3 of your requests: each was approved", recipient=anna.email).count() == 1


def test_lists_of_an_inbox(alice, bob, anna):
    request = ask(anna, make_key())
    assert list(requests.waiting_for(alice.pk, ["Security"])) == [request]
    assert list(requests.waiting_for(anna.pk, ["Security"])) == []
    assert list(requests.waiting_for(alice.pk, ["Engineering"])) == []
    vote(alice, request)
    assert list(requests.waiting_for(alice.pk, ["Security", "DevOps"])) == []
    assert list(requests.waiting_for(bob.pk, ["DevOps"])) == [request]
    assert list(requests.asked_by(anna.pk)) == [request]
    assert list(requests.decided()) == []
    vote(bob, request, approves=False)
    assert list(requests.decided()) == [request]
    assert list(requests.waiting_for(bob.pk, ["DevOps"])) == []


# Ending


def test_only_who_asked_takes_it_back(alice, approved, anna, as_role):
    with pytest.raises(NotRequesterError):
        approvals.withdraw(pk=approved.pk, actor=actor_for(alice), reason="x", now=timezone.now())
    done = approvals.withdraw(pk=approved.pk, actor=actor_for(anna), reason="changed my mind", now=timezone.now())
    assert (done.state, done.closed_because) == ("withdrawn", "Withdrawn: changed my mind")
    with as_role("worker"):
        assert carry_out(approved).state == RequestState.WITHDRAWN
    with pytest.raises(ClosedRequestError):
        approvals.withdraw(pk=approved.pk, actor=actor_for(anna), reason="x", now=timezone.now())


def test_what_nobody_decides_expires_and_what_is_not_begun_in_time_too(as_role, approved, anna):
    waiting = ask(anna, make_key(name="another"))
    at = max(waiting.expires_at, approved.expires_at)
    with as_role("worker"):
        assert approvals.expire_due(actor=WORKER, now=at - timedelta(hours=1)) == 0
        assert carry_out(approved, now=at).state == RequestState.EXPIRED
        assert [approvals.expire_due(actor=WORKER, now=at) for _ in range(2)] == [1, 0]
    assert "nobody could begin" in again(approved).closed_because
    assert "Nobody had decided" in again(waiting).closed_because
    seal()
    assert len(events_of("request.expired")) == 2


def failing(error):
    def execute(payload, permit, actor, now):
        raise error

    return operation("test.failing", execute=execute)


@pytest.mark.parametrize("error", [InventoryError("No, not now."), OwnRuleError("No, not now.")])
def test_a_rule_that_says_no_is_a_failure_that_may_be_tried_again(as_role, alice, bob, carol, anna, error):
    key = make_key()
    with declared(failing(error)):
        request = ask(anna, key, operation="test.failing")
        vote(alice, request)
        vote(bob, request)
        with as_role("worker"):
            failed = carry_out(request)
            assert (failed.state, failed.closed_because) == ("failed", "No, not now.")
            assert carry_out(request).state == RequestState.FAILED  # by itself it is not tried again
        with pytest.raises(NotRetryingError):
            approvals.retry(pk=request.pk, actor=actor_for(carol), reason="x", now=timezone.now())
        assert approvals.retry(pk=request.pk, actor=actor_for(bob), reason="x", now=timezone.now()).state == "approved"
        with as_role("worker"):
            assert carry_out(request).state == RequestState.FAILED
        approvals.withdraw(pk=request.pk, actor=actor_for(anna), reason="x", now=timezone.now())
    key.refresh_from_db()
    assert key.notes == ""
    seal()
    assert [event.said.reason for event in events_of("request.failed")] == ["No, not now."] * 2


def test_trouble_with_the_database_is_tried_again_later_and_then_failed(as_role, alice, bob, anna):
    with declared(failing(OperationalError("deadlock detected"))), as_role("worker"):
        with as_role("web"):
            request = ask(anna, make_key(), operation="test.failing")
            vote(alice, request)
            vote(bob, request)
        now, waits = timezone.now(), []
        for _attempt in range(5):
            done = carry_out(request, now=now)
            assert carry_out(request, now=now).attempts == done.attempts  # not before its time
            if done.next_attempt_at:
                waits.append((done.next_attempt_at - now).seconds // 60)
                now = done.next_attempt_at
        assert (done.state, waits) == ("failed", [1, 2, 4, 8])
        assert "5 times" in done.closed_because


def test_a_command_carries_out_what_the_worker_must_not(as_role, alice, bob, anna, approved):
    request = ask(anna, make_key(name="another"), operation=AT_MACHINE)
    vote(alice, request)
    vote(bob, request)
    command = Actor.system("command:test")
    with as_role("worker"):
        approvals.carry_out_due(actor=WORKER, now=timezone.now())
        assert (again(request).state, again(approved).state) == ("approved", "executed")
        with pytest.raises(NotHereError, match="--request"):
            carry_out(request)
        tasks.carry_out_request(request.pk)  # whoever was nudged leaves it alone
        assert again(request).state == "approved"
        with pytest.raises(NotHereError):
            carry_out(approved, actor=command)
    with as_role("command"):
        assert carry_out(request, actor=command).state == RequestState.EXECUTED
    seal()
    said = events_of("request.executed")[-1].said
    assert (said.actor_id, said.on_behalf_of) == ("command:test", anna.ref)


# Emergencies


def test_breaking_the_glass_is_one_person_and_one_hour(alice, carol):
    key, now = make_key(owner=make_owner("carol", carol.email, user_id=carol.pk)), timezone.now()
    with pytest.raises(NoBreakGlassError, match="always waits"):
        ask(alice, key, is_break_glass=True)
    with declared(operation("key.revoke", breaks_glass=True)):  # the database knows which may
        for nobody in (carol, Actor.system("command:test"), Actor.system("worker", on_behalf_of=alice.ref)):
            with pytest.raises(NoBreakGlassError, match="in their own name"):
                ask(nobody, key, operation="key.revoke", is_break_glass=True)
        with transaction.atomic():
            request = ask(alice, key, operation="key.revoke", is_break_glass=True, now=now)
            assert (request.state, request.expires_at - now) == ("approved", timedelta(hours=1))
            transaction.set_rollback(True)  # by itself it does not stand: rotation.at_once leaves a duty with it


def test_the_clock_is_set_back_an_hour(as_role, approved):
    with as_role("worker"):
        assert carry_out(approved, now=later(hours=-1)).state == RequestState.EXECUTED
