"""The challenge of a passkey: kept in the session for one purpose, good for five minutes and for one answer."""

import secrets
from datetime import datetime
from typing import cast

from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.http import HttpRequest

from keyvault_admin.access.models.sessions import stored_key
from keyvault_admin.access.passkeys import LIFETIME

KEY = "passkey_challenge"
CHALLENGE_BYTES = 32
SIGN_IN, REGISTER, STEP_UP = "sign-in", "register", "step-up"


def keep_challenge(request: HttpRequest, *, purpose: str, now: datetime) -> bytes:
    """Return a new challenge; the one before it is void. A vote gives its request's digest as part of the purpose."""
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    request.session[KEY] = {"challenge": challenge.hex(), "purpose": purpose, "until": (now + LIFETIME).isoformat()}
    return challenge


@transaction.atomic
def take_challenge(request: HttpRequest, *, purpose: str, now: datetime) -> bytes | None:
    """Return the challenge and forget it, also where it is too old or was for something else: None then.

    Locks the session's row and reads it again, so that one of many equal requests finds it.
    """
    session = cast("SessionStore", request.session)
    row = session.model.objects.select_for_update().filter(session_key=stored_key(session.session_key or "")).first()
    kept = session.decode(row.session_data).get(KEY) if row else None
    if row and session.pop(KEY, None) is not None:
        session.save()
    if kept is None or kept["purpose"] != purpose or now >= datetime.fromisoformat(kept["until"]):
        return None
    return bytes.fromhex(kept["challenge"])
