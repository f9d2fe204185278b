"""Single sign-on: linking an account at the provider to a person, unlinking it, and knowing somebody by it."""

from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from keyvault_admin.access import selectors
from keyvault_admin.access.errors import FactorGoneError, LinkTakenError, SingleSignOnError
from keyvault_admin.access.models import SingleSignOnLink, User
from keyvault_admin.access.services.letters import tell_of_change
from keyvault_admin.access.services.pieces import locked, subject_of
from keyvault_admin.access.services.sessions import FACTORS_CHANGED, end_sessions


@transaction.atomic
def link_account(*, person: User, subject: str, keep: str = "", actor: Actor, now: datetime) -> SingleSignOnLink:
    """Let the account of this subject at the provider sign in this person from now on. Locks the person.

    Ends their sessions but the one with the key `keep`. Event: single_sign_on.linked. They are told by mail.

    Raises: InactiveError, LinkTakenError.
    """
    person = locked(person)
    try:
        with transaction.atomic():
            link: SingleSignOnLink = SingleSignOnLink.objects.create(
                user=person, issuer=settings.OIDC_ISSUER, subject=subject
            )
    except IntegrityError as error:
        raise LinkTakenError(
            "This account is linked already: to you, or to somebody else here. Nothing was changed. Is it yours, and "
            "you did not link it? Tell Security."
        ) from error
    end_sessions(person=person, reason=FACTORS_CHANGED, actor=actor, now=now, keep=keep)
    _record(Action.SINGLE_SIGN_ON_LINKED, link, person, actor, now)
    tell_of_change(
        person,
        subject="Single sign-on was linked to your account",
        what=f"From now on, an account at {settings.OIDC_NAME} signs you in.",
        now=now,
    )
    return link


@transaction.atomic
def unlink_account(*, person: User, keep: str = "", actor: Actor, now: datetime) -> None:
    """Let the person's account at the provider sign in nobody any more. Locks the person.

    Ends their sessions but the one with the key `keep`. Event: single_sign_on.unlinked. They are told by mail.

    Raises: InactiveError, FactorGoneError.
    """
    person = locked(person)
    link = selectors.links_of(person).select_for_update(of=("self",)).first()
    if link is None:
        raise FactorGoneError
    remove_link(link, now)
    end_sessions(person=person, reason=FACTORS_CHANGED, actor=actor, now=now, keep=keep)
    _record(Action.SINGLE_SIGN_ON_UNLINKED, link, person, actor, now)
    tell_of_change(
        person,
        subject="Single sign-on was unlinked from your account",
        what=f"Your account at {settings.OIDC_NAME} does not sign you in any more.",
        now=now,
    )


def remove_link(link: SingleSignOnLink, now: datetime) -> None:
    """Take the link out of use for good; the caller holds the row's lock and records it."""
    link.confirmed, link.removed_at = False, now
    link.save(update_fields=["confirmed", "removed_at"])


@transaction.atomic
def know_by_link(*, subject: str, second_factor: str, actor: Actor, now: datetime) -> SingleSignOnLink:
    """Return the link of the person whom the provider has identified; nobody is signed in by that. Locks the link.

    Event: single_sign_on.used, with the word by which the provider spoke of a second factor ("" for none).

    Raises: SingleSignOnError for a subject that is linked to nobody, and for who may not sign in.
    """
    found = SingleSignOnLink.objects.select_for_update(of=("self",)).select_related("user")
    link: SingleSignOnLink | None = found.filter(
        issuer=settings.OIDC_ISSUER, subject=subject, removed_at__isnull=True
    ).first()
    if link is None:
        raise SingleSignOnError("the account is linked to nobody")
    if not link.user.is_active or link.user.has_ended(now.date()):
        raise SingleSignOnError("the person may not sign in", ref=link.user.ref)
    link.last_used_at = now
    link.save(update_fields=["last_used_at"])
    facts: dict[str, JSON] = {"second_factor": second_factor}
    _record(Action.SINGLE_SIGN_ON_USED, link, link.user, actor, now, facts)
    return link


def _record(
    action: Action,
    link: SingleSignOnLink,
    person: User,
    actor: Actor,
    now: datetime,
    more: dict[str, JSON] | None = None,
) -> None:
    facts: dict[str, JSON] = {"device": link.ref, **(more or {})}
    record(action, actor=actor, now=now, subjects=[subject_of(person)], facts=facts)
