"""That somebody has read the log stands in the log: once for each thing that was read, and not without end."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from django.db import transaction

from audit import body
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import AuditError
from audit.models import Event
from audit.services import Subject, record

QUIET = timedelta(minutes=15)  # the same thing is not recorded again
MOST = 20  # different things of one person in that time; the last one says that further ones are not recorded singly
THE_LOG = Subject(ref="audit_log", label="the audit log")
AND_MORE = {"and_more": "what else is read in these minutes is not recorded singly"}


@transaction.atomic
def record_reading(
    *, actor: Actor, now: datetime, subject: Subject = THE_LOG, facts: Mapping[str, JSON] | None = None
) -> bool:
    """Record that somebody read an event, or the list as they filtered it; return whether it was new.

    The facts say what was asked, never a name or an address. Queries: 1; 3 where it is new. Events: audit.read, at most
    MOST a person in QUIET. Raises: AuditError, and then nothing may be shown.
    """
    said = dict(facts or {})
    if said:
        subject = replace(subject, label=f"{subject.label}, filtered by {', '.join(said)}")
    lately = _lately(actor.id, now)
    if len(lately) >= MOST or (subject.ref, said) in lately:
        return False
    if len(lately) == MOST - 1:
        said |= AND_MORE
    record(Action.AUDIT_READ, actor=actor, now=now, subjects=[subject], facts=said)
    return True


def _lately(reader: str, now: datetime) -> list[tuple[str, dict[str, JSON]]]:
    """Return what that person has read in the last minutes, as (reference, facts)."""
    read = Event.objects.filter(actor_id=reader, action=Action.AUDIT_READ, at__gt=now - QUIET, at__lte=now)
    found = []
    for raw in read.order_by("-number").values_list("body", flat=True)[:MOST]:
        try:
            said = body.parse(bytes(raw))
        except AuditError:
            continue  # was altered; `verify_audit` says so
        facts = {name: fact for name, fact in said.facts.items() if name not in AND_MORE}
        found.append((said.subjects[0].ref if said.subjects else "", facts))
    return found
