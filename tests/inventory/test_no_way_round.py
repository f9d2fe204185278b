"""One person does not reach by free steps what takes several: each way that was thought of, tried.

Most are refused. Where a way leads somewhere, the test says why that is no harm: what is free by the rules stays free,
and nothing is had by it that would have taken votes.
"""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.urls import reverse
from psycopg import errors as pg

from audit.actions import Action
from audit.actor import Actor
from audit.models import Event
from inventory import services
from inventory.errors import InventoryError, SecondPersonError
from inventory.guarded import transitions
from inventory.guarded.suspending import suspend_key
from inventory.models import Key, KeyVersion, PolicyClause
from inventory.permits import Permit
from inventory.services import Relations
from inventory.states import State
from rotation import approvals
from rotation.errors import ExcludedError, NotAskingError, NotVotingError, OwnRequestError
from rotation.models import Request, RequestState, Vote
from rotation.operations import operations
from tests.approving import as_worker, carried_through, executing
from tests.conftest import make_person
from tests.inventory.world import ACTOR, NOW, event_for, facts, make_key, make_owner, seal, set_state
from tests.people import give_device, sign_in
from tests.rotation.approval_world import actor_for, vote

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
REASON = {"reason": "test", "now": NOW}
BY_TIME = Actor.system("worker")


def state_of(key):
    stored = Key.objects.get(pk=key.pk)
    assert stored.state == KeyVersion.objects.get(key=key, number=stored.current_number).state
    return stored.state


def beat(now):
    with as_worker():
        services.apply_due_transitions(actor=BY_TIME, now=now)


def refused(error, act, *arguments, **named):
    with pytest.raises(error), transaction.atomic():
        act(*arguments, **named)


def refused_by_database(act, *arguments, **named):
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        act(*arguments, **named)
    assert isinstance(caught.value.__cause__, pg.InsufficientPrivilege | pg.CheckViolation), caught.value


def run(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


# Time as a helper


def test_suspending_and_waiting_ends_nothing():
    """Suspending is free, and time deactivates suspended keys: at the date of their registration, and at no other."""
    key, endless = make_key(protect_until=NOW + 30 * DAY), make_key(name="endless")
    for one in (key, endless):
        suspend_key(pk=one.pk, actor=ACTOR, **REASON)
    beat(NOW + 29 * DAY)
    assert (state_of(key), state_of(endless)) == (State.SUSPENDED, State.SUSPENDED)
    beat(NOW + 30 * DAY)
    assert (state_of(key), state_of(endless)) == (State.DEACTIVATED, State.SUSPENDED)


def test_an_end_is_not_brought_nearer_by_an_edit_an_import_or_the_database(client, alice):
    key = make_key(protect_until=NOW + 30 * DAY)
    seal()
    for name in ("activates_at", "protect_until", "process_until"):
        asked = {"changes": {name: NOW}, "expected_revision": 1, "actor": ACTOR, **REASON}
        refused(ValueError, services.edit_key, pk=key.pk, **asked)
        refused_by_database(run, f"UPDATE inventory_key SET {name} = now() WHERE id = %s", key.pk)
        refused_by_database(Key.objects.filter(pk=key.pk).update, **{name: NOW})
    content = f"Name,Type,Protects until,Comes into use,Notes\n{key.name},API token,2026-11-22,2026-11-22,x\n"
    services.apply_import(content=content.encode(), file_name="dates.csv", actor=ACTOR, **REASON)
    sign_in(client, alice)
    smuggled = {"protect_until": "2026-11-22T00:00", "protect_until_0": "2026-11-22", "protect_until_1": "00:00"}
    said = {"name": key.name, "kind": key.kind, "environment": "production", "created_on": "2026-01-10"}
    dates = {"last_rotated_on": "2026-07-13", "revision": 2, "reason": "test", "notes": "y"}
    client.post(reverse("admin:inventory_key_edit", args=[key.pk]), said | dates | smuggled)
    stored = Key.objects.get(pk=key.pk)
    assert (stored.notes, stored.protect_until) == ("y", NOW + 30 * DAY)
    beat(NOW + DAY)
    assert state_of(key) == State.ACTIVE


def test_a_date_of_activation_does_not_bring_a_suspended_key_back(alice):
    """It stands on the record for good; the beat looks at keys that were never in use, and T4 is not T10."""
    key = make_key(state=State.PRE_ACTIVATION, activates_at=NOW)
    beat(NOW)
    suspend_key(pk=key.pk, actor=actor_for(alice), **REASON)
    beat(NOW + DAY)
    refused(SecondPersonError, services.activate_key, pk=key.pk, actor=actor_for(alice), **REASON)
    refused_by_database(set_state, key.versions.get(), State.ACTIVE, event_for(key, Action.KEY_ACTIVATED))
    assert state_of(key) == State.SUSPENDED


# Another record, or another version


def test_registering_again_replaces_nothing():
    key = make_key(state=State.SUSPENDED)
    seal()
    refused(Exception, make_key)  # the name is taken
    refused_by_database(set_state, key.versions.get(), State.ACTIVE, event_for(key, Action.KEY_REGISTERED))
    refused_by_database(set_state, key.versions.get(), State.DEACTIVATED, event_for(key, Action.KEY_IMPORTED))
    assert state_of(key) == State.SUSPENDED


def test_a_new_record_under_the_old_name_is_another_record():
    """Renaming is a free edit, and so is registering. The suspended record stays what it is, with its requests and its
    history under its number; the new one has neither, and the log tells of both."""
    key = make_key(state=State.SUSPENDED)
    renamed = {"changes": {"name": "old"}, "expected_revision": 1, "actor": ACTOR}
    services.edit_key(pk=key.pk, **renamed, **REASON)
    other = make_key()
    assert (state_of(key), state_of(other)) == (State.SUSPENDED, State.ACTIVE)
    assert other.pk != key.pk


def test_a_second_data_key_of_the_same_place_is_refused():
    make_key(name="one", kind="dek", secret_name="smtp", state=State.SUSPENDED)
    refused(Exception, make_key, name="two", kind="dek", secret_name="smtp")


def test_a_version_added_by_hand_becomes_current_by_no_free_word():
    key = make_key(state=State.SUSPENDED)
    version = KeyVersion(key=key, number=2, activated_at=NOW)
    version.save()
    refused_by_database(set_state, version, State.ACTIVE, event_for(key, Action.KEY_ROTATED))
    refused_by_database(run, "UPDATE inventory_key SET current_number = 2 WHERE id = %s", key.pk)
    refused_by_database(run, "UPDATE inventory_keyversion SET number = 3 WHERE id = %s", version.pk)
    set_state(version, State.ACTIVE, event_for(key, Action.KEY_ACTIVATED))  # it is nobody's current version
    assert state_of(key) == State.SUSPENDED


def test_an_imported_state_is_not_read():
    states = {state: make_key(name=state.value, state=state) for state in (State.ACTIVE, State.SUSPENDED)}
    rows = [f"{key.name},API token,destroyed,revoked,destroyed,2026-11-20,x" for key in states.values()]
    content = "\n".join(["Name,Type,State,Status,Key state,Destroyed at,Notes", *rows])
    services.apply_import(content=content.encode(), file_name="states.csv", actor=ACTOR, **REASON)
    assert {state: state_of(key) for state, key in states.items()} == {state: state.value for state in states}


@pytest.mark.parametrize("change", [{"kind": "kek"}, {"environment": "test"}, {"is_shared": True}, {"access": "none"}])
def test_no_fact_of_a_key_takes_a_vote_away(change, alice, bob):
    """Facts are edited by one person where nothing becomes less late. Who votes does not depend on any of them."""
    key = make_key()
    before = approvals.ask(operation="key.destroy", parameters=destruction(key), actor=actor_for(alice), **REASON)
    steps = approvals.payload_of(before).steps
    try:
        services.edit_key(pk=key.pk, changes=change, expected_revision=1, actor=ACTOR, **REASON)
    except InventoryError:
        return  # it would have become less late
    after = approvals.ask(operation="key.destroy", parameters=destruction(key), actor=actor_for(bob), **REASON)
    assert approvals.payload_of(after).steps == steps
    assert Request.objects.get(pk=before.pk).state == RequestState.VOID  # it rested on the record as it was


def destruction(key):
    return {"key": key.pk, "destroyed_on": "2026-11-20", "method": "purged", "evidence": "ticket 4"}


# One person in several places


def test_who_makes_themselves_the_owner_asks_and_does_not_decide(bob):
    anna, carol = make_person("anna", "Security"), make_person("carol", "Engineering", "Security")
    give_device(carol)
    key = make_key(protect_until=NOW + 30 * DAY)
    dates = {"key": key.pk, "dates": {"protect_until": "2026-12-01T00:00:00.000000Z"}}
    refused(NotAskingError, approvals.ask, operation="key.dates", parameters=dates, actor=actor_for(carol), **REASON)
    owner = make_owner("carol")
    mine = {"changes": {"user_id": carol.pk}, "expected_revision": 1, "actor": actor_for(carol)}
    owner = services.edit_owner(pk=owner.pk, **mine, **REASON)
    services.edit_key(pk=key.pk, changes={"owner": owner}, expected_revision=1, actor=actor_for(carol), **REASON)
    request = approvals.ask(operation="key.dates", parameters=dates, actor=actor_for(carol), **REASON)
    refused(OwnRequestError, vote, carol, request, now=NOW)
    refused_by_database(insert_vote, request, carol, "Security")
    vote(anna, request, now=NOW)
    with as_worker():
        assert approvals.carry_out(pk=request.pk, actor=BY_TIME, now=NOW).state == RequestState.EXECUTED


def insert_vote(request, person, role):
    device = person.totp_devices.filter(confirmed=True).first() or give_device(person)
    how = {"is_approval": True, "digest": request.digest, "verified_by": device.ref, "voted_at": NOW}
    Vote.objects.create(request=request, person=person, role=role, **how)


def test_who_suspended_a_key_has_no_vote_on_its_return(alice, bob):
    anna, dora = make_person("anna", "Security"), make_person("dora", "DevOps")
    key = make_key()
    suspend_key(pk=key.pk, actor=actor_for(alice), **REASON)
    seal()
    request = approvals.ask(operation="key.reactivate", parameters={"key": key.pk}, actor=actor_for(bob), **REASON)
    assert approvals.payload_of(request).excluded == (alice.ref,)
    refused(ExcludedError, vote, alice, request, now=NOW)
    refused_by_database(insert_vote, request, alice, "Security")
    vote(anna, request, now=NOW)
    vote(dora, request, now=NOW)
    with as_worker():
        assert approvals.carry_out(pk=request.pk, actor=BY_TIME, now=NOW).state == RequestState.EXECUTED
    assert state_of(key) == State.ACTIVE


def test_suspending_by_a_helper_excludes_whoever_wished_it(alice):
    key = make_key()
    suspend_key(pk=key.pk, actor=Actor.system("worker", on_behalf_of=alice.ref), **REASON)
    seal()
    asked = {"operation": "key.reactivate", "parameters": {"key": key.pk}, "actor": actor_for(alice)}
    assert approvals.payload_of(approvals.ask(**asked, **REASON)).excluded == (alice.ref,)


def test_registering_as_suspended_excludes_whoever_did(alice, bob):
    key = services.register_key(facts=facts(), state=State.SUSPENDED, actor=actor_for(alice), **REASON)
    seal()
    asked = {"operation": "key.reactivate", "parameters": {"key": key.pk}, "actor": actor_for(bob)}
    assert approvals.payload_of(approvals.ask(**asked, **REASON)).excluded == (alice.ref,)


def test_two_roles_of_one_person_are_one_vote(alice):
    both = make_person("both", "Security", "DevOps")
    key = make_key()
    request = approvals.ask(operation="key.destroy", parameters=destruction(key), actor=actor_for(alice), **REASON)
    vote(both, request, now=NOW)
    refused(NotVotingError, vote, both, request, now=NOW)
    assert Request.objects.get(pk=request.pk).state == RequestState.OPEN
    assert state_of(key) == State.ACTIVE


def test_what_would_be_lost_by_destroying_cannot_be_put_under_it_meanwhile(alice, bob):
    """The look is taken again when it is carried out: a key that has come under it since stops it."""
    anna = make_person("anna", "Security")
    kek = make_key(name="kek", kind="kek")
    request = approvals.ask(operation="key.destroy", parameters=destruction(kek), actor=actor_for(alice), **REASON)
    under = Relations(parents=frozenset({(kek.pk, "wrapped_by")}))
    make_key(name="dek", kind="dek", secret_name="smtp", relations=under)
    vote(anna, request, now=NOW)
    vote(bob, request, now=NOW)
    with as_worker():
        ended = approvals.carry_out(pk=request.pk, actor=BY_TIME, now=NOW)
    assert ended.state == RequestState.VOID
    assert "still wraps dek" in ended.closed_because
    assert state_of(kek) == State.ACTIVE


# Past the services


MADE_UP = Permit(request="request:1", asked_by="user:1", approved_by=["user:2", "user:3"])
CALLS = [
    (State.ACTIVE, transitions.revoke_key, {"reason_code": "key_compromise"}),
    (State.SUSPENDED, transitions.revoke_key, {"reason_code": "superseded"}),
    (State.SUSPENDED, transitions.reactivate_key, {}),
    (State.ACTIVE, transitions.set_dates, {"dates": {"protect_until": NOW + DAY}}),
    (
        State.DEACTIVATED,
        transitions.destroy_key,
        {"destroyed_on": NOW.date(), "method": "purged", "evidence": "nobody"},
    ),
]


@pytest.mark.parametrize("login", ["web", "worker"])
def test_a_guarded_service_in_a_shell_does_nothing_without_a_request(login, as_role):
    """As `manage.py shell` would: the service is there, the permit is made up, and the database looks it up."""
    keys = [make_key(name=f"key {number}", state=state) for number, (state, _, _) in enumerate(CALLS)]
    over = executing("key.revoke", make_key(name="other"))
    permits = [MADE_UP, Permit(request=over.ref, asked_by="user:1", approved_by=[])]
    seal()
    before = Event.objects.count()
    with as_role(login):
        for key, (_, service, how) in zip(keys, CALLS, strict=True):
            for permit in permits:
                asked = {"permit": permit, "actor": ACTOR, **REASON}
                refused_by_database(service, pk=key.pk, **how, **asked)
    seal()
    assert [state_of(key) for key in keys] == [state for state, _, _ in CALLS]
    assert not Key.objects.filter(protect_until__isnull=False).exists()
    assert Event.objects.count() == before


def test_nobody_carries_out_what_nobody_approved(alice, bob):
    key = make_key()
    request = approvals.ask(operation="key.destroy", parameters=destruction(key), actor=actor_for(alice), **REASON)
    for state in ("approved", "executing", "executed"):
        refused_by_database(Request.objects.filter(pk=request.pk).update, state=state, approved_at=NOW)
        with as_worker():
            refused_by_database(Request.objects.filter(pk=request.pk).update, state=state, approved_at=NOW)
    with as_worker():
        assert approvals.carry_out(pk=request.pk, actor=BY_TIME, now=NOW).state == RequestState.OPEN
    assert state_of(key) == State.ACTIVE


def test_what_was_asked_cannot_be_changed_into_something_else(alice):
    key, other = make_key(), make_key(name="other")
    request = approvals.ask(operation="key.destroy", parameters=destruction(key), actor=actor_for(alice), **REASON)
    for column, value in (("payload", b"{}"), ("digest", b"x" * 32), ("operation", "key.revoke"), ("key_id", other.pk)):
        refused_by_database(run, f"UPDATE rotation_request SET {column} = %s WHERE id = %s", value, request.pk)
    refused_by_database(run, "UPDATE rotation_requesttarget SET ref = %s", other.ref)


def test_an_added_target_makes_a_request_void(alice, bob):
    anna = make_person("anna", "Security")
    key, other = make_key(), make_key(name="other")
    request = approvals.ask(operation="key.destroy", parameters=destruction(key), actor=actor_for(alice), **REASON)
    run("INSERT INTO rotation_requesttarget (request_id, ref) VALUES (%s, %s)", request.pk, other.ref)
    vote(anna, request, now=NOW)
    vote(bob, request, now=NOW)
    with as_worker():
        assert approvals.carry_out(pk=request.pk, actor=BY_TIME, now=NOW).state == RequestState.VOID
    assert (state_of(key), state_of(other)) == (State.ACTIVE, State.ACTIVE)


def test_a_target_added_while_it_is_carried_out_permits_nothing():
    """What is permitted stands in the bytes that were voted on, not in the rows beside them, which pages may insert."""
    key, other = make_key(), make_key(name="other", state=State.DEACTIVATED)
    destroying, editing = executing("key.destroy", key), executing("clause.edit", key)
    clause = PolicyClause.objects.earliest("pk")
    for request, ref in ((destroying, other.ref), (editing, clause.ref)):
        run("INSERT INTO rotation_requesttarget (request_id, ref) VALUES (%s, %s)", request.pk, ref)
    permit = Permit(request=destroying.ref, asked_by="user:1", approved_by=["user:2", "user:3"])
    how = {"destroyed_on": NOW.date(), "method": "purged", "evidence": "nobody", "permit": permit}
    with as_worker():
        refused_by_database(transitions.destroy_key, pk=other.pk, actor=BY_TIME, **how, **REASON)
        refused_by_database(PolicyClause.objects.filter(pk=clause.pk).update, longest_age_days=700)
    assert state_of(other) == State.DEACTIVATED


def test_every_page_of_the_admin_leaves_states_alone(client, alice):
    """POSTs that somebody makes up, to whatever there is for keys and requests."""
    key = make_key(state=State.SUSPENDED)
    sign_in(client, alice)
    wish = {"state": "active", "_state": "active", "action": "reactivate", "_selected_action": [key.pk], "reason": "x"}
    for name, arguments in (
        ("inventory_key_changelist", []), ("inventory_key_change", [key.pk]), ("inventory_key_activate", [key.pk]),
        ("rotation_request_changelist", []), ("rotation_request_ask_reactivate", [key.pk]),
    ):  # fmt: skip
        client.post(reverse(f"admin:{name}", args=arguments), wish)
    assert state_of(key) == State.SUSPENDED


def test_every_operation_on_keys_takes_the_votes_of_the_table():
    """The table of the design; whoever lessens it here changes this test on purpose."""
    table = {
        "key.revoke": (("Security", "DevOps"), True, (("Security", 1), ("DevOps", 1)), True),
        "key.destroy": (("Security", "DevOps"), False, (("Security", 1), ("DevOps", 1)), False),
        "key.reactivate": (("Security", "DevOps"), False, (("Security", 1), ("DevOps", 1)), False),
        "key.dates": (("DevOps",), True, (("Security", 1),), False),
    }
    declared = {
        one.code: (one.askers, one.owner_may_ask, tuple((s.role, s.count) for s in one.steps), one.breaks_glass)
        for one in operations()
        if one.code in table
    }
    assert declared == table


def test_the_whole_way_is_open(alice, bob):
    """And what two people agree on does happen."""
    anna = make_person("anna", "Security")
    key = make_key()
    done = carried_through("key.destroy", destruction(key), asker=alice, by=(anna, bob), now=NOW)
    assert (done.state, state_of(key)) == (RequestState.EXECUTED, State.DESTROYED)
