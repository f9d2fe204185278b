"""Comparable strengths in bits of security: the classical work to break a key. SP 800-57 Part 1 Rev 5 §5.6.1."""

from bisect import bisect_right
from functools import lru_cache

from inventory.algorithms.names import Claim, claims

# Table 2: the smallest size in bits, and the strength from there on.
_MODULUS = ((1024, 80), (2048, 112), (3072, 128), (7680, 192), (15360, 256))
_LONG_MODULUS = (4096, 150)
_CURVE = ((160, 80), (224, 112), (256, 128), (384, 192), (512, 256))
_BY_MODULUS = frozenset(
    {"RSA", "RSA-OAEP", "RSA-OAEP-256", "RSA-PKCS1v15-ENC", "RSA-PKCS1v15-SIG", "RSA-PSS", "DSA", "FFDH"}
)
_BY_CURVE = frozenset({"ECDSA", "ECDH"})
_BY_KEY = frozenset({f"AES-{mode}" for mode in ("GCM", "GCM-SIV", "CCM", "CBC", "CBC-HMAC", "CTR", "ECB", "KW", "KWP")})
_FIXED = {
    "ChaCha20-Poly1305": 256, "XChaCha20-Poly1305": 256, "3TDEA": 112, "2TDEA": 80, "DES": 0, "RC4": 0,
    "Ed25519": 128, "X25519": 128, "Ed448": 224, "X448": 224,
}  # fmt: skip
# Table 3: what the function allows; a shorter key allows less.
_MAC = {"HMAC-SHA-1": 128, "HMAC-SHA-256|384|512": 256}
# FIPS 203 §8, FIPS 204 §4, FIPS 205 §11: the security category of a set, as the AES key size it is compared with.
_SETS = {
    ("ML-KEM", 512): 128, ("ML-KEM", 768): 192, ("ML-KEM", 1024): 256, ("X25519MLKEM768", 768): 192,
    ("ML-DSA", 44): 128, ("ML-DSA", 65): 192, ("ML-DSA", 87): 256,
    ("SLH-DSA", 128): 128, ("SLH-DSA", 192): 192, ("SLH-DSA", 256): 256,
}  # fmt: skip


def security_strength(algorithm: str, size_bits: int | None) -> int | None:
    """Return the strength of a key in bits, or None where name and size do not say it. 0: broken.

    Sizes between two lines of the table have the strength of the lower one: RSA-4096 has 128 bits, as RSA-3072 has.
    """
    found = claims(algorithm, size_bits, "")
    return _strength(found[0]) if found else None


@lru_cache(maxsize=1_024)
def clause_strength(algorithm: str, size_bits: int | None) -> int | None:
    """Return the strength that a clause's least one is compared with: as security_strength(), but RSA-4096 has 150.

    A policy that asks for RSA-4096 is written down as 150 bits, which lies between two lines of the table.
    Source: FIPS 140-3 IG D.B.
    """
    found = claims(algorithm, size_bits, "")
    if not found:
        return None
    bits, (size, between) = _strength(found[0]), _LONG_MODULUS
    is_long = found[0].family in _BY_MODULUS and (found[0].bits or 0) >= size
    return max(bits or 0, between) if is_long else bits


def is_weaker(protecting: int | None, protected: int | None) -> bool | None:
    """Say whether a key of the first strength is too weak to wrap one of the second; None: nobody can tell.

    Source: PCI DSS 3.6.1, "at least as strong as the data-encrypting keys they protect"; SP 800-57 Part 1 §5.6.1.
    """
    return None if protecting is None or protected is None else protecting < protected


def _strength(claim: Claim) -> int | None:
    if claim.family in _FIXED:
        return _FIXED[claim.family]
    if claim.family in _MAC:
        most = _MAC[claim.family]
        return most if claim.bits is None else min(most, claim.bits)
    return None if claim.bits is None else _by_size(claim.family, claim.bits)


def _by_size(family: str, bits: int) -> int | None:
    if family in _BY_KEY:
        return bits
    if family in _BY_MODULUS:
        return _step(_MODULUS, bits)
    return _step(_CURVE, bits) if family in _BY_CURVE else _SETS.get((family, bits))


def _step(ladder: tuple[tuple[int, int], ...], bits: int) -> int:
    reached = bisect_right([size for size, _strength in ladder], bits)
    return ladder[reached - 1][1] if reached else 0
