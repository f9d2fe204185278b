"""Time-based one-time codes: which code belongs to which step, and the address a QR code carries. Pure.

Source: RFC 6238 with 30-second steps, 6 digits and HMAC-SHA-1, the only set that every authenticator app knows.
"""

import hmac
import re
from base64 import b32encode
from datetime import datetime
from urllib.parse import quote, urlencode

from django_otp.oath import hotp

SEED_BYTES = 20  # RFC 4226 §4 R6 recommends 160 bits
STEP_SECONDS = 30
TOLERANCE_STEPS = 1  # before and after; RFC 6238 §5.2
CODE = re.compile(r"[0-9]{6}")  # ASCII only: int() would also take spaces, underscores and the digits of other scripts


def step_at(now: datetime) -> int:
    """Return the number of the 30-second step since 1970."""
    return int(now.timestamp()) // STEP_SECONDS


def seconds_left(now: datetime) -> int:
    """Return how long the current step still lasts: 1 to 30 seconds."""
    return STEP_SECONDS - int(now.timestamp()) % STEP_SECONDS


def code_at(seed: bytes, step: int) -> str:
    """Return the six digits of a step."""
    return f"{hotp(seed, step):06d}"


def matching_step(seed: bytes, code: str, now: datetime) -> int | None:
    """Return the step whose code this is, within the tolerance; None for anything else, also for what is no code."""
    if not CODE.fullmatch(code):
        return None
    current = step_at(now)
    steps = range(current - TOLERANCE_STEPS, current + TOLERANCE_STEPS + 1)
    return next((step for step in steps if hmac.compare_digest(code_at(seed, step), code)), None)


def base32(seed: bytes) -> str:
    """Return the seed as authenticator apps take it by hand, in groups of four."""
    text = b32encode(seed).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def provisioning_uri(seed: bytes, *, account: str, issuer: str) -> str:
    """Return the otpauth address that a QR code carries; it holds the seed, so it is never stored or logged."""
    label = quote(f"{issuer}:{account}", safe="")
    query = urlencode({"secret": b32encode(seed).decode(), "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{label}?{query}"
