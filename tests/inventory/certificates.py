"""Certificates for tests, made on the spot: nothing that looks like a key lies in the repository."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests import canaries

BEGINS, ENDS = datetime(2026, 1, 10, tzinfo=UTC), datetime(2027, 1, 10, tzinfo=UTC)


def certificate(name, *, key=None, begins=BEGINS, ends=ENDS):
    """Return a certificate in PEM, signed by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begins,
        not_valid_after=ends,
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def private_key():
    key = ec.generate_private_key(ec.SECP256R1())
    canaries.know("private key", key.private_numbers().private_value.to_bytes(32, "big"))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    canaries.know("private key in PEM", pem.splitlines()[1])
    return pem


def small_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - weak on purpose


def bundle(*names):
    """Return certificates of these names in PEM, and a private key beside them."""
    return b"".join(map(certificate, names)), private_key()
