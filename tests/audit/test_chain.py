"""The chain in Python, byte for byte, as the database computes it too."""

import struct
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from audit import chain
from audit.errors import AuditError


def test_chain_digest_has_the_documented_layout() -> None:
    previous, stamp, body = sha256(b"before").digest(), b"stamp", b"{}"
    rest = struct.pack(">q", 7) + struct.pack(">q", 5) + stamp + struct.pack(">q", 2) + body
    label = b"keyvault-admin/audit/event/v1\0"
    assert chain.chain_digest(previous, 7, stamp, body) == sha256(label + previous + rest).digest()
    assert chain.entry(7, stamp, body) == label + rest


def test_chain_digest_of_a_known_event_never_changes() -> None:
    digest = chain.chain_digest(chain.GENESIS, 1, b"stamp", b"body")
    assert digest.hex() == "f1cad4b98b82330fc49aa25a07d9344b2b5746f2ed4e2a55cc6dc8c6c696a4d2"


def test_chain_digest_tells_apart_where_one_field_ends() -> None:
    assert chain.chain_digest(chain.GENESIS, 1, b"ab", b"c") != chain.chain_digest(chain.GENESIS, 1, b"a", b"bc")


def test_parse_stamp_returns_the_fields() -> None:
    stamp = b"keyvault-admin/audit/stamp/v1\0keyvault_web\x0012\x003456\x002026-11-21T09:30:00.123456Z\0"
    assert chain.parse_stamp(stamp) == chain.Stamp(
        session_user="keyvault_web",
        process_id=12,
        transaction_id=3456,
        recorded_at=datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "stamp",
    [
        b"",
        b"keyvault-admin/audit/stamp/v2\0keyvault_web\x0012\x003456\x002026-11-21T09:30:00.123456Z\0",
        b"keyvault-admin/audit/stamp/v1\0keyvault_web\x0012\x003456\x002026-11-21T09:30:00.123456Z\0more",
        b"keyvault-admin/audit/stamp/v1\0keyvault_web\x0012\x003456\x002026-11-21 09:30:00\0",
        b"keyvault-admin/audit/stamp/v1\0\xff\x0012\x003456\x002026-11-21T09:30:00.123456Z\0",
        b"keyvault-admin/audit/stamp/v1\0keyvault_web\0twelve\x003456\x002026-11-21T09:30:00.123456Z\0",
    ],
)
def test_parse_stamp_refuses_every_other_form(stamp: bytes) -> None:
    with pytest.raises(AuditError):
        chain.parse_stamp(stamp)
