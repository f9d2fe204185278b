"""Registering and changing the people, teams and services that keys belong to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.effects import be_patient
from inventory.models import Key, Owner, Service, Vendor
from inventory.models.owner import OwnerKind
from inventory.selectors import share_clauses
from inventory.services.findings import refresh_findings
from inventory.services.keys import require, require_revision, tell_again

OWNER_FACTS = ("handle", "mail", "kind", "user_id", "is_active")
OF_PEOPLE = ("handle", "mail")  # what stays out of the hashed bytes
SERVICE_FACTS = ("name", "description", "team", "tier", "data_classes", "vendor")


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
    return Subject(ref=owner.ref, after=_said_of_owner(owner))


def _said_of_owner(owner: Owner) -> dict[str, JSON]:
    return {
        "kind": owner.kind,
        "has_mail": bool(owner.mail),
        "is_active": owner.is_active,
        "user": f"user:{owner.user_id}" if owner.user_id else None,
    }


@transaction.atomic
def edit_owner(
    *, pk: int, changes: Mapping[str, Any], expected_revision: int, actor: Actor, reason: str, now: datetime
) -> Owner:
    """Change what is said of an owner that nobody changed since `expected_revision`.

    `changes` holds values for names of OWNER_FACTS, normalised. Who can be told now, and could not before, is told of
    their keys again. A new name is found by the search at once. Locks the owner. Events: owner.edited, which names the
    facts of people that changed and not what they are; those of refresh_findings() where somebody is gone or back; none
    when nothing changed. Queries: 6, and 1 when the name changed. Raises: StaleError.
    """
    require(reason)
    share_clauses()
    owner = Owner.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    require_revision(owner, expected_revision)
    before, was_told = _said_of_owner(owner), bool(owner.mail) and owner.is_active
    changed = [name for name in OWNER_FACTS if name in changes and getattr(owner, name) != changes[name]]
    if not changed:
        return owner
    for name in changed:
        setattr(owner, name, changes[name])
    owner.revision += 1
    owner.full_clean()
    if "handle" in changed:
        _be_patient()
    owner.save(update_fields=[*(name.removesuffix("_id") for name in changed), "revision"])
    if "mail" in changed or not was_told:
        tell_again([owner] if owner.mail and owner.is_active else [])
    facts: dict[str, JSON] = {"of_people": [name for name in OF_PEOPLE if name in changed]}
    subject = _difference(owner.ref, before, _said_of_owner(owner))
    record(Action.OWNER_EDITED, actor=actor, now=now, reason=reason, subjects=[subject], facts=facts)
    if {"is_active", "user_id"} & set(changed) or ("handle" in changed and not owner.is_active):
        held = Key.objects.filter(owner=owner).select_for_update(of=("self",), no_key=True).order_by("pk")
        refresh_findings(keys=list(held.values_list("pk", flat=True)), actor=actor, now=now)
    return owner


@transaction.atomic
def register_service(
    *,
    name: str,
    description: str = "",
    team: Owner | None = None,
    tier: int | None = None,
    data_classes: Sequence[str] = (),
    vendor: Vendor | None = None,
    actor: Actor,
    now: datetime,
) -> Service:
    """Register a service. Event: service.registered."""
    service = Service(
        name=name, description=description, team=team, tier=tier, data_classes=sorted(data_classes), vendor=vendor
    )
    service.full_clean()
    service.save()
    record(Action.SERVICE_REGISTERED, actor=actor, now=now, subjects=[service_subject(service)])
    return service


def service_subject(service: Service) -> Subject:
    said = _said_of_service(service)
    always = ("name", "description")
    return Subject(
        ref=service.ref,
        label=service.name,
        after={name: fact for name, fact in said.items() if fact or name in always},
    )


def _said_of_service(service: Service) -> dict[str, JSON]:
    return {
        "name": service.name,
        "description": service.description,
        "team": f"owner:{service.team_id}" if service.team_id else None,
        "tier": service.tier,
        "data_classes": list(service.data_classes),
        "vendor": f"vendor:{service.vendor_id}" if service.vendor_id else None,
    }


@transaction.atomic
def edit_service(
    *, pk: int, changes: Mapping[str, Any], expected_revision: int, actor: Actor, reason: str, now: datetime
) -> Service:
    """Change what is said of a service that nobody changed since `expected_revision`.

    `changes` holds values for names of SERVICE_FACTS. Locks it. A new name is found by the search at once. Event:
    service.edited with what was before and after; none when nothing changed. Queries: 4, and 1 when the name changed.
    Raises: StaleError.
    """
    require(reason)
    service = Service.objects.select_for_update(of=("self",)).select_related("team", "vendor").get(pk=pk)
    require_revision(service, expected_revision)
    before = _said_of_service(service)
    for name in SERVICE_FACTS:
        setattr(service, name, changes.get(name, getattr(service, name)))
    service.data_classes = sorted(service.data_classes)
    after = _said_of_service(service)
    if after == before:
        return service
    service.revision += 1
    service.full_clean()
    if before["name"] != after["name"]:
        _be_patient()
    service.save(update_fields=[*SERVICE_FACTS, "revision"])
    subject = _difference(service.ref, before, after, label=service.name)
    record(Action.SERVICE_EDITED, actor=actor, now=now, reason=reason, subjects=[subject])
    return service


def _be_patient() -> None:
    """Let the statement that renames write the words of all its keys: the database does so in the same one."""
    with connection.cursor() as cursor:
        be_patient(cursor)


def _difference(ref: str, before: Mapping[str, JSON], after: Mapping[str, JSON], *, label: str = "") -> Subject:
    names = [name for name in before if before[name] != after[name]]
    return Subject(
        ref=ref,
        label=label,
        before={name: before[name] for name in names},
        after={name: after[name] for name in names},
    )
