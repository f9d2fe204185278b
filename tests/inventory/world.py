"""Keys, owners and events for tests of the inventory and of what is built on it."""

from contextlib import contextmanager
from datetime import UTC, date, datetime

from django.db import connection

from audit.actions import Action
from audit.actor import Actor
from audit.models import Event, EventSubject
from audit.selectors import read
from audit.services import Subject, record
from inventory import services
from inventory.models import Key, KeyVersion, Owner
from inventory.states import State
from tests.approving import permitted

ACTOR = Actor.system("test")
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LOGINS = ("web", "worker", "beat", "signer", "command")

# How a version comes from pre-activation to each state: the transitions on the way, with the word for each.
WAYS = {
    State.PRE_ACTIVATION: [],
    State.ACTIVE: [(State.ACTIVE, Action.KEY_ACTIVATED)],
    State.SUSPENDED: [(State.ACTIVE, Action.KEY_ACTIVATED), (State.SUSPENDED, Action.KEY_SUSPENDED)],
    State.DEACTIVATED: [(State.ACTIVE, Action.KEY_ACTIVATED), (State.DEACTIVATED, Action.KEY_DEACTIVATED)],
    State.COMPROMISED: [(State.COMPROMISED, Action.KEY_COMPROMISED)],
    State.DESTROYED: [(State.DESTROYED, Action.KEY_DESTROYED)],
    State.DESTROYED_COMPROMISED: [
        (State.DESTROYED, Action.KEY_DESTROYED),
        (State.DESTROYED_COMPROMISED, Action.KEY_COMPROMISED),
    ],
}


# What nobody does alone: the words, and from where calling a key compromised takes it out of use.
VOTED = {Action.KEY_DESTROYED, Action.KEY_REACTIVATED, Action.KEY_DEACTIVATED, Action.KEY_ROTATED}
IN_USE = {State.ACTIVE, State.SUSPENDED}


def needs_votes(source, action):
    """Say whether the database wants an approved request for leaving a state by that word."""
    return action in VOTED or (action == Action.KEY_COMPROMISED and source in IN_USE)


@contextmanager
def allowed(key, action, source=None, people=None):
    """Be who may do that to the key now, the worker with a request or anybody; yield facts for the event."""
    if needs_votes(State(source or key.state), action):
        with permitted(action, key, people=people) as facts_of_request:
            yield facts_of_request
    else:
        yield {}


def action_for(source, target):
    """Return the word that the log has for going from one state to another."""
    if target == State.ACTIVE:
        return Action.KEY_REACTIVATED if source == State.SUSPENDED else Action.KEY_ACTIVATED
    if target == State.DESTROYED_COMPROMISED:
        return Action.KEY_COMPROMISED
    return Action(f"key.{target}") if target != State.PRE_ACTIVATION else Action.KEY_REGISTERED


def facts(**changes):
    """Return what somebody says of a production token, due on 11 October 2026 by R210."""
    return {
        "name": "billing/stripe",
        "kind": "api_token",
        "environment": "production",
        "created_on": date(2026, 1, 10),
        "last_rotated_on": date(2026, 7, 13),
    } | changes


def make_key(*, state=State.ACTIVE, relations=None, now=NOW, **changes):
    said = facts(**changes)
    return services.register_key(facts=said, state=state, relations=relations, actor=ACTOR, reason="test", now=now)


def make_owner(handle, mail="", **how):
    return services.register_owner(handle=handle, mail=mail, actor=ACTOR, now=NOW, **how)


def event_for(key, action, *, now=NOW, **how):
    """Record an event that speaks of the key; return its id."""
    return record(action, actor=ACTOR, now=now, subjects=[Subject(ref=key.ref)], **how)


def set_state(version, target, event):
    """Ask the database for a state, as lifecycle does; return nothing or raise what it says."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT inventory_set_state(%s, %s, %s)", [[version.pk], str(target), event])


def key_in(state, **changes):
    """Return a registered key that went all the way to a state, its version with every date there is."""
    key = make_key(state=State.PRE_ACTIVATION, **changes)
    version = key.versions.get()
    dates = dict.fromkeys(
        ("activated_at", "suspended_at", "deactivated_at", "compromised_at", "destroyed_at", "revoked_at"), NOW
    )
    KeyVersion.objects.filter(pk=version.pk).update(revocation_reason="unspecified", **dates)
    source = State.PRE_ACTIVATION
    for target, action in WAYS[state]:
        with allowed(key, action, source) as facts_of_event:
            set_state(version, target, event_for(key, action, facts=facts_of_event))
        source = target
    key.refresh_from_db()
    version.refresh_from_db()
    assert key.state == version.state == state
    return key


def seal():
    """Fire the deferred triggers now: what was recorded is in the log from here on."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


def events_of(action):
    """Return the sealed events of one action, oldest first."""
    return read(Event.objects.filter(action=action).order_by("number"))


def actions_since(number, *, findings=False):
    """Return what happened after an event, in order: what somebody did, and only if asked the findings of it."""
    return _actions(Event.objects.filter(number__gt=number), findings)


def last_number():
    return Event.objects.order_by("-number").values_list("number", flat=True).first() or 0


def told_of(key, *, findings=False):
    """Return the actions of the sealed events that speak of the key, oldest first; `findings` as above."""
    numbers = EventSubject.objects.filter(subject=key.ref).values("number")
    return _actions(Event.objects.filter(number__in=numbers), findings)


def _actions(events, findings):
    found = events if findings else events.exclude(action__startswith="finding.")
    return list(found.order_by("number").values_list("action", flat=True))


__all__ = ["ACTOR", "LOGINS", "NOW", "Key", "Owner", "State"]
