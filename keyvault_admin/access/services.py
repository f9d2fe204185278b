"""Every write about people: registering, enrolling, signing in with a code, roles, deactivating.

Names and addresses of people never enter the hashed part of an event: subjects are references, facts are references
and names of roles.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime

from django.conf import settings
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.sealing import keyed_digest, keyed_digests
from audit.services import Subject, record
from keyvault_admin.access import names, selectors
from keyvault_admin.access.errors import (
    AlreadyEnrolledError,
    BootstrapClosedError,
    InactiveError,
    LastOfRoleError,
    LinkRefusedError,
    PersonExistsError,
)
from keyvault_admin.access.models import BootstrapClosing, EnrolmentLink, TotpDevice, User
from keyvault_admin.access.roles import VOTING, Role

TOKEN_BYTES = 32
DIGEST_LABEL = "enrolment-link"


# People


@transaction.atomic
def register_person(*, username: str, mail: str, full_name: str, actor: Actor, now: datetime) -> User:
    """Insert a person who can do nothing yet: no password, no second factor, no role. Event: person.registered.

    Raises: NameRefusedError, PersonExistsError.
    """
    username, mail = names.username_of(username), names.mail_of(mail)
    if User.objects.filter(Q(username=username) | Q(email=mail)).exists():
        raise PersonExistsError("Somebody already has this name or this mail address.")
    person = User.objects.create_user(username, mail, full_name=full_name.strip(), date_joined=now)
    record(Action.PERSON_REGISTERED, actor=actor, now=now, subjects=[_subject(person, after={"active": True})])
    return person


@transaction.atomic
def grant_role(*, person: User, role: Role, actor: Actor, now: datetime, reason: str = "") -> None:
    """Give a role; nothing happens when the person has it. Locks the person. Event: role.granted.

    Raises: InactiveError.
    """
    person = _locked(person)
    before = person.role_names
    if role in before:
        return
    person.groups.add(Group.objects.get(name=role))
    after = sorted([*before, role.value])
    subject = _subject(person, before={"roles": list(before)}, after={"roles": after})
    record(Action.ROLE_GRANTED, actor=actor, now=now, subjects=[subject], reason=reason)


@transaction.atomic
def deactivate_person(*, person: User, actor: Actor, reason: str, now: datetime) -> None:
    """Shut a person out: every session of theirs ends with its next request, open links are void. The row stays.

    Locks everybody who holds a voting role of theirs. Event: person.deactivated.

    Raises: InactiveError, LastOfRoleError when nobody else could fill a step of an approval.
    """
    person = _locked(person)
    for role in VOTING:
        _refuse_if_last(person, role)
    person.is_active = False
    person.save(update_fields=["is_active"])
    _void_links(person, now)
    subject = _subject(person, before={"active": True}, after={"active": False})
    record(Action.PERSON_DEACTIVATED, actor=actor, now=now, subjects=[subject], reason=reason)


def _refuse_if_last(person: User, role: Role) -> None:
    holders = selectors.enrolled_with(role).select_for_update().order_by("pk")
    if {holder.pk for holder in holders} == {person.pk}:
        raise LastOfRoleError(role)


# Enrolment


@transaction.atomic
def issue_enrolment_link(*, person: User, actor: Actor, now: datetime) -> str:
    """Return the address of a one-time link; it is shown once and only its digest is kept. Older links are void.

    The token stands in the fragment, which browsers do not send: it reaches no log and no Referer header.
    Locks the person. Event: enrolment.issued.

    Raises: InactiveError, AlreadyEnrolledError.
    """
    person = _locked(person)
    if selectors.is_enrolled(person):
        raise AlreadyEnrolledError("This person has a second factor already; a link is for the first one only.")
    _void_links(person, now)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    link = EnrolmentLink.objects.create(
        token_digest=_digest(token),
        user=person,
        issued_by=actor.id,
        created_at=now,
        expires_at=now + settings.ENROLMENT_LIFETIME,
    )
    facts = {"link": link.ref, "expires_at": link.expires_at.isoformat()}
    record(Action.ENROLMENT_ISSUED, actor=actor, now=now, subjects=[_subject(person)], facts=facts)
    return f"{settings.SITE_URL}/enrol/#{token}"


@sensitive_variables("token")
@transaction.atomic
def begin_enrolment(*, token: str, now: datetime) -> EnrolmentLink:
    """Draw the seed of a device that waits for its first code, and return the link. It can be begun again.

    Locks the link. No event: nothing is granted yet.

    Raises: LinkRefusedError.
    """
    link = _locked_link(Q(token_digest__in=keyed_digests(token.encode(), label=DIGEST_LABEL)), now)
    device = selectors.pending_device(link.user) or TotpDevice(user=link.user, confirmed=False)
    device.draw_seed()
    device.save()
    return link


@sensitive_variables("code", "password")
@transaction.atomic
def complete_enrolment(*, link_id: int, code: str, password: str, actor: Actor, now: datetime) -> TotpDevice | None:
    """Confirm the device by its first code, set the password of a person who has none, and use up the link.

    Return None when the code is wrong, which is counted. Locks link and device. Event: person.enrolled.

    Raises: LinkRefusedError; ValidationError when the password is too weak.
    """
    link = _locked_link(Q(pk=link_id), now)
    person, device = link.user, selectors.pending_device(link.user)
    if device is None:
        raise LinkRefusedError
    if sets_password := not person.has_usable_password():
        validate_password(password, person)
    if not device.verify_token(code):
        return None
    if sets_password:
        person.set_password(password)
        person.save(update_fields=["password"])
    device.confirmed, link.used_at = True, now
    device.save(update_fields=["confirmed"])
    link.save(update_fields=["used_at"])
    facts: dict[str, JSON] = {"link": link.ref, "device": device.ref, "password_set": sets_password}
    subject = _subject(person, before={"enrolled": False}, after={"enrolled": True})
    record(Action.PERSON_ENROLLED, actor=actor, now=now, subjects=[subject], facts=facts)
    close_bootstrap_if_complete(actor=actor, now=now)
    return device


# Sign-in


@sensitive_variables("code")
@transaction.atomic
def verify_code(*, person: User, code: str) -> TotpDevice | None:
    """Return the device that accepted the code, else None. Locks the person's devices; a wrong code is counted.

    With several devices the code is tried without counting first, so that the right one is not slowed by the others.
    """
    devices = list(TotpDevice.objects.select_for_update().filter(user=person, confirmed=True).order_by("pk"))
    likely = [device for device in devices if device.recognises(code)] or devices
    return next((device for device in likely if device.verify_token(code)), None)


@sensitive_variables("password")
@transaction.atomic
def change_password(*, person: User, password: str, actor: Actor, now: datetime) -> None:
    """Set a new password; every other session of the person ends with its next request. Event: person.password_changed.

    Raises: ValidationError when the password is too weak.
    """
    validate_password(password, person)
    person.set_password(password)
    person.save(update_fields=["password"])
    record(Action.PERSON_PASSWORD_CHANGED, actor=actor, now=now, subjects=[_subject(person)])


# Bootstrapping


@transaction.atomic
def bootstrap_person(
    *, username: str, mail: str, full_name: str, role: Role, actor: Actor, now: datetime
) -> str | None:
    """Register whoever is new, grant the role and return an enrolment link; None when the person is enrolled already.

    Raises: BootstrapClosedError, NameRefusedError, PersonExistsError when the name belongs to another address.
    """
    if not selectors.is_bootstrap_open():
        raise BootstrapClosedError(
            "Two people of Security and two of DevOps are enrolled: this command has done its work and stays closed. "
            "Roles are granted by two people from now on."
        )
    person = User.objects.filter(username=names.username_of(username)).first()
    if person is None:
        person = register_person(username=username, mail=mail, full_name=full_name, actor=actor, now=now)
    elif person.email != names.mail_of(mail):
        raise PersonExistsError("This name belongs to somebody with another mail address.")
    grant_role(person=person, role=role, actor=actor, now=now)
    if selectors.is_enrolled(person):
        close_bootstrap_if_complete(actor=actor, now=now)
        return None
    return issue_enrolment_link(person=person, actor=actor, now=now)


@transaction.atomic
def close_bootstrap_if_complete(*, actor: Actor, now: datetime) -> None:
    """Close bootstrapping for good once the quorum is enrolled. Event: bootstrap.closed."""
    if BootstrapClosing.objects.exists() or not selectors.has_quorum():
        return
    closing, is_new = BootstrapClosing.objects.get_or_create(pk=1, defaults={"closed_at": now})
    if is_new:
        record(Action.BOOTSTRAP_CLOSED, actor=actor, now=now, facts={"closed_at": closing.closed_at.isoformat()})


# Pieces


def _locked(person: User) -> User:
    locked = User.objects.select_for_update().get(pk=person.pk)
    if not locked.is_active:
        raise InactiveError("This person is deactivated.")
    return locked


def _locked_link(wanted: Q, now: datetime) -> EnrolmentLink:
    links = EnrolmentLink.objects.select_for_update(of=("self",)).select_related("user")
    link = links.filter(wanted).first()
    if link is None or not link.is_open(now) or not link.user.is_active:
        raise LinkRefusedError
    return link


def _void_links(person: User, now: datetime) -> None:
    person.enrolment_links.filter(used_at__isnull=True, voided_at__isnull=True).update(voided_at=now)


def _digest(token: str) -> bytes:
    return keyed_digest(token.encode(), label=DIGEST_LABEL)


def _subject(
    person: User,
    *,
    before: Mapping[str, JSON] | None = None,
    after: Mapping[str, JSON] | None = None,
) -> Subject:
    return Subject(ref=person.ref, before=before or {}, after=after or {})
