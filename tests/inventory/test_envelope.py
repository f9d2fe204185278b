"""ENV-01, 03, 04, 05: data keys and wrapped blobs; every flip refused, no nonce twice, no second key."""

import logging
import os
import struct
import sys
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory import envelope
from inventory.envelope import Blob, DataKey, EnvelopeError, WornOutError, binding_digest, is_bound, pack, unpack
from tests import canaries

FULL = "tests.full" in sys.modules
DEK_ID, NUMBER = bytes(range(16)), 3
KEK = envelope.kek_digest("local:house/main")
ANSWER = "This payload does not open: it is another key's, or it was altered."


@pytest.fixture
def dek() -> bytearray:
    drawn = envelope.new_dek()
    canaries.know("dek", drawn)
    return drawn


def data_key(dek: bytes | bytearray, **more: object) -> DataKey:
    return DataKey(dek, dek_id=DEK_ID, number=NUMBER, digest=binding_digest(dek, DEK_ID, NUMBER), **more)


def flips(whole: bytes) -> Iterator[bytes]:
    """Every bit of every byte, one at a time."""
    for place in range(len(whole)):
        for bit in range(8):
            yield whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]


# Data keys


def test_new_deks_are_256_bits_and_never_the_same() -> None:
    drawn = [envelope.new_dek() for _ in range(500)]
    assert {len(dek) for dek in drawn} == {32}
    assert len({bytes(dek) for dek in drawn}) == 500


def test_wiping_overwrites_this_copy() -> None:
    dek = envelope.new_dek()
    alias = memoryview(dek)
    envelope.wipe(dek)
    assert bytes(alias) == bytes(32)


# Wrapped blobs

versions = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
blobs = st.builds(
    Blob,
    algorithm=st.sampled_from(sorted(envelope.ALGORITHM_NUMBERS)),
    kek=st.binary(min_size=8, max_size=8),
    version=versions,
    ciphertext=st.binary(min_size=1, max_size=600),
)


@settings(max_examples=300, deadline=None)
@given(blob=blobs)
def test_unpacking_undoes_packing(blob: Blob) -> None:
    wrapped = pack(blob)
    assert unpack(wrapped) == blob
    head = envelope.head_of(blob.algorithm, blob.kek, blob.version)
    assert envelope.ciphertext_behind(head, wrapped) == blob.ciphertext
    with pytest.raises(EnvelopeError):
        envelope.ciphertext_behind(head, head)


@settings(max_examples=500, deadline=None)
@given(wrapped=st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda rest: b"K\x01" + rest)))
def test_whatever_unpacks_is_what_packing_makes(wrapped: bytes) -> None:
    try:
        blob = unpack(wrapped)
    except EnvelopeError:
        return
    assert pack(blob) == wrapped


@settings(max_examples=200, deadline=None)
@given(blob=blobs, data=st.data())
def test_a_blob_that_was_cut_within_its_head_is_refused(blob: Blob, data: st.DataObject) -> None:
    wrapped = pack(blob)
    head = len(wrapped) - len(blob.ciphertext)
    with pytest.raises(EnvelopeError):
        unpack(wrapped[: data.draw(st.integers(0, head))])


@pytest.mark.parametrize(
    "changed",
    [
        {"algorithm": "AES-128-KW"},
        {"algorithm": ""},
        {"kek": b""},
        {"kek": bytes(7)},
        {"kek": bytes(9)},
        {"version": ""},
        {"version": "v" * 65},
        {"version": "one two"},
        {"version": "\u0661"},
        {"version": "3\n"},
        {"ciphertext": b""},
    ],
)
def test_what_no_blob_can_say_is_not_packed(changed: dict[str, object]) -> None:
    with pytest.raises(EnvelopeError):
        pack(Blob(**{"algorithm": "AES-256-KW", "kek": KEK, "version": "3", "ciphertext": b"c" * 40, **changed}))


def test_the_format_stays_what_it_is() -> None:
    """Bytes that are stored: whoever changes them must raise the version of the format."""
    blob = Blob(algorithm="RSA-3072-OAEP-256", kek=bytes(range(8)), version="12", ciphertext=b"\xff\xfe")
    assert pack(blob).hex() == "4b0106" + "0001020304050607" + "02" + "3132" + "fffe"
    assert envelope.ALGORITHM_NUMBERS["AES-256-KW"] == 1
    assert len(set(envelope.ALGORITHM_NUMBERS.values())) == len(envelope.ALGORITHM_NUMBERS)


def test_every_flip_of_a_blob_is_noticed_by_what_its_row_says() -> None:
    """ENV-03, the columns: algorithm, KEK, version and its length stand in the head, which must be that of the row."""
    head = envelope.head_of("AES-256-KW", KEK, "f" * 32)
    wrapped = head + os.urandom(40)
    for bent in flips(head):
        with pytest.raises(EnvelopeError, match="names another algorithm, KEK or version"):
            envelope.ciphertext_behind(head, bent + wrapped[len(head) :])


# The binding


def test_the_binding_digest_stays_what_it_is() -> None:
    """Computed here from RFC 5869 and RFC 2104 alone."""
    import hmac

    dek = bytes(range(32))
    extracted = hmac.digest(bytes(32), dek, "sha256")
    key = hmac.digest(extracted, b"keyvault-admin/dek-binding/v1\x01", "sha256")
    row = struct.pack(">Q", len(DEK_ID)) + DEK_ID + struct.pack(">Q", NUMBER)
    assert binding_digest(dek, DEK_ID, NUMBER) == hmac.digest(key, row, "sha256")


@settings(max_examples=200, deadline=None)
@given(
    one=st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=20), st.integers(0, 2**63)),
    other=st.tuples(st.binary(min_size=32, max_size=32), st.binary(max_size=20), st.integers(0, 2**63)),
)
def test_a_digest_fits_one_dek_of_one_row(one: tuple[bytes, bytes, int], other: tuple[bytes, bytes, int]) -> None:
    assert is_bound(bytearray(one[0]), one[1], one[2], binding_digest(*one))
    assert is_bound(*other, binding_digest(*one)) is (one == other)


def test_every_flip_of_dek_id_number_and_digest_is_noticed(dek: bytearray) -> None:
    digest = binding_digest(dek, DEK_ID, NUMBER)
    assert not any(is_bound(bent, DEK_ID, NUMBER, digest) for bent in flips(bytes(dek)))
    assert not any(is_bound(dek, bent, NUMBER, digest) for bent in flips(DEK_ID))
    assert not any(is_bound(dek, DEK_ID, NUMBER ^ (1 << bit), digest) for bit in range(63))
    assert not any(is_bound(dek, DEK_ID, NUMBER, bent) for bent in flips(digest))
    assert not is_bound(dek, DEK_ID, NUMBER, digest[:-1])


def test_contexts_differ_by_dek_and_number() -> None:
    rows = [(DEK_ID, 1), (DEK_ID, 2), (DEK_ID[:-1], 1), (b"", 1), (DEK_ID + b"\0", 1)]
    assert len({envelope.context_of(*row) for row in rows}) == len(rows)
    assert {len(envelope.context_of(*row)) for row in rows} == {32}


# Payloads


@settings(max_examples=150, deadline=None)
@given(payload=st.binary(max_size=2_000), aad=st.binary(max_size=100))
def test_payloads_come_back(payload: bytes, aad: bytes) -> None:
    key = data_key(bytes(range(32)))
    sealed = key.seal(payload, aad)
    assert len(sealed) == 2 + 12 + len(payload) + 16
    assert key.open(sealed, aad) == payload
    assert data_key(bytes(range(32))).open(sealed, aad) == payload


def test_every_flip_of_a_payload_is_refused_in_the_same_words(dek: bytearray) -> None:
    """ENV-03: one bit at a time in head, nonce, ciphertext and tag, and in what is bound to it."""
    key, aad = data_key(dek), b"tenant 7, row 12"
    tried = 0
    for size in (0, 1, 16, 100, 333):
        sealed = key.seal(os.urandom(size), aad)
        for bent in flips(sealed):
            with pytest.raises(EnvelopeError) as refused:
                key.open(bent, aad)
            assert (type(refused.value), str(refused.value)) == (EnvelopeError, ANSWER)
            tried += 1
        for bent_aad in (*flips(aad), b"", aad + b"\0"):
            with pytest.raises(EnvelopeError, match=ANSWER):
                key.open(sealed, bent_aad)
            tried += 1
    assert tried >= 4_000


@pytest.mark.parametrize("sealed", [b"", b"P", b"P\x01", b"P\x01" + bytes(27), b"P\x02" + bytes(60), bytes(200)])
def test_what_is_no_payload_is_refused_in_the_same_words(dek: bytearray, sealed: bytes) -> None:
    with pytest.raises(EnvelopeError, match=ANSWER):
        data_key(dek).open(sealed)


def test_a_payload_opens_in_its_own_row_alone(dek: bytearray) -> None:
    """The same DEK in two rows, which only a mistake elsewhere could bring about."""
    sealed = data_key(dek).seal(b"text")
    for row in ((DEK_ID, NUMBER + 1), (DEK_ID[::-1], NUMBER)):
        other = DataKey(dek, dek_id=row[0], number=row[1], digest=binding_digest(dek, *row))
        with pytest.raises(EnvelopeError, match=ANSWER):
            other.open(sealed)


def test_a_dek_that_is_not_the_rows_is_not_used_at_all(dek: bytearray) -> None:
    digest = binding_digest(dek, DEK_ID, NUMBER)
    for bad in ((envelope.new_dek(), digest), (dek, bytes(32)), (dek[:31], digest), (dek, b"")):
        with pytest.raises(EnvelopeError):
            DataKey(bad[0], dek_id=DEK_ID, number=NUMBER, digest=bad[1])
    with pytest.raises(EnvelopeError):
        data_key(os.urandom(16))


def test_wiping_the_dek_leaves_the_data_key_working(dek: bytearray) -> None:
    key = data_key(dek)
    envelope.wipe(dek)
    assert key.open(key.seal(b"text")) == b"text"


def test_no_repr_holds_the_key(dek: bytearray) -> None:
    key = data_key(dek)
    assert repr(key) == f"<DataKey {DEK_ID.hex()} version 3>"
    assert bytes(dek).hex() not in repr(key) + repr(vars(key))
    assert "secret-ciphertext" not in repr(
        Blob(algorithm="AES-256-KW", kek=KEK, version="1", ciphertext=b"secret-ciphertext")
    )


# ENV-04: nonces and limits


def test_no_nonce_is_used_twice(dek: bytearray) -> None:
    key, count = data_key(dek), 200_000 if FULL else 20_000
    nonces = {key.seal(b"")[2:14] for _ in range(count)}
    assert len(nonces) == count
    assert key.sealed == count


def test_children_of_a_fork_use_other_nonces_than_each_other_and_their_parent(dek: bytearray) -> None:
    key, count = data_key(dek), 5_000
    key.seal(b"before the fork")
    seen: list[set[bytes]] = []
    for _child in range(2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:  # nothing of pytest runs here
            try:
                os.close(reader)
                with os.fdopen(writer, "wb") as out:
                    out.write(b"".join(key.seal(b"")[2:14] for _ in range(count)))
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            said = told.read()
        assert os.waitpid(child, 0) == (child, 0)
        seen.append({said[place : place + 12] for place in range(0, len(said), 12)})
    seen.append({key.seal(b"")[2:14] for _ in range(count)})
    assert [len(nonces) for nonces in seen] == [count] * 3
    assert len(set.union(*seen)) == 3 * count


def test_a_worn_dek_warns_once_and_then_refuses(dek: bytearray, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "inventory.envelope")
    key = data_key(dek, sealed=2**30 - 2)
    key.seal(b"")
    assert (key.is_wearing_out, caplog.records) == (False, [])
    for _again in range(3):
        key.seal(b"")
    assert key.is_wearing_out
    assert [record.getMessage() for record in caplog.records] == [
        f"DEK {DEK_ID.hex()} version 3 has sealed 2^30 payloads or more. Rotate it before 2^31."
    ]


def test_a_worn_out_dek_seals_nothing_and_still_opens(dek: bytearray) -> None:
    key = data_key(dek, sealed=2**31 - 1)
    last = key.seal(b"the last one")
    for _again in range(3):
        with pytest.raises(WornOutError):
            key.seal(b"one too many")
    assert key.sealed == 2**31
    assert key.open(last) == b"the last one"


# ENV-05: one ciphertext, two keys


def times(one: int, other: int) -> int:
    """Multiply in GF(2^128) as GHASH does. Source: SP 800-38D §6.3."""
    product = 0
    for bit in range(127, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = (other >> 1) ^ (0xE1 << 120 if other & 1 else 0)
    return product


def inverse(one: int) -> int:
    """Return one to the power 2^128 - 2."""
    result, square = 1 << 127, one
    for _ in range(127):
        square = times(square, square)
        result = times(result, square)
    return result


def block(key: bytes, text: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block, as GCM uses it
    return int.from_bytes(encryptor.update(text), "big")


def padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 16)


def for_two_keys(first: bytes, second: bytes, nonce: bytes, aad: bytes, start: bytes) -> bytes:
    """Return a ciphertext and its tag that both keys open; START is whole blocks, one more is chosen to fit.

    The tag is GHASH(aad ‖ C ‖ lengths) ⊕ E(nonce ‖ 1), linear in each block of C: the one equation is solved for the
    last one. Source: Dodis et al., "Fast message franking" (2018); Len et al., "Partitioning oracle attacks" (2021).
    """
    lengths = struct.pack(">QQ", len(aad) * 8, (len(start) + 16) * 8)
    blocks = padded(aad) + start + bytes(16) + lengths

    def tag_and_weight(key: bytes) -> tuple[int, int]:
        hashed, power = 0, block(key, bytes(16))
        for place in range(0, len(blocks), 16):
            hashed = times(hashed ^ int.from_bytes(blocks[place : place + 16], "big"), power)
        return hashed ^ block(key, nonce + b"\0\0\0\1"), times(power, power)  # the free block is the last but one

    (tag_one, weight_one), (tag_two, weight_two) = tag_and_weight(first), tag_and_weight(second)
    chosen = times(tag_one ^ tag_two, inverse(weight_one ^ weight_two))
    tag = tag_one ^ times(chosen, weight_one)
    return start + chosen.to_bytes(16, "big") + tag.to_bytes(16, "big")


def test_a_ciphertext_made_for_two_keys_opens_under_the_rows_own_alone() -> None:
    first, second, nonce, aad = os.urandom(32), os.urandom(32), os.urandom(12), b"row 1"
    bound = data_key(first)._bound + aad
    crafted = for_two_keys(first, second, nonce, bound, os.urandom(48))
    texts = [AESGCM(key).decrypt(nonce, crafted, bound) for key in (first, second)]
    assert texts[0] != texts[1]  # the attack works on bare AES-GCM
    sealed = b"P\x01" + nonce + crafted
    digest = binding_digest(first, DEK_ID, NUMBER)
    assert DataKey(first, dek_id=DEK_ID, number=NUMBER, digest=digest).open(sealed, aad) == texts[0]
    with pytest.raises(EnvelopeError, match="not the DEK of this row"):
        DataKey(second, dek_id=DEK_ID, number=NUMBER, digest=digest)
