"""JSON web keys: the public ones. Source: RFC 7517, RFC 7518 §6, RFC 8037 §2."""

import base64
import re
from collections.abc import Callable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519

from inventory.material.facts import (
    UNREADABLE,
    MaterialFacts,
    MaterialRefusal,
    PublicKey,
    facts_of_key,
    private_key,
    unreadable,
)
from inventory.tables.objects import read_objects
from inventory.tables.table import Limits
from inventory.terms import KeyKind

_KEY_TYPE = re.compile(r'"kty"\s*+:')
_SET = re.compile(r'\s*+(?:\[|\{\s*+"keys"\s*+:)')
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_LONGEST_NUMBER = 2048  # bytes
_CURVES: Mapping[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
    "secp256k1": ec.SECP256K1,
}
_OCTET_KEYS: Mapping[str, Callable[[bytes], PublicKey]] = {
    "Ed25519": ed25519.Ed25519PublicKey.from_public_bytes,
    "Ed448": ed448.Ed448PublicKey.from_public_bytes,
    "X25519": x25519.X25519PublicKey.from_public_bytes,
    "X448": x448.X448PublicKey.from_public_bytes,
}


def is_jwks(text: str) -> bool:
    return text.lstrip()[:1] in {"{", "["} and _KEY_TYPE.search(text) is not None


def read_jwks(text: str, *, max_items: int) -> Iterator[MaterialFacts | MaterialRefusal]:
    """Read a key set, an array of keys, or one key. Raises: TableError when the JSON is none of these."""
    limits = Limits(max_bytes=len(text), max_rows=max_items, max_cell_bytes=64 * 1024)
    table = read_objects(text if _SET.match(text) else f"[{text}]", encoding="UTF-8", limits=limits)
    for record in table.records:
        where = f"key {record.row:,}"
        members = {name: cell for name, cell in zip(table.header, record.cells, strict=True) if cell}
        if any(name in members for name in _PRIVATE_MEMBERS):
            yield private_key(where)
        else:
            yield _read(members, where)


def _read(members: Mapping[str, str], where: str) -> MaterialFacts | MaterialRefusal:
    kind = KeyKind.KEK if members.get("use") == "enc" else KeyKind.SIGNING_KEY
    try:
        return facts_of_key(
            _key_of(members),
            where=where,
            kind=kind.value,
            names=(members.get("kid", ""),),
            label="JSON web key",
        )
    except (*UNREADABLE, KeyError):
        return unreadable(where, "public JSON web key")


def _key_of(members: Mapping[str, str]) -> PublicKey:
    kind = members["kty"]
    if kind == "RSA":
        return rsa.RSAPublicNumbers(e=_number(members["e"]), n=_number(members["n"])).public_key()
    if kind == "EC":
        curve = _CURVES[members["crv"]]()
        return ec.EllipticCurvePublicNumbers(x=_number(members["x"]), y=_number(members["y"]), curve=curve).public_key()
    if kind == "OKP":
        return _OCTET_KEYS[members["crv"]](_octets(members["x"]))
    raise ValueError("a kind of key that is not public")


def _octets(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 §2)."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    octets = _octets(text)
    if len(octets) > _LONGEST_NUMBER:
        raise ValueError("a number larger than that of any key in use")
    return int.from_bytes(octets, "big")
