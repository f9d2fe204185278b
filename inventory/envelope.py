"""Envelope encryption: data keys, what a wrapped one looks like, and what proves that it belongs to its row. Pure.

A wrapped DEK says about itself (all lengths in bytes):

    1  0x4B, "K"
    1  version of this format, 1
    1  algorithm, a number of ALGORITHM_NUMBERS
    8  first bytes of SHA-256 of the KEK's URI
    1  length of the version's id ‖ that id, ASCII
    …  the ciphertext as the key store gave it
"""

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DEK_BYTES = 32
BINDING_BYTES = 32
MAGIC, FORMAT = 0x4B, 1
LONGEST_VERSION = 64
_HEAD = struct.Struct(">BBB8sB")
_BINDING_LABEL = b"keyvault-admin/dek-binding/v1"
_CONTEXT_LABEL = b"keyvault-admin/dek-context/v1"
# Numbers are stored and never used again for another algorithm.
ALGORITHM_NUMBERS = {
    "AES-256-KW": 1,
    "AES-256-KWP": 2,
    "AES-256-GCM96": 3,
    "AWS-SYMMETRIC-DEFAULT": 4,
    "RSA-2048-OAEP-256": 5,
    "RSA-3072-OAEP-256": 6,
    "RSA-4096-OAEP-256": 7,
    "RSA-2048-OAEP": 8,
}
_ALGORITHMS = {number: name for name, number in ALGORITHM_NUMBERS.items()}


class EnvelopeError(ValueError):
    """These bytes are no wrapped DEK of ours, or not of this row. The sentence holds nothing of them."""


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A wrapped DEK, taken apart."""

    algorithm: str
    kek: bytes  # kek_digest() of the KEK's URI
    version: str  # as the store names it
    ciphertext: bytes = field(repr=False)


def new_dek() -> bytearray:
    """Draw 256 bits from the operating system's generator (R75)."""
    return bytearray(os.urandom(DEK_BYTES))


def wipe(dek: bytearray) -> None:
    """Overwrite this copy. Copies that Python or a library made before are out of reach."""
    dek[:] = bytes(len(dek))


def kek_digest(uri: str) -> bytes:
    return hashlib.sha256(uri.encode()).digest()[:8]


def pack(blob: Blob) -> bytes:
    version = blob.version.encode("ascii")
    head = _HEAD.pack(MAGIC, FORMAT, ALGORITHM_NUMBERS[blob.algorithm], blob.kek, len(version))
    return head + version + blob.ciphertext


def unpack(wrapped: bytes) -> Blob:
    """Take a wrapped DEK apart. Raises: EnvelopeError for anything that pack() would not have made."""
    if len(wrapped) < _HEAD.size:
        raise EnvelopeError("This is no wrapped DEK: it is too short.")
    magic, form, number, kek, length = _HEAD.unpack_from(wrapped)
    if (magic, form) != (MAGIC, FORMAT):
        raise EnvelopeError("This is no wrapped DEK of a format that is known here.")
    version, ciphertext = wrapped[_HEAD.size : _HEAD.size + length], wrapped[_HEAD.size + length :]
    if number not in _ALGORITHMS or not ciphertext or not 0 < len(version) == length <= LONGEST_VERSION:
        raise EnvelopeError("This wrapped DEK names no algorithm or version that is known here, or it was cut.")
    if not all(0x21 <= char < 0x7F for char in version):
        raise EnvelopeError("This wrapped DEK names its version in characters that no store uses.")
    return Blob(algorithm=_ALGORITHMS[number], kek=kek, version=version.decode("ascii"), ciphertext=ciphertext)


def binding_digest(dek: bytes | bytearray, dek_id: bytes, number: int) -> bytes:
    """Return what proves that a DEK belongs to its row, whatever wraps it; it commits to the DEK too.

    HMAC-SHA-256 under HKDF-SHA-256(DEK) of len(id) ‖ id ‖ number, both integers of 8 bytes. The KEK is not in it, so
    that it survives re-wrapping. Source: RFC 2104, RFC 5869.
    """
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_BINDING_LABEL).derive(bytes(dek))
    return hmac.digest(key, struct.pack(">Q", len(dek_id)) + dek_id + struct.pack(">Q", number), "sha256")


def is_bound(dek: bytes | bytearray, dek_id: bytes, number: int, digest: bytes) -> bool:
    return hmac.compare_digest(binding_digest(dek, dek_id, number), digest)


def context_of(dek_id: bytes, number: int) -> bytes:
    """Return the context that stores bind a wrapped DEK to, where they can: 32 bytes."""
    return hashlib.sha256(_CONTEXT_LABEL + struct.pack(">Q", len(dek_id)) + dek_id + struct.pack(">Q", number)).digest()
