"""APP-03 to 05: what was asked is changed, who voted has changed, or something is shown a second time.

Whoever changes rows by hand here is the owner of the database, unless it says "web": triggers and constraints refuse
what they can, the execution refuses the rest.
"""

from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit import canonical
from inventory import services
from inventory.models import Key
from keyvault_admin.access import services as people
from keyvault_admin.access.models import Passkey
from rotation import approvals, requests
from rotation.approvals import Proof, batch_digest
from rotation.errors import (
    AlreadyVotedError,
    ClosedRequestError,
    ExpiredRequestError,
    OwnRequestError,
    ProofRefusedError,
    RotationError,
    StaleVoteError,
)
from rotation.models import RequestState, RequestTarget, Vote
from rotation.operations.base import DEVOPS, SECURITY, Step
from tests.authenticator import Authenticator, b64
from tests.conftest import make_person
from tests.inventory.world import ACTOR, NOW, events_of, make_key, seal
from tests.people import give_device, next_code
from tests.rotation.approval_world import (
    NOTE,
    actor_for,
    again,
    ask,
    carry_out,
    declared,
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


@contextmanager
def undone():
    block = transaction.atomic()
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True)


def sql(text, *values):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(text, values)


def bytes_of(request, **changes):
    """Return the payload with something else in it, and its digest."""
    said = canonical.read(bytes(request.payload)) | changes
    raw = canonical.canonical(said)
    return raw, sha256(raw).digest()


# Twelve ways of changing what is executed: who does it, and how


def _key_by_service(request):
    key = request.key
    services.edit_key(
        pk=key.pk, changes={"purpose": "else"}, expected_revision=key.revision, actor=ACTOR, reason="x", now=NOW
    )


def _key_by_hand(request):
    sql("UPDATE inventory_key SET revision = revision + 1 WHERE id = %s", request.key_id)


def _payload_by_web(request):
    raw, digest = bytes_of(request, parameters={"key": request.key_id, "note": "bent"})
    sql("UPDATE rotation_request SET payload = %s, digest = %s WHERE id = %s", raw, digest, request.pk)


def _payload_alone(request):
    raw, _ = bytes_of(request, parameters={"key": request.key_id, "note": "bent"})
    sql("UPDATE rotation_request SET payload = %s WHERE id = %s", raw, request.pk)


def _payload_and_digest(request):
    raw, digest = bytes_of(request, parameters={"key": request.key_id, "note": "bent"})
    sql("UPDATE rotation_request SET payload = %s, digest = %s WHERE id = %s", raw, digest, request.pk)


def _fewer_steps(request):
    raw, digest = bytes_of(request, steps=[{"role": "DevOps", "count": 1}])
    sql("UPDATE rotation_request SET payload = %s, digest = %s WHERE id = %s", raw, digest, request.pk)
    seal()  # what waits for the commit would stand in the way
    sql("ALTER TABLE rotation_vote DISABLE TRIGGER USER")
    sql("UPDATE rotation_vote SET digest = %s WHERE request_id = %s", digest, request.pk)
    seal()
    sql("ALTER TABLE rotation_vote ENABLE TRIGGER USER")


def _reason(request):
    sql("UPDATE rotation_request SET reason = 'bent' WHERE id = %s", request.pk)


def _requester(request):
    sql("UPDATE rotation_request SET requested_by_id = NULL, requested_by_ref = 'command:x' WHERE id = %s", request.pk)


def _expiry(request):
    sql("UPDATE rotation_request SET expires_at = expires_at + interval '1 day' WHERE id = %s", request.pk)


def _records_by_web(request):
    RequestTarget.objects.create(request=request, ref=make_key(name=f"another-{request.pk}").ref)


def _operation(request):
    sql("UPDATE rotation_request SET operation = 'test.one_vote' WHERE id = %s", request.pk)


def _break_glass(request):
    sql("UPDATE rotation_request SET is_break_glass = true WHERE id = %s", request.pk)


# The change, who makes it, and what the log says of the request afterwards ("" where the database refuses the change).
MUTATIONS = (
    (_key_by_service, "web", "changed after it was asked"),
    (_key_by_hand, "migrator", "changed after it was asked"),
    (_payload_by_web, "web", ""),
    (_payload_alone, "migrator", ""),
    (_payload_and_digest, "migrator", "votes are on another digest"),
    (_fewer_steps, "migrator", "needs more votes"),
    (_reason, "migrator", "reason differ from the payload"),
    (_requester, "migrator", "who asked differ from the payload"),
    (_expiry, "migrator", "expiry differ from the payload"),
    (_records_by_web, "web", "records differ from the payload"),
    (_operation, "migrator", "operation differ from the payload"),
    (_break_glass, "migrator", ""),
)


def test_twelve_changes_of_what_is_executed_before_and_after_the_votes(as_role, alice, bob, anna):
    tried = 0
    give_device(alice), give_device(bob), give_device(anna)
    for mutate, role, words in MUTATIONS:
        for is_before in (True, False):
            with undone():
                request = ask(anna, make_key())
                if not is_before:
                    vote(alice, request), vote(bob, request)
                with as_role(role):
                    if words:
                        mutate(request)
                    else:
                        with pytest.raises(DatabaseError):
                            mutate(request)
                if is_before:
                    _vote_on_what_was_seen(request, alice, bob)
                _is_not_done(request, mutate, words, as_role, is_before=is_before)
                tried += 1
    assert tried == 24


def _vote_on_what_was_seen(request, *voters):
    for person in voters:
        try:
            vote(person, request, digest=bytes(request.digest))
        except (StaleVoteError, ClosedRequestError):
            return


def _is_not_done(request, mutate, words, as_role, *, is_before):
    with as_role("worker"):
        found = carry_out(request)
    key = Key.objects.get(pk=request.key_id)
    if not words:  # nothing was changed, so it is done as it was asked
        assert (found.state, key.notes) == (RequestState.EXECUTED, "new")
        return
    assert key.notes == "", mutate.__name__
    assert found.state in (RequestState.VOID, RequestState.OPEN), mutate.__name__
    if found.state == RequestState.VOID:
        assert words in found.closed_because, mutate.__name__
        seal()
        assert words in events_of("request.voided")[-1].said.reason
    else:  # another digest than people saw: nobody's vote was taken
        assert is_before
        assert found.votes.count() == 0


def test_who_bends_a_request_cannot_then_vote_on_it(as_role, alice, bob, anna):
    give_device(anna)
    request = ask(anna, make_key())
    with as_role("migrator"):
        _requester(request)
    with pytest.raises(OwnRequestError):
        vote(anna, request)


# Ten changes of an approver's standing


def _role_taken(person):
    person.groups.clear()


def _role_taken_but_superuser(person):
    person.groups.clear()
    sql("UPDATE access_user SET is_superuser = true WHERE id = %s", person.pk)


def _other_role_in_its_place(person):
    person.groups.set(Group.objects.filter(name="Management"))


def _deactivated(person):
    sql("UPDATE access_user SET is_active = false WHERE id = %s", person.pk)


def _ended(person):
    sql("UPDATE access_user SET ends_on = current_date - 2 WHERE id = %s", person.pk)


def _app_removed(person):
    person.totp_devices.get(confirmed=True).remove(timezone.now())


def _app_replaced(person):
    _app_removed(person)
    give_device(person)


def _factors_reset(person):
    gone = "UPDATE access_{} SET confirmed = false, removed_at = now(){} WHERE user_id = %s"
    sql(gone.format("totpdevice", ", sealed_seed = ''"), person.pk)
    sql(gone.format("passkey", ""), person.pk)


def _password_changed(person):
    people.change_password(person=person, password="another long pass phrase", actor=ACTOR, now=timezone.now())


def _passkey_removed(person):
    person.passkeys.get(confirmed=True).remove(timezone.now())


STANDING = (
    (_role_taken, "command", "the role Security is not theirs"),
    (_role_taken_but_superuser, "migrator", "the role Security is not theirs"),
    (_other_role_in_its_place, "command", "the role Security is not theirs"),
    (_deactivated, "command", "the account is deactivated"),
    (_ended, "command", "the account has ended"),
    (_app_removed, "command", "the second factor of the vote is not theirs"),
    (_app_replaced, "command", "the second factor of the vote is not theirs"),
    (_factors_reset, "migrator", "the second factor of the vote is not theirs"),
    (_password_changed, "web", "the password was changed after the vote"),
    (_passkey_removed, "command", "the second factor of the vote is not theirs"),
)


def test_ten_changes_of_who_approved_void_the_vote(as_role, alice, bob, anna):
    for change, role, words in STANDING:
        with undone():
            proof = _by_passkey if change is _passkey_removed else _by_code
            request = ask(anna, make_key())
            vote(alice, request, proof=proof(alice, request))
            assert vote(bob, request).request.state == RequestState.APPROVED
            with as_role(role):
                change(alice)
            with as_role("worker"):
                found = carry_out(request)
            assert (found.state, found.approved_at) == ("open", None), change.__name__
            assert requests.missing_steps(found) == {"Security": 1}
            voided = Vote.objects.get(request=request, person=alice)
            assert voided.voided_because == words, change.__name__
            assert Key.objects.get(pk=request.key_id).notes == ""
            seal()
            (event,) = events_of("request.vote_voided")
            assert (event.said.reason, event.said.facts["person"]) == (words, alice.ref)
            # Somebody else's vote brings it to an end.
            abel = make_person("abel", "Security")
            assert vote(abel, request).request.state == RequestState.APPROVED
            with as_role("worker"):
                assert carry_out(request).state == RequestState.EXECUTED


def test_the_database_alone_refuses_to_execute_on_a_vote_that_does_not_stand(as_role, alice, bob, anna):
    request = ask(anna, make_key())
    vote(alice, request), vote(bob, request)
    with as_role("command"):
        alice.groups.clear()
    for role, words in (("web", "carry requests out"), ("worker", "a vote does not stand"), ("command", "not stand")):
        with as_role(role), pytest.raises(DatabaseError, match=words):
            sql(
                "UPDATE rotation_request SET state = 'executing', leased_until = now(), attempts = 1 WHERE id = %s",
                request.pk,
            )


def _by_code(person, request):
    return proof_of(person)


def _by_passkey(person, request):
    challenge = bytes(request.digest) + b"r" * 32
    return Proof(answer=_authenticator(person).get({"challenge": b64(challenge)}), challenge=challenge)


def _authenticator(person):
    """Give the person a passkey; return what answers for it."""
    give_device(person)  # who has an app too
    authenticator = Authenticator()
    Passkey.objects.create(
        user=person, name="phone", credential_id=authenticator.credential_id, public_key=authenticator._cose_key(),
        user_handle=b"", sign_count=1,
    )  # fmt: skip
    return authenticator


# Eight replays


def test_a_code_votes_once(alice, anna):
    device = give_device(alice)
    one, two = ask(anna, make_key(name="one")), ask(anna, make_key(name="two"))
    code = Proof(code=next_code(device))
    vote(alice, one, proof=code)
    with pytest.raises(ProofRefusedError):
        vote(alice, two, proof=code)


def test_a_passkeys_answer_is_over_one_request_and_good_once(alice, bob, anna):
    one, two = ask(anna, make_key(name="one")), ask(anna, make_key(name="two"))
    authenticator = _authenticator(alice)
    challenge = bytes(one.digest) + b"r" * 32
    proof = Proof(answer=authenticator.get({"challenge": b64(challenge)}), challenge=challenge)
    with pytest.raises(ProofRefusedError):  # asked for one, shown for the other
        vote(alice, two, proof=proof)
    for bent in (bytes(two.digest) + b"r" * 32, b"r" * 32, None):
        with pytest.raises(ProofRefusedError):
            vote(alice, two, proof=Proof(answer=proof.answer, challenge=bent))
    listed = [approvals.Ballot(request.pk, bytes(request.digest)) for request in (one, two)]
    with pytest.raises(ProofRefusedError):  # nor for a list that it stands in
        approvals.vote_all(ballots=listed, approves=True, proof=proof, actor=actor_for(alice), now=timezone.now())
    assert vote(alice, one, proof=proof).verified_by.startswith("passkey:")
    three = ask(anna, make_key(name="three"))
    with pytest.raises(ProofRefusedError):  # its counter has been seen
        vote(alice, three, proof=proof)
    about = batch_digest([approvals.Ballot(r.pk, bytes(r.digest)) for r in (two, three)])
    answer = authenticator.get({"challenge": b64(about + b"r" * 32)})
    votes = approvals.vote_all(
        ballots=[approvals.Ballot(r.pk, bytes(r.digest)) for r in (two, three)],
        approves=True, proof=Proof(answer=answer, challenge=about + b"r" * 32), actor=actor_for(alice),
        now=timezone.now(),
    )  # fmt: skip
    assert len(votes) == 2


def test_the_digest_of_an_older_question_and_the_form_of_an_older_vote(alice, bob, anna):
    key = make_key()
    older = ask(anna, key)
    approvals.withdraw(pk=older.pk, actor=actor_for(anna), reason="wrong note", now=timezone.now())
    newer = ask(anna, key, note="other")
    assert bytes(older.digest) != bytes(newer.digest)
    with pytest.raises(StaleVoteError):
        vote(alice, newer, digest=bytes(older.digest))
    with pytest.raises(ClosedRequestError):
        vote(alice, older)
    vote(alice, newer)
    with pytest.raises(AlreadyVotedError):  # the same form once more
        vote(alice, newer)
    same = ask(anna, make_key(name="b"), note="other")
    assert bytes(same.digest) != bytes(newer.digest)


def test_after_its_time_and_after_a_rejection(as_role, alice, bob, anna):
    request = ask(anna, make_key())
    with pytest.raises(ExpiredRequestError):
        vote(alice, request, now=request.expires_at)
    with pytest.raises(DatabaseError), transaction.atomic():
        Vote.objects.create(
            request=request, person=alice, role="Security", is_approval=True, digest=request.digest,
            verified_by=give_device(alice).ref, voted_at=request.expires_at,
        )  # fmt: skip
    vote(alice, request, approves=False)
    with pytest.raises(ClosedRequestError):
        vote(bob, request)
    for state in ("open", "approved", "executing", "executed", "failed"):
        for role in ("web", "worker", "command"):
            with as_role(role), pytest.raises(DatabaseError):
                sql("UPDATE rotation_request SET state = %s, closed_at = NULL WHERE id = %s", state, request.pk)


def test_what_is_done_is_not_done_again(as_role, alice, bob, anna):
    request = ask(anna, make_key())
    vote(alice, request), vote(bob, request)
    with as_role("worker"):
        carry_out(request)
        assert carry_out(request).attempts == 1
        approvals.carry_out_due(actor=approvals.asking.Actor.system("worker"), now=timezone.now())
    with pytest.raises(ClosedRequestError):
        approvals.retry(pk=request.pk, actor=actor_for(anna), reason="again", now=timezone.now())
    for role in ("web", "worker", "command"):
        with as_role(role), pytest.raises(DatabaseError):
            sql("UPDATE rotation_request SET state = 'approved', closed_at = NULL WHERE id = %s", request.pk)
    assert Key.objects.get(pk=request.key_id).revision == 2


def test_a_failed_request_is_not_tried_again_after_its_time(as_role, alice, bob, anna):
    def execute(payload, permit, actor, now):
        raise RotationError("No.")

    with declared(operation(NOTE, execute=execute)):
        request = ask(anna, make_key())
        vote(alice, request), vote(bob, request)
        with as_role("worker"):
            assert carry_out(request).state == RequestState.FAILED
        with pytest.raises(ExpiredRequestError):
            approvals.retry(pk=request.pk, actor=actor_for(anna), reason="again", now=request.expires_at)


def test_a_rule_that_is_lowered_or_raised_afterwards(as_role, alice, bob, anna):
    lowered, raised = ask(anna, make_key(name="lowered")), ask(anna, make_key(name="raised"))
    with declared(operation(NOTE, steps=(Step(DEVOPS),))):
        assert vote(bob, lowered).request.state == RequestState.OPEN  # what was asked of two is theirs
        with as_role("web"), pytest.raises(DatabaseError, match="votes are missing"):
            sql("UPDATE rotation_request SET state = 'approved', approved_at = now() WHERE id = %s", lowered.pk)
        with as_role("worker"):
            assert carry_out(lowered).state == RequestState.OPEN
    vote(alice, raised), vote(bob, raised)
    with declared(operation(NOTE, steps=(Step(SECURITY, 2), Step(DEVOPS)))), as_role("worker"):
        found = carry_out(raised)
    assert (found.state, found.closed_because) == (
        "void", "Write a note needs more votes than this request asks for. Ask anew.",
    )  # fmt: skip


def test_a_request_whose_operation_is_gone_is_closed(as_role, alice, bob, anna):
    with declared(operation("test.gone")):
        request = ask(anna, make_key(), operation="test.gone")
        vote(alice, request), vote(bob, request)
    with as_role("worker"):
        approvals.carry_out_due(actor=ACTOR.system("worker"), now=timezone.now() + timedelta(minutes=1))
    assert again(request).state == RequestState.VOID
