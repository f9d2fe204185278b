"""The second factor of a vote: shown for this vote, good for nothing else."""

from datetime import datetime
from hmac import compare_digest

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from audit.actor import Actor
from keyvault_admin.access.models import User
from keyvault_admin.access.services.factors import verify_code
from keyvault_admin.access.services.passkeys import verify_assertion


@sensitive_variables("code", "answer", "challenge")
def verify_for_vote(
    *, actor: Actor, code: str, answer: str, challenge: bytes | None, digest: bytes, now: datetime
) -> str | None:
    """Return which device of the person accepted what they showed ("totp:5", "passkey:3"), None for a wrong try.

    A code is accepted once, ever. A passkey answers a challenge that begins with the digest of what is voted on
    (`challenges.keep_challenge(about=…)`), so that its signature is over that and nothing else. Recovery codes and
    single sign-on vote nothing. In a transaction of its own: a wrong code is counted and slows the next one down, and a
    right one is spent, whatever becomes of the vote. Locks the person's devices.
    """
    if actor.kind != "person":
        return None
    with transaction.atomic(durable=True):
        person = User.objects.filter(pk=int(actor.id.removeprefix("user:")), is_active=True).first()
        if person is None or person.has_ended(now.date()):
            return None
        if not answer:
            device = verify_code(person=person, code=code)
            return device.ref if device else None
        if challenge is None or not compare_digest(challenge[: len(digest)], digest):
            return None
        passkey = verify_assertion(person=person, answer=answer, challenge=challenge, actor=actor, now=now)
        return passkey.ref if passkey else None
