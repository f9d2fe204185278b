"""The chain in Python, byte for byte, and the tree of RFC 6962 with its published vectors."""

import struct
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from audit import chain
from audit.errors import AuditError

# Source: reference tests of certificate-transparency's `merkletree`: eight inputs, the roots over the first n of them.
RFC6962_INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
RFC6962_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_root_is_that_of_the_published_vectors(size: int) -> None:
    leaves = [chain.leaf_digest(entry) for entry in RFC6962_INPUTS[:size]]
    assert chain.root(leaves).hex() == RFC6962_ROOTS[size - 1]


def test_root_of_an_empty_tree_is_the_digest_of_nothing() -> None:
    assert chain.root([]).hex() == EMPTY_ROOT


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
