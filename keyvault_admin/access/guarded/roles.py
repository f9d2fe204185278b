"""Giving somebody a role, and letting somebody back in."""

from datetime import date, datetime

from django.contrib.auth.models import Group
from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from keyvault_admin.access.errors import ActiveError, EndDateError, ErasedError, RoleError
from keyvault_admin.access.guarded.warrants import Warrant, in_words
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import VOTING, Role
from keyvault_admin.access.services.letters import tell_of_decision
from keyvault_admin.access.services.pieces import (
    KNOWN_TO_WORKERS,
    lock_memberships,
    locked,
    refuse_if_last,
    require,
    subject_of,
    void_links,
)
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete


@transaction.atomic
def give_role(*, person: User, role: Role, permit: Warrant, actor: Actor, reason: str, now: datetime) -> None:
    """Give a role and tell nobody; nothing happens when the person has it. Locks memberships and person.

    Event: role.granted. Raises: InactiveError.
    """
    lock_memberships()
    person = locked(person)
    before = person.role_names
    if role in before:
        return
    person.groups.add(Group.objects.get(name=role))
    after = sorted([*before, role.value])
    subject = subject_of(person, before={"roles": list(before)}, after={"roles": after})
    record(Action.ROLE_GRANTED, actor=actor, now=now, subjects=[subject], reason=reason, facts=permit.facts)


@transaction.atomic
def grant_role(
    *, person: User, role: Role, ends_on: date | None, permit: Warrant, actor: Actor, reason: str, now: datetime
) -> None:
    """Give a role, and tell the person, Security and DevOps. With `ends_on` the account gets its last day too.

    Locks memberships and person. Events: role.granted; person.end_set; bootstrap.closed.

    Raises: EndDateError, InactiveError, LastOfRoleError, ReasonMissingError, RoleError when they have it already.
    """
    require(reason)
    lock_memberships()
    refuse_held(locked(person), role)
    give_role(person=person, role=role, permit=permit, actor=actor, reason=reason, now=now)
    if ends_on is not None:
        _end_on(locked(person), ends_on, permit, actor, reason, now)
    close_bootstrap_if_complete(actor=actor, now=now)
    until = f", whose account ends after {ends_on:%-d %B %Y}" if ends_on else ""
    what = f"was given the role {role}{until}"
    tell_of_decision(person=locked(person), what=what, how=in_words(permit), reason=reason, now=now)


def refuse_held(person: User, role: Role) -> None:
    """Raises: RoleError for who has the role already."""
    if role in person.role_names:
        raise RoleError(f"{person.username} has the role {role} already.")


def refuse_past(ends_on: date | None, now: datetime) -> None:
    """Raises: EndDateError for a day that is over."""
    if ends_on is not None and ends_on < now.date():
        raise EndDateError("The last day is in the past.")


def _end_on(person: User, ends_on: date, permit: Warrant, actor: Actor, reason: str, now: datetime) -> None:
    refuse_past(ends_on, now)
    refuse_if_last(person, *VOTING)
    before: dict[str, JSON] = {"works_until": person.ends_on.isoformat() if person.ends_on else None}
    person.ends_on = ends_on
    person.save(update_fields=["ends_on"])
    subject = subject_of(person, before=before, after={"works_until": ends_on.isoformat()})
    record(Action.PERSON_END_SET, actor=actor, now=now, subjects=[subject], reason=reason, facts=permit.facts)


@transaction.atomic
def reactivate_person(
    *, person: User, ends_on: date | None, permit: Warrant, actor: Actor, reason: str, now: datetime
) -> None:
    """Let somebody back in who was deactivated, with their roles and second factors, and tell everybody concerned.

    The account's last day becomes `ends_on`, none without it. Links that were open are void.
    Locks the memberships and the person. Events: person.reactivated; bootstrap.closed.

    Raises: ActiveError, EndDateError, ErasedError, LastOfRoleError, ReasonMissingError.
    """
    require(reason)
    lock_memberships()
    person = User.objects.select_for_update().only(*KNOWN_TO_WORKERS).get(pk=person.pk)
    refuse_working(person, now)
    refuse_past(ends_on, now)
    was = {"active": person.is_active, "works_until": person.ends_on.isoformat() if person.ends_on else None}
    person.is_active, person.ends_on = True, ends_on
    person.save(update_fields=["is_active", "ends_on"])
    if ends_on is not None:
        refuse_if_last(person, *VOTING)
    void_links(person, now)
    after: dict[str, JSON] = {"active": True, "works_until": ends_on.isoformat() if ends_on else None}
    subject = subject_of(person, before=was, after=after)
    record(Action.PERSON_REACTIVATED, actor=actor, now=now, subjects=[subject], reason=reason, facts=permit.facts)
    close_bootstrap_if_complete(actor=actor, now=now)
    tell_of_decision(person=person, what="was re-activated", how=in_words(permit), reason=reason, now=now)


def refuse_working(person: User, now: datetime) -> None:
    """Raises: ActiveError for whose account works; ErasedError."""
    if person.is_active and not person.has_ended(now.date()):
        raise ActiveError
    if person.is_erased:
        raise ErasedError
