"""Enrolment: a one-time link to set up the first second factor."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.sealing import keyed_digest, keyed_digests
from audit.services import record
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import (
    AlreadyEnrolledError,
    InactiveError,
    LinkRefusedError,
)
from keyvault_admin.access.models import EnrolmentLink, TotpDevice, User
from keyvault_admin.access.services.pieces import locked, subject_of, void_links
from keyvault_admin.access.services.quorum import close_bootstrap_if_complete
from keyvault_admin.access.services.recovery import fill_sheet

TOKEN_BYTES = 32
DIGEST_LABEL = "enrolment-link"


@dataclass(frozen=True)
class Enrolment:
    """What an enrolment ends with: a device that works, and the recovery codes to be shown once."""

    device: TotpDevice
    recovery_codes: list[str] = field(repr=False)


@dataclass(frozen=True)
class Beginning:
    """What showing a link leads to: the link, and the device with the seed that was drawn for this visitor."""

    link: EnrolmentLink
    device: TotpDevice


@transaction.atomic
def issue_enrolment_link(*, person: User, actor: Actor, now: datetime) -> str:
    """Return the address of a one-time link; it is shown once and only its digest is kept. Older links are void.

    The token stands in the fragment, which browsers do not send: it reaches no log and no Referer header.
    Locks the person. Event: enrolment.issued.

    Raises: InactiveError, AlreadyEnrolledError.
    """
    person = locked(person)
    if person.has_ended(now.date()):
        raise InactiveError("The last day of this account is over.")
    if selectors.is_enrolled(person):
        raise AlreadyEnrolledError("This person has a second factor already; a link is for the first one only.")
    void_links(person, now)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    link = EnrolmentLink.objects.create(
        token_digest=_digest(token),
        user=person,
        issued_by=actor.id,
        created_at=now,
        expires_at=now + settings.ENROLMENT_LIFETIME,
    )
    facts = {"link": link.ref, "expires_at": link.expires_at.isoformat()}
    record(Action.ENROLMENT_ISSUED, actor=actor, now=now, subjects=[subject_of(person)], facts=facts)
    return f"{settings.SITE_URL}/enrol/#{token}"


@sensitive_variables("token")
@transaction.atomic
def begin_enrolment(*, token: str, now: datetime) -> Beginning:
    """Draw the seed of a device that waits for its first code. It can be begun again: the seed before is gone then.

    Locks the person and the link. No event: nothing is granted yet.

    Raises: LinkRefusedError.
    """
    link = _locked_link(Q(token_digest__in=keyed_digests(token.encode(), label=DIGEST_LABEL)), now)
    device = selectors.pending_device(link.user) or TotpDevice(user=link.user, confirmed=False)
    device.draw_seed()
    device.save()
    return Beginning(link, device)


@sensitive_variables("code", "password", "codes")
@transaction.atomic
def complete_enrolment(*, link_id: int, code: str, password: str, actor: Actor, now: datetime) -> Enrolment | None:
    """Confirm the device by its first code, make recovery codes, set a password where there is none, use up the link.

    Return None when the code is wrong, which is counted. Locks person, link and device. Event: person.enrolled.

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
    sheet, codes = fill_sheet(person, now)
    facts: dict[str, JSON] = {
        "link": link.ref,
        "device": device.ref,
        "password_set": sets_password,
        "recovery": sheet.ref,
    }
    subject = subject_of(person, before={"enrolled": False}, after={"enrolled": True})
    record(Action.PERSON_ENROLLED, actor=actor, now=now, subjects=[subject], facts=facts)
    close_bootstrap_if_complete(actor=actor, now=now)
    return Enrolment(device, codes)


def _locked_link(wanted: Q, now: datetime) -> EnrolmentLink:
    """Return the link, with its person, both locked: the person first, as whatever voids links does.

    Raises: LinkRefusedError.
    """
    found = EnrolmentLink.objects.filter(wanted).first()
    if found is None:
        raise LinkRefusedError
    person = User.objects.select_for_update().get(pk=found.user_id)
    link = EnrolmentLink.objects.select_for_update().get(pk=found.pk)
    link.user = person
    if not link.is_open(now) or not person.is_active or person.has_ended(now.date()):
        raise LinkRefusedError
    if selectors.is_enrolled(link.user):  # somebody else was quicker, with a link that was issued at the same moment
        raise LinkRefusedError
    return link


def _digest(token: str) -> bytes:
    return keyed_digest(token.encode(), label=DIGEST_LABEL)
