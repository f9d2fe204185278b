"""Taking a key out of use at once: one person may, and somebody else looks at it within a day (rotation.at_once)."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.models import Key
from inventory.selectors import share_clauses
from inventory.services.findings import refresh_findings
from inventory.services.keys import require
from inventory.states import State, legal


@transaction.atomic
def suspend_key(*, pk: int, actor: Actor, reason: str, now: datetime, facts: Mapping[str, JSON] | None = None) -> Key:
    """Take a key out of use (T7). Locks the key. Event: key.suspended, with the facts.

    Raises: ReasonMissingError, IllegalTransitionError.
    """
    require(reason)
    share_clauses()
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    legal(State(key.state), State.SUSPENDED)
    subject = Subject(ref=key.ref, label=key.name, before={"state": key.state}, after={"state": State.SUSPENDED.value})
    event = record(Action.KEY_SUSPENDED, actor=actor, now=now, reason=reason, subjects=[subject], facts=facts)
    lifecycle.transition(key, to=State.SUSPENDED, event=event, now=now)
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return key
