"""Key states and their legal transitions, as data.

Source: NIST SP 800-57 Part 1 Rev. 5 §7; T- and A-numbers as in docs/states.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from django.db.models import TextChoices

from inventory.errors import IllegalTransitionError


class State(TextChoices):
    PRE_ACTIVATION = "pre_activation", "Pre-activation"
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    DEACTIVATED = "deactivated", "Deactivated"
    COMPROMISED = "compromised", "Compromised"
    DESTROYED = "destroyed", "Destroyed"
    # SP 800-57 records a compromise that is learnt after destruction; a value of its own keeps the table uniform.
    DESTROYED_COMPROMISED = "destroyed_compromised", "Destroyed (compromised)"


class RevocationReason(TextChoices):
    """Why a key was revoked. Source: RFC 5280 §5.3.1, without the values that only certificate lists use."""

    UNSPECIFIED = "unspecified", "unspecified"
    KEY_COMPROMISE = "key_compromise", "key compromise"
    CA_COMPROMISE = "ca_compromise", "CA compromise"
    AFFILIATION_CHANGED = "affiliation_changed", "affiliation changed"
    SUPERSEDED = "superseded", "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation", "cessation of operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn", "privilege withdrawn"


@dataclass(frozen=True)
class Transition:
    number: str  # "T7"
    source: State
    target: State


TRANSITIONS: tuple[Transition, ...] = (
    Transition("T2", State.PRE_ACTIVATION, State.DESTROYED),
    Transition("T3", State.PRE_ACTIVATION, State.COMPROMISED),
    Transition("T4", State.PRE_ACTIVATION, State.ACTIVE),
    Transition("T5", State.ACTIVE, State.DESTROYED),
    Transition("T6", State.ACTIVE, State.COMPROMISED),
    Transition("T7", State.ACTIVE, State.SUSPENDED),
    Transition("T8", State.ACTIVE, State.DEACTIVATED),
    Transition("T9", State.SUSPENDED, State.DESTROYED),
    Transition("T10", State.SUSPENDED, State.ACTIVE),
    Transition("T11", State.SUSPENDED, State.COMPROMISED),
    Transition("T12", State.SUSPENDED, State.DEACTIVATED),
    Transition("T13", State.DEACTIVATED, State.COMPROMISED),
    Transition("T14", State.DEACTIVATED, State.DESTROYED),
    Transition("T15", State.COMPROMISED, State.DESTROYED),
    Transition("A16", State.DESTROYED, State.DESTROYED_COMPROMISED),
)
BY_PAIR: Mapping[tuple[State, State], Transition] = MappingProxyType({(t.source, t.target): t for t in TRANSITIONS})

# T1 makes a version in pre-activation. A key that lives elsewhere already is entered in the state it has there.
ENTRIES: frozenset[State] = frozenset({State.ACTIVE, State.SUSPENDED, State.DEACTIVATED, State.COMPROMISED})

# A key in one of these can be late (threats-and-tests a.2): it protects data, or could again.
CAN_BE_OVERDUE: tuple[State, ...] = (State.ACTIVE, State.SUSPENDED, State.COMPROMISED)


def legal(source: State, target: State) -> Transition:
    """Return the transition from source to target.

    Raises: IllegalTransitionError, naming where the source may go instead.
    """
    transition = BY_PAIR.get((source, target))
    if transition is None:
        raise IllegalTransitionError(source=source, target=target, allowed=targets(source))
    return transition


def targets(source: State) -> tuple[State, ...]:
    """Return the states that a key may enter from source, in the order of the table."""
    return tuple(t.target for t in TRANSITIONS if t.source == source)


class Act(TextChoices):
    """What a key may be asked to do, or be counted as."""

    PROTECT = "protect", "protect something new"
    PROCESS = "process", "open or verify what it protected"
    BE_OVERDUE = "be_overdue", "be overdue"
    TAKE_REWRAPPED = "take_rewrapped", "take over data keys from another"
    GIVE_REWRAPPED = "give_rewrapped", "give its data keys to another"


class Answer(TextChoices):
    YES = "yes", "yes"
    NO = "no", "no"
    DEPENDS = "depends", "only if"


class Permit(NamedTuple):
    answer: Answer
    condition: str = ""  # in words: what it depends on, or what else is to be known


_YES, _NO = Permit(Answer.YES), Permit(Answer.NO)
_GONE: dict[Act, Permit] = dict.fromkeys(Act, _NO)

# Source: threats-and-tests a.2, after SP 800-57 Part 1 Rev. 5 §7.
_PERMITS: dict[State, dict[Act, Permit]] = {
    State.PRE_ACTIVATION: _GONE | {Act.PROTECT: Permit(Answer.NO, "a proof of possession is all it gives")},
    State.ACTIVE: {
        Act.PROTECT: _YES,
        Act.PROCESS: _YES,
        Act.BE_OVERDUE: _YES,
        Act.TAKE_REWRAPPED: _YES,
        Act.GIVE_REWRAPPED: _YES,
    },
    State.SUSPENDED: {
        Act.PROTECT: _NO,
        Act.PROCESS: Permit(Answer.DEPENDS, "policy allows it, and never what was protected during the suspension"),
        Act.BE_OVERDUE: _YES,
        Act.TAKE_REWRAPPED: _NO,
        Act.GIVE_REWRAPPED: Permit(Answer.DEPENDS, "an approver says so"),
    },
    State.DEACTIVATED: {
        Act.PROTECT: _NO,
        Act.PROCESS: _YES,
        Act.BE_OVERDUE: Permit(Answer.NO, "still needed after its period of use is a finding of its own"),
        Act.TAKE_REWRAPPED: _NO,
        Act.GIVE_REWRAPPED: _YES,
    },
    State.COMPROMISED: {
        Act.PROTECT: _NO,
        Act.PROCESS: Permit(Answer.DEPENDS, "an exception was granted"),
        Act.BE_OVERDUE: _YES,
        Act.TAKE_REWRAPPED: _NO,
        Act.GIVE_REWRAPPED: Permit(Answer.YES, "at once: this is the emergency"),
    },
    State.DESTROYED: _GONE,
    State.DESTROYED_COMPROMISED: _GONE,
}
# What the end of a period of use takes away: of protecting (active keys), of opening (deactivated ones).
_AFTER_PROTECTING: dict[Act, Permit] = {
    Act.PROTECT: Permit(Answer.DEPENDS, "policy tolerates it: its period of protecting is over"),
    Act.TAKE_REWRAPPED: _NO,
}
_AFTER_PROCESSING: dict[Act, Permit] = {Act.PROCESS: Permit(Answer.NO, "its period of use is over")}


def allows(state: State, act: Act, *, past_protecting: bool = False, past_processing: bool = False) -> Permit:
    """Say what a key in a state may do. The one place that answers it.

    `past_protecting` and `past_processing` say that the key's `protect_until` and `process_until` lie behind.
    """
    if state == State.ACTIVE and past_protecting and act in _AFTER_PROTECTING:
        return _AFTER_PROTECTING[act]
    if state == State.DEACTIVATED and past_processing and act in _AFTER_PROCESSING:
        return _AFTER_PROCESSING[act]
    return _PERMITS[state][act]
