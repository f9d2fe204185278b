"""What time alone does to a state: keys come into use, and stop protecting, at the dates said at their registration."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.services import Subject, record
from inventory import lifecycle
from inventory.models import Key
from inventory.selectors import share_clauses
from inventory.services.findings import refresh_findings
from inventory.states import State


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What one run did."""

    activated: int
    deactivated: int


@transaction.atomic
def apply_due_transitions(*, actor: Actor, now: datetime) -> Applied:
    """Do every transition whose date has come: T4 at `activates_at`, T8 and T12 at `protect_until`.

    Idempotent, whatever the clock does: the state a key is in says whether anything is left to do. A run after a pause
    catches up, both steps of a key at once if need be. Locks the keys it moves; what somebody else is changing at this
    moment is left to the next run. Events: key.activated and key.deactivated, each for up to 1,000 keys, and those of
    refresh_findings(). Queries: 3, and 6 for each event.
    """
    share_clauses()
    came = _apply(_due(now, state=State.PRE_ACTIVATION, date="activates_at"), State.ACTIVE, actor, now)
    in_use = [State.ACTIVE, State.SUSPENDED]
    went = _apply(_due(now, state__in=in_use, date="protect_until"), State.DEACTIVATED, actor, now)
    refresh_findings(keys={*came, *went}, actor=actor, now=now)
    return Applied(activated=len(came), deactivated=len(went))


_BECAUSE = {
    State.ACTIVE: (Action.KEY_ACTIVATED, "the date has come on which it was to come into use", "activates_at"),
    State.DEACTIVATED: (Action.KEY_DEACTIVATED, "its period of protecting is over", "protect_until"),
}


def _due(now: datetime, *, date: str, **states: object) -> Sequence[Key]:
    keys = Key.objects.filter(Q(**states), **{f"{date}__lte": now}).only("pk", "name", "state", date)
    return list(keys.order_by("pk").select_for_update(of=("self",), skip_locked=True, no_key=True))


def _apply(keys: Sequence[Key], to: State, actor: Actor, now: datetime) -> list[int]:
    action, reason, date = _BECAUSE[to]
    by_ref = {key.ref: key for key in keys}
    for subjects in batches(_subject(key, to, date) for key in keys):
        event = record(action, actor=actor, now=now, reason=reason, subjects=subjects)
        lifecycle.transition_together([by_ref[subject.ref] for subject in subjects], to=to, event=event, now=now)
    return [key.pk for key in keys]


def _subject(key: Key, to: State, date: str) -> Subject:
    return Subject(
        ref=key.ref,
        label=key.name,
        before={"state": key.state},
        after={"state": to.value, date: getattr(key, date).isoformat()},
    )
