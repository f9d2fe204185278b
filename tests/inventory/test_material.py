"""Certificates and public keys: what is kept of them, and private keys, of which nothing is."""

import base64
import hashlib
import json
import subprocess
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.material import MaterialError, MaterialReading, is_material, key_facts, read_material
from inventory.recognise import algorithm_of
from inventory.terms import KeyKind

SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
BEGIN = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
SAMPLE = Path(__file__).parent.parent / "data" / "notion-inventory.csv"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def spki(key: PrivateKeyTypes) -> bytes:
    public = key.public_key()
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def certificate(
    name: str = "a.example", *, serial: int = 0xABCDEF0123456789, authority: bool | None = None
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject, public_key=EC_KEY.public_key())
        .serial_number(serial)
        .not_valid_before(BEGIN)
        .not_valid_after(BEGIN + timedelta(days=90))
    )
    names = [x509.DNSName("b.example"), x509.IPAddress(ip_address("192.0.2.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return builder.sign(EC_KEY, hashes.SHA384())


def pem(one: x509.Certificate) -> bytes:
    return one.public_bytes(Encoding.PEM)


def public_pem(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def ssh_line(key: PrivateKeyTypes) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def private_forms() -> dict[str, bytes]:
    secret = BestAvailableEncryption(b"pass phrase")
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(b"x" * 32), "d": b64(b"d" * 32)}
    return {
        "PKCS#8": EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "PKCS#8 encrypted": EC_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret),
        "PKCS#1": RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        "OpenSSH": ED_KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        "DER": RSA_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        "DER encrypted": RSA_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, secret),
        "PKCS#12": pkcs12.serialize_key_and_certificates(b"k", EC_KEY, certificate(), None, secret),
        "PuTTY": b"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nAAAA\n",
        "age": b"AGE-SECRET-KEY-1QQQQ\n",
        "JWK": json.dumps({"keys": [jwk]}).encode(),
        "JWK symmetric": json.dumps({"kty": "oct", "k": b64(b"k" * 32)}).encode(),
    }


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


# Certificates


def test_read_material_keeps_the_facts_of_a_certificate() -> None:
    (facts,) = read_material(b"subject=CN = a.example\n" + pem(certificate())).items
    assert (facts.where, facts.name, facts.kind) == ("block 1", "a.example (abcdef01)", "tls_certificate")
    assert (facts.algorithm, facts.size_bits, facts.signature_hash) == ("ECDSA P-256", 256, "SHA-384")
    assert (facts.created_on, facts.ends_on) == (date(2026, 1, 31), date(2026, 5, 1))
    assert (facts.subject, facts.issuer, facts.serial) == ("CN=a.example", "CN=a.example", "abcdef0123456789")
    assert facts.alternative_names == ("b.example", "192.0.2.1")
    assert facts.spki_sha256 == spki(EC_KEY)


@pytest.mark.parametrize(
    ("authority", "kind"), [(None, "tls_certificate"), (False, "tls_certificate"), (True, "ca_certificate")]
)
def test_read_material_tells_an_authority_by_its_basic_constraints(*, authority: bool | None, kind: str) -> None:
    assert read_material(pem(certificate(authority=authority))).items[0].kind == kind


@pytest.mark.parametrize("name", ["", "\u202eevil", "AKIA" + "A" * 16, "x" * 64])
def test_read_material_names_a_certificate_by_what_may_be_a_name(name: str) -> None:
    (facts,) = read_material(pem(certificate(name))).items
    assert facts.name == (f"{name} (abcdef01)" if name.startswith("x") else "b.example (abcdef01)")


@pytest.mark.parametrize("form", ["DER", "PKCS#7", "PKCS#7 in DER", "bundle"])
def test_read_material_reads_certificates_in_every_form(form: str) -> None:
    one, other = certificate(serial=1), certificate(serial=2)
    content = {
        "DER": one.public_bytes(Encoding.DER),
        "PKCS#7": pkcs7.serialize_certificates([one, other], Encoding.PEM),
        "PKCS#7 in DER": pkcs7.serialize_certificates([one, other], Encoding.DER),
        "bundle": b"# two\n" + pem(one) + b"between\n" + pem(other) + pem(one),
    }[form]
    reading = read_material(content)
    assert is_material(content)
    assert sorted(item.serial for item in reading.items) == (["1"] if form == "DER" else ["1", "2"])
    assert (reading.refusals, reading.repeated) == ((), 1 if form == "bundle" else 0)


def test_read_material_reads_the_store_of_the_operating_system_whole() -> None:
    if not SYSTEM_BUNDLE.exists():
        pytest.skip("this system keeps its certificates elsewhere")
    content = SYSTEM_BUNDLE.read_bytes()
    reading = read_material(content)
    assert reading.refusals == ()
    assert len(reading.items) + reading.repeated == content.count(b"BEGIN CERTIFICATE") > 100
    assert {item.kind for item in reading.items} == {"ca_certificate"}
    assert len({item.name for item in reading.items}) == len(reading.items)


# Public keys


@pytest.mark.parametrize(
    ("key", "algorithm", "bits"), [(EC_KEY, "ECDSA P-256", 256), (RSA_KEY, "RSA-2048", 2048), (ED_KEY, "Ed25519", 256)]
)
def test_read_material_finds_the_same_key_in_every_form(key: PrivateKeyTypes, algorithm: str, bits: int) -> None:
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for content in (public_pem(key), der, f"{ssh_line(key)} alice@laptop\n".encode()):
        assert is_material(content)
        (facts,) = read_material(content).items
        assert (facts.algorithm, facts.size_bits, facts.spki_sha256) == (algorithm, bits, spki(key))
        assert algorithm_of(facts.algorithm)[0] == algorithm
    assert (facts.name, facts.kind) == ("alice@laptop", "ssh_key")


def test_read_material_reads_authorized_keys() -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    lines = [
        "# people",
        "",
        f"{ssh_line(ED_KEY)} alice@laptop",
        f'restrict,command="ssh-rsa AAAA \\" x",from="10.0.0.0/8" {ssh_line(RSA_KEY)} deploy key',
        f"host.example,192.0.2.1 {ssh_line(EC_KEY)}",
        f"{ssh_line(other)} alice@laptop",
        f"{ssh_line(other)} alice@laptop",
        "ssh-ed25519 AAAA broken",
        "ssh-dss",
    ]
    reading = read_material("\r\n".join(lines).encode())
    assert [(one.where, one.name) for one in reading.items] == [
        ("line 3", f"alice@laptop {spki(ED_KEY).hex()[:8]}"),
        ("line 4", "deploy key"),
        ("line 5", f"SSH key {spki(EC_KEY).hex()[:8]}"),
        ("line 6", f"alice@laptop {spki(other).hex()[:8]}"),
    ]
    assert ([one.where for one in reading.refusals], reading.repeated) == (["line 8", "line 9"], 1)


def test_read_material_reads_the_key_in_an_ssh_certificate(tmp_path: Path) -> None:
    authority, user = tmp_path / "ca", tmp_path / "user.pub"
    authority.write_bytes(ED_KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    authority.chmod(0o600)
    user.write_text(f"{ssh_line(RSA_KEY)} bob\n", encoding="ascii")
    try:
        subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "bob", "-V", "+1w", user], check=True)
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    (facts,) = read_material((tmp_path / "user-cert.pub").read_bytes()).items
    assert (facts.name, facts.spki_sha256) == ("bob", spki(RSA_KEY))


def test_read_material_reads_a_set_of_json_web_keys() -> None:
    rsa_numbers, ec_numbers = RSA_KEY.public_key().public_numbers(), EC_KEY.public_key().public_numbers()
    keys = [
        {"kty": "RSA", "kid": "one", "n": number(rsa_numbers.n), "e": "AQAB", "key_ops": ["verify"]},
        {"kty": "EC", "use": "enc", "crv": "P-256", "x": number(ec_numbers.x), "y": number(ec_numbers.y)},
        {"kty": "OKP", "kid": "three", "crv": "Ed25519", "x": b64(ED_KEY.public_key().public_bytes_raw())},
        {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"},
    ]
    content = json.dumps({"keys": keys}).encode()
    assert is_material(content)
    reading = read_material(content)
    assert [(one.name, one.kind, one.spki_sha256) for one in reading.items] == [
        ("one", "signing_key", spki(RSA_KEY)),
        (f"JSON web key {spki(EC_KEY).hex()[:8]}", "kek", spki(EC_KEY)),
        ("three", "signing_key", spki(ED_KEY)),
    ]
    assert [one.where for one in reading.refusals] == ["key 4"]
    assert read_material(json.dumps(keys[0]).encode()).items[0].name == "one"


# Private keys


@pytest.mark.parametrize("form", private_forms())
def test_read_material_takes_no_private_key_and_repeats_nothing_of_it(form: str) -> None:
    content = private_forms()[form]
    assert is_material(content)
    reading = read_material(content)
    (refusal,) = reading.refusals
    assert (reading.items, refusal.is_exposed) == ((), True)
    assert "exposed" in refusal.mend
    assert not _quotes(reading, content)


def _quotes(reading: MaterialReading, content: bytes) -> bool:
    told = repr(reading)
    lines = content.decode("latin-1").splitlines()
    return any(line[start : start + 16] in told for line in lines for start in range(max(0, len(line) - 16)))


def test_read_material_takes_what_is_public_beside_a_private_key() -> None:
    reading = read_material(private_forms()["PKCS#8"] + pem(certificate()))
    assert (len(reading.items), [one.is_exposed for one in reading.refusals]) == (1, [True])


# The rest


def test_key_facts_says_it_as_a_row_would() -> None:
    facts = key_facts(read_material(pem(certificate())).items[0])
    assert (facts.name, facts.kind, facts.created_on) == ("a.example (abcdef01)", "tls_certificate", date(2026, 1, 31))
    assert "Valid until: 2026-05-01" in facts.notes
    assert facts.kind in KeyKind.values


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\x00", b'{"kty": 1'])
def test_read_material_refuses_what_holds_none(content: bytes) -> None:
    with pytest.raises(MaterialError):
        read_material(content)


def test_is_material_leaves_spreadsheets_to_the_inventory() -> None:
    assert not is_material(SAMPLE.read_bytes())
    assert not is_material(b'Name,Type\n"-----BEGIN PRIVATE KEY-----\nMIIE",KEK\n')
    assert not is_material(b'[{"name": "a", "kind": "KEK"}]')


@given(st.binary(max_size=200), st.integers(0, 400), st.sampled_from(["pem", "der", "ssh", "jwk"]))
@settings(deadline=None, max_examples=400)
def test_read_material_is_total(noise: bytes, at: int, form: str) -> None:
    whole = {
        "pem": pem(certificate()),
        "der": certificate().public_bytes(Encoding.DER),
        "ssh": ssh_line(RSA_KEY).encode(),
        "jwk": b'{"keys":[{"kty":"EC","crv":"P-256","x":"AQAB","y":"AQAB"}]}',
    }[form]
    try:
        reading = read_material(whole[:at] + noise + whole[at + len(noise) :])
    except MaterialError as error:
        assert error.problem  # noqa: PT017 - either end is right
    else:
        assert reading.items or reading.refusals
