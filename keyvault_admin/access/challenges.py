"""What a session keeps for one purpose, good for minutes and for one answer, such as the challenge of a passkey."""

import secrets
from collections.abc import Mapping
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
    keep(request, KEY, {"challenge": challenge.hex(), "purpose": purpose}, until=now + LIFETIME)
    return challenge


def take_challenge(request: HttpRequest, *, purpose: str, now: datetime) -> bytes | None:
    """Return the challenge and forget it, also where it is too old or was for something else: None then."""
    kept = take(request, KEY, now=now)
    return bytes.fromhex(kept["challenge"]) if kept and kept["purpose"] == purpose else None


def keep(request: HttpRequest, key: str, record: Mapping[str, str], *, until: datetime) -> None:
    """Put a record into the session under this key; the one before it is void."""
    request.session[key] = {**record, "until": until.isoformat()}


@transaction.atomic
def take(request: HttpRequest, key: str, *, now: datetime) -> dict[str, str] | None:
    """Return the record of this key and forget it, also where it is too old: None then.

    Locks the session's row and reads it again, so that one of many equal requests finds it.
    """
    session = cast("SessionStore", request.session)
    row = session.model.objects.select_for_update().filter(session_key=stored_key(session.session_key or "")).first()
    kept: dict[str, str] | None = session.decode(row.session_data).get(key) if row else None
    if row and session.pop(key, None) is not None:
        session.save()
    return kept if kept and now < datetime.fromisoformat(kept["until"]) else None
