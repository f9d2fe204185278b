"""Bad key material, seen from its public half alone: small, predictable or badly signed.

What is found is a code: stored with the version, and opened as the finding of that name. Never rename one.
"""

import math

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes

_LEAST_MODULUS_BITS, _LEAST_CURVE_BITS = 2048, 256
_USUAL_EXPONENT = 65537
_LARGEST_EXPONENT_BITS = 256
_FERMAT_STEPS = 1_000  # what careless generators make falls within a hundred
# What squares leave: two small look-ups rule out 99 of 100 numbers before a root of thousands of bits is taken.
_FIRST, _SECOND = 64 * 63, 65 * 11
_SQUARES, _MORE_SQUARES = ({n * n % modulus for n in range(modulus)} for modulus in (_FIRST, _SECOND))
_LARGEST_ROCA_PRIME = 167  # the primes that all key lengths have in common
_WEAK_SIGNATURES = {"md5", "sha1"}
# Of a certificate, and not of the key in it.
SIGNATURE_WEAKNESSES = frozenset(f"signature-{digest}" for digest in _WEAK_SIGNATURES)
_SMALL_PRIMES = tuple(n for n in range(2, 8192) if all(n % d for d in range(2, math.isqrt(n) + 1)))
_SMALL_PRODUCT = math.prod(_SMALL_PRIMES)


def _powers(prime: int) -> frozenset[int]:
    """Return what 65537 generates modulo a prime."""
    return frozenset(pow(_USUAL_EXPONENT, power, prime) for power in range(prime - 1))


# ROCA, CVE-2017-15361: the library drew p = k·M + (65537^a mod M), with M a product of the first primes, 2 to 167 at
# least. So p, q and N are powers of 65537 modulo each of them. Nemec et al., CCS 2017, §2.2; by chance below 2^-27.
_ROCA = tuple((prime, _powers(prime)) for prime in _SMALL_PRIMES[1:] if prime <= _LARGEST_ROCA_PRIME)


def rsa_weaknesses(numbers: rsa.RSAPublicNumbers) -> list[str]:
    """Judge an RSA key by its numbers, which libraries may refuse to make a key of. Source: FIPS 186-5 §5.1, A.1.1."""
    return [*_exponent(numbers.e), *_modulus(numbers.n)]


def key_weaknesses(key: PublicKeyTypes | CertificatePublicKeyTypes) -> list[str]:
    """Judge any public key; a type without a rule here has none of these weaknesses."""
    if isinstance(key, rsa.RSAPublicKey):
        return rsa_weaknesses(key.public_numbers())
    if isinstance(key, dsa.DSAPublicKey):
        return ["dsa"]
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < _LEAST_CURVE_BITS:
        return ["curve-small"]
    return []


def certificate_weaknesses(certificate: x509.Certificate) -> list[str]:
    """Judge the key in a certificate and the signature on it.

    The signature of a root is not judged: it is trusted for being in the bundle, and nobody checks it. Raises: what
    `cryptography` raises where key or signature cannot be read.
    """
    found = key_weaknesses(certificate.public_key())
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.name in _WEAK_SIGNATURES and not _is_root(certificate):
        found.append(f"signature-{digest.name}")
    return found


def _exponent(e: int) -> list[str]:
    if e == 1:
        return ["exponent-one"]
    if e % 2 == 0:
        return ["exponent-even"]
    if e < _USUAL_EXPONENT:
        return ["exponent-small"]
    return ["exponent-large"] if e.bit_length() > _LARGEST_EXPONENT_BITS else []


def _modulus(n: int) -> list[str]:
    found = ["modulus-small"] if n.bit_length() < _LEAST_MODULUS_BITS else []
    if n < 1 or math.gcd(n, _SMALL_PRODUCT) > 1:
        found.append("factor-small")
    elif _has_close_factors(n):
        found.append("factors-close")
    if all(n % prime in powers for prime, powers in _ROCA):
        found.append("roca")
    return found


def _has_close_factors(n: int) -> bool:
    """Try Fermat's method for a bounded number of steps: n = a² - b² with a just above √n. `n` is odd."""
    first = math.isqrt(n - 1) + 1
    residue, step = (first * first - n) % (_FIRST * _SECOND), (2 * first + 1) % (_FIRST * _SECOND)
    for a in range(first, first + _FERMAT_STEPS):
        if residue % _FIRST in _SQUARES and residue % _SECOND in _MORE_SQUARES and _is_square(a * a - n):
            return True
        residue, step = residue + step, step + 2  # of the next a: both stay small without reducing them again
    return False


def _is_square(n: int) -> bool:
    return math.isqrt(n) ** 2 == n


def _is_root(certificate: x509.Certificate) -> bool:
    if certificate.issuer != certificate.subject:
        return False
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
