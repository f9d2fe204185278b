"""Key material in files → facts for the inventory. The material itself is dropped; a private key is never taken.

Parsed by `cryptography` alone: PEM and DER certificates and public keys, PKCS#7 bundles, SSH lines, JSON web keys.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

from inventory.algorithms.shared import shared_factors
from inventory.material.certificates import tolerating_old_certificates
from inventory.material.facts import (
    MaterialError,
    MaterialFacts,
    MaterialReading,
    MaterialRefusal,
    private_key,
    usable_name,
)
from inventory.material.jwks import is_jwks, read_jwks
from inventory.material.pem import has_pem, is_der, is_pem, read_der, read_pem
from inventory.material.ssh import is_ssh, read_ssh
from inventory.reading import KeyFacts
from inventory.tables import TableError

__all__ = [
    "SHARED",
    "MaterialError",
    "MaterialFacts",
    "MaterialReading",
    "MaterialRefusal",
    "is_material",
    "key_facts",
    "read_material",
]

SHARED = "shared-factor"  # a weakness that two keys of one file show together
_MEND = "Bring certificates (PEM, DER, PKCS#7), SSH public keys or a set of JSON web keys."
_PRIVATE_MARKS = (b"PuTTY-User-Key-File", b"AGE-SECRET-KEY-")


def is_material(content: bytes) -> bool:
    """Say whether a file is for `read_material` rather than for `read_inventory`."""
    if is_pem(content) or is_der(content) or content.startswith(_PRIVATE_MARKS):
        return True
    text = content.decode("utf-8-sig", errors="replace")
    return is_jwks(text) or is_ssh(text)


def read_material(content: bytes, *, max_bytes: int = 5 * 1024 * 1024, max_items: int = 20_000) -> MaterialReading:
    """Read every public key and certificate of a file, each for itself; what cannot be read is refused with its place.

    The same key twice under the same name and serial number is one. Different keys of one name get the beginning of
    their digest behind it. Raises: MaterialError when the file holds nothing of the kind, or too much.
    """
    if len(content) > max_bytes:
        raise MaterialError(f"The file has {len(content):,} bytes; {max_bytes:,} is the most.", "Split it.")
    too_many = MaterialError(f"The file holds more than {max_items:,} keys or lines.", "Split it.")
    if content.count(b"-----BEGIN ") > max_items:  # told before the first of them is parsed
        raise too_many
    try:
        with tolerating_old_certificates():
            found = list(islice(_found(content, max_items), max_items + 1))
    except TableError as error:
        raise MaterialError(error.problem, error.mend) from error
    if len(found) > max_items:
        raise too_many
    if not found:
        raise MaterialError("The file holds no public key and no certificate.", _MEND)
    items = [one for one in found if isinstance(one, MaterialFacts)]
    distinct = list({(one.name, one.kind, one.serial, one.spki_sha256): one for one in reversed(items)}.values())[::-1]
    return MaterialReading(
        items=tuple(_compared(_named_apart(distinct))),
        refusals=tuple(one for one in found if isinstance(one, MaterialRefusal)),
        repeated=len(items) - len(distinct),
    )


def _found(content: bytes, max_items: int) -> Iterable[MaterialFacts | MaterialRefusal]:
    if content.startswith(_PRIVATE_MARKS):
        return (private_key("the file"),)
    if has_pem(content):
        return read_pem(content)
    if is_der(content):
        return read_der(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MaterialError("The file is neither text nor a certificate.", _MEND) from error
    if is_jwks(text):
        return read_jwks(text, max_items=max_items)
    return read_ssh(text, max_lines=2 * max_items)


def _compared(items: Iterable[MaterialFacts]) -> Iterable[MaterialFacts]:
    """Tell of the RSA keys of a file which give each other away, and forget their moduli."""
    named = list(items)
    shared = shared_factors(item.modulus for item in named if item.modulus)
    for item in named:
        weaknesses = (*item.weaknesses, SHARED) if item.modulus in shared else item.weaknesses
        yield replace(item, weaknesses=weaknesses, modulus=0)


def _named_apart(items: Sequence[MaterialFacts]) -> Iterable[MaterialFacts]:
    times = Counter(item.name for item in items)
    for item in items:
        name = f"{item.name} {item.spki_sha256.hex()[:8]}" if times[item.name] > 1 else item.name
        yield replace(item, name=usable_name([name]) or item.name)


def key_facts(item: MaterialFacts) -> KeyFacts:
    """Return what a certificate or public key says, as a row of an inventory would say it."""
    said = {
        "Subject": item.subject,
        "Issuer": item.issuer,
        "Serial number": item.serial,
        "Names": ", ".join(item.alternative_names),
        "Signed with": item.signature_hash,
        "Valid until": str(item.ends_on or ""),
    }
    return KeyFacts(
        name=item.name,
        kind=item.kind,
        creator=None,
        owner=None,
        service="",
        purpose="",
        created_on=item.created_on,
        last_rotated_on=None,
        never_rotated=False,
        environment="",
        algorithm=item.algorithm,
        size_bits=item.size_bits,
        storage_medium="",
        storage_location="",
        access="",
        classification="",
        notes="\n".join(f"{label}: {text}" for label, text in said.items() if text),
    )
