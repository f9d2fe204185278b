"""A state changes through lifecycle alone, dated, and with an event of the same transaction."""

import psycopg
import pytest
from django.db import ProgrammingError, connection, transaction
from psycopg import errors

from audit.actions import Action
from inventory import lifecycle
from inventory.errors import IllegalTransitionError
from inventory.models import Key
from inventory.states import BY_PAIR, ENTRIES, State
from tests.inventory.world import NOW, action_for, allowed, event_for, key_in, make_key, set_state


@pytest.mark.django_db
@pytest.mark.parametrize("source", State, ids=lambda state: state.value)
def test_transition_passes_for_the_legal_pairs_and_no_others(source):
    for target in State:
        key = key_in(source, name=f"to {target}")
        revision = key.revision
        action = action_for(source, target)
        if (source, target) in BY_PAIR:
            with allowed(key, action) as facts:
                event = event_for(key, action, facts=facts)
                lifecycle.transition(key, to=target, event=event, now=NOW, reason="superseded")
            reached, revision = target, revision + 1
        else:
            event = event_for(key, action)
            with pytest.raises(IllegalTransitionError):
                lifecycle.transition(key, to=target, event=event, now=NOW, reason="superseded")
            reached = source
        stored = Key.objects.get(pk=key.pk)
        assert stored.state == stored.versions.get().state == key.state == reached
        assert stored.revision == key.revision == revision


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("source", "target", "reason", "left"),
    [
        (State.PRE_ACTIVATION, State.ACTIVE, "", {"activated_at"}),
        (State.ACTIVE, State.SUSPENDED, "", {"suspended_at"}),
        (State.ACTIVE, State.DEACTIVATED, "", {"deactivated_at"}),
        (State.ACTIVE, State.DEACTIVATED, "superseded", {"deactivated_at", "revoked_at"}),
        (State.ACTIVE, State.COMPROMISED, "key_compromise", {"compromised_at", "revoked_at"}),
        (State.ACTIVE, State.DESTROYED, "", {"destroyed_at"}),
    ],
)
def test_a_transition_leaves_its_dates(source, target, reason, left):
    key = make_key(state=source)
    action = action_for(source, target)
    with allowed(key, action) as facts:
        event = event_for(key, action, facts=facts)
        lifecycle.transition(key, to=target, event=event, now=NOW, reason=reason)
    version = key.versions.get()
    names = {"activated_at", "suspended_at", "deactivated_at", "compromised_at", "destroyed_at", "revoked_at"}
    assert {name for name in names if getattr(version, name) == NOW} == left
    assert version.revocation_reason == reason


@pytest.mark.django_db
@pytest.mark.parametrize("state", [state for state in State if (state, State.DEACTIVATED) not in BY_PAIR])
def test_supersede_passes_only_where_the_version_before_can_be_deactivated(state):
    key = key_in(state)
    event = event_for(key, Action.KEY_ROTATED)
    with pytest.raises(IllegalTransitionError):
        lifecycle.supersede(key, rotated_on=NOW.date(), event=event)
    assert key.versions.count() == 1


@pytest.mark.django_db
def test_enter_takes_only_states_that_a_key_can_have_elsewhere():
    key = make_key(state=State.PRE_ACTIVATION)
    event = event_for(key, Action.KEY_REGISTERED)
    version = key.versions.get()
    lifecycle.enter([version], state=State.PRE_ACTIVATION, event=event)
    lifecycle.enter([], state=State.ACTIVE, event=event)
    for state in set(State) - ENTRIES - {State.PRE_ACTIVATION}:
        with pytest.raises(IllegalTransitionError):
            lifecycle.enter([version], state=state, event=event)
    assert Key.objects.get(pk=key.pk).state == State.PRE_ACTIVATION


def test_an_event_of_another_transaction_is_no_permission(committed_db):
    """Two sessions: what one has recorded and not committed, the other does not see."""
    key = make_key()
    version = key.versions.get()
    target = connection.settings_dict
    other = psycopg.connect(
        host=target["HOST"],
        port=target["PORT"],
        user=target["USER"],
        password=target["PASSWORD"],
        dbname=target["NAME"],
    )
    with transaction.atomic():
        event = event_for(key, Action.KEY_SUSPENDED)
        with other, pytest.raises(errors.InsufficientPrivilege, match="needs an event"):
            other.execute("SELECT inventory_set_state(%s, 'suspended', %s)", [[version.pk], event])
    # and once it is committed, it is sealed
    with pytest.raises(ProgrammingError, match="needs an event"):
        set_state(version, State.SUSPENDED, event)
    assert Key.objects.get(pk=key.pk).state == State.ACTIVE
