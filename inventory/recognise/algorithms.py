"""Algorithms under the name by which they are known, with the key size where that name fixes it."""

import re
from collections.abc import Callable

from inventory.recognise.text import NotUnderstoodError, at_most, is_unknown, shown, squashed

_LARGEST_BITS = 65_536
_KNOWN: dict[str, tuple[str, int | None]] = {
    "3des": ("3DES", None), "tripledes": ("3DES", None), "des": ("DES", None), "rc4": ("RC4", None),
    "rsa": ("RSA", None), "dsa": ("DSA", None), "ecdsa": ("ECDSA", None), "aes": ("AES", None), "md5": ("MD5", None),
    "ed25519": ("Ed25519", 256), "ed448": ("Ed448", 456), "x25519": ("X25519", 256), "x448": ("X448", 448),
    "es256": ("ES256", 256), "es384": ("ES384", 384), "es512": ("ES512", 521), "eddsa": ("EdDSA", None),
    "hmacmd5": ("HMAC-MD5", None), "chacha20poly1305": ("ChaCha20-Poly1305", 256),
    "xchacha20poly1305": ("XChaCha20-Poly1305", 256), "opaque": ("opaque", None),
}  # fmt: skip
_FAMILIES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], tuple[str, int | None]]], ...] = (
    (re.compile("aes(128|192|256)(?:bits?)?"), lambda found: (f"AES-{found[1]}", int(found[1]))),
    (
        re.compile("aes(128|192|256)(gcm|cbc|ctr|ccm|ecb|siv|xts|kw|kwp)"),
        lambda found: (f"AES-{found[1]}-{found[2].upper()}", int(found[1])),
    ),
    (re.compile("aes(128|192|256)gcmsiv"), lambda found: (f"AES-{found[1]}-GCM-SIV", int(found[1]))),
    (
        re.compile("(rsa|dsa)([1-9][0-9]{2,4})(?:bits?)?"),
        lambda found: (f"{found[1].upper()}-{found[2]}", int(found[2])),
    ),
    (
        re.compile("(ecdsa|ecdh)p(224|256|384|521)"),
        lambda found: (f"{found[1].upper()} P-{found[2]}", int(found[2])),
    ),
    (re.compile("(rs|ps|hs)(256|384|512)"), lambda found: (found[0].upper(), None)),
    (re.compile("hmacsha(1|224|256|384|512)"), lambda found: (f"HMAC-SHA-{found[1]}", None)),
)


def algorithm_of(text: str) -> tuple[str, int | None]:
    """Read an algorithm and its size in bits; unknown ones stay as given. "opaque" is a random string without one."""
    if is_unknown(text):
        return "", None
    word = squashed(text)
    if word in _KNOWN:
        return _KNOWN[word]
    for pattern, name in _FAMILIES:
        if found := pattern.fullmatch(word):
            return name(found)
    return at_most(80, "algorithm", " ".join(text.split())), None


def size_of(text: str) -> int | None:
    """Read a key size in bits, as in "2048" or "256 bit"."""
    if is_unknown(text):
        return None
    found = re.fullmatch(r"([0-9]{2,5})(?:bits?)?", squashed(text))
    if found is None or not 0 < int(found[1]) <= _LARGEST_BITS:
        raise NotUnderstoodError(f'"{shown(text)}" is no key size.', "Write the number of bits, like 2048.")
    return int(found[1])
