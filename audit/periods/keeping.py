"""How long the log is kept: what people have voted for, else the setting, and never less than a policy demands."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.models import Retention
from audit.periods.demands import retention
from audit.services import Subject, record

REF = "audit_retention"
LABEL = "how long the log is kept"


def kept() -> timedelta:
    """Return how long events are kept. Queries: 1. Raises: TooShortError for a setting that a policy does not allow."""
    return retention(kept_days())


def kept_days() -> int:
    """Return the figure that holds now, be it allowed or not. Queries: 1."""
    voted = _row()
    return voted.days if voted else settings.AUDIT_RETENTION_DAYS


def voted_by() -> str:
    """Return the request by which people decided the figure ("request:118"), "" while it is the setting. Queries: 1."""
    voted = _row()
    return voted.set_by if voted else ""


def revision() -> int:
    """Return how often people have decided it. Queries: 1."""
    voted = _row()
    return voted.revision if voted else 0


def _row() -> Retention | None:
    return Retention.objects.first()


@transaction.atomic
def set_retention(
    *, days: int, request: str, facts: Mapping[str, JSON], actor: Actor, reason: str, now: datetime
) -> None:
    """Write down how long events are kept from now on, as a request has it that people voted on. Locks the row.

    Only `rotation.operations` calls it; the database looks for the request. What is closed already is kept as long as
    was said then. Event: audit.retention_changed. Raises: TooShortError.
    """
    retention(days)
    row = Retention.objects.select_for_update().first() or Retention(revision=0)
    before: dict[str, JSON] = {"days": row.days if row.revision else settings.AUDIT_RETENTION_DAYS}
    row.days, row.revision, row.set_at, row.set_by = days, row.revision + 1, now, request
    row.save()
    subject = Subject(ref=REF, label=LABEL, before=before, after={"days": days})
    record(Action.AUDIT_RETENTION_CHANGED, actor=actor, now=now, subjects=[subject], reason=reason, facts=facts)
