"""Handing out what is held about a person: recorded before the first byte leaves."""

from collections.abc import Iterator
from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access.models import User
from keyvault_admin.access.personal_export import everything_about
from keyvault_admin.access.services.pieces import require, subject_of


@transaction.atomic
def export_person(*, person: User, actor: Actor, reason: str, now: datetime) -> Iterator[str]:
    """Return everything held about a person as pieces of one JSON document. Event: person.exported.

    Raises: ReasonMissingError.
    """
    require(reason)
    record(Action.PERSON_EXPORTED, actor=actor, now=now, subjects=[subject_of(person)], reason=reason)
    return everything_about(person, now=now)
