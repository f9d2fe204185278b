"""The keys of the installation itself: which there are, what they protect, where they are kept, how they are rotated.

A further one is one more entry of OWN_KEYS, and a line in docs/operate.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from django.conf import settings

from audit.held_keys import present_master_key, present_signing_key
from audit.sealing import digest_epochs, sealing_key_ids
from inventory.services import OwnFacts
from inventory.terms import Access, Classification, KeyKind, StorageMedium

SECRET_KEY_ID_LABEL = b"keyvault-admin/secret-key/id/v1\0"


@dataclass(frozen=True, kw_only=True)
class OwnKey:
    """One key of the installation, which this process holds or the database knows of."""

    code: str  # in the database: never renamed
    name: str
    kind: KeyKind
    algorithm: str
    size_bits: int | None
    variable: str
    purpose: str
    rotated_by: str
    material_id: Callable[[], bytes | None]  # 4 bytes that tell one generation from the next, and nothing of the key
    source: Callable[[], str] | None = None  # where it is kept, for one that this process does not hold


def _secret_key_id() -> bytes:
    return sha256(SECRET_KEY_ID_LABEL + settings.SECRET_KEY.encode()).digest()[:4]


def _master_key_id() -> bytes | None:
    known = present_master_key()
    return known[0] if known else None


def _master_key_source() -> str:
    known = present_master_key()
    return known[1] if known else ""


def _signing_key_id() -> bytes | None:
    known = present_signing_key()
    return known[0] if known else None


def _signing_key_source() -> str:
    known = present_signing_key()
    return known[1] if known else ""


OWN_KEYS: tuple[OwnKey, ...] = (
    OwnKey(
        code="sealing",
        name="Keyvault Admin: sealing key",
        kind=KeyKind.KEK,
        algorithm="AES-256-GCM",
        size_bits=256,
        variable="KEYVAULT_SEALING_KEY",
        purpose="Seals the seeds of second factors, the keys of the identities in the log, the addresses of open "
        "sessions and files that wait to be imported.",
        rotated_by="manage.py rotate_sealing_key (docs/operate.md, “A new sealing key”)",
        material_id=lambda: sealing_key_ids()[0],
    ),
    OwnKey(
        code="digest",
        name="Keyvault Admin: digest key",
        kind=KeyKind.HMAC_KEY,
        algorithm="HMAC-SHA-256",
        size_bits=256,
        variable="KEYVAULT_DIGEST_KEY",
        purpose="Keys the digests of recovery codes, enrolment links, session keys and the material of keys.",
        rotated_by="a new epoch, watched with manage.py digest_epochs (docs/operate.md, “A new digest key”)",
        material_id=lambda: digest_epochs()[0],
    ),
    OwnKey(
        code="secret",
        name="Keyvault Admin: secret key",
        kind=KeyKind.HMAC_KEY,
        algorithm="HMAC-SHA-256",
        size_bits=None,  # it is a text; settings ask for 50 random characters
        variable="SECRET_KEY",
        purpose="Signs sessions and forms.",
        rotated_by="a new value and a restart; everybody signs in anew (docs/operate.md, “Which key protects what”)",
        material_id=_secret_key_id,
    ),
    OwnKey(
        code="signing",
        name="Keyvault Admin: signing key",
        kind=KeyKind.SIGNING_KEY,
        algorithm="Ed25519",
        size_bits=256,
        variable="KEYVAULT_SIGNING_KEY",
        purpose="Signs the checkpoints of the audit log; the signer alone holds it.",
        rotated_by="a new epoch: manage.py begin_signing_epoch (docs/checkpoints.md, “Another key”)",
        material_id=_signing_key_id,
        source=_signing_key_source,
    ),
    OwnKey(
        code="master",
        name="Keyvault Admin: master key",
        kind=KeyKind.MASTER_KEY,
        algorithm="AES-256-GCM",
        size_bits=256,
        variable="KEYVAULT_MASTER_KEY",
        purpose="Seals the KEKs of local key stores; the worker alone holds it.",
        rotated_by="docs/key-stores.md, “Another master key”",
        material_id=_master_key_id,
        source=_master_key_source,
    ),
)


def own_keys() -> list[OwnFacts]:
    """Return the keys as they are now; signing and master key from when the log knows them."""
    present = [(key, key.material_id()) for key in OWN_KEYS]
    return [
        OwnFacts(code=key.code, material_id=known, facts=_facts(key)) for key, known in present if known is not None
    ]


def _facts(key: OwnKey) -> dict[str, object]:
    source = key.source() if key.source else settings.SECRET_SOURCES[key.variable]
    is_file = source.startswith("file:")
    return {
        "name": key.name,
        "kind": key.kind,
        "algorithm": key.algorithm,
        "size_bits": key.size_bits,
        "purpose": key.purpose,
        "storage_medium": StorageMedium.FILE if is_file else StorageMedium.ENVIRONMENT_VARIABLE,
        "storage_location": source,
        "is_exportable": True,  # whoever reads the file or the variable has it
        "is_shared": False,
        "classification": Classification.RESTRICTED,
        "access": Access.PRODUCTION,
        "notes": f"Rotated by: {key.rotated_by}.",
    }
