"""Recovery codes: how they are drawn, written and read. Pure.

A code is 120 random bits in base32 (RFC 4648), written as six groups of four: "MZXW-6YTB-OI3D-CNZY-2QKA-PLRE".
"""

import re
import secrets
from base64 import b32encode

CODES = 10  # on one sheet
CODE_BYTES = 15  # 120 bits; NIST SP 800-63B §5.1.2.1 asks for 20, ASVS 6.5.2 for 112 where a fast hash is stored
GROUP = 4
WRITTEN = re.compile(r"[A-Z2-7]{24}")
MISREAD = str.maketrans("018", "OIB")  # digits that base32 has not, as a hand-written letter is read


def draw() -> str:
    """Return a new code from the operating system, as it is written down."""
    text = b32encode(secrets.token_bytes(CODE_BYTES)).decode()
    return "-".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))


def normal(typed: str) -> str | None:
    """Return the 24 characters that were meant, whatever the case and the gaps; None for what can be no code."""
    if not typed.isascii():
        return None
    text = re.sub(r"[ -]", "", typed).upper().translate(MISREAD)
    return text if WRITTEN.fullmatch(text) else None
