"""What several people decide on is done by a request that is being carried out, and by nothing else."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from psycopg import errors as pg

from audit.actions import Action
from audit.actor import Actor
from audit.services import Subject, record
from inventory.errors import (
    DatesError,
    IllegalTransitionError,
    KeyMaterialError,
    NotRevocableError,
    PeriodOverError,
    ReasonMissingError,
    StillWrapsError,
)
from inventory.guarded import transitions
from inventory.guarded.suspending import suspend_key
from inventory.models import Finding, Key
from inventory.permits import Permit
from inventory.replay.running import Run
from inventory.services import Relations
from inventory.states import RevocationReason, State
from rotation.operations.base import Target
from tests.approving import OPERATIONS, as_worker, executing, over, permitted, voters
from tests.conftest import _become
from tests.inventory.world import (
    ACTOR,
    NOW,
    actions_since,
    event_for,
    events_of,
    key_in,
    last_number,
    make_key,
    seal,
    set_state,
)
from tests.rotation.request_world import asked, voted

pytestmark = pytest.mark.django_db
HOW = {"actor": Actor.system("worker"), "reason": "ticket 4411", "now": NOW}
DAY = timedelta(days=1)
DESTROYED = {"destroyed_on": NOW.date(), "method": "purged in the vault", "evidence": "seen by ann and bea"}


def permit_of(facts):
    return Permit(request=str(facts["request"]), asked_by="user:1", approved_by=["user:2", "user:3"])


def done(service, action, key, **how):
    """Carry a service out under a request about the key; return the key as it is then."""
    with permitted(action, key) as facts:
        service(pk=key.pk, permit=permit_of(facts), **HOW | how)
    seal()
    return Key.objects.get(pk=key.pk)


def differences():
    return [str(one) for one in Run().differences()]


# Revoking


@pytest.mark.parametrize("source", [State.ACTIVE, State.SUSPENDED])
@pytest.mark.parametrize("code", list(RevocationReason))
def test_revoking_leads_where_the_reason_says_and_is_told_by_the_log(source, code):
    key = make_key(state=source)
    seal()
    is_compromise = code in transitions.COMPROMISES
    action = Action.KEY_COMPROMISED if is_compromise else Action.KEY_DEACTIVATED
    number = last_number()
    key = done(transitions.revoke_key, action, key, reason_code=code.value)
    version = key.versions.get()
    assert key.state == (State.COMPROMISED if is_compromise else State.DEACTIVATED)
    assert (version.revoked_at, version.revocation_reason) == (NOW, code)
    assert actions_since(number) == [action]
    (event,) = events_of(action)
    (subject,) = event.said.subjects
    assert subject.after == {"state": key.state, "revocation_reason": code}
    assert event.said.facts["approved_by"] == ["user:2", "user:3"]
    assert (event.said.actor_id, event.said.reason) == ("worker", "ticket 4411")
    assert differences() == []


@pytest.mark.parametrize("state", sorted(set(State) - {State.ACTIVE, State.SUSPENDED}))
def test_only_what_is_in_use_is_revoked(state):
    key = key_in(state)
    with pytest.raises(NotRevocableError, match="report a compromise"):
        transitions.revoke_key(pk=key.pk, reason_code="superseded", permit=permit_of({"request": "request:1"}), **HOW)


def test_a_decision_has_a_reason():
    key = make_key()
    with pytest.raises(ReasonMissingError):
        transitions.revoke_key(
            pk=key.pk, reason_code="superseded", permit=permit_of({"request": "request:1"}), **HOW | {"reason": " "}
        )


# Re-activating


def test_a_suspended_key_comes_back_and_is_told_by_the_log():
    key = make_key()
    suspend_key(pk=key.pk, actor=ACTOR, reason="looks odd", now=NOW - DAY)
    key = done(transitions.reactivate_key, Action.KEY_REACTIVATED, key)
    assert key.state == State.ACTIVE
    assert differences() == []


@pytest.mark.parametrize("state", sorted(set(State) - {State.SUSPENDED}))
def test_nothing_else_is_reactivated(state):
    key = key_in(state)
    with pytest.raises(IllegalTransitionError):
        transitions.reactivate_key(pk=key.pk, permit=permit_of({"request": "request:1"}), **HOW)


def test_what_time_would_deactivate_at_once_is_not_reactivated():
    key = make_key(state=State.SUSPENDED, protect_until=NOW)
    with pytest.raises(PeriodOverError):
        transitions.reactivate_key(pk=key.pk, permit=permit_of({"request": "request:1"}), **HOW)


# Destroying


SOURCES = [State.PRE_ACTIVATION, State.ACTIVE, State.SUSPENDED, State.DEACTIVATED, State.COMPROMISED]


@pytest.mark.parametrize("source", SOURCES)
def test_a_destroyed_key_says_when_how_and_who_saw_it(source):
    key = make_key(state=source, kind="dek", tenant=None, secret_name="smtp")
    seal()
    key = done(transitions.destroy_key, Action.KEY_DESTROYED, key, **DESTROYED)
    assert (key.state, key.versions.get().destroyed_at) == (State.DESTROYED, NOW)
    (event,) = events_of(Action.KEY_DESTROYED)
    facts = event.said.facts
    assert (facts["destroyed_on"], facts["method"]) == ("2026-11-21", "purged in the vault")
    assert facts["evidence"] == "seen by ann and bea"
    has_protected = source in {State.DEACTIVATED, State.COMPROMISED}
    assert bool(facts["not_reached"]) == has_protected
    assert any("write-ahead log" in said for said in facts["not_reached"]) == has_protected  # it is a DEK
    assert not Finding.objects.filter(key=key, closed_at=None).exists()
    assert differences() == []


def test_a_key_that_still_wraps_others_is_not_destroyed():
    kek = make_key(name="kek", kind="kek")
    under = Relations(parents=frozenset({(kek.pk, "wrapped_by")}))
    first, *_ = [make_key(name=f"dek {n}", kind="dek", secret_name=f"s{n}", relations=under) for n in range(7)]
    make_key(name="derived", relations=Relations(parents=frozenset({(kek.pk, "derived_from")})))
    said = {"permit": permit_of({"request": "request:1"}), **DESTROYED, **HOW}
    with pytest.raises(StillWrapsError, match=r"dek 0, dek 1, dek 2, dek 3, dek 4 and 2 more"):
        transitions.destroy_key(pk=kek.pk, **said)
    for key in Key.objects.filter(kind="dek"):
        done(transitions.destroy_key, Action.KEY_DESTROYED, key, **DESTROYED)
    assert Key.objects.get(pk=first.pk).state == State.DESTROYED
    assert done(transitions.destroy_key, Action.KEY_DESTROYED, kek, **DESTROYED).state == State.DESTROYED


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"destroyed_on": (NOW + DAY).date()}, DatesError),
        ({"destroyed_on": (NOW - 400 * DAY).date()}, DatesError),
        ({"method": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END"}, KeyMaterialError),
        ({"evidence": "AKIA" + "Q" * 16 + " wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1"}, KeyMaterialError),
    ],
)
def test_what_is_said_of_a_destruction_has_to_be_possible_and_no_material(said, error):
    key = make_key()
    with pytest.raises(error):
        transitions.destroy_key(pk=key.pk, permit=permit_of({"request": "request:1"}), **{**DESTROYED, **said}, **HOW)


# Dates


def test_dates_are_written_as_their_event_says():
    key = make_key(state=State.PRE_ACTIVATION, activates_at=NOW + DAY, protect_until=NOW + 9 * DAY)
    wished = {"activates_at": None, "protect_until": NOW + 2 * DAY, "process_until": NOW + 5 * DAY}
    changed = done(transitions.set_dates, Action.KEY_DATES_CHANGED, key, dates=wished)
    assert {name: getattr(changed, name) for name in wished} == wished
    assert (changed.revision, changed.state) == (key.revision + 1, State.PRE_ACTIVATION)
    (event,) = events_of(Action.KEY_DATES_CHANGED)
    (subject,) = event.said.subjects
    assert subject.before["process_until"] is None
    assert subject.after["protect_until"] == (NOW + 2 * DAY).isoformat()
    assert differences() == []


@pytest.mark.parametrize(
    ("state", "dates", "error", "words"),
    [
        (State.ACTIVE, {"protect_until": NOW + DAY}, DatesError, "has already"),
        (State.ACTIVE, {"activates_at": NOW + DAY}, DatesError, "come into use already"),
        (State.ACTIVE, {"protect_until": NOW}, DatesError, "lies behind"),
        (State.DEACTIVATED, {"protect_until": NOW + 2 * DAY}, DatesError, "protects nothing new any more"),
        (State.DESTROYED, {"process_until": NOW + 2 * DAY}, DatesError, "is destroyed"),
        (State.ACTIVE, {"process_until": NOW + DAY / 2}, ValidationError, "at least for as long"),
        (State.ACTIVE, {"rotate_by": NOW + DAY}, ValueError, "no dates of a key"),
    ],
)
def test_dates_that_cannot_be_are_refused(state, dates, error, words):
    key = key_in(state, protect_until=NOW + DAY)
    with pytest.raises(error, match=words):
        transitions.set_dates(pk=key.pk, dates=dates, permit=permit_of({"request": "request:1"}), **HOW)


# At once, by one person


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        (State.PRE_ACTIVATION, State.COMPROMISED),
        (State.DEACTIVATED, State.COMPROMISED),
        (State.DESTROYED, State.DESTROYED_COMPROMISED),
    ],
)
def test_a_compromise_of_what_is_not_in_use_is_noted_at_once(source, reached):
    key = key_in(source) if source == State.DESTROYED else make_key(state=source)
    seal()
    transitions.compromise_at_once(pk=key.pk, facts={"duty": "duty:1"}, **HOW)
    seal()
    stored = Key.objects.get(pk=key.pk)
    assert (stored.state, stored.versions.get().compromised_at) == (reached, NOW)
    (event,) = events_of(Action.KEY_COMPROMISED)
    assert event.said.facts == {"duty": "duty:1"}
    if source != State.DESTROYED:
        assert stored.versions.get().revocation_reason == "key_compromise"
        assert differences() == []


@pytest.mark.parametrize(
    "state", [State.ACTIVE, State.SUSPENDED, State.COMPROMISED, State.DESTROYED_COMPROMISED], ids=str
)
def test_what_is_in_use_is_suspended_first_and_a_second_report_says_nothing_new(state):
    key = key_in(state)
    with pytest.raises(IllegalTransitionError):
        transitions.compromise_at_once(pk=key.pk, **HOW)


# What the database asks of an event


def refused(act, *arguments, **named):
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        act(*arguments, **named)
    assert isinstance(caught.value.__cause__, pg.InsufficientPrivilege), caught.value
    assert "approved request" in str(caught.value)


MOVES = [
    (State.ACTIVE, State.DESTROYED, Action.KEY_DESTROYED),
    (State.SUSPENDED, State.ACTIVE, Action.KEY_REACTIVATED),
    (State.ACTIVE, State.COMPROMISED, Action.KEY_COMPROMISED),
    (State.SUSPENDED, State.DEACTIVATED, Action.KEY_DEACTIVATED),
]


@pytest.mark.parametrize(("source", "target", "action"), MOVES)
def test_only_a_request_about_this_very_change_that_is_being_carried_out_permits_it(source, target, action):
    key, other = key_in(source), make_key(name="other")
    version = key.versions.get()

    def move(**facts):
        set_state(version, target, event_for(key, action, facts=facts))

    request = executing(OPERATIONS[action], key)
    said = request.ref
    refused(move, request=said)  # web is not the worker
    with as_worker():
        for made_up in (None, "request:999999", f"{said}x", ""):
            refused(move, request=made_up)
        refused(move, permit=said)
        others = executing_as_web(OPERATIONS[action], other)
        refused(move, request=others)
        refused(move, request=executing_as_web("key.dates", key))
        move(request=said)
    assert Key.objects.get(pk=key.pk).state == target


def executing_as_web(operation, key):
    """Make a request that is being carried out from inside the worker's block."""
    with _become("web"):
        return executing(operation, key).ref


def test_a_request_that_is_open_approved_or_over_permits_nothing():
    key = make_key()
    version = key.versions.get()
    key.versions.update(destroyed_at=NOW)
    asker, security, devops = voters()
    targets = (Target(ref=key.ref, label=key.name, revision=1),)
    request = asked("key.destroy", asker, key=key, targets=targets)

    def move():
        with as_worker():
            set_state(version, State.DESTROYED, event_for(key, Action.KEY_DESTROYED, facts={"request": request.ref}))

    refused(move)
    voted(request, security, "Security")
    voted(request, devops, "DevOps")
    refused(move)
    type(request).objects.filter(pk=request.pk).update(state="approved", approved_at=NOW)
    refused(move)
    done_with = executing("key.destroy", make_key(name="other"))
    over(done_with)
    refused(move)
    assert Key.objects.get(pk=key.pk).state == State.ACTIVE


def test_dates_are_written_by_no_other_way():
    key = make_key(protect_until=NOW + DAY)

    def write(action, facts, after):
        subject = Subject(ref=key.ref, after=after)
        event = record(action, actor=ACTOR, now=NOW, subjects=[subject], facts=facts)
        with connection.cursor() as cursor:
            cursor.execute("SELECT inventory_set_dates(%s)", [event])

    later = {"protect_until": (NOW + 9 * DAY).isoformat()}
    refused(write, Action.KEY_DATES_CHANGED, {}, later)
    request = executing("key.dates", key)
    refused(write, Action.KEY_DATES_CHANGED, {"request": request.ref}, later)  # web is not the worker
    with as_worker():
        refused(write, Action.KEY_EDITED, {"request": request.ref}, later)
        refused(write, Action.KEY_DATES_CHANGED, {"request": "request:1"}, later)
    for statement in ("protect_until = now()", "activates_at = now()", "process_until = NULL"):
        with (
            pytest.raises(DatabaseError, match="permission denied"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"UPDATE inventory_key SET {statement} WHERE id = %s", [key.pk])
    with as_worker():
        write(Action.KEY_DATES_CHANGED, {"request": request.ref}, later)
    assert Key.objects.get(pk=key.pk).protect_until == NOW + 9 * DAY


@pytest.mark.parametrize(
    ("login", "at", "ends"),
    [
        ("worker", NOW, True),
        ("command", NOW, True),
        ("worker", NOW - timedelta(seconds=1), False),
        ("web", NOW, False),
        ("beat", NOW, False),
    ],
)
def test_time_deactivates_by_the_processes_that_do_what_time_does(login, at, ends, as_role):
    key, endless = make_key(protect_until=NOW), make_key(name="endless")
    key.versions.update(deactivated_at=NOW)
    endless.versions.update(deactivated_at=NOW)
    with as_role(login):
        move = (set_state, key.versions.get(), State.DEACTIVATED, event_for(key, Action.KEY_DEACTIVATED, now=at))
        if ends:
            move[0](*move[1:])
        else:
            refused(*move)
        refused(
            set_state, endless.versions.get(), State.DEACTIVATED, event_for(endless, Action.KEY_DEACTIVATED, now=at)
        )
    assert Key.objects.get(pk=key.pk).state == (State.DEACTIVATED if ends else State.ACTIVE)
