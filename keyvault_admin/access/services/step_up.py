"""The second factor once more, within a session."""

from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access.models import Passkey, PersonSession, TotpDevice, User
from keyvault_admin.access.models.sessions import stored_key
from keyvault_admin.access.services.factors import verify_code
from keyvault_admin.access.services.passkeys import verify_assertion
from keyvault_admin.access.services.pieces import subject_of


@sensitive_variables("code", "answer", "session_key")
@transaction.atomic
def verify_session(
    *,
    person: User,
    session_key: str,
    code: str = "",
    answer: str = "",
    challenge: bytes | None = None,
    actor: Actor,
    now: datetime,
) -> TotpDevice | Passkey | None:
    """Check a code, or a passkey's answer to the challenge; return what accepted it, else None and the try is counted.

    Locks the person's devices, then the session. Event: session.verified; the refusal is the door's to record.
    """
    mine = PersonSession.objects.filter(person=person, session_id=stored_key(session_key))
    device: TotpDevice | Passkey | None = (
        verify_assertion(person=person, answer=answer, challenge=challenge, actor=actor, now=now)
        if answer
        else verify_code(person=person, code=code)
    )
    if device is None:
        mine.update(wrong_codes=F("wrong_codes") + 1)
        return None
    mine.update(wrong_codes=0, verified_by=device.ref)
    facts = {"verified_by": device.ref}
    record(Action.SESSION_VERIFIED, actor=actor, now=now, subjects=[subject_of(person)], facts=facts)
    return device
