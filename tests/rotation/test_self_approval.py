"""APP-01: nobody approves what they asked for. Six ways of asking, ten of approving it oneself: all 60 are refused.

And the ways round it: a second account, both steps by one person, a step that is somebody else's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.actor import Actor
from inventory import asking, services
from inventory.models import Key
from keyvault_admin.access.errors import NameRefusedError, PersonExistsError
from keyvault_admin.access.services import register_person
from rotation import approvals
from rotation.approvals import Ballot
from rotation.errors import AlreadyVotedError, NotVotingError, OwnRequestError
from rotation.models import Request, RequestState, Vote
from tests.conftest import make_person
from tests.inventory.world import NOW, make_key, make_owner
from tests.people import give_device
from tests.rotation.approval_world import NOTE, actor_for, again, ask, carry_out, declared, proof_of, vote

pytestmark = pytest.mark.django_db
REFUSALS = (NotVotingError, DatabaseError)


@pytest.fixture(autouse=True)
def _operations():
    with declared():
        yield


@contextmanager
def undone() -> Iterator[None]:
    """Undo what a variant did; a durable block inside is as legal as in the test itself."""
    block = transaction.atomic()
    block._from_testcase = True
    with block:
        yield
        transaction.set_rollback(True)


# Six ways of asking; each gives a request that is hers


def _in_person(anna, key):
    return ask(anna, key)


def _by_a_command(anna, key):
    return ask(Actor.system("command:note", on_behalf_of=anna.ref), key)


def _by_the_worker(anna, key):
    return ask(Actor.system("worker", on_behalf_of=anna.ref), key)


def _as_owner(anna, key):
    owner = make_owner("anna", anna.email, user_id=anna.pk)
    Key.objects.filter(pk=key.pk).update(owner=owner)
    return ask(anna, key)


def _in_a_list(anna, key):
    return approvals.ask_all(
        NOTE, [{"key": key.pk, "note": "n"}], actor=actor_for(anna), reason="x", now=timezone.now()
    )[0]


def _from_below(anna, key):
    asked = asking.ask(NOTE, {"key": key.pk, "note": "n"}, actor=actor_for(anna), reason="x", now=timezone.now())
    return Request.objects.get(pk=asked.pk)


# Ten ways of approving it oneself


def _votes(anna, request, as_role):
    vote(anna, request)


def _votes_in_a_list(anna, request, as_role):
    other = ask(make_person("other", "Security"), make_key(name="other"))
    approvals.vote_all(
        ballots=[Ballot(one.pk, bytes(one.digest)) for one in (request, other)],
        approves=True, proof=proof_of(anna), actor=actor_for(anna), now=timezone.now(),
    )  # fmt: skip


def _rejects(anna, request, as_role):
    vote(anna, request, approves=False)


def _as_superuser(anna, request, as_role):
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("UPDATE access_user SET is_superuser = true WHERE id = %s", [anna.pk])
    vote(anna, request)


def _in_a_second_role(anna, request, as_role):
    with as_role("command"):
        anna.groups.add(Group.objects.get(name="DevOps"))
    vote(anna, request)


def _on_behalf_of_another(anna, request, as_role):
    bob = make_person("bobby", "DevOps")
    vote(anna, request, actor=replace(actor_for(anna), on_behalf_of=bob.ref, role="DevOps"))


def _by_a_second_device(anna, request, as_role):
    give_device(anna), give_device(anna)
    vote(anna, request)


def _after_giving_the_key_away(anna, request, as_role):
    key = request.key
    bob = make_person("bobby", "DevOps")
    owner = make_owner("bobby", bob.email, user_id=bob.pk)
    services.edit_key(
        pk=key.pk, changes={"owner": owner}, expected_revision=key.revision, actor=actor_for(bob), reason="x", now=NOW
    )
    vote(anna, request)


def _by_hand(anna, request, as_role):
    with transaction.atomic():
        Vote.objects.create(
            request=request, person=anna, role="Security", is_approval=True, digest=request.digest,
            verified_by=give_device(anna).ref, voted_at=timezone.now(),
        )  # fmt: skip


def _without_any_vote(anna, request, as_role):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE rotation_request SET state = 'approved', approved_at = now() WHERE id = %s", [request.pk]
        )


ASKING = (_in_person, _by_a_command, _by_the_worker, _as_owner, _in_a_list, _from_below)
APPROVING = (
    _votes, _votes_in_a_list, _rejects, _as_superuser, _in_a_second_role, _on_behalf_of_another, _by_a_second_device,
    _after_giving_the_key_away, _by_hand, _without_any_vote,
)  # fmt: skip


def test_sixty_ways_of_approving_what_one_has_asked_for(as_role):
    tried = 0
    anna = make_person("anna", "Security")
    give_device(anna)
    for asks in ASKING:
        with undone():
            request = asks(anna, make_key())
            assert request.requested_by_ref == anna.ref, asks.__name__
            for approves in APPROVING:
                with undone():
                    _is_refused(anna, again(request), approves, as_role)
                    tried += 1
    assert tried == 60


def _is_refused(anna, request, approves, as_role):
    with pytest.raises(REFUSALS) as refused:
        approves(anna, request, as_role)
    if isinstance(refused.value, NotVotingError):
        assert isinstance(refused.value, OwnRequestError), approves.__name__
    found = again(request)
    assert (found.state, found.votes.count()) == ("open", 0), approves.__name__
    with as_role("worker"):
        assert carry_out(found).state == RequestState.OPEN
    assert Key.objects.get(pk=request.key_id).notes == ""


def test_nobody_has_a_second_account_under_the_same_address(as_role):
    anna = make_person("anna", "Security")
    fullwidth = anna.email.replace("anna", "\uff41\uff4e\uff4e\uff41")  # NFKC makes the same letters of it
    for mail in (anna.email, anna.email.upper(), f" {anna.email} ", fullwidth):
        with pytest.raises((PersonExistsError, NameRefusedError)):
            register_person(
                username="annas-other", mail=mail, full_name="", actor=Actor.system("test"), now=timezone.now()
            )
    with as_role("command"), pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO access_user (username, email, full_name, password, is_active, date_joined) "
            "VALUES ('annas-other', %s, '', '', true, now())",
            [anna.email.upper()],
        )


def test_one_person_never_fills_two_steps(as_role):
    anna, both = make_person("anna", "Security"), make_person("both", "Security", "DevOps")
    request = ask(anna, make_key())
    first = vote(both, request)
    with pytest.raises(AlreadyVotedError):
        vote(both, request)
    other = {"Security", "DevOps"} - {first.role}
    with pytest.raises(DatabaseError), transaction.atomic():
        Vote.objects.create(
            request=request, person=both, role=other.pop(), is_approval=True, digest=request.digest,
            verified_by=first.verified_by, voted_at=timezone.now(),
        )  # fmt: skip
    with pytest.raises(DatabaseError), transaction.atomic():
        Vote.objects.filter(pk=first.pk).update(voided_at=timezone.now(), voided_because="again")  # web may not
    assert again(request).state == RequestState.OPEN


def test_the_database_refuses_votes_that_are_not_theirs(alice, carol):
    anna = make_person("anna", "Security")
    request = ask(anna, make_key(), parameters={"excluded": [alice.pk]})
    device, hers = give_device(alice), give_device(carol)
    cases = {
        "excluded": (alice, "Security", device.ref, request.digest),
        "no role": (carol, "Security", hers.ref, request.digest),
        "no step": (carol, "Engineering", hers.ref, request.digest),
        "somebody else's device": (make_person("abel", "Security"), "Security", device.ref, request.digest),
        "no device": (make_person("adam", "Security"), "Security", "", request.digest),
        "another digest": (make_person("ada", "Security"), "Security", "totp:1", bytes(32)),
    }
    for name, (person, role, verified_by, digest) in cases.items():
        with pytest.raises(DatabaseError), transaction.atomic():
            Vote.objects.create(
                request=request, person=person, role=role, is_approval=True, digest=digest, verified_by=verified_by,
                voted_at=timezone.now(),
            )  # fmt: skip
        assert not request.votes.exists(), name
