"""What one person may do alone, at once: suspend a key, report a compromise, break the glass.

Each leaves a duty in the same transaction: others look at it within a day (rotation.duties).
"""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from audit.actor import Actor
from inventory.guarded.suspending import suspend_key
from inventory.models import Key
from rotation.duties import Act, open_duty
from rotation.letters import write_letter
from rotation.models import DutyKind


@transaction.atomic
def suspend(*, pk: int, actor: Actor, reason: str, now: datetime) -> Key:
    """Take a key out of use at once (T7). The door asks who may. Locks the key.

    Events: key.suspended, duty.opened. Raises: ReasonMissingError, IllegalTransitionError.
    """
    key = suspend_key(pk=pk, actor=actor, reason=reason, now=now)
    title = f"Suspension of {key.name}"
    _open(key, DutyKind.SUSPENSION, title, actor=actor, reason=reason, now=now)
    _tell_owner(key, f"{key.name} was suspended", reason, now)
    return key


def _open(key: Key, kind: DutyKind, title: str, *, actor: Actor, reason: str, now: datetime) -> None:
    act = Act(kind=kind, title=title, reason=reason, done_by=actor.id, done_at=now, verified_by=actor.verified_by)
    open_duty(key=key, act=act, actor=actor, now=now)


def _tell_owner(key: Key, what: str, reason: str, now: datetime) -> None:
    """Tell whoever answers for the key, so that they tell the services that use it."""
    if key.owner and key.owner.mail:
        write_letter(
            recipients=[key.owner.mail],
            subject=what,
            lines=[
                f"{what} on {now:%-d %B %Y at %H:%M} UTC, and you answer for it.",
                f"Why: {reason}",
                "It must not protect anything new until this is decided. Nothing is switched off where the key is "
                "kept: tell the services that use it.",
            ],
            url=settings.SITE_URL + reverse("admin:inventory_key_change", args=[key.pk]),
            now=now,
        )
