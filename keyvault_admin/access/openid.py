"""OpenID Connect: where a browser is sent, and what the provider's answer says. Knows no database and no session.

Source: OpenID Connect Core 1.0 §3.1, RFC 7636 (PKCE), RFC 8176 (`amr`), RFC 9207 (`iss` in the answer).
"""

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.urls import reverse

from keyvault_admin.access.errors import SingleSignOnError

SECRET_BYTES = 32
SUBJECT_CHARACTERS = 255  # OpenID Connect Core 1.0 §2
LONGEST_CODE = 2_000


def is_configured() -> bool:
    """Whether there is a provider."""
    return bool(settings.OIDC_ISSUER)


@dataclass(frozen=True)
class Departure:
    """What ties an answer to the browser that asked: three secrets of 256 bits, and what it is all for."""

    purpose: str
    after: str  # the page to go to then
    person: str = ""  # who links an account: "user:3"
    state: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET_BYTES), repr=False)
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET_BYTES), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(SECRET_BYTES), repr=False)

    def record(self) -> dict[str, str]:
        """Return it as the browser keeps it."""
        return asdict(self)


@dataclass(frozen=True)
class Identified:
    """Who the provider says it is, and by which of its words a second factor was shown ("": by none that counts)."""

    subject: str = field(repr=False)
    second_factor: str


def return_address() -> str:
    """Return where the provider sends the browser back to; it is registered there."""
    return str(settings.SITE_URL + reverse("sign-in-return"))


def address_to_ask(departure: Departure, *, asks_afresh: bool = False) -> str:
    """Return the provider's address for this browser; with `asks_afresh` it shall not rely on a session of its own."""
    asked = {
        "response_type": "code",
        "scope": "openid",
        "client_id": settings.OIDC_RP_CLIENT_ID,
        "redirect_uri": return_address(),
        "state": departure.state,
        "nonce": departure.nonce,
        "code_challenge": _challenge(departure.verifier),
        "code_challenge_method": "S256",
    }
    if settings.OIDC_MAX_AGE:
        asked["max_age"] = str(settings.OIDC_MAX_AGE)
    if settings.OIDC_MFA_ACR:
        asked["acr_values"] = " ".join(sorted(settings.OIDC_MFA_ACR))
    if asks_afresh:
        asked["prompt"] = "login"
    endpoint = settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"


def _challenge(verifier: str) -> str:
    """Source: RFC 7636 §4.2."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def identify(answer: Mapping[str, str], departure: Departure, *, now: datetime) -> Identified:
    """Return who came back, from the query of the address the provider sent them to. Asks the provider twice.

    Raises: SingleSignOnError.
    """
    from keyvault_admin.access.openid_client import ProviderClient  # the extra is installed where this is configured

    code = _code(answer, departure)
    claims = ProviderClient().claims(
        code=code, verifier=departure.verifier, return_address=return_address(), nonce=departure.nonce
    )
    _check_age(claims, now)
    subject = claims["sub"]
    if not (isinstance(subject, str) and 0 < len(subject) <= SUBJECT_CHARACTERS and subject.isprintable()):
        raise SingleSignOnError("the token names nobody")
    return Identified(subject, second_factor_in(claims))


def _code(answer: Mapping[str, str], departure: Departure) -> str:
    if not secrets.compare_digest(answer.get("state", "").encode(), departure.state.encode()):
        raise SingleSignOnError("the state is another one")
    if answer.get("iss", settings.OIDC_ISSUER) != settings.OIDC_ISSUER:
        raise SingleSignOnError("another provider answered")
    if "error" in answer:
        raise SingleSignOnError("the provider refused")
    code = answer.get("code", "")
    if not 0 < len(code) <= LONGEST_CODE:
        raise SingleSignOnError("the answer holds no code")
    return code


def _check_age(claims: Mapping[str, Any], now: datetime) -> None:
    """Where an age is demanded, a provider that does not say when it asked is not believed."""
    if not settings.OIDC_MAX_AGE:
        return
    asked_at = claims.get("auth_time")
    if isinstance(asked_at, bool) or not isinstance(asked_at, int | float):
        raise SingleSignOnError("the token does not say when the provider asked")
    skew = settings.CLOCK_SKEW.total_seconds()
    if not -skew <= now.timestamp() - asked_at <= settings.OIDC_MAX_AGE + skew:
        raise SingleSignOnError("the provider asked too long ago")


def second_factor_in(claims: Mapping[str, Any]) -> str:
    """Return the word by which the token says that a second factor was shown, as "amr:mfa"; "" where none counts."""
    methods = claims.get("amr")
    if isinstance(methods, list):
        counted = sorted({word for word in methods if isinstance(word, str)} & settings.OIDC_MFA_AMR)
        if counted:
            return f"amr:{counted[0]}"
    level = claims.get("acr")
    return f"acr:{level}" if isinstance(level, str) and level in settings.OIDC_MFA_ACR else ""
