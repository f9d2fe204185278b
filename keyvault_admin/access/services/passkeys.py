"""Passkeys: registered by a verified person, and checked whenever one is shown."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.sealing import keyed_digest
from audit.services import Outcome, record
from keyvault_admin.access import passkeys
from keyvault_admin.access.errors import PasskeyRefusedError
from keyvault_admin.access.models import Passkey, User
from keyvault_admin.access.services.letters import tell_of_change
from keyvault_admin.access.services.pieces import locked, subject_of
from keyvault_admin.access.services.sessions import FACTORS_CHANGED, end_sessions

HANDLE_LABEL = "passkey-user-handle"


def passkey_options(*, person: User, challenge: bytes) -> dict[str, Any]:
    """Return what the person's browser is asked to make; one query. Writes nothing."""
    known = person.passkeys.filter(confirmed=True).values_list("credential_id", flat=True)
    return passkeys.creation_options(
        challenge=challenge,
        handle=_handle(person),
        username=person.username,
        full_name=str(person),
        known=[bytes(credential_id) for credential_id in known],
    )


@transaction.atomic
def register_passkey(
    *, person: User, name: str, answer: str, challenge: bytes | None, keep: str = "", actor: Actor, now: datetime
) -> Passkey:
    """Add the passkey that the person's browser made for this challenge. Locks the person. Event: factor.added.

    The challenge comes from `challenges.take_challenge`. Ends their sessions but the one with the key `keep`.

    Raises: InactiveError, PasskeyRefusedError, also for a credential that is registered already.
    """
    if challenge is None:
        raise PasskeyRefusedError
    person = locked(person)
    made = passkeys.checked_creation(answer, challenge=challenge)
    if Passkey.objects.filter(credential_id=made.credential_id).exists():
        raise PasskeyRefusedError
    passkey: Passkey = Passkey.objects.create(
        user=person,
        name=name,
        credential_id=made.credential_id,
        public_key=made.public_key,
        user_handle=_handle(person),
        sign_count=made.sign_count,
    )
    end_sessions(person=person, reason=FACTORS_CHANGED, actor=actor, now=now, keep=keep)
    facts = {"device": passkey.ref}
    record(Action.FACTOR_ADDED, actor=actor, now=now, subjects=[subject_of(person)], facts=facts)
    tell_of_change(
        person,
        subject="A passkey was added to your sign-in",
        what=f"The passkey “{name}” was added to your sign-in.",
        now=now,
    )
    return passkey


@sensitive_variables("answer")
@transaction.atomic
def verify_assertion(
    *, person: User, answer: str, challenge: bytes | None, actor: Actor, now: datetime
) -> Passkey | None:
    """Return the passkey of this person that answered this challenge, else None, whatever is wrong.

    The challenge comes from `challenges.take_challenge`; a vote's purpose binds it to what is voted on. Locks the
    passkey. A counter that has gone back is refused: event passkey.asserted with the outcome "refused", and a mail.
    """
    if challenge is None:
        return None
    try:
        assertion = passkeys.parsed_assertion(answer)
        passkey = _locked_passkey(person, assertion)
        count = passkeys.checked_sign_count(assertion, challenge=challenge, public_key=bytes(passkey.public_key))
    except PasskeyRefusedError:
        return None
    if passkey.has_gone_back(count):
        _tell_of_copy(passkey, count, actor, now)
        return None
    passkey.sign_count, passkey.last_used_at = count, now
    passkey.save(update_fields=["sign_count", "last_used_at"])
    return passkey


def _locked_passkey(person: User, assertion: passkeys.Assertion) -> Passkey:
    mine = Passkey.objects.select_for_update(of=("self",)).select_related("user").filter(user=person, confirmed=True)
    passkey: Passkey | None = mine.filter(credential_id=assertion.credential_id).first()
    if passkey is None or assertion.user_handle not in {None, b"", bytes(passkey.user_handle)}:
        raise PasskeyRefusedError
    return passkey


def _tell_of_copy(passkey: Passkey, count: int, actor: Actor, now: datetime) -> None:
    facts: dict[str, JSON] = {"device": passkey.ref, "stored": passkey.sign_count, "shown": count}
    subject = subject_of(passkey.user)
    record(Action.PASSKEY_ASSERTED, actor=actor, now=now, subjects=[subject], facts=facts, outcome=Outcome.REFUSED)
    tell_of_change(
        passkey.user,
        subject="A passkey of yours may have been copied",
        what=(
            f"The passkey “{passkey.name}” was refused: its counter stood lower than when it was last used, as it "
            "would if somebody had copied it."
        ),
        now=now,
    )


def _handle(person: User) -> bytes:
    """Return the 32 bytes by which an authenticator knows the person; they say nothing about who it is."""
    return keyed_digest(person.ref.encode(), label=HANDLE_LABEL)
