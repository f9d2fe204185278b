"""Which rows of the table speak of a key: from the name of its algorithm, its size and its kind to families of rows.

A key is bound by every row found: RS256 with 2048 bits by that of its padding and by that of its modulus. A name that
is not understood, a size that is not recorded or that no row reaches leads to no row, and so never to "approved".
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from inventory.algorithms.table import AlgorithmRow
from inventory.recognise.text import squashed
from inventory.terms import KeyKind

_WRAP = frozenset({KeyKind.KEK, KeyKind.MASTER_KEY})
_RECEIVE_KEYS = _WRAP | {KeyKind.DEK, KeyKind.BACKUP_KEY, KeyKind.PROVIDER_MANAGED}  # as RSA: what is encrypted to them
_AES_BITS = frozenset({128, 192, 256})
_TWO_KEYS_BITS, _THREE_KEYS_BITS = 112, 168
_SMALLEST_RSA_IN_JOSE = 2048  # RFC 7518 §3.3, §3.5, §4.2, §4.3
_SMALLEST_GOOD_CURVE = 256
_SHORTEST_MAC_KEY_BITS = 112
_BITS = "(?P<bits>[1-9][0-9]{2,4})"


@dataclass(frozen=True)
class Claim:
    """What a name says: a family of the table, its use, and the size in bits of its modulus, curve, key or set.

    With `parameters`, only the row of exactly these is meant.
    """

    family: str
    use: str
    bits: int | None = None
    parameters: str | None = None


@dataclass(frozen=True)
class _Name:
    """A name as it was recognised. `bits` is the size it fixes, `size` the one that the record gives."""

    bits: int | None
    mode: str
    size: int | None
    kind: str

    @property
    def least(self) -> int | None:
        return min((size for size in (self.bits, self.size) if size is not None), default=None)


_Reading = Callable[[_Name], tuple[Claim, ...]]


def claims(algorithm: str, size_bits: int | None, kind: str) -> tuple[Claim, ...]:
    """Read the name of an algorithm. The first claim is the name's own; the others bind the key as well.

    Where the name fixes a size and the record gives another, the smaller one counts; a curve that is named stays that
    curve. No claim: the name is not understood, or lacks the size without which it says nothing.
    """
    word = squashed(algorithm)
    for pattern, read in _READINGS:
        if found := pattern.fullmatch(word):
            said = found.groupdict()
            bits = int(said["bits"]) if said.get("bits") else None
            return read(_Name(bits=bits, mode=said.get("mode") or "", size=size_bits, kind=kind))
    return ()


def rows_of(rows: Iterable[AlgorithmRow], found: Iterable[Claim]) -> tuple[AlgorithmRow, ...]:
    """Return the row of each claim that has one, in the order of the claims."""
    table = tuple(rows)
    chosen = [_row_of(table, claim) for claim in found]
    return tuple(dict.fromkeys(row for row in chosen if row is not None))


def _row_of(table: Iterable[AlgorithmRow], claim: Claim) -> AlgorithmRow | None:
    """Return the row with the largest size that the key reaches: 2048 to 3071 bits are "2048"."""
    reached = [(floor, row) for row in table if (floor := _floor(row, claim)) is not None]
    return max(reached, key=lambda pair: pair[0])[1] if reached else None


def _floor(row: AlgorithmRow, claim: Claim) -> int | None:
    """Return the largest size that the row names and the claim reaches, 0 for any size; None: it speaks of others."""
    if row.algorithm != claim.family or not {claim.use, "any"} & set(row.use.split("|")):
        return None
    if claim.parameters is not None:
        return 0 if row.parameters == claim.parameters else None
    return _reached(row.parameters.partition(" ")[0].replace("P-", ""), claim.bits)


def _reached(sizes: str, bits: int | None) -> int | None:
    if sizes in {"", "any"}:
        return 0
    if bits is None:
        return None
    if below := re.fullmatch(r"<([0-9]+)", sizes):
        return 0 if bits < int(below[1]) else None
    if not re.fullmatch(r"(>=)?[0-9]+(\|[0-9]+)*", sizes):
        return None
    return max((size for size in map(int, sizes.removeprefix(">=").split("|")) if size <= bits), default=None)


# What each name means. RSA: SP 800-56B, FIPS 186-5; names of JOSE: RFC 7518, RFC 8037.


def _only(claim: Claim) -> _Reading:
    return lambda _name: (claim,)


def _of_size(family: str, use: str) -> _Reading:
    return lambda name: (Claim(family, use, name.least),)


def _of_curve(family: str, use: str) -> _Reading:
    return lambda name: (Claim(family, use, name.bits),)


def _of_set(family: str, use: str) -> _Reading:
    """ML-KEM-768: the number names a set of parameters; one that the table does not write has no row."""
    return lambda name: (Claim(family, use, name.bits, parameters=str(name.bits)),)


def _aes(name: _Name) -> tuple[Claim, ...]:
    """Without a mode, a key that wraps keys is judged as AES-KW and every other one as AES-GCM."""
    bits, mode = name.least, name.mode or ("kw" if name.kind in _WRAP else "gcm")
    if bits not in _AES_BITS:
        return ()
    if mode == "ctr":
        return (Claim("AES-CTR", "data", bits, parameters="unauthenticated"),)
    family = "AES-GCM-SIV" if mode == "gcmsiv" else f"AES-{mode.upper()}"
    return (Claim(family, "key-wrap" if mode in {"kw", "kwp"} else "data", bits),)


def _aes_cbc_hmac(name: _Name) -> tuple[Claim, ...]:
    """The row speaks of 256 bits, which its parameters do not say."""
    whole = name.least == max(_AES_BITS)
    return (Claim("AES-CBC-HMAC", "data", name.least, parameters="encrypt-then-mac" if whole else "shorter"),)


def _hmac(family: str) -> _Reading:
    """A key of fewer than 112 bits is disallowed (SP 800-131A r2 §10), and the table has no row that would say so."""

    def read(name: _Name) -> tuple[Claim, ...]:
        short = name.size is not None and name.size < _SHORTEST_MAC_KEY_BITS
        return (Claim(family, "mac", name.size, parameters="shorter" if short else None),)

    return read


def _triple_des(name: _Name) -> tuple[Claim, ...]:
    if name.size is not None and name.size <= _TWO_KEYS_BITS:
        return (Claim("2TDEA", "data", _TWO_KEYS_BITS),)
    return (Claim("3TDEA", "data", _THREE_KEYS_BITS),)


_PSS = Claim("RSA-PSS", "signature")
_OAEP = Claim("RSA-OAEP-256", "key-transport")


def _rsa(name: _Name) -> tuple[Claim, ...]:
    """Without a padding, a key that receives keys is judged by RSA-OAEP-256 and every other one by RSA-PSS."""
    return _with_modulus(_OAEP if name.kind in _RECEIVE_KEYS else _PSS, name.least)


def _rsa_as(claim: Claim, *, at_least: int | None = None) -> _Reading:
    """Read a padding. `at_least` stands in for a size that nobody recorded: the smallest that its standard allows."""
    return lambda name: _with_modulus(claim, at_least if name.least is None else name.least)


def _with_modulus(claim: Claim, bits: int | None) -> tuple[Claim, ...]:
    """Bind a use of RSA by the rows of the size of its modulus too: the end of 112 bits spares no padding."""
    of_use = _OAEP if claim.use == "key-transport" else _PSS
    return tuple(replace(one, bits=bits) for one in dict.fromkeys((claim, of_use, Claim("RSA", "any"))))


def _ecdsa_without_curve(name: _Name) -> tuple[Claim, ...]:
    """256 bits may be P-256 or a curve that nobody has approved; of fewer bits every curve is as bad."""
    small = name.size is not None and name.size < _SMALLEST_GOOD_CURVE
    return (Claim("ECDSA", "signature", name.size),) if small else ()


def _eddsa(name: _Name) -> tuple[Claim, ...]:
    """Without a size it is judged as the weaker of its two curves."""
    return (Claim("Ed448", "signature", 448) if name.size in {448, 456} else Claim("Ed25519", "signature", 256),)


_MODES = "(?P<mode>gcmsiv|gcm|ccm|ctr|ecb|kwp|kw|cbc|siv|xts)"
_READINGS: tuple[tuple[re.Pattern[str], _Reading], ...] = tuple(
    (re.compile(pattern), read)
    for pattern, read in (
        (rf"aes(?P<bits>128|192|256)?(?:bits?)?{_MODES}?", _aes),
        (rf"aes{_MODES}(?P<bits>128|192|256)", _aes),
        (r"a(?P<bits>128|192|256)(?P<mode>gcm|kw)(?:kw)?", _aes),
        (r"a(?P<bits>128|192|256)cbchs[0-9]{3}|aes(?:128|192|256)?cbchmac(?:sha[0-9]{1,3})?", _aes_cbc_hmac),
        (r"3des|3tdea|tdea|tdes|tripledes|desede3?", _triple_des),
        (r"2tdea", _only(Claim("2TDEA", "data", _TWO_KEYS_BITS))),
        (r"des", _only(Claim("DES", "data", 56))),
        (r"rc4|arcfour", _only(Claim("RC4", "data"))),
        (r"blowfish", _only(Claim("Blowfish", "data"))),
        (r"chacha20poly1305", _only(Claim("ChaCha20-Poly1305", "data", 256))),
        (r"xchacha20poly1305", _only(Claim("XChaCha20-Poly1305", "data", 256))),
        (r"hmacsha(?:256|384|512)|hs(?:256|384|512)", _hmac("HMAC-SHA-256|384|512")),
        (r"hmacsha1", _hmac("HMAC-SHA-1")),
        (r"hmacmd5", _only(Claim("HMAC-MD5", "mac"))),
        (rf"rsa{_BITS}?(?:bits?)?|sshrsa", _rsa),
        (r"rsaoaep256", _rsa_as(_OAEP, at_least=_SMALLEST_RSA_IN_JOSE)),
        (
            r"rsaoaep(?:sha1)?",
            _rsa_as(replace(_OAEP, family="RSA-OAEP", parameters="sha1 mgf1sha1"), at_least=_SMALLEST_RSA_IN_JOSE),
        ),
        (r"rsa15|rsapkcs1v15enc", _rsa_as(Claim("RSA-PKCS1v15-ENC", "key-transport"), at_least=_SMALLEST_RSA_IN_JOSE)),
        (r"rs(?:256|384|512)", _rsa_as(Claim("RSA-PKCS1v15-SIG", "signature"), at_least=_SMALLEST_RSA_IN_JOSE)),
        (r"rsasha2(?:256|512)|rsapkcs1v15sig", _rsa_as(Claim("RSA-PKCS1v15-SIG", "signature"))),
        (r"ps(?:256|384|512)", _rsa_as(_PSS, at_least=_SMALLEST_RSA_IN_JOSE)),
        (rf"rsa(?:ssa)?pss{_BITS}?", _rsa_as(_PSS)),
        (rf"dsa{_BITS}?(?:bits?)?|sshdss", _of_size("DSA", "signature")),
        (
            r"(?:ecdsa|ec)?(?:sha2)?(?:nist)?(?:secp|prime|p)(?P<bits>192|224|256|384|521)(?:r1|v1)?",
            _of_curve("ECDSA", "signature"),
        ),
        (r"es(?P<bits>256|384)", _of_curve("ECDSA", "signature")),
        (r"es512", _only(Claim("ECDSA", "signature", 521))),
        (r"ecdsa|ec", _ecdsa_without_curve),
        (r"(?:ssh)?ed25519", _only(Claim("Ed25519", "signature", 256))),
        (r"ed448", _only(Claim("Ed448", "signature", 448))),
        (r"eddsa", _eddsa),
        (r"ecdh(?:es)?(?:nist|sec)?p?(?P<bits>224|256|384|521)(?:r1)?", _of_curve("ECDH", "key-agreement")),
        (r"x25519", _only(Claim("X25519", "key-agreement", 256))),
        (r"x448", _only(Claim("X448", "key-agreement", 448))),
        (rf"(?:ff)?dhe?{_BITS}?", _of_size("FFDH", "key-agreement")),
        (r"mlkem(?P<bits>512|768|1024)", _of_set("ML-KEM", "kem")),
        (r"x25519mlkem768", _only(Claim("X25519MLKEM768", "tls-hybrid", 768))),
        (r"mldsa(?P<bits>44|65|87)", _of_set("ML-DSA", "signature")),
        (r"slhdsa(?:sha2|shake)(?P<bits>128|192|256)[sf]", _of_curve("SLH-DSA", "signature")),
        (r"fndsa(?P<bits>512|1024)", _of_curve("FN-DSA", "signature")),
        (r"md5", _only(Claim("MD5", "hash"))),
        (r"sha1", _only(Claim("SHA-1", "hash", parameters="signature"))),
    )
)
