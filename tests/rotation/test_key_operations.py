"""Revoking, destroying, re-activating and dates, from the question to the event: what is shown is what is done."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.actions import Action
from audit.models import Event
from audit.selectors import read
from inventory import services
from inventory.errors import InventoryError
from inventory.guarded.suspending import suspend_key
from inventory.models import Key, Tenant
from inventory.services import Relations
from inventory.states import State
from rotation import approvals
from rotation.errors import NoSuchKeyError, NotAskingError, RotationError, WrongParametersError
from rotation.models import RequestState
from rotation.operations import operation_of
from rotation.operations.affected import MOST_KEYS
from rotation.operations.payloads import read_payload
from tests.approving import as_worker, carried_through
from tests.conftest import make_person
from tests.inventory.world import ACTOR, NOW, events_of, make_key, make_owner, seal
from tests.rotation.approval_world import WORKER, actor_for, vote

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
HOW = {"actor": ACTOR, "reason": "test", "now": NOW}
DESTRUCTION = {"destroyed_on": "2026-11-20", "method": "purged from the vault", "evidence": "seen by ann and bea"}


@pytest.fixture
def people(alice, bob):
    return {"asker": alice, "by": (make_person("anna", "Security"), bob)}


def ask(person, operation, **parameters):
    return approvals.ask(operation=operation, parameters=parameters, actor=actor_for(person), reason="why", now=NOW)


def described(request):
    return operation_of(request.operation).describe(read_payload(bytes(request.payload)))


def lines(request):
    return {line.label: line.text for line in described(request).lines}


def service(name):
    return services.register_service(name=name, actor=ACTOR, now=NOW)


# What is shown


def test_a_request_says_what_happens_to_which_key_and_whom_it_affects(alice):
    used_by = {service(f"s{number:02}").pk: True for number in range(25)}
    kek = make_key(
        name="kek", kind="kek", owner=make_owner("carol"), tenant=Tenant.objects.create(name="acme"),
        service=service("vault"), relations=Relations(consumers=used_by),
    )  # fmt: skip
    under = Relations(parents=frozenset({(kek.pk, "wrapped_by")}))
    make_key(name="dek", kind="dek", secret_name="smtp", relations=under)
    request = ask(alice, "key.revoke", key=kek.pk, reason_code="cessation_of_operation")
    shown = described(request)
    text = " ".join(shown.sentences)
    assert shown.title == request.title == "Revoke kek"
    assert "The key-encrypting key kek, version 1, becomes Deactivated with reason cessation of operation." in text
    assert "It is late, and counts as late no more." in text
    assert "25 services use it and must do without: s00, s01" in text
    assert "s19 and 5 more." in text
    assert "1 key is wrapped by it, and stays so until wrapped by another: dek." in text
    said = lines(request)
    assert said["State"] == "Active, becomes Deactivated"
    assert (said["Owner"], said["Service"], said["Tenant"]) == ("carol", "vault", "acme")
    assert (said["Environment"], said["To be rotated by"]) == ("production", "11 October 2026")
    assert said["Wraps"] == "dek"


@pytest.mark.parametrize(("until", "is_said"), [(NOW + DAY, False), (NOW, True), (None, True)])
def test_what_is_accepted_is_not_late(alice, until, is_said):
    """As wherever keys are counted: past its date, and an exception holds."""
    key = make_key()
    Key.objects.filter(pk=key.pk).update(accepted_until=until)
    request = ask(alice, "key.revoke", key=key.pk, reason_code="superseded")
    assert ("It is late" in " ".join(described(request).sentences)) == is_said


def test_names_of_owners_are_no_part_of_what_never_changes(alice):
    owner = make_owner("carol")
    request = ask(alice, "key.revoke", key=make_key(owner=owner).pk, reason_code="superseded")
    assert b"carol" not in bytes(request.payload)
    services.edit_owner(pk=owner.pk, changes={"handle": "crew"}, expected_revision=1, **HOW)
    assert lines(request)["Owner"] == "crew"


def test_a_destruction_says_how_it_was_done_and_what_it_does_not_reach(alice):
    key = make_key(kind="dek", secret_name="smtp", state=State.COMPROMISED)
    request = ask(alice, "key.destroy", key=key.pk, **DESTRUCTION)
    text = " ".join(described(request).sentences)
    assert "can never be opened again. It is late, and counts as late no more." in text
    assert "What this does not reach: Copies of the key in backups" in text
    assert "write-ahead log" in text
    said = lines(request)
    assert (said["Destroyed on"], said["How"]) == ("20 November 2026", "purged from the vault")
    assert said["Witness or evidence"] == "seen by ann and bea"


def test_a_reactivation_says_when_and_why_it_was_suspended(alice, bob):
    key = make_key()
    suspend_key(pk=key.pk, actor=actor_for(bob), reason="ticket 7", now=NOW - DAY)
    seal()
    request = ask(alice, "key.reactivate", key=key.pk)
    said = lines(request)
    assert (said["Suspended"], said["Suspended because"]) == ("20 November 2026, 09:00 UTC", "ticket 7")
    assert "Whoever suspended it has no vote on this." in described(request).sentences


def test_dates_are_shown_before_and_after(bob):
    key = make_key(protect_until=NOW + 5 * DAY)
    wished = {"protect_until": None, "process_until": None}
    with pytest.raises(InventoryError, match="has already"):
        ask(bob, "key.dates", key=key.pk, dates={"process_until": None})
    request = ask(bob, "key.dates", key=key.pk, dates=wished)
    (line,) = [line for line in described(request).lines if line.label == "Protects until"]
    assert (line.before, line.text) == ("26 November 2026, 09:00 UTC", "no date")
    assert "It is not deactivated by itself any more" in described(request).sentences[0]
    assert "Opens what it protected until" not in lines(request)  # that does not change


# What is done


def test_each_operation_does_what_it_said(people, bob):
    """Asked, approved by two people, carried out by the worker; the events name the request and who approved it."""
    cases = [
        ("key.revoke", {"reason_code": "ca_compromise"}, State.ACTIVE, State.COMPROMISED, Action.KEY_COMPROMISED),
        ("key.revoke", {"reason_code": "superseded"}, State.SUSPENDED, State.DEACTIVATED, Action.KEY_DEACTIVATED),
        ("key.reactivate", {}, State.SUSPENDED, State.ACTIVE, Action.KEY_REACTIVATED),
        ("key.destroy", DESTRUCTION, State.DEACTIVATED, State.DESTROYED, Action.KEY_DESTROYED),
    ]
    for number, (operation, parameters, source, target, action) in enumerate(cases):
        key = make_key(name=f"key {number}", state=source)
        request = carried_through(operation, {"key": key.pk, **parameters}, **people, now=NOW)
        assert request.state == RequestState.EXECUTED, request.closed_because
        assert Key.objects.get(pk=key.pk).state == target
        seal()
        event = events_of(action)[-1].said
        assert event.facts["request"] == request.ref
        assert event.facts["asked_by"] == event.on_behalf_of == people["asker"].ref
        assert event.facts["approved_by"] == [person.ref for person in people["by"]]
        assert event.reason == "because"


def test_dates_take_one_vote_of_security(alice, bob):
    key = make_key()
    dates = {"protect_until": "2026-12-01T00:00:00.000000Z"}
    request = carried_through("key.dates", {"key": key.pk, "dates": dates}, asker=bob, by=(alice,), now=NOW)
    assert request.state == RequestState.EXECUTED
    assert Key.objects.get(pk=key.pk).protect_until.isoformat() == "2026-12-01T00:00:00+00:00"


def test_an_owner_asks_for_what_is_theirs(alice, bob, carol, erin):
    owner = make_owner("carol")
    owner = services.edit_owner(pk=owner.pk, changes={"user_id": carol.pk}, expected_revision=1, **HOW)
    key, other = make_key(owner=owner), make_key(name="other")
    both = {"keys": [key.pk, other.pk], "reason_code": "superseded"}
    for asker, operation, parameters in (
        (carol, "key.revoke", {"key": other.pk, "reason_code": "superseded"}),
        (carol, "key.revoke", both),
        (carol, "key.destroy", {"key": key.pk, **DESTRUCTION}),
        (erin, "key.revoke", {"key": key.pk, "reason_code": "superseded"}),
        (alice, "key.dates", {"key": key.pk, "dates": {"protect_until": "2026-12-01T00:00:00.000000Z"}}),
    ):
        with pytest.raises(NotAskingError):
            ask(asker, operation, **parameters)
    revoke = {"key": key.pk, "reason_code": "superseded"}
    done = carried_through("key.revoke", revoke, asker=carol, by=(alice, bob), now=NOW)
    assert done.state == RequestState.EXECUTED


def test_the_glass_is_broken_for_revoking_alone(alice):
    """How it is broken, and what duty it leaves, is told in test_at_once."""
    key = make_key()
    how = {"actor": actor_for(alice), "reason": "it is on a public page", "now": NOW, "is_break_glass": True}
    with pytest.raises(RotationError, match="always waits for its votes"):
        approvals.ask(operation="key.destroy", parameters={"key": key.pk, **DESTRUCTION}, **how)
    codes = ("key.revoke", "key.destroy", "key.reactivate", "key.dates")
    assert [code for code in codes if operation_of(code).breaks_glass] == ["key.revoke"]


# Several keys in one request


def test_many_keys_are_revoked_by_one_request(people):
    states = [State.ACTIVE, State.ACTIVE, State.SUSPENDED]
    keys = [make_key(name=f"key {number}", state=state) for number, state in enumerate(states)]
    parameters = {"keys": [key.pk for key in reversed(keys)], "reason_code": "key_compromise"}
    request = carried_through("key.revoke", parameters, **people, now=NOW)
    assert request.title == "Revoke 3 keys"
    shown = described(request)
    assert shown.sentences[0].startswith("3 keys become Compromised with reason key compromise. Each can no longer")
    assert [line.label for line in shown.lines] == ["key 0", "key 1", "key 2", "Reason for revoking"]
    assert set(Key.objects.values_list("state", flat=True)) == {"compromised"}
    seal()
    assert Event.objects.filter(action=Action.KEY_COMPROMISED).count() == 3


def test_one_key_that_changed_voids_all_of_it(people):
    one, two = make_key(name="one"), make_key(name="two")
    request = ask(people["asker"], "key.revoke", keys=[one.pk, two.pk], reason_code="superseded")
    services.edit_key(pk=two.pk, changes={"notes": "n"}, expected_revision=1, **HOW)
    for person in people["by"]:
        vote(person, request, now=NOW)
    with as_worker():
        ended = approvals.carry_out(pk=request.pk, actor=WORKER, now=NOW)
    assert ended.state == RequestState.VOID
    assert set(Key.objects.values_list("state", flat=True)) == {"active"}
    seal()
    assert not read(Event.objects.filter(action=Action.KEY_DEACTIVATED))


def test_many_keys_are_drafted_in_as_many_queries_as_one():
    keys = [make_key(name=f"key {number}").pk for number in range(12)]
    draft = operation_of("key.revoke").draft
    with CaptureQueriesContext(connection) as asked:
        found = draft({"keys": keys, "reason_code": "superseded"}, now=NOW, hold=False)
    assert len(found.targets) == 12
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({}, NoSuchKeyError),
        ({"key": 10**9}, NoSuchKeyError),
        ({"key": "1"}, NoSuchKeyError),
        ({"key": True}, NoSuchKeyError),
        ({"keys": []}, NoSuchKeyError),
        ({"keys": "1"}, NoSuchKeyError),
        ({"keys": [1, 1]}, NoSuchKeyError),
        ({"keys": list(range(1, MOST_KEYS + 2))}, NoSuchKeyError),
        ({"key": 1, "reason_code": "weather"}, WrongParametersError),
    ],
)
def test_what_names_no_keys_or_no_reason_is_refused(parameters, error):
    with pytest.raises(error):
        operation_of("key.revoke").draft({"reason_code": "superseded"} | parameters, now=NOW, hold=True)


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("key.destroy", DESTRUCTION | {"destroyed_on": "soon"}),
        ("key.destroy", DESTRUCTION | {"method": " "}),
        ("key.destroy", {"destroyed_on": "2026-11-20"}),
        ("key.dates", {"dates": {}}),
        ("key.dates", {"dates": {"rotate_by": None}}),
        ("key.dates", {"dates": {"protect_until": "tomorrow"}}),
        ("key.dates", {}),
        ("key.reactivate", {"keys": [1]}),
    ],
)
def test_parameters_that_say_too_little_are_refused(operation, parameters):
    key = make_key(state=State.SUSPENDED)
    named = {} if "keys" in parameters else {"key": key.pk}
    with pytest.raises(WrongParametersError):
        operation_of(operation).draft(named | parameters, now=NOW, hold=False)
