"""What is reviewed by people at a rhythm, as data: which events, how often, how many of them, and who signs. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import TextChoices

from audit.actions import Action

SECURITY, DEVOPS = "Security", "DevOps"
SAMPLE = 59  # the fewest that, all in order, say with 95 % confidence that under 5 % are not: 0.95 ** 59 < 0.05


class ReviewKind(TextChoices):
    TRANSITIONS = "transitions", "state transitions"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How one kind of review goes. Periods end on a grid of instants, so that no late run of the beat moves them."""

    clause: str
    asks: str  # what a reviewer answers for each event
    actions: tuple[Action, ...]
    begins: datetime  # an instant at which a period ends
    every: timedelta
    to_sign: timedelta  # after the end of the period
    sample: int
    roles: tuple[str, ...]  # one signature each, by different people

    def latest_end(self, now: datetime) -> datetime:
        """Return the last instant, up to and with `now`, at which a period ended."""
        return self.begins + self.every * ((now - self.begins) // self.every)


KINDS: dict[ReviewKind, Rules] = {
    ReviewKind.TRANSITIONS: Rules(
        clause="S1 §9.6",
        asks="Was it right that this happened, did the right person do it, and does its reason say why?",
        # Whatever changes the state of something in use. A registration is an entry, not a transition (docs/states.md).
        actions=(
            Action.KEY_ACTIVATED,
            Action.KEY_SUSPENDED,
            Action.KEY_REACTIVATED,
            Action.KEY_DEACTIVATED,
            Action.KEY_COMPROMISED,
            Action.KEY_DESTROYED,
            Action.KEY_ROTATED,
        ),
        begins=datetime(2026, 1, 5, tzinfo=UTC),  # a Monday
        every=timedelta(weeks=2),
        to_sign=timedelta(days=7),
        sample=SAMPLE,
        roles=(SECURITY, DEVOPS),
    ),
}


# Alerts: mail about something that people must know, whoever's work it is.


class AlertKind(TextChoices):
    """Stored, never renamed."""

    KEYS_WITHOUT_OWNER = "keys_without_owner", "keys are late or due and have no owner with an address"
    LOG_DIFFERS = "log_differs", "the inventory differs from the audit log"
    PEOPLE = "people", "somebody gets a role, comes back, or has their second factors reset"
    QUORUM = "quorum", "too few people are left who can vote, or one person alone has mended that"
    BREAK_GLASS = "break_glass", "somebody has acted alone in an emergency"
    CUSTODY = "custody", "a wrapped DEK is not what belongs in its row, or a key store went back to an older key"


@dataclass(frozen=True)
class Alert:
    """Whom the release has told of an alert. Where everybody is told, the house can only add addresses."""

    roles: tuple[str, ...] = ()
    tells_everybody: bool = False


ALERTS: dict[AlertKind, Alert] = {
    AlertKind.KEYS_WITHOUT_OWNER: Alert(roles=(SECURITY,)),
    AlertKind.LOG_DIFFERS: Alert(roles=(SECURITY,)),
    AlertKind.PEOPLE: Alert(roles=(SECURITY, DEVOPS)),
    AlertKind.QUORUM: Alert(tells_everybody=True),
    AlertKind.BREAK_GLASS: Alert(tells_everybody=True),
    AlertKind.CUSTODY: Alert(roles=(SECURITY,)),
}
