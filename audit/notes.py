"""Signed notes and checkpoints as C2SP writes them, so that tools of others can read ours. Pure.

    checkpoint = origin ‖ LF ‖ size in decimal ‖ LF ‖ base64(root) ‖ LF ‖ extension lines, each ending in LF
    note       = text ‖ LF ‖ signature lines
    line       = "— " ‖ key name ‖ " " ‖ base64(4-byte key id ‖ 64-byte signature over the text) ‖ LF
    key id     = the first four bytes of SHA-256(key name ‖ 0A ‖ 01 ‖ 32-byte Ed25519 public key)

Our extension lines, in this order, one space between word and value:

    time 2026-11-21T09:30:00.000000Z      when the checkpoint was made, by the signer's clock
    head <base64 of 32 bytes>             digest of the last event in the chain; GENESIS for an empty log
    previous <base64 of 32 bytes>         SHA-256 of the text of the checkpoint before; 32 zero bytes for the first
    epoch 1                               which signing key of this log, counted from 1

Source: c2sp.org/signed-note, c2sp.org/tlog-checkpoint.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.canonical import parse_timestamp, timestamp
from audit.errors import AuditError

ED25519 = b"\x01"  # the signature type of C2SP
ID_BYTES = 4
SIGNATURE_BYTES = 64
DIGEST_BYTES = 32
DASH = "— "
NOTE_BYTES = 64 * 1024
FIRST = bytes(DIGEST_BYTES)  # what stands for "the checkpoint before" in the first one
_NAME = re.compile(r"[^\s+\x00-\x20\x7f]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_EXTENSIONS = ("time", "head", "previous", "epoch")


class NoteError(AuditError):
    """The text is no note or checkpoint, or nobody we know has signed it."""


@dataclass(frozen=True)
class Verifier:
    """A public key under its name; written as "name+8 hex digits+base64" (a C2SP vkey)."""

    name: str
    key: Ed25519PublicKey = field(repr=False)

    @property
    def public_bytes(self) -> bytes:
        """The 32 bytes of the key."""
        return self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def id(self) -> bytes:
        """The four bytes that find the key; they prove nothing."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public_bytes).digest()[:ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_base64(ED25519 + self.public_bytes)}"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """Read a vkey.

        Raises: NoteError.
        """
        name, _, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        raw = _bytes(encoded, 1 + DIGEST_BYTES)
        if not _NAME.fullmatch(name) or raw[:1] != ED25519:
            raise NoteError("This is no Ed25519 verifier key of the form name+id+key.")
        verifier = cls(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
        if verifier.id.hex() != identity:
            raise NoteError("The id of the verifier key does not belong to its name and key.")
        return verifier


@dataclass(frozen=True)
class Signer:
    """A private key under its name; its representation shows neither."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, self.key.public_key())


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What the log was at one size."""

    origin: str
    size: int
    root: bytes
    time: datetime
    head: bytes
    previous: bytes
    epoch: int

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text: how the next checkpoint names this one."""
        return sha256(self.text.encode()).digest()

    @property
    def text(self) -> str:
        """The text that is signed."""
        values = (timestamp(self.time), _base64(self.head), _base64(self.previous), str(self.epoch))
        lines = [self.origin, str(self.size), _base64(self.root)]
        lines += [f"{word} {value}" for word, value in zip(_EXTENSIONS, values, strict=True)]
        return "".join(f"{line}\n" for line in lines)


def sign(text: str, signer: Signer) -> str:
    """Return the note: the text and one signature line. The text ends in a line feed and has no empty line.

    Raises: NoteError.
    """
    if not _is_text(text) or not _NAME.fullmatch(signer.name):
        raise NoteError("A note is non-empty lines of printable text, each ended, signed under a name without spaces.")
    return f"{text}\n{DASH}{signer.name} {_base64(signer.verifier.id + signer.key.sign(text.encode()))}\n"


def open_note(note: str, verifiers: Iterable[Verifier]) -> tuple[str, Verifier]:
    """Return the text and the first of the known keys that has signed it. Signatures of unknown keys are ignored.

    Raises: NoteError when nobody known has signed, or a known key's signature is wrong.
    """
    text, lines = _parted(note)
    known = {(verifier.name, verifier.id): verifier for verifier in verifiers}
    signed = None
    for name, identity, signature in lines:
        verifier = known.get((name, identity))
        if verifier is None:
            continue
        _check(verifier, signature, text)
        signed = signed or verifier
    if signed is None:
        raise NoteError("No known key has signed this note.")
    return text, signed


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint of ours; anything but exactly our form is refused.

    Raises: NoteError.
    """
    lines = text.split("\n")
    if len(lines) != 3 + len(_EXTENSIONS) + 1 or not _SIZE.fullmatch(lines[1]):
        raise NoteError("This is no checkpoint of this log: origin, size, root and four lines of ours are expected.")
    said = dict(line.partition(" ")[::2] for line in lines[3:-1])
    if tuple(said) != _EXTENSIONS or not _SIZE.fullmatch(said["epoch"]):
        raise NoteError("This is no checkpoint of this log: its last lines are not time, head, previous and epoch.")
    try:
        checkpoint = Checkpoint(
            origin=lines[0],
            size=int(lines[1]),
            root=_bytes(lines[2], DIGEST_BYTES),
            time=parse_timestamp(said["time"]),
            head=_bytes(said["head"], DIGEST_BYTES),
            previous=_bytes(said["previous"], DIGEST_BYTES),
            epoch=int(said["epoch"]),
        )
    except ValueError as error:
        raise NoteError("The time of the checkpoint cannot be read.") from error
    if checkpoint.text != text:
        raise NoteError("The checkpoint is not written as this log writes it.")
    return checkpoint


def _check(verifier: Verifier, signature: bytes, text: str) -> None:
    try:
        verifier.key.verify(signature, text.encode())
    except InvalidSignature as error:
        raise NoteError(f"The signature of {verifier.name} does not belong to this text.") from error


def _parted(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Return the text and its signature lines, as (name, key id, signature)."""
    head, middle, tail = note.rpartition("\n\n")
    text = head + "\n"
    if len(note.encode()) > NOTE_BYTES or not middle or not _is_text(text) or not tail.endswith("\n"):
        raise NoteError("This is no signed note.")
    return text, [_signature(line) for line in tail.split("\n")[:-1]]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(DASH).partition(" ")
    if not line.startswith(DASH) or not _NAME.fullmatch(name):
        raise NoteError("A signature line of the note cannot be read.")
    raw = _bytes(encoded)
    if len(raw) <= ID_BYTES:
        raise NoteError("A signature of the note is too short.")
    return name, raw[:ID_BYTES], raw[ID_BYTES:]


def _is_text(text: str) -> bool:
    lines = text.split("\n")
    return lines[-1] == "" and len(lines) > 1 and all(line and line.isprintable() for line in lines[:-1])


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(encoded: str, length: int | None = None) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError("A line of the note is no base64.") from error
    if length is not None and len(raw) != length:
        raise NoteError(f"A line of the note should hold {length} bytes.")
    return raw
