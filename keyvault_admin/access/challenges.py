"""What a browser keeps for one purpose, good for minutes and for one answer, such as the challenge of a passkey.

Whoever is signed in, or half-way, has it in the session. A visitor has it in a signed cookie, and so has whoever leaves
for the provider of single sign-on, so that asking leaves no row of a session behind; what is written down is that it is
spent, with the answer, and an answer is a counted try.
"""

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal, cast

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
DEPARTURE_SALT = "keyvault-admin/single-sign-on/departure"


def draw_challenge() -> bytes:
    """Return a new challenge from the operating system."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def vote_purpose(digest: bytes) -> str:
    """Return the purpose of a challenge for the vote on what has this digest."""
    return f"vote:{digest.hex()}"


def keep_challenge(request: HttpRequest, *, purpose: str, now: datetime, about: bytes = b"") -> bytes:
    """Return a new challenge; the one before it is void.

    It begins with what it is `about`, so that an authenticator signs that along: a vote gives the digest there, and
    vote_purpose() of it.
    """
    challenge = about + draw_challenge()
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


def hand_visitor_challenge(response: HttpResponse, challenge: bytes) -> None:
    """Let the visitor's browser keep a challenge to sign in with, in place of the one before; signed and dated."""
    _hand(response, settings.PASSKEY_COOKIE_NAME, challenge.hex(), salt=SALT, lifetime=LIFETIME, same_site="Strict")


def take_visitor_challenge(request: HttpRequest, *, now: datetime) -> bytes | None:
    """Return the challenge that the visitor's browser kept, once; None for one that is forged, too old or spent."""
    kept = request.get_signed_cookie(settings.PASSKEY_COOKIE_NAME, "", salt=SALT, max_age=LIFETIME)
    challenge = bytes.fromhex(kept or "")
    return challenge if challenge and services.spend(SALT, challenge, now=now) else None


def hand_departure(response: HttpResponse, record: Mapping[str, str]) -> None:
    """Let the browser keep what the provider's answer must fit, in place of the one before; signed and dated.

    It comes along although another site leads back here, hence Lax.
    """
    kept, lifetime = urlsafe_b64encode(json.dumps(record).encode()).decode(), settings.OIDC_LIFETIME
    _hand(response, settings.DEPARTURE_COOKIE_NAME, kept, salt=DEPARTURE_SALT, lifetime=lifetime, same_site="Lax")


def take_departure(request: HttpRequest, *, now: datetime) -> dict[str, str] | None:
    """Return what the browser kept when it left, once; None for what is forged, too old or spent."""
    name, lifetime = settings.DEPARTURE_COOKIE_NAME, settings.OIDC_LIFETIME
    kept = (request.get_signed_cookie(name, "", salt=DEPARTURE_SALT, max_age=lifetime) or "").encode()
    if not kept or not services.spend(DEPARTURE_SALT, kept, now=now):
        return None
    record: dict[str, str] = json.loads(urlsafe_b64decode(kept))
    return record


def _hand(
    response: HttpResponse,
    name: str,
    kept: str,
    *,
    salt: str,
    lifetime: timedelta,
    same_site: Literal["Lax", "Strict"],
) -> None:
    response.set_signed_cookie(
        name,
        kept,
        salt=salt,
        max_age=lifetime,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite=same_site,
    )
