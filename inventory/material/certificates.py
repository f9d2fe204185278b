"""One X.509 certificate → its facts. Source: RFC 5280 §4."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from inventory.algorithms.weaknesses import certificate_weaknesses
from inventory.material.facts import MaterialFacts, algorithm_and_bits, modulus_of, spki_digest, usable_name
from inventory.recognise.text import shown
from inventory.terms import KeyKind

_SHORT_SERIAL = 8  # hexadecimal digits
_LONGEST_TEXT = 500
_MOST_NAMES = 100
_HASHES = {"sha1": "SHA-1", "sha224": "SHA-224", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}


@contextmanager
def tolerating_old_certificates() -> Iterator[None]:
    """Read what RFC 5280 would not allow, such as serial numbers below 1: the stores of operating systems hold some."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def facts_of_certificate(certificate: x509.Certificate, *, where: str) -> MaterialFacts:
    """Raises: one of facts.UNREADABLE, when a part of it cannot be read."""
    key = certificate.public_key()
    algorithm, bits = algorithm_and_bits(key)
    names = _alternative_names(certificate)
    digest = spki_digest(key)
    serial = f"{certificate.serial_number:x}"
    hash_algorithm = certificate.signature_hash_algorithm
    subject = (
        usable_name([*_common_names(certificate.subject), *names]) or f"certificate {digest.hex()[:_SHORT_SERIAL]}"
    )
    return MaterialFacts(
        where=where,
        name=usable_name([f"{subject} ({serial[:_SHORT_SERIAL]})"]) or f"{shown(subject)} ({serial[:_SHORT_SERIAL]})",
        kind=KeyKind.CA_CERTIFICATE.value if _is_authority(certificate) else KeyKind.TLS_CERTIFICATE.value,
        algorithm=algorithm,
        size_bits=bits,
        spki_sha256=digest,
        created_on=certificate.not_valid_before_utc.date(),
        ends_on=certificate.not_valid_after_utc.date(),
        subject=_line(certificate.subject),
        issuer=_line(certificate.issuer),
        serial=serial,
        alternative_names=names,
        signature_hash=_HASHES.get(hash_algorithm.name, hash_algorithm.name.upper()) if hash_algorithm else "",
        weaknesses=tuple(certificate_weaknesses(certificate)),
        modulus=modulus_of(key),
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _alternative_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    named = (*said.get_values_for_type(x509.DNSName), *map(str, said.get_values_for_type(x509.IPAddress)))
    return tuple(usable for name in named[:_MOST_NAMES] if (usable := usable_name([name])))


def _common_names(subject: x509.Name) -> Sequence[str]:
    """Return what a subject goes by: its common names, else its units and organisations, which old roots have only."""
    oids = (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME)
    return [str(one.value) for oid in oids for one in subject.get_attributes_for_oid(oid)]


def _line(name: x509.Name) -> str:
    """Return a name in the form of RFC 4514, without what a reader could not see."""
    text = "".join(one for one in name.rfc4514_string() if one.isprintable())
    return text[:_LONGEST_TEXT]
