"""ALG-04: 25 bad keys and certificates are flagged for what is wrong with them, and none of 20 good ones is.

The bad ones are the same in every run: their primes grow from fixed numbers. None of them protects anything.
"""

import math
import random
from collections.abc import Callable
from datetime import datetime
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from inventory.algorithms import shared
from inventory.algorithms.shared import shared_factors
from inventory.algorithms.weaknesses import (
    certificate_weaknesses,
    key_weaknesses,
    rsa_weaknesses,
)
from inventory.findings import CATALOGUE
from inventory.material import read_material

Material = rsa.RSAPublicNumbers | PublicKeyTypes | x509.Certificate
SMALL = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2))]
RSA_SHA256 = bytes.fromhex("2a864886f70d01010b")  # the object identifier; SHA-1 and MD5 differ in its last byte
SHA1, MD5 = RSA_SHA256[:-1] + b"\x05", RSA_SHA256[:-1] + b"\x04"


def is_prime(n: int) -> bool:
    """Sieve, then Miller and Rabin with a few fixed bases: enough for numbers that nobody chose."""
    if any(n % small == 0 for small in SMALL):
        return n in SMALL
    twos = ((n - 1) & -(n - 1)).bit_length() - 1
    for base in (2, 3, 5, 7):
        power = pow(base, (n - 1) >> twos, n)
        if power not in {1, n - 1} and not any((power := power * power % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


@cache
def prime(seed: int, bits: int = 1024) -> int:
    """Return a prime of exactly that length, with its two highest bits set as key generators do."""
    start = random.Random(seed).getrandbits(bits) | 3 << (bits - 2) | 1  # noqa: S311 - the same in every run
    return prime_from(start)


@cache
def prime_from(start: int) -> int:
    n = start | 1
    while not is_prime(n):
        n += 2
    return n


@cache
def roca_prime(seed: int, primes_in_m: int, bits: int) -> int:
    """Draw k·M + (65537^a mod M) as the flawed library did. Nemec et al., CCS 2017, §2.2."""
    draw = random.Random(seed)  # noqa: S311 - the same in every run
    modulus = 2 * math.prod(SMALL[: primes_in_m - 1])
    while True:
        k = draw.getrandbits(bits - modulus.bit_length()) | 1 << (bits - modulus.bit_length())
        candidate = k * modulus + pow(65537, draw.getrandbits(200), modulus)
        if is_prime(candidate):
            return candidate


def rsa_numbers(n: int, e: int = 65537) -> rsa.RSAPublicNumbers:
    return rsa.RSAPublicNumbers(e, n)


def good_modulus(seed: int) -> int:
    return prime(seed) * prime(seed + 100)


def ec_key(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(0xC0FFEE, curve)


@cache
def issuer() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def certificate(
    key: PublicKeyTypes, digest: hashes.HashAlgorithm | None = None, *, is_root: bool = False
) -> x509.Certificate:
    """Certify a public key under the RSA key of an issuer."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(named("issuer" if is_root else "subject"))
        .issuer_name(named("issuer"))
        .public_key(key)
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1))  # noqa: DTZ001 - what the builder takes
        .not_valid_after(datetime(2026, 6, 1))  # noqa: DTZ001
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
    )
    return builder.sign(issuer(), digest or hashes.SHA256())


def signed_with(identifier: bytes, made: x509.Certificate) -> x509.Certificate:
    """Say another digest in the certificate, in both places; libraries no longer sign with these."""
    der = made.public_bytes(serialization.Encoding.DER)
    assert der.count(RSA_SHA256) == 2
    return x509.load_der_x509_certificate(der.replace(RSA_SHA256, identifier))


def dsa_key(bits: int) -> dsa.DSAPublicKey:
    return dsa.generate_private_key(bits).public_key()


def close_primes(apart: int) -> int:
    return prime(20) * prime_from(prime(20) + apart)


# What is wrong, how it is called, and the material itself.
BAD: dict[str, tuple[set[str], Callable[[], Material]]] = {
    "exponent 1": ({"exponent-one"}, lambda: rsa_numbers(good_modulus(1), 1)),
    "exponent 3": ({"exponent-small"}, lambda: rsa_numbers(good_modulus(1), 3).public_key()),
    "exponent 17": ({"exponent-small"}, lambda: rsa_numbers(good_modulus(1), 17).public_key()),
    "even exponent": ({"exponent-even"}, lambda: rsa_numbers(good_modulus(1), 65538)),
    "exponent of 300 bits": ({"exponent-large"}, lambda: rsa_numbers(good_modulus(1), (1 << 299) + 1)),
    "512 bits": ({"modulus-small"}, lambda: rsa_numbers(prime(5, 256) * prime(6, 256))),
    "768 bits": ({"modulus-small"}, lambda: rsa_numbers(prime(5, 384) * prime(6, 384))),
    "1024 bits": ({"modulus-small"}, lambda: rsa_numbers(prime(5, 512) * prime(6, 512)).public_key()),
    "2047 bits": ({"modulus-small"}, lambda: rsa_numbers(prime(1) * prime(6, 1023)).public_key()),
    "neighbouring primes": ({"factors-close"}, lambda: rsa_numbers(close_primes(2)).public_key()),
    "primes that share half their bits": ({"factors-close"}, lambda: rsa_numbers(close_primes(1 << 500)).public_key()),
    "primes 2^516 apart": ({"factors-close"}, lambda: rsa_numbers(close_primes(1 << 516)).public_key()),
    "one prime twice": ({"factors-close"}, lambda: rsa_numbers(prime(20) ** 2).public_key()),
    "even modulus": ({"factor-small"}, lambda: rsa_numbers(2 * prime(30, 2048))),
    "modulus of three": ({"factor-small"}, lambda: rsa_numbers(3 * prime(30, 2048))),
    "ROCA, 512 bits": ({"roca", "modulus-small"}, lambda: rsa_numbers(roca_prime(1, 39, 256) * roca_prime(2, 39, 256))),
    "ROCA, 1024 bits": (
        {"roca", "modulus-small"},
        lambda: rsa_numbers(roca_prime(3, 71, 512) * roca_prime(4, 71, 512)),
    ),
    "ROCA, 2048 bits": (
        {"roca"},
        lambda: rsa_numbers(roca_prime(5, 126, 1024) * roca_prime(6, 126, 1024)).public_key(),
    ),
    "P-192": ({"curve-small"}, lambda: ec_key(ec.SECP192R1()).public_key()),
    "P-224": ({"curve-small"}, lambda: ec_key(ec.SECP224R1()).public_key()),
    "DSA": ({"dsa"}, lambda: dsa_key(1024)),
    "signed with MD5": (
        {"signature-md5"},
        lambda: signed_with(MD5, certificate(ec_key(ec.SECP256R1()).public_key())),
    ),
    "signed with SHA-1": (
        {"signature-sha1"},
        lambda: signed_with(SHA1, certificate(ec_key(ec.SECP256R1()).public_key())),
    ),
    "certified exponent 3": (
        {"exponent-small"},
        lambda: certificate(rsa_numbers(good_modulus(1), 3).public_key()),
    ),
    "certified ROCA, signed with SHA-1": (
        {"roca", "signature-sha1"},
        lambda: signed_with(
            SHA1, certificate(rsa_numbers(roca_prime(5, 126, 1024) * roca_prime(6, 126, 1024)).public_key())
        ),
    ),
}
GOOD: dict[str, Callable[[], Material]] = {
    "RSA-2048, first": lambda: rsa_numbers(good_modulus(1)).public_key(),
    "RSA-2048, second": lambda: rsa_numbers(good_modulus(2)).public_key(),
    "RSA-2048, exponent 65539": lambda: rsa_numbers(good_modulus(2), 65539).public_key(),
    "RSA-2048, exponent of 255 bits": lambda: rsa_numbers(good_modulus(2), (1 << 254) + 1).public_key(),
    "RSA-2048, made by the library": lambda: issuer().public_key(),
    "RSA-3072": lambda: rsa_numbers(prime(7, 1536) * prime(8, 1536)).public_key(),
    "P-256": lambda: ec_key(ec.SECP256R1()).public_key(),
    "P-256, another": lambda: ec.derive_private_key(1 << 200, ec.SECP256R1()).public_key(),
    "P-384": lambda: ec_key(ec.SECP384R1()).public_key(),
    "P-521": lambda: ec_key(ec.SECP521R1()).public_key(),
    "Ed25519": lambda: ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key(),
    "Ed448": lambda: ed448.Ed448PrivateKey.from_private_bytes(bytes(range(57))).public_key(),
    "X25519": lambda: x25519.X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key(),
    "X448": lambda: x448.X448PrivateKey.from_private_bytes(bytes(range(56))).public_key(),
    "certificate, SHA-256": lambda: certificate(ec_key(ec.SECP256R1()).public_key()),
    "certificate, SHA-384": lambda: certificate(ec_key(ec.SECP384R1()).public_key(), hashes.SHA384()),
    "certificate, SHA-512": lambda: certificate(rsa_numbers(good_modulus(1)).public_key(), hashes.SHA512()),
    "certificate of Ed25519": lambda: certificate(
        ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    ),
    "root, SHA-256": lambda: certificate(issuer().public_key(), is_root=True),
    "root, SHA-1, whose signature nobody checks": lambda: signed_with(
        SHA1, certificate(issuer().public_key(), is_root=True)
    ),
}


def codes(material: Material) -> set[str]:
    if isinstance(material, x509.Certificate):
        found = certificate_weaknesses(material)
    elif isinstance(material, rsa.RSAPublicNumbers):
        found = rsa_weaknesses(material)
    else:
        found = key_weaknesses(material)
    assert set(found) <= CATALOGUE.keys()  # each is a finding, with its clause and mend
    return set(found)


def test_there_are_25_bad_and_20_good_ones() -> None:
    assert (len(BAD), len(GOOD)) == (25, 20)


@pytest.mark.parametrize("name", BAD)
def test_bad_material_is_flagged_for_what_is_wrong_with_it(name: str) -> None:
    expected, make = BAD[name]
    assert codes(make()) == expected


@pytest.mark.parametrize("name", GOOD)
def test_good_material_is_not_flagged(name: str) -> None:
    assert codes(GOOD[name]()) == set()


def test_the_test_for_roca_takes_no_other_modulus_for_one() -> None:
    """The chance is below 2^-27 for each."""
    draw = random.Random(7)  # noqa: S311 - the same in every run
    others = [rsa_numbers(draw.getrandbits(512) | 1) for _ in range(1000)]
    assert not [numbers.n for numbers in others if "roca" in codes(numbers)]


def test_a_certificate_whose_key_cannot_be_read_is_refused() -> None:
    """An even exponent: a certificate may say so, and no library makes a key of it."""
    made = certificate(rsa_numbers(good_modulus(1), 65539).public_key())
    der = made.public_bytes(serialization.Encoding.DER)
    exponent = bytes.fromhex("0203010003")
    assert der.count(exponent) == 1
    reading = read_material(der.replace(exponent, bytes.fromhex("0203010002")))
    assert (reading.items, len(reading.refusals)) == ((), 1)


def test_shared_factors_finds_the_keys_that_give_each_other_away() -> None:
    lonely, first, second = good_modulus(1), prime(2) * prime(3), prime(2) * prime(4)
    assert shared_factors([lonely, first, second]) == {first, second}
    assert shared_factors([lonely, first, first]) == set()
    assert shared_factors([]) == set()


def test_shared_factors_agrees_with_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(3)  # noqa: S311 - the same in every run
    primes = [prime(seed, 96) for seed in range(40)]
    for _ in range(30):
        moduli = [draw.choice(primes) * draw.choice(primes) for _ in range(draw.randrange(2, 25))]
        pairs = {n for n in moduli for m in moduli if n != m and math.gcd(n, m) > 1}
        assert shared_factors(moduli) == pairs
    monkeypatch.setattr(shared, "MOST_COMPARED", 2)
    first, second, third = prime(2) * prime(3), good_modulus(1), prime(2) * prime(4)
    assert shared_factors([first, second, third]) == set()


def test_a_file_tells_which_of_its_keys_give_each_other_away() -> None:
    numbers = [rsa_numbers(n) for n in (good_modulus(1), prime(2) * prime(3), prime(2) * prime(4))]
    pems = [
        one.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        for one in numbers
    ]
    reading = read_material(b"".join(pems))
    assert [item.weaknesses for item in reading.items] == [(), ("shared-factor",), ("shared-factor",)]
    assert all(item.modulus == 0 for item in reading.items)
