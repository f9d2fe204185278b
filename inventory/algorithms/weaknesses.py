"""Bad key material, seen from its public half alone: small, predictable, related or badly signed."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes

_LEAST_MODULUS_BITS, _LEAST_CURVE_BITS = 2048, 256
_USUAL_EXPONENT = 65537
_LARGEST_EXPONENT_BITS = 256
_FERMAT_STEPS = 1_000  # milliseconds at 4096 bits; what careless generators make falls within a hundred
_LARGEST_ROCA_PRIME = 167  # the primes that all key lengths have in common
_WEAK_SIGNATURES = {"md5", "sha1"}
_SMALL_PRIMES = tuple(n for n in range(2, 8192) if all(n % d for d in range(2, math.isqrt(n) + 1)))
_SMALL_PRODUCT = math.prod(_SMALL_PRIMES)


class Weakness(NamedTuple):
    code: str  # stored; never renamed
    sentence: str


def _powers(prime: int) -> frozenset[int]:
    """Return what 65537 generates modulo a prime."""
    return frozenset(pow(_USUAL_EXPONENT, power, prime) for power in range(prime - 1))


# ROCA, CVE-2017-15361: the library drew p = k·M + (65537^a mod M), with M a product of the first primes, 2 to 167 at
# least. So p, q and N are powers of 65537 modulo each of them. Nemec et al., CCS 2017, §2.2; by chance below 2^-27.
_ROCA = tuple((prime, _powers(prime)) for prime in _SMALL_PRIMES[1:] if prime <= _LARGEST_ROCA_PRIME)


def rsa_weaknesses(numbers: rsa.RSAPublicNumbers) -> list[Weakness]:
    """Judge an RSA key by its numbers, which libraries may refuse to make a key of. Source: FIPS 186-5 §5.1, A.1.1."""
    return [*_exponent(numbers.e), *_modulus(numbers.n)]


def key_weaknesses(key: PublicKeyTypes | CertificatePublicKeyTypes) -> list[Weakness]:
    """Judge any public key; a type without a rule here has none of these weaknesses."""
    if isinstance(key, rsa.RSAPublicKey):
        return rsa_weaknesses(key.public_numbers())
    if isinstance(key, dsa.DSAPublicKey):
        return [Weakness("dsa", "DSA is prohibited since FIPS 186-5.")]
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size < _LEAST_CURVE_BITS:
        return [Weakness("curve-small", f"The curve {key.curve.name} is smaller than P-256.")]
    return []


def certificate_weaknesses(certificate: x509.Certificate) -> list[Weakness]:
    """Judge the key in a certificate and the signature on it.

    The signature of a root is not judged: it is trusted for being in the bundle, and nobody checks it.
    """
    return [*_certified_key(certificate), *([] if _is_root(certificate) else _signature(certificate))]


def shared_factors(moduli: Iterable[int]) -> set[int]:
    """Return those of the moduli that share a factor with another one: whoever sees both can compute both keys.

    Equal moduli are one key used twice, and no finding of this kind.
    """
    different = set(moduli)
    product = math.prod(different)
    return {n for n in different if math.gcd(n, product % (n * n) // n) > 1}


def _exponent(e: int) -> list[Weakness]:
    if e == 1:
        return [Weakness("exponent-one", "The exponent is 1: this key encrypts nothing and signs everything.")]
    if e % 2 == 0:
        return [Weakness("exponent-even", "The exponent is even, so this is no RSA key.")]
    if e < _USUAL_EXPONENT:
        return [Weakness("exponent-small", f"The exponent is {e}; 65537 is the least.")]
    if e.bit_length() > _LARGEST_EXPONENT_BITS:
        return [Weakness("exponent-large", "The exponent has more than 256 bits, as only a small private one needs.")]
    return []


def _modulus(n: int) -> list[Weakness]:
    found: list[Weakness] = []
    if n.bit_length() < _LEAST_MODULUS_BITS:
        found.append(Weakness("modulus-small", f"The modulus has {n.bit_length()} bits; 2048 are the least."))
    if n < 1 or math.gcd(n, _SMALL_PRODUCT) > 1:
        found.append(
            Weakness("factor-small", "The modulus has a small factor, so it is no product of two large primes.")
        )
    elif _has_close_factors(n):
        found.append(Weakness("factors-close", "The two primes lie so close together that Fermat's method finds them."))
    if all(n % prime in powers for prime, powers in _ROCA):
        found.append(Weakness("roca", "The primes come from the flawed Infineon library (ROCA, CVE-2017-15361)."))
    return found


def _has_close_factors(n: int) -> bool:
    """Try Fermat's method for a bounded number of steps: n = a² - b² with a just above √n. `n` is odd."""
    first = math.isqrt(n - 1) + 1
    return any(_is_square(a * a - n) for a in range(first, first + _FERMAT_STEPS))


def _is_square(n: int) -> bool:
    return math.isqrt(n) ** 2 == n


def _certified_key(certificate: x509.Certificate) -> list[Weakness]:
    try:
        return key_weaknesses(certificate.public_key())
    except (UnsupportedAlgorithm, ValueError):
        return [Weakness("key-unreadable", "The key in the certificate is of no type or size that can be judged.")]


def _signature(certificate: x509.Certificate) -> list[Weakness]:
    try:
        digest = certificate.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError):
        return [Weakness("signature-unknown", "The certificate is signed in a way that cannot be judged.")]
    if digest is not None and digest.name in _WEAK_SIGNATURES:
        code = f"signature-{digest.name}"
        return [Weakness(code, f"The certificate is signed with {digest.name.upper()}, so it can be forged.")]
    return []


def _is_root(certificate: x509.Certificate) -> bool:
    if certificate.issuer != certificate.subject:
        return False
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
