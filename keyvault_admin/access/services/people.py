"""Registering and editing people, and the end of their accounts."""

from datetime import date, datetime

from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from keyvault_admin.access import names
from keyvault_admin.access.errors import EndDateError, InactiveError, PersonExistsError
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import VOTING
from keyvault_admin.access.services.letters import tell_of_edit
from keyvault_admin.access.services.pieces import (
    lock_memberships,
    locked,
    refuse_if_last,
    refuse_own,
    require,
    subject_of,
    void_links,
)
from keyvault_admin.access.services.sessions import end_sessions

_TAKEN = "Somebody already has this name or this mail address."


@transaction.atomic
def register_person(*, username: str, mail: str, full_name: str, actor: Actor, now: datetime) -> User:
    """Insert a person who can do nothing yet: no password, no second factor, no role. Event: person.registered.

    Raises: NameRefusedError, PersonExistsError, also where somebody else registers the same at this moment.
    """
    username, mail = names.username_of(username), names.mail_of(mail)
    if User.objects.filter(Q(username=username) | Q(email=mail)).exists():
        raise PersonExistsError(_TAKEN)
    try:
        with transaction.atomic():
            person = User.objects.create_user(username, mail, full_name=names.full_name_of(full_name), date_joined=now)
    except IntegrityError as error:
        raise PersonExistsError(_TAKEN) from error
    record(Action.PERSON_REGISTERED, actor=actor, now=now, subjects=[subject_of(person, after={"active": True})])
    return person


@transaction.atomic
def edit_person(*, person: User, mail: str, full_name: str, actor: Actor, reason: str, now: datetime) -> User:
    """Change the mail address and the full name; who they are (the user name, the roles) stays.

    Both the old address and the new one are told of a change of the address. Locks the person. Event: person.edited,
    which names the facts that changed and not what they are; none when nothing did.

    Raises: InactiveError, NameRefusedError, PersonExistsError, ReasonMissingError.
    """
    require(reason)
    person, mail, full_name = locked(person), names.mail_of(mail), names.full_name_of(full_name)
    was = person.email
    changed: list[JSON] = [*["mail"] * (was != mail), *["name"] * (person.full_name != full_name)]
    if not changed:
        return person
    person.email, person.full_name = mail, full_name
    try:
        with transaction.atomic():
            person.save(update_fields=["email", "full_name"])
    except IntegrityError as error:
        raise PersonExistsError("Somebody already has this mail address.") from error
    facts: dict[str, JSON] = {"changed": changed}
    record(Action.PERSON_EDITED, actor=actor, now=now, subjects=[subject_of(person)], reason=reason, facts=facts)
    if was != mail:
        tell_of_edit(person=person, was=was, now=now)
    return person


@transaction.atomic
def set_end_date(*, person: User, ends_on: date | None, actor: Actor, reason: str, now: datetime) -> User:
    """Set the last day of an account, in UTC, or take it away with None. Locks the person. Event: person.end_set.

    Raises: EndDateError, InactiveError (also once the day is over), LastOfRoleError, OwnAccountError,
    ReasonMissingError.
    """
    require(reason)
    refuse_own(person, actor, "changes the end of their own account")
    lock_memberships()
    person, today = locked(person), now.date()
    if person.has_ended(today):
        raise InactiveError("The last day of this account is over, so it is out of use. Have the person re-activated.")
    if ends_on is not None and ends_on < today:
        raise EndDateError("The last day is in the past. To end the account now, deactivate the person.")
    if ends_on == person.ends_on:
        return person
    if ends_on is not None:
        refuse_if_last(person, *VOTING)
    before: dict[str, JSON] = {"works_until": person.ends_on.isoformat() if person.ends_on else None}
    person.ends_on = ends_on
    person.save(update_fields=["ends_on"])
    subject = subject_of(person, before=before, after={"works_until": ends_on.isoformat() if ends_on else None})
    record(Action.PERSON_END_SET, actor=actor, now=now, subjects=[subject], reason=reason)
    return person


@transaction.atomic
def deactivate_person(*, person: User, actor: Actor, reason: str, now: datetime) -> None:
    """Shut a person out: every session of theirs ends, open links are void. The row stays.

    Locks the memberships and the person. Events: person.deactivated; session.ended.

    Raises: InactiveError, OwnAccountError, ReasonMissingError, LastOfRoleError when nobody else could fill a step of
    an approval.
    """
    require(reason)
    refuse_own(person, actor, "deactivates their own account")
    lock_memberships()
    person = locked(person)
    refuse_if_last(person, *VOTING)
    person.is_active = False
    person.save(update_fields=["is_active"])
    void_links(person, now)
    subject = subject_of(person, before={"active": True}, after={"active": False})
    record(Action.PERSON_DEACTIVATED, actor=actor, now=now, subjects=[subject], reason=reason)
    end_sessions(person=person, reason="deactivated", actor=actor, now=now)


@transaction.atomic
def end_due_accounts(*, actor: Actor, now: datetime) -> int:
    """Deactivate whoever's last day is over; return how many. It asks nobody and spares nobody: the day was decided.

    Idempotent. Their links need no voiding, because a link works for active people only. Locks the people.
    Events: person.deactivated, one for each; session.ended. Queries: 2, and 3 for each.
    """
    due = User.objects.filter(is_active=True, ends_on__lt=now.date()).only("pk", "ends_on").order_by("pk")
    people = list(due.select_for_update(skip_locked=True))
    User.objects.filter(pk__in=[person.pk for person in people]).update(is_active=False)
    for person in people:
        until: JSON = person.ends_on.isoformat() if person.ends_on else None
        subject = subject_of(person, before={"active": True}, after={"active": False, "works_until": until})
        record(Action.PERSON_DEACTIVATED, actor=actor, now=now, subjects=[subject], reason="their last day is over")
        end_sessions(person=person, reason="their last day is over", actor=actor, now=now)
    return len(people)


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
