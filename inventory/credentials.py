"""What a piece of material is, and whether nobody could guess it. Pure; nothing here keeps or repeats material.

A digest of a secret that can be guessed gives the secret away to whoever holds the digest key and a dictionary, so only
what has at least 128 bits may have one. The estimate errs on the low side:

- a secret is worth its length times the bits of a character, of the smallest usual alphabet that holds all of it;
- letters that read like words (four or more in a row whose pairs are common in writing, or neighbours on a keyboard)
  are worth 2 bits each, and so is every character beyond ASCII; where they are half of it, every character is;
- what repeats (the same five characters again, or a third step in the same direction, as in "aaa" and "123") is worth
  0, but for a sixth of the length, which may repeat by chance;
- a secret with a space in it is a pass phrase and is worth 0.
"""

import re
import string
from math import log2

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as ser
from cryptography.x509 import Certificate, load_pem_x509_certificate

from inventory.terms import KeyKind

ENOUGH_BITS = 128
# What people choose for themselves and type, whatever a single one looks like.
CHOSEN_BY_PEOPLE = frozenset({KeyKind.DATABASE_CREDENTIAL, KeyKind.BOOTSTRAP_SECRET})

_WORD_BITS = 2.0
_BYTE_BITS = 8.0
_REPEAT = 5
_BY_CHANCE = 6  # one in so many
_SHORTEST_WORD = 4
_ALPHABETS = (
    string.digits,
    string.digits + "abcdef",
    string.digits + "ABCDEF",
    string.ascii_lowercase,
    string.ascii_uppercase,
    string.ascii_uppercase + "234567",
    string.ascii_lowercase + "234567",
    string.digits + string.ascii_lowercase,
    string.digits + string.ascii_uppercase,
    string.digits + string.ascii_letters,
    string.digits + string.ascii_letters + "-_",
    string.digits + string.ascii_letters + "+/",
)
_PRINTABLE = 94
_LETTERS = re.compile(rf"[A-Za-z]{{{_SHORTEST_WORD},}}")
# The commonest pairs of letters in English text, and neighbours on the rows of a keyboard.
_COMMON = (
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri "
    "ro ic ne ea ra ce li ch ll be ma si om ur ss ta wo rd pa sw um mm tt rr ec ct ba pl ap la ho rs lo el ad mi "
    "qw we rt ty yu ui op sd df fg gh hj jk kl zx xc cv vb bn nm "
)
_HEX = frozenset("0123456789abcdefABCDEF")


def bits_of(secret: bytes) -> float:
    """Estimate how many bits somebody has to guess, on the low side (see above)."""
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return _bits_of_bytes(secret)
    if any(character.isspace() for character in text):
        return 0.0
    if not text.isprintable():
        return _bits_of_bytes(secret)
    plain = "".join(character for character in text if character.isascii())
    in_words = 0 if set(plain) <= _HEX else sum(len(word) for word in _words(plain))
    beyond = len(text) - len(plain)
    each = _WORD_BITS if 2 * (in_words + beyond) >= len(text) else _bits_of_a_character(plain)
    estimate = each * (len(plain) - in_words) + _WORD_BITS * (in_words + beyond) - each * _repeated(text)
    return max(estimate, 0.0)


def _bits_of_bytes(secret: bytes) -> float:
    return _BYTE_BITS * (len(secret) - _repeated(secret.decode("latin-1")))


def can_be_guessed(secret: bytes, kind: str) -> bool:
    """Say whether such a secret must have no digest: of a kind that people choose, or under 128 bits."""
    return kind in CHOSEN_BY_PEOPLE or bits_of(secret) < ENOUGH_BITS


def public_key_of(material: bytes) -> bytes | None:
    """Return the DER of the public key (SubjectPublicKeyInfo) in PEM or an OpenSSH line; None when it is none.

    A private key without a passphrase leads to its public half, so a leaked one finds the record of the pair.
    """
    text = material.strip()
    for load in (_of_certificate, _of_private_key, _of_public_key, _of_ssh_line):
        try:
            return load(text)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
    return None


def certificate_of(material: bytes) -> Certificate | None:
    """Return the certificate that public_key_of() takes the key from; None when it takes it from something else."""
    try:
        return load_pem_x509_certificate(material.strip())
    except ValueError:
        return None


def _of_certificate(text: bytes) -> bytes:
    return _spki(load_pem_x509_certificate(text).public_key())


def _of_private_key(text: bytes) -> bytes:
    load = ser.load_ssh_private_key if b"OPENSSH PRIVATE" in text[:64] else ser.load_pem_private_key
    return _spki(load(text, password=None).public_key())


def _of_public_key(text: bytes) -> bytes:
    return _spki(ser.load_pem_public_key(text))


def _of_ssh_line(text: bytes) -> bytes:
    return _spki(ser.load_ssh_public_key(text))


def _spki(public_key: object) -> bytes:
    encode = getattr(public_key, "public_bytes", None)
    if encode is None:
        raise TypeError("no public key")
    encoded: bytes = encode(ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _bits_of_a_character(text: str) -> float:
    used = set(text)
    size = min((len(alphabet) for alphabet in _ALPHABETS if used <= set(alphabet)), default=_PRINTABLE)
    return log2(size)


def _words(text: str) -> list[str]:
    return [run[0] for run in _LETTERS.finditer(text) if _reads_like_words(run[0].lower())]


def _reads_like_words(run: str) -> bool:
    pairs = [run[place : place + 2] for place in range(len(run) - 1)]
    return 2 * sum(f"{pair} " in _COMMON for pair in pairs) >= len(pairs)


def _repeated(text: str) -> int:
    """Count the characters that one could tell from those before them, beyond what chance explains."""
    seen: set[str] = set()
    told: set[int] = set()
    for place in range(len(text)):
        piece = text[place : place + _REPEAT]
        if len(piece) == _REPEAT and piece in seen:
            told.update(range(place, place + _REPEAT))
        seen.add(piece)
        if place > 1 and _continues(text[place - 2 : place + 1]):
            told.add(place)
    return len(told) if _BY_CHANCE * len(told) > len(text) else 0


def _continues(three: str) -> bool:
    first, second, third = map(ord, three)
    return second - first == third - second and abs(third - second) <= 1
