"""How the application calls itself towards a SIEM, and how grave it takes an event to be. Pure."""

from enum import IntEnum

from audit.actions import Action, Outcome
from audit.body import Body

NAME = "Keyvault Admin"
VERSION = "0.1.0"  # as in pyproject.toml; a test compares them


class Gravity(IntEnum):
    """Four steps; each format has its own numbers for them."""

    USUAL = 0
    NOTABLE = 1  # a rule said no, or who may do what has changed
    SERIOUS = 2  # something was tried and went wrong, or a door was locked
    ALARMING = 3


ALARMING = {Action.KEY_COMPROMISED, Action.KEY_MATERIAL_REFUSED, Action.PASSKEY_ASSERTED, Action.QUORUM_RESTORED}
SERIOUS = {Action.SIGN_IN_LOCKED, Action.KEY_DESTROYED, Action.PERSON_ERASED, Action.FACTOR_RESET}
NOTABLE = {Action.ROLE_GRANTED, Action.ROLE_REVOKED, Action.THREAT_LEVEL_CHANGED, Action.SIGNING_KEY_EPOCH_BEGUN}


def gravity_of(said: Body | None) -> Gravity:
    """Return how grave an event is; one whose bytes cannot be read is alarming."""
    if (
        said is None
        or said.action in ALARMING
        or (said.action, said.outcome)
        == (
            Action.AUDIT_VERIFIED,
            Outcome.FAILED,
        )
    ):
        return Gravity.ALARMING
    if said.action in SERIOUS or said.outcome == Outcome.FAILED:
        return Gravity.SERIOUS
    return Gravity.NOTABLE if said.action in NOTABLE or said.outcome == Outcome.REFUSED else Gravity.USUAL
