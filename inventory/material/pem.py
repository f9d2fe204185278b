"""Certificates and public keys in PEM or DER, bundles and PKCS#7 among them."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key, load_pem_public_key
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates, load_pem_pkcs7_certificates

from inventory.material.certificates import facts_of_certificate
from inventory.material.facts import (
    EXPOSED_MEND,
    UNREADABLE,
    MaterialFacts,
    MaterialRefusal,
    at_start,
    facts_of_key,
    private_key,
    unreadable,
)
from inventory.terms import KeyKind

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x7f]|\x80|[\x81-\x84].{1,4}?)\x02\x01\x03\x30", re.DOTALL)
_PREAMBLES = (b"-----BEGIN", b"Certificate:", b"Bag Attributes", b"subject", b"issuer")  # as openssl writes them
_LOOKED_AT = 64 * 1024
_CERTIFICATES = {b"CERTIFICATE", b"X509 CERTIFICATE"}
_PUBLIC_KEYS = {b"PUBLIC KEY", b"RSA PUBLIC KEY"}
_BUNDLES = {b"PKCS7", b"CMS"}
Found = MaterialFacts | MaterialRefusal


class _Block(NamedTuple):
    label: bytes
    pem: bytes  # with both its lines
    is_whole: bool


def has_pem(content: bytes) -> bool:
    return _BEGIN.search(content) is not None


def is_pem(content: bytes) -> bool:
    """Say whether a file is made of PEM blocks, and is no spreadsheet with one in a cell."""
    lines = content[:_LOOKED_AT].splitlines()
    first = next((line.strip() for line in lines if line.strip() and not line.startswith(b"#")), b"")
    return has_pem(content) and (first.startswith(_PREAMBLES) or not set(first) & set(b",;\t|"))


def read_pem(content: bytes) -> Iterator[Found]:
    """Read block after block; text between them is passed over, as every program does."""
    for number, block in enumerate(_blocks(content), 1):
        where = f"block {number:,}"
        if b"PRIVATE KEY" in block.label:
            yield private_key(where)
        elif not block.is_whole:
            yield unreadable(where, "complete PEM block")
        else:
            yield from _read(block, where)


def _blocks(content: bytes) -> Iterator[_Block]:
    """Cut the file at the lines that begin a block: each ends before the next begins, so one pass is enough."""
    begins = list(_BEGIN.finditer(content))
    for index, begin in enumerate(begins):
        limit = begins[index + 1].start() if index + 1 < len(begins) else len(content)
        end = b"-----END " + begin[1] + b"-----"
        found = content.find(end, begin.end(), limit)
        yield _Block(begin[1], content[begin.start() : found + len(end)] + b"\n", found >= 0)


def _read(block: _Block, where: str) -> Iterator[Found]:
    try:
        if block.label in _CERTIFICATES:
            pem = block.pem.replace(b"X509 CERTIFICATE", b"CERTIFICATE")
            yield facts_of_certificate(x509.load_pem_x509_certificate(pem), where=where)
        elif block.label in _PUBLIC_KEYS:
            yield _bare(load_pem_public_key(block.pem), where)
        elif block.label in _BUNDLES:
            pem = block.pem.replace(b" CMS-----", b" PKCS7-----")
            yield from _bundle(load_pem_pkcs7_certificates(pem), where)
        else:
            what = block.label.decode().lower()
            yield MaterialRefusal(
                where=where,
                problem=f"{at_start(where)} is neither a certificate nor a public key, but: {what}.",
                mend="Bring certificates, public keys or PKCS#7 bundles.",
            )
    except UNREADABLE:
        yield unreadable(where, "certificate or public key")


def _bundle(certificates: list[x509.Certificate], where: str) -> Iterator[Found]:
    for number, certificate in enumerate(certificates, 1):
        inside = f"{where}, certificate {number:,}"
        try:
            yield facts_of_certificate(certificate, where=inside)
        except UNREADABLE:
            yield unreadable(inside, "certificate")


def _bare(key: object, where: str) -> MaterialFacts:
    return facts_of_key(
        key,  # type: ignore[arg-type]  # load_*_public_key return what facts_of_key tells apart
        where=where,
        kind=KeyKind.SIGNING_KEY.value,
        names=(),
        label="public key",
    )


def is_der(content: bytes) -> bool:
    return content.startswith(b"\x30")


def read_der(content: bytes) -> Iterator[Found]:
    """Read a file that is one DER structure. What may hold a private key is never looked into further."""
    where = "the file"
    if _PKCS12.match(content):
        problem = "The file is a PKCS#12 container, which may hold a private key; nothing of it was kept."
        yield MaterialRefusal(where=where, problem=problem, mend=EXPOSED_MEND, is_exposed=True)
    elif _is_private(content):
        yield private_key(where)
    else:
        yield from _read_der(content, where)


def _is_private(content: bytes) -> bool:
    try:
        load_der_private_key(content, None)
    except TypeError:  # it wants a pass phrase
        return True
    except UNREADABLE:
        return False
    return True


def _read_der(content: bytes, where: str) -> Iterator[Found]:
    """Try what the structure may be: a certificate, a bare key, a bundle."""
    with suppress(*UNREADABLE):
        yield facts_of_certificate(x509.load_der_x509_certificate(content), where=where)
        return
    with suppress(*UNREADABLE):
        yield _bare(load_der_public_key(content), where)
        return
    try:
        yield from _bundle(load_der_pkcs7_certificates(content), where)
    except UNREADABLE:
        yield unreadable(where, "certificate, public key or PKCS#7 bundle")
