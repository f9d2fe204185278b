"""Erasing a person: their names leave what we hold, the log keeps its bytes, and nobody can act in their name again."""

from dataclasses import dataclass
from datetime import datetime
from secrets import token_bytes

from django.db import IntegrityError, transaction

from audit.actor import Actor
from audit.canonical import JSON
from audit.selectors import numbers_naming
from audit.services import erase_identity
from inventory.services import forget_owners
from keyvault_admin.access import names
from keyvault_admin.access.errors import ErasedError, NotErasedError
from keyvault_admin.access.guarded.factors import remove_everything
from keyvault_admin.access.guarded.warrants import Warrant
from keyvault_admin.access.models import Lockout, Passkey, SingleSignOnLink, TotpDevice, User
from keyvault_admin.access.personal_data import MOST_NUMBERS
from keyvault_admin.access.services.pieces import refuse_own, require, void_links
from keyvault_admin.access.services.sessions import end_sessions
from rotation.letters import forget_recipient

REMOVED = "removed"


@dataclass(frozen=True)
class Erased:
    """What was done, and what is out of reach."""

    ref: str
    had_identity: bool  # whether the log held names of theirs
    owners: int
    mails: int  # that were written to them; those that were sent lie in their mailbox
    naming: tuple[int, ...]  # events whose bytes name them as text, at most MOST_NUMBERS


@transaction.atomic
def erase_person(*, person: User, permit: Warrant, actor: Actor, reason: str, now: datetime) -> Erased:
    """Take away what names a deactivated person, in one transaction; `personal_data.HOLDINGS` says what becomes of it.

    Their row stays under a placeholder, because the log names its number. Locks the person. Events: person.erased,
    which holds no name; owner.edited, session.ended. It reads the whole log for what names them in free text.
    Raises: ErasedError, NotErasedError, OwnAccountError, ReasonMissingError; AuditError where the login may not.
    """
    require(reason)
    refuse_own(person, actor, "erases their own account")
    person = User.objects.select_for_update().get(pk=person.pk)
    refuse_unerasable(person)
    naming = _naming(person)
    username, mail = names.erased_names(person.pk)
    _forget_factors(person, now)
    end_sessions(person=person, reason="erased", actor=actor, now=now)
    owners = forget_owners(user_id=person.pk, mail=person.email, actor=actor, reason=reason, now=now)
    mails = forget_recipient(mail=person.email, placeholder=mail, names=_replaced(person, username, mail))
    _forget_account(person, username, mail)
    facts: dict[str, JSON] = {"owners": [owner.ref for owner in owners], "mails": mails, "named_in": list(naming)}
    facts |= permit.facts
    had_identity = erase_identity(person.ref, actor=actor, reason=reason, now=now, facts=facts)
    return Erased(person.ref, had_identity, len(owners), mails, naming)


def refuse_unerasable(person: User) -> None:
    """Raises: ErasedError; NotErasedError for who is active."""
    if person.is_erased:
        raise ErasedError
    if person.is_active:
        raise NotErasedError("This person is active. Deactivate them first; erasing cannot be taken back.")


def _naming(person: User) -> tuple[int, ...]:
    return tuple(numbers_naming([person.email, person.full_name, person.username], most=MOST_NUMBERS))


def _replaced(person: User, username: str, mail: str) -> dict[str, str]:
    """Return what stands in mails to others, and what takes its place."""
    known = {person.full_name: names.ERASED_NAME, person.email: mail, person.username: username}
    return {name: words for name, words in known.items() if name}


def _forget_factors(person: User, now: datetime) -> None:
    """Take every second factor out of use, and empty what names a thing or an account of theirs."""
    remove_everything(person, now)
    void_links(person, now)
    TotpDevice.objects.filter(user=person).update(name=REMOVED)
    for passkey in Passkey.objects.filter(user=person):
        passkey.name, passkey.public_key, passkey.user_handle = REMOVED, b"", b""
        passkey.credential_id = token_bytes(16)  # unique, and nothing that an authenticator knows
        passkey.save(update_fields=["name", "public_key", "user_handle", "credential_id"])
    for link in SingleSignOnLink.objects.filter(user=person):
        link.subject = f"erased-{link.pk}"
        link.save(update_fields=["subject"])
    Lockout.objects.filter(person=person).delete()


def _forget_account(person: User, username: str, mail: str) -> None:
    person.username, person.email, person.full_name = username, mail, names.ERASED_NAME
    person.last_login = None
    person.set_unusable_password()
    try:
        with transaction.atomic():
            person.save(update_fields=["username", "email", "full_name", "last_login", "password"])
    except IntegrityError as error:
        raise NotErasedError(f"Somebody is called {username} already. Rename them first.") from error
