"""Registering and changing the people, teams and services that keys belong to."""

from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import Subject, record
from inventory.models import Owner, Service
from inventory.models.owner import OwnerKind


@transaction.atomic
def register_owner(
    *,
    handle: str,
    mail: str = "",
    kind: str = OwnerKind.PERSON,
    user_id: int | None = None,
    actor: Actor,
    now: datetime,
) -> Owner:
    """Register somebody who can answer for keys. `handle` and `mail` are given normalised. Event: owner.registered."""
    owner = Owner(handle=handle, mail=mail, kind=kind, user_id=user_id)
    owner.full_clean()
    owner.save()
    record(Action.OWNER_REGISTERED, actor=actor, now=now, subjects=[owner_subject(owner)])
    return owner


def owner_subject(owner: Owner) -> Subject:
    """Describe a newly registered owner for the log: names and mails of people stay out of the hashed bytes."""
    return Subject(
        ref=owner.ref,
        after={
            "kind": owner.kind,
            "has_mail": bool(owner.mail),
            "is_active": owner.is_active,
            "user": f"user:{owner.user_id}" if owner.user_id else None,
        },
    )


@transaction.atomic
def register_service(*, name: str, description: str = "", actor: Actor, now: datetime) -> Service:
    """Register a service. Event: service.registered."""
    service = Service(name=name, description=description)
    service.full_clean()
    service.save()
    record(Action.SERVICE_REGISTERED, actor=actor, now=now, subjects=[service_subject(service)])
    return service


def service_subject(service: Service) -> Subject:
    return Subject(
        ref=service.ref, label=service.name, after={"name": service.name, "description": service.description}
    )
