"""Registering people, their roles and passwords, deactivating them."""

from datetime import datetime

from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access import names, selectors
from keyvault_admin.access.errors import (
    LastOfRoleError,
    PersonExistsError,
)
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import VOTING, Role
from keyvault_admin.access.services.pieces import locked, subject_of, void_links
from keyvault_admin.access.services.sessions import end_sessions


@transaction.atomic
def register_person(*, username: str, mail: str, full_name: str, actor: Actor, now: datetime) -> User:
    """Insert a person who can do nothing yet: no password, no second factor, no role. Event: person.registered.

    Raises: NameRefusedError, PersonExistsError.
    """
    username, mail = names.username_of(username), names.mail_of(mail)
    if User.objects.filter(Q(username=username) | Q(email=mail)).exists():
        raise PersonExistsError("Somebody already has this name or this mail address.")
    person = User.objects.create_user(username, mail, full_name=full_name.strip(), date_joined=now)
    record(Action.PERSON_REGISTERED, actor=actor, now=now, subjects=[subject_of(person, after={"active": True})])
    return person


@transaction.atomic
def grant_role(*, person: User, role: Role, actor: Actor, now: datetime, reason: str = "") -> None:
    """Give a role; nothing happens when the person has it. Locks the person. Event: role.granted.

    Raises: InactiveError.
    """
    person = locked(person)
    before = person.role_names
    if role in before:
        return
    person.groups.add(Group.objects.get(name=role))
    after = sorted([*before, role.value])
    subject = subject_of(person, before={"roles": list(before)}, after={"roles": after})
    record(Action.ROLE_GRANTED, actor=actor, now=now, subjects=[subject], reason=reason)


@transaction.atomic
def deactivate_person(*, person: User, actor: Actor, reason: str, now: datetime) -> None:
    """Shut a person out: every session of theirs ends, open links are void. The row stays.

    Locks everybody who holds a voting role of theirs. Events: person.deactivated; session.ended.

    Raises: InactiveError, LastOfRoleError when nobody else could fill a step of an approval.
    """
    person = locked(person)
    for role in VOTING:
        _refuse_if_last(person, role)
    person.is_active = False
    person.save(update_fields=["is_active"])
    void_links(person, now)
    subject = subject_of(person, before={"active": True}, after={"active": False})
    record(Action.PERSON_DEACTIVATED, actor=actor, now=now, subjects=[subject], reason=reason)
    end_sessions(person=person, reason="deactivated", actor=actor, now=now)


def _refuse_if_last(person: User, role: Role) -> None:
    holders = selectors.enrolled_with(role).select_for_update().order_by("pk")
    if {holder.pk for holder in holders} == {person.pk}:
        raise LastOfRoleError(role)


@sensitive_variables("password", "keep")
@transaction.atomic
def change_password(*, person: User, password: str, actor: Actor, now: datetime, keep: str = "") -> None:
    """Set a new password; every session of the person ends but the one of the key KEEP, which gets a new id.

    Events: person.password_changed; session.ended.

    Raises: ValidationError when the password is too weak.
    """
    validate_password(password, person)
    person.set_password(password)
    person.save(update_fields=["password"])
    record(Action.PERSON_PASSWORD_CHANGED, actor=actor, now=now, subjects=[subject_of(person)])
    end_sessions(person=person, reason="password changed", actor=actor, now=now, keep=keep)
