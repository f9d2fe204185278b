"""What is kept of a public key or a certificate: facts and a digest, never the material."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inventory.algorithms.weaknesses import key_weaknesses
from inventory.errors import InventoryError
from inventory.recognise import NotUnderstoodError, clean, holds_key_material, name_of

PublicKey = PublicKeyTypes | CertificatePublicKeyTypes

# Everything that `cryptography` raises for bytes of a stranger.
UNREADABLE = (
    ValueError, TypeError, OverflowError, UnsupportedAlgorithm,
    x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType,
)  # fmt: skip
EXPOSED_MEND = (
    "Treat that key as exposed: whoever could read this file has it. Rotate it, and bring the public part only."
)
_LARGEST_BITS = 16_384
_CURVES = {"secp224r1": "P-224", "secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_ONE_SIZE: tuple[tuple[type, str, int], ...] = (
    (ed25519.Ed25519PublicKey, "Ed25519", 256),
    (ed448.Ed448PublicKey, "Ed448", 456),
    (x25519.X25519PublicKey, "X25519", 256),
    (x448.X448PublicKey, "X448", 448),
)
_SHORT_DIGEST = 8  # hexadecimal digits: enough to tell apart what is in one file


class MaterialError(InventoryError):
    """A file that holds nothing of what is read here, or too much of it. Nothing of its content is in the texts."""

    def __init__(self, problem: str, mend: str) -> None:
        self.problem, self.mend = problem, mend
        super().__init__(f"{problem} {mend}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MaterialFacts:
    """One public key or certificate. Texts of the file are cleaned; "", () and None mean that it says nothing."""

    where: str  # "block 3", "line 7", "key 2"
    name: str  # a suggestion
    kind: str  # a value of terms.KeyKind
    algorithm: str  # as recognise.algorithm_of names it
    size_bits: int
    spki_sha256: bytes  # of the DER SubjectPublicKeyInfo: what the keyed reuse digest is made from
    created_on: date | None  # notBefore
    ends_on: date | None  # notAfter: the last day of its period of use
    subject: str
    issuer: str
    serial: str  # hexadecimal
    alternative_names: tuple[str, ...]
    signature_hash: str  # "SHA-256"
    weaknesses: tuple[str, ...]  # codes of algorithms.weaknesses, and "shared-factor"
    modulus: int = field(default=0, repr=False)  # of an RSA key: compared within the file, and dropped


@dataclass(frozen=True, kw_only=True, slots=True)
class MaterialRefusal:
    """What is not taken. `is_exposed` marks a private key: it has to be rotated, whatever becomes of the import."""

    where: str
    problem: str
    mend: str
    is_exposed: bool = False


@dataclass(frozen=True, kw_only=True)
class MaterialReading:
    items: tuple[MaterialFacts, ...]
    refusals: tuple[MaterialRefusal, ...]
    repeated: int  # how many were in the file before


def at_start(where: str) -> str:
    """Return a place as a sentence begins with it."""
    return where[:1].upper() + where[1:]


def private_key(where: str) -> MaterialRefusal:
    return MaterialRefusal(
        where=where,
        problem=f"{at_start(where)} holds a private key; the inventory never takes one, and nothing of it was kept.",
        mend=EXPOSED_MEND,
        is_exposed=True,
    )


def unreadable(where: str, what: str) -> MaterialRefusal:
    return MaterialRefusal(
        where=where,
        problem=f"{at_start(where)} is no {what} that can be read.",
        mend="Export it again from its source.",
    )


def facts_of_key(key: PublicKey, *, where: str, kind: str, names: Sequence[str], label: str) -> MaterialFacts:
    """Return the facts of a bare public key, named by the first of `names` that can be a name, or label and digest."""
    algorithm, bits = algorithm_and_bits(key)
    digest = spki_digest(key)
    return MaterialFacts(
        where=where,
        name=usable_name(names) or f"{label} {digest.hex()[:_SHORT_DIGEST]}",
        kind=kind,
        algorithm=algorithm,
        size_bits=bits,
        spki_sha256=digest,
        created_on=None,
        ends_on=None,
        subject="",
        issuer="",
        serial="",
        alternative_names=(),
        signature_hash="",
        weaknesses=tuple(key_weaknesses(key)),
        modulus=modulus_of(key),
    )


def modulus_of(key: PublicKey) -> int:
    return key.public_numbers().n if isinstance(key, rsa.RSAPublicKey) else 0


def spki_digest(key: PublicKey) -> bytes:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def algorithm_and_bits(key: PublicKey) -> tuple[str, int]:
    """Name the algorithm of a key as the inventory does. Raises: ValueError for one of a size that nobody uses."""
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        if key.key_size > _LARGEST_BITS:
            raise ValueError("larger than any key in use")
        return f"{'RSA' if isinstance(key, rsa.RSAPublicKey) else 'DSA'}-{key.key_size}", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {_CURVES.get(key.curve.name, key.curve.name)}", key.curve.key_size
    for of_kind, name, bits in _ONE_SIZE:
        if isinstance(key, of_kind):
            return name, bits
    raise UnsupportedAlgorithm("a kind of key without a name here")


def usable_name(candidates: Sequence[str]) -> str:
    """Return the first text that can be the name of a key, or ""."""
    for candidate in candidates:
        try:
            name = name_of(clean(candidate))
        except NotUnderstoodError:
            continue
        if not holds_key_material(name):
            return name
    return ""
