"""Envelope encryption: data keys, what a wrapped one looks like, what proves that it belongs to its row, its use. Pure.

A wrapped DEK says about itself (all lengths in bytes):

    1  0x4B, "K"
    1  version of this format, 1
    1  algorithm, a number of ALGORITHM_NUMBERS
    8  first bytes of SHA-256 of the KEK's URI
    1  length of the version's id ‖ that id, ASCII
    …  the ciphertext as the key store gave it

Most stores do not authenticate what stands before their ciphertext: whoever opens a blob compares that with the row
(`head_of`, `ciphertext_behind`) and then checks the binding digest.

A payload sealed under a DEK: 0x50, "P" ‖ version of this format, 1 ‖ 12-byte nonce ‖ ciphertext ‖ 16-byte tag.
"""

import contextlib
import hashlib
import hmac
import logging
import os
import struct
from dataclasses import dataclass, field
from itertools import count

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

DEK_BYTES = 32
BINDING_BYTES = 32
MAGIC, FORMAT = 0x4B, 1
LONGEST_VERSION = 64
NONCE_BYTES, TAG_BYTES = 12, 16
# SP 800-38D §8.3: at most 2^32 payloads under one key with random nonces of 96 bits. Half of that is left for what
# other processes sealed and nobody has counted.
WARN_AT, REFUSE_AT = 2**30, 2**31
LARGEST_PAYLOAD = 2**31 - 1 - TAG_BYTES  # what the library takes; SP 800-38D would allow 64 GiB
_HEAD = struct.Struct(">BBB8sB")
_KEK_BYTES = 8
_VISIBLE = frozenset(range(0x21, 0x7F))  # what the id of a version consists of
_LENGTH = struct.Struct(">Q")
_PAYLOAD_HEAD = b"P\x01"
_BINDING_LABEL = b"keyvault-admin/dek-binding/v1"
_CONTEXT_LABEL = b"keyvault-admin/dek-context/v1"
_PAYLOAD_LABEL = b"keyvault-admin/payload/v1"
_SHA256 = SHA256()
_ZERO_SALT = HMAC(bytes(32), _SHA256)
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
_log = logging.getLogger(__name__)


class EnvelopeError(ValueError):
    """These bytes are no wrapped DEK or payload of ours, or not of this row. The sentence holds nothing of them."""


class WornOutError(EnvelopeError):
    """This DEK has sealed as many payloads as one key may. Rotate it."""


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
    return hashlib.sha256(uri.encode()).digest()[:_KEK_BYTES]


def head_of(algorithm: str, kek: bytes, version: str) -> bytes:
    """Return what stands before the ciphertexts of one KEK version. Raises: EnvelopeError for what no blob can name."""
    if algorithm not in ALGORITHM_NUMBERS or len(kek) != _KEK_BYTES:
        raise EnvelopeError("A wrapped DEK cannot name this algorithm or KEK.")
    if not 0 < len(version) <= LONGEST_VERSION or not {ord(char) for char in version} <= _VISIBLE:
        raise EnvelopeError("A wrapped DEK cannot name this version.")
    head = _HEAD.pack(MAGIC, FORMAT, ALGORITHM_NUMBERS[algorithm], kek, len(version))
    return head + version.encode("ascii")


def pack(blob: Blob) -> bytes:
    """Put a wrapped DEK together. Raises: EnvelopeError for anything that unpack() would refuse."""
    if not blob.ciphertext:
        raise EnvelopeError("A wrapped DEK without a ciphertext is none.")
    return head_of(blob.algorithm, blob.kek, blob.version) + blob.ciphertext


def ciphertext_behind(head: bytes, wrapped: bytes) -> bytes:
    """Return the ciphertext of a blob that names exactly what the row says, as head_of() gives it.

    For long lists: as strict as unpack() and a comparison of all it returns. Raises: EnvelopeError.
    """
    if not wrapped.startswith(head) or len(wrapped) == len(head):
        raise EnvelopeError("This wrapped DEK names another algorithm, KEK or version than its row, or it was cut.")
    return wrapped[len(head) :]


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
    if not set(version) <= _VISIBLE:
        raise EnvelopeError("This wrapped DEK names its version in characters that no store uses.")
    return Blob(algorithm=_ALGORITHMS[number], kek=kek, version=version.decode("ascii"), ciphertext=ciphertext)


def binding_digest(dek: bytes | bytearray, dek_id: bytes, number: int) -> bytes:
    """Return what proves that a DEK belongs to its row, whatever wraps it; it commits to the DEK too.

    HMAC-SHA-256 under HKDF-SHA-256(DEK) of len(id) ‖ id ‖ number, both integers of 8 bytes. The KEK is not in it, so
    that it survives re-wrapping. Source: RFC 2104, RFC 5869.
    """
    # HKDF for one block is two HMACs: a re-wrap does this for each DEK, and the class takes twice as long.
    extract = _ZERO_SALT.copy()
    extract.update(dek)
    expand = HMAC(extract.finalize(), _SHA256)
    expand.update(_BINDING_LABEL + b"\x01")
    bind = HMAC(expand.finalize(), _SHA256)
    bind.update(_row(dek_id, number))
    return bind.finalize()


def is_bound(dek: bytes | bytearray, dek_id: bytes, number: int, digest: bytes) -> bool:
    return hmac.compare_digest(binding_digest(dek, dek_id, number), digest)


def context_of(dek_id: bytes, number: int) -> bytes:
    """Return the context that stores bind a wrapped DEK to, where they can: 32 bytes."""
    return hashlib.sha256(_CONTEXT_LABEL + _row(dek_id, number)).digest()


def _row(dek_id: bytes, number: int) -> bytes:
    return _LENGTH.pack(len(dek_id)) + dek_id + _LENGTH.pack(number)


class DataKey:
    """AES-256-GCM under one DEK version, for payloads. Not shared by threads.

    GCM does not commit to its key: a ciphertext can be made that two keys open, to two texts. The binding digest
    commits (HMAC-SHA-256), so it is checked before the key is used at all. Nonces come from the operating system at
    each call: a process that was forked repeats none. It counts what it seals itself, and goes on from `sealed`, which
    is for whoever keeps that figure from one process to the next.
    """

    def __init__(self, dek: bytes | bytearray, *, dek_id: bytes, number: int, digest: bytes, sealed: int = 0) -> None:
        """Raises: EnvelopeError when the DEK is not the one that the row's digest was made with."""
        if not is_bound(dek, dek_id, number, digest) or len(dek) != DEK_BYTES:
            raise EnvelopeError("This is not the DEK of this row.")
        self._gcm = AESGCM(dek)
        self._bound = _PAYLOAD_LABEL + _row(dek_id, number)
        self._tickets = count(sealed)  # taken in one step, and without a lock that a fork could leave closed
        self.sealed = sealed
        self._is_warned = False
        self._name = f"{dek_id.hex()} version {number}"

    def __repr__(self) -> str:
        return f"<DataKey {self._name}>"

    @property
    def is_wearing_out(self) -> bool:
        """Whether it should be rotated soon."""
        return self.sealed >= WARN_AT

    def seal(self, payload: bytes, aad: bytes = b"") -> bytes:
        """Encrypt; AAD is bound and not kept. Logs a warning at 2^30 payloads. Raises: WornOutError at 2^31."""
        if len(payload) > LARGEST_PAYLOAD:
            raise EnvelopeError("This payload is too large for one call. Seal it in parts.")
        ticket = next(self._tickets)
        if ticket >= REFUSE_AT:
            raise WornOutError("This DEK has sealed as many payloads as one key may. Rotate it.")
        self.sealed = ticket + 1
        if self.is_wearing_out and not self._is_warned:
            self._is_warned = True
            _log.warning("DEK %s has sealed 2^30 payloads or more. Rotate it before 2^31.", self._name)
        nonce = os.urandom(NONCE_BYTES)
        return _PAYLOAD_HEAD + nonce + self._gcm.encrypt(nonce, payload, self._bound + aad)

    def open(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Decrypt. Raises: EnvelopeError, with one sentence for whatever is wrong."""
        head, rest = sealed[: len(_PAYLOAD_HEAD)], sealed[len(_PAYLOAD_HEAD) :]
        if head == _PAYLOAD_HEAD and len(rest) >= NONCE_BYTES + TAG_BYTES:
            with contextlib.suppress(InvalidTag):
                return self._gcm.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], self._bound + aad)
        raise EnvelopeError("This payload does not open: it is another key's, or it was altered.")
