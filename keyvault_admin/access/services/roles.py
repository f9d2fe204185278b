"""Who has which role: giving and taking one, and letting somebody back in."""

from datetime import date, datetime

from django.contrib.auth.models import Group
from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import ActiveError, ErasedError, RoleError
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import Role
from keyvault_admin.access.services.letters import tell_of_decision
from keyvault_admin.access.services.people import set_end_date
from keyvault_admin.access.services.pieces import (
    lock_memberships,
    locked,
    refuse_if_last,
    require,
    subject_of,
    void_links,
)
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete
from keyvault_admin.access.services.sessions import end_sessions


@transaction.atomic
def grant_role(*, person: User, role: Role, actor: Actor, now: datetime, reason: str = "") -> None:
    """Give a role; nothing happens when the person has it. Locks the person. Event: role.granted.

    Raises: InactiveError.
    """
    lock_memberships()
    person = locked(person)
    before = person.role_names
    if role in before:
        return
    person.groups.add(Group.objects.get(name=role))
    after = sorted([*before, role.value])
    subject = subject_of(person, before={"roles": list(before)}, after={"roles": after})
    record(Action.ROLE_GRANTED, actor=actor, now=now, subjects=[subject], reason=reason)


@transaction.atomic
def grant_role_loudly(
    *, person: User, role: Role, ends_on: date | None, actor: Actor, reason: str, now: datetime
) -> None:
    """Give a role in place of the two votes that this will need, and tell the person, Security and DevOps.

    With `ends_on` the account gets its last day too. Events: role.granted; person.end_set; bootstrap.closed.

    Raises: EndDateError, InactiveError, LastOfRoleError, ReasonMissingError, RoleError when they have it already.
    """
    require(reason)
    if role in selectors.roles_of(person):
        raise RoleError(f"{person.username} has the role {role} already.")
    grant_role(person=person, role=role, actor=actor, now=now, reason=reason)
    if ends_on is not None:
        set_end_date(person=person, ends_on=ends_on, actor=actor, reason=reason, now=now)
    close_bootstrap_if_complete(actor=actor, now=now)
    until = f", whose account ends after {ends_on:%-d %B %Y}" if ends_on else ""
    tell_of_decision(person=person, what=f"was given the role {role}{until}", actor=actor, reason=reason, now=now)


@transaction.atomic
def revoke_role(*, person: User, role: Role, actor: Actor, reason: str, now: datetime) -> None:
    """Take a role away, also from somebody deactivated; their sessions end. Locks the memberships and the person.

    Events: role.revoked; session.ended.

    Raises: ReasonMissingError, RoleError when they have it not, LastOfRoleError when nobody could fill their step.
    """
    require(reason)
    lock_memberships()
    person = User.objects.select_for_update().get(pk=person.pk)
    before = person.role_names
    if role not in before:
        raise RoleError(f"{person} does not have the role {role}.")
    refuse_if_last(person, role)
    person.groups.remove(Group.objects.get(name=role))
    after = [name for name in before if name != role]
    subject = subject_of(person, before={"roles": list(before)}, after={"roles": list(after)})
    record(Action.ROLE_REVOKED, actor=actor, now=now, subjects=[subject], reason=reason)
    end_sessions(person=person, reason="a role was taken away", actor=actor, now=now)


@transaction.atomic
def reactivate_person(*, person: User, ends_on: date | None, actor: Actor, reason: str, now: datetime) -> None:
    """Let somebody back in who was deactivated, with their roles and second factors, and tell everybody concerned.

    The account's last day becomes `ends_on`, none without it. Links that were open are void.
    Locks the memberships and the person. Events: person.reactivated; person.end_set; bootstrap.closed.

    Raises: ActiveError, EndDateError, ErasedError, ReasonMissingError.
    """
    require(reason)
    lock_memberships()
    person = User.objects.select_for_update().get(pk=person.pk)
    if person.is_active and not person.has_ended(now.date()):
        raise ActiveError
    if person.is_erased:
        raise ErasedError
    person.is_active, person.ends_on = True, None
    person.save(update_fields=["is_active", "ends_on"])
    void_links(person, now)
    subject = subject_of(person, before={"active": False}, after={"active": True, "works_until": None})
    record(Action.PERSON_REACTIVATED, actor=actor, now=now, subjects=[subject], reason=reason)
    if ends_on is not None:
        set_end_date(person=person, ends_on=ends_on, actor=actor, reason=reason, now=now)
    close_bootstrap_if_complete(actor=actor, now=now)
    tell_of_decision(person=person, what="was re-activated", actor=actor, reason=reason, now=now)
