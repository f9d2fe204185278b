"""Bytes sealed under the sealing key, identities sealed per person, and keyed digests.

Sealed form: 01 (version) ‖ 4-byte key id ‖ 12-byte random nonce ‖ ciphertext ‖ 16-byte tag. AES-256-GCM
(NIST SP 800-38D); the associated data are the first five bytes and the context, so a blob opens under its own key and
in its own place only. The key id is the beginning of SHA-256(label ‖ key): it finds the key, it proves nothing.
Everything is sealed under the present key, and opens under it and the earlier ones that are given (audit.resealing).
"""

import hmac
import os
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from django.conf import settings

from audit.errors import SealError

VERSION = b"\x01"
KEY_BYTES = 32
HEADER_BYTES = 5
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_ID_LABEL = b"keyvault-admin/sealing/key-id/v1\0"
KEY_ID_BYTES = 4
EPOCH_BYTES = 4
EPOCH_LABEL = b"keyvault-admin/keyed-digest/epoch/v1\0"
DIGEST_LABEL = b"keyvault-admin/keyed-digest/v1\0"
IDENTITY_CONTEXT = "identity:{}"
IDENTITY_SEAL_LABEL = b"keyvault-admin/audit/identity/seal/v1"
IDENTITY_DIGEST_LABEL = b"keyvault-admin/audit/identity/digest/v1"


class Sealer:
    """Seals and opens under one key; made once a key, because AESGCM prepares the key when it is made."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._header = VERSION + _sealing_key_id(key)

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Return the sealed form; a new random nonce every time."""
        nonce = os.urandom(NONCE_BYTES)
        return self._header + nonce + self._aead.encrypt(nonce, plaintext, self._header + context.encode())

    def unseal(self, sealed: bytes, *, context: str) -> bytes:
        """Return the plaintext.

        Raises: SealError.
        """
        header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
        if header != self._header or len(rest) < NONCE_BYTES + TAG_BYTES:
            raise SealError("The sealed bytes do not belong to this key and version.")
        try:
            return self._aead.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], header + context.encode())
        except InvalidTag as error:
            raise SealError("The sealed bytes do not open here.") from error


@dataclass(frozen=True)
class PersonKeys:
    """The two keys made from one person's identity key: one seals, one keys the digest in the hashed bytes."""

    sealer: Sealer = field(repr=False)
    digest_key: bytes = field(repr=False)

    def digest(self, canonical_identity: bytes) -> bytes:
        """Return the HMAC-SHA-256 that stands in the hashed bytes for the identity."""
        return hmac.digest(self.digest_key, canonical_identity, "sha256")


def seal(plaintext: bytes, *, context: str) -> bytes:
    """Seal under the sealing key; the context ("totp:user:3") names the one place where the bytes may be opened."""
    return _sealer(settings.SEALING_KEY).seal(plaintext, context=context)


def unseal(sealed: bytes, *, context: str) -> bytes:
    """Open what `seal` made for this context, under whichever of the keys given its header names.

    Raises: SealError, also when that key is not given (any more).
    """
    sealed = bytes(sealed)
    return _sealer(_key_that_sealed(sealed)).unseal(sealed, context=context)


def reseal(sealed: bytes, *, context: str) -> bytes:
    """Return the same plaintext sealed under the present key, opened once more before it is handed out.

    Raises: SealError.
    """
    plaintext = unseal(sealed, context=context)
    renewed = seal(plaintext, context=context)
    if unseal(renewed, context=context) != plaintext:
        raise SealError("What was sealed anew does not open to the same bytes.")
    return renewed


def sealing_key_ids() -> tuple[bytes, ...]:
    """Return the 4-byte ids of the sealing keys given, the present one first. An id is no secret."""
    return tuple(_sealing_key_id(key) for key in _sealing_keys())


def _sealing_keys() -> tuple[bytes, ...]:
    return tuple(dict.fromkeys((settings.SEALING_KEY, *settings.SEALING_KEYS_PREVIOUS)))


def _sealing_key_id(key: bytes) -> bytes:
    return sha256(KEY_ID_LABEL + key).digest()[:KEY_ID_BYTES]


def _key_that_sealed(sealed: bytes) -> bytes:
    for key in _sealing_keys():
        if sealed[:HEADER_BYTES] == VERSION + _sealing_key_id(key):
            return key
    raise SealError("The sealed bytes do not belong to a key that is given, or to this version.")


def keyed_digest(message: bytes, *, label: str) -> bytes:
    """Return a digest to keep, under the present digest key: 4-byte epoch of that key ‖ 32-byte HMAC-SHA-256.

    The MAC is of: label of this function ‖ the purpose ‖ 00 ‖ message. The purpose ("enrolment") keeps digests of
    different uses apart and may not hold U+0000. To look for what was kept, use keyed_digests().
    """
    return _digest_under(settings.DIGEST_KEY, message, label)


def keyed_digests(message: bytes, *, label: str) -> tuple[bytes, ...]:
    """Return the digests as which a message may have been kept: under the present key first, then the earlier ones."""
    return tuple(_digest_under(key, message, label) for key in _digest_keys())


def digest_epochs() -> tuple[bytes, ...]:
    """Return the epochs of the configured digest keys, the present one first."""
    return tuple(_epoch(key) for key in _digest_keys())


def _digest_keys() -> tuple[bytes, ...]:
    return tuple(dict.fromkeys((settings.DIGEST_KEY, *settings.DIGEST_KEYS_PREVIOUS)))


def _epoch(key: bytes) -> bytes:
    return sha256(EPOCH_LABEL + key).digest()[:EPOCH_BYTES]


def _digest_under(key: bytes, message: bytes, label: str) -> bytes:
    if "\0" in label:
        raise ValueError("A purpose is plain text.")
    return _epoch(key) + hmac.digest(key, DIGEST_LABEL + label.encode() + b"\0" + message, "sha256")


def new_identity_key(person: str) -> bytes:
    """Return a new identity key of that person, sealed under the sealing key."""
    return seal(os.urandom(KEY_BYTES), context=IDENTITY_CONTEXT.format(person))


def person_keys(person: str, sealed_key: bytes) -> PersonKeys:
    """Open a person's identity key.

    What was opened is kept by the sealed bytes and the sealing key: neither an erased or replaced one is found here,
    nor one whose sealing key is not given any more.
    Raises: SealError.
    """
    return _person_keys(person, sealed_key, _key_that_sealed(sealed_key))


@lru_cache(maxsize=1024)
def _person_keys(person: str, sealed_key: bytes, sealing_key: bytes) -> PersonKeys:
    key = _sealer(sealing_key).unseal(sealed_key, context=IDENTITY_CONTEXT.format(person))
    return PersonKeys(Sealer(_derived(key, IDENTITY_SEAL_LABEL)), _derived(key, IDENTITY_DIGEST_LABEL))


@lru_cache(maxsize=8)
def _sealer(key: bytes) -> Sealer:
    return Sealer(key)


def _derived(key: bytes, label: bytes) -> bytes:
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=label).derive(key)
