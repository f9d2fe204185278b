"""The challenge of a passkey: kept for one purpose, good for five minutes and for one answer.

Whoever is signed in has theirs in the session. A visitor has it in a signed cookie, so that asking for one leaves no
row of a session behind; what is written down is that it is spent, with the answer, and an answer is a counted try.
"""

import secrets
from datetime import datetime
from typing import cast

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from keyvault_admin.access import services
from keyvault_admin.access.models.sessions import stored_key
from keyvault_admin.access.passkeys import LIFETIME

KEY = "passkey_challenge"
CHALLENGE_BYTES = 32
SIGN_IN, REGISTER, STEP_UP = "sign-in", "register", "step-up"
SALT = "keyvault-admin/passkey/sign-in"


def draw_challenge() -> bytes:
    """Return a new challenge from the operating system."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def keep_challenge(request: HttpRequest, *, purpose: str, now: datetime) -> bytes:
    """Return a new challenge; the one before it is void. A vote gives its request's digest as part of the purpose."""
    challenge = draw_challenge()
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


def hand_visitor_challenge(response: HttpResponse, challenge: bytes) -> None:
    """Let the visitor's browser keep a challenge to sign in with, in place of the one before; signed and dated."""
    response.set_signed_cookie(
        settings.PASSKEY_COOKIE_NAME,
        challenge.hex(),
        salt=SALT,
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Strict",
    )


def take_visitor_challenge(request: HttpRequest, *, now: datetime) -> bytes | None:
    """Return the challenge that the visitor's browser kept, once; None for one that is forged, too old or spent."""
    kept = request.get_signed_cookie(settings.PASSKEY_COOKIE_NAME, "", salt=SALT, max_age=LIFETIME)
    challenge = bytes.fromhex(kept or "")
    return challenge if challenge and services.spend(SALT, challenge, now=now) else None
