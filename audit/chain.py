"""The chain over the events, byte for byte. Pure; the database computes the same in `audit_seal()`.

int64 is eight bytes, big-endian, two's complement. Lengths are in bytes. Digests are SHA-256 (FIPS 180-4), 32 bytes.

    label   = "keyvault-admin/audit/event/v1" ‖ 00
    entry   = label ‖ int64 number ‖ int64 len(stamp) ‖ stamp ‖ int64 len(body) ‖ body
    digest  = SHA-256(label ‖ digest of the event before ‖ the rest of the entry, from int64 number on)

Numbers begin at 1; before the first event stands GENESIS, 32 zero bytes. The leaves of the tree (audit/tree.py) are the
entries. The first byte tells the three kinds of digest apart: "k" begins the chain's, 00 a leaf's, 01 a node's.

    stamp   = "keyvault-admin/audit/stamp/v1" ‖ 00
              ‖ session user ‖ 00 ‖ process id ‖ 00 ‖ transaction id ‖ 00 ‖ time ‖ 00

The stamp is what the server itself says about the writing: text in UTF-8, numbers in decimal, the time as
"2026-11-21T09:30:00.000000Z". PostgreSQL text cannot hold 00, so the fields cannot run into each other.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from audit.canonical import parse_timestamp
from audit.errors import AuditError

LABEL = b"keyvault-admin/audit/event/v1\0"
STAMP_LABEL = b"keyvault-admin/audit/stamp/v1"
GENESIS = bytes(32)
TIME_BYTES = slice(-28, -1)  # of a stamp; times in this form sort as bytes
_INT64 = Struct(">q").pack
_TWO_INT64 = Struct(">qq").pack


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What the server says about the writing of an event."""

    session_user: str
    process_id: int
    transaction_id: int
    recorded_at: datetime


class Position(NamedTuple):
    """A place in the chain: behind the event of that number, which has that digest."""

    number: int
    digest: bytes


BEGINNING = Position(0, GENESIS)


def chain_digest(previous: bytes, number: int, stamp: bytes, body: bytes) -> bytes:
    """Return the digest of an event, given that of the event before."""
    return sha256(b"".join((LABEL, previous, _TWO_INT64(number, len(stamp)), stamp, _INT64(len(body)), body))).digest()


def entry(number: int, stamp: bytes, body: bytes) -> bytes:
    """Return the bytes of an event in the tree: those of the chain without the predecessor."""
    return b"".join((LABEL, _TWO_INT64(number, len(stamp)), stamp, _INT64(len(body)), body))


def parse_stamp(stamp: bytes) -> Stamp:
    """Return the fields of a stamp.

    Raises: AuditError when the bytes are no stamp of a known version.
    """
    try:
        label, user, process, transaction, moment, rest = stamp.split(b"\0")
        if label != STAMP_LABEL or rest:
            raise AuditError("The stamp of the event has an unknown form.")
        return Stamp(
            session_user=user.decode(),
            process_id=int(process),
            transaction_id=int(transaction),
            recorded_at=parse_timestamp(moment.decode()),
        )
    except ValueError as error:
        raise AuditError("The stamp of the event cannot be read.") from error
