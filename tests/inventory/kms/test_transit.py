"""What transit answers is taken apart strictly: whatever comes, an error of ours or something of the right shape."""

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.kms import transit
from inventory.kms.base import ToOpen, ToWrap
from inventory.kms.channel import strict_json
from inventory.kms.errors import BackendError, Refused

WORDS = st.sampled_from(
    ["data", "batch_results", "ciphertext", "plaintext", "reference", "error", "errors", "key_version", "keys", "type",
     "derived", "latest_version", "min_decryption_version", "min_encryption_version", "min_available_version",
     "exportable", "allow_plaintext_backup", "0", "1", "2", "aes256-gcm96", "vault:v1:AAAA", "vault:v1:" + "A" * 80]
)  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | WORDS
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=6),
    max_leaves=20,
)
KEY = {
    "type": "aes256-gcm96", "derived": True, "convergent_encryption": False, "exportable": False,
    "allow_plaintext_backup": False, "latest_version": 2, "min_decryption_version": 1, "min_encryption_version": 0,
    "min_available_version": 0, "keys": {"1": 1_795_000_000, "2": 1_795_000_001},
}  # fmt: skip


RESULTS = st.dictionaries(st.sampled_from(["ciphertext", "plaintext", "error", "key_version", "reference"]), JSON)


@settings(max_examples=40)
@given(JSON)
def test_any_json_is_an_answer_or_an_error_of_ours(found: object) -> None:
    with suppress(BackendError):
        answer = strict_json(json.dumps(found).encode(), store="x")
        assert all(isinstance(text, str) for text in transit.errors_of(answer))
        with suppress(BackendError):
            transit.read_key(answer, store="x")
        assert len(transit.batch_results(answer, 1, store="x")) == 1


@settings(max_examples=60)
@given(RESULTS)
def test_any_result_of_an_item_is_read_or_an_error_of_ours(result: dict[str, object]) -> None:
    answer = {"data": {"batch_results": [{**result, "reference": "0"}]}}
    (item,) = transit.batch_results(answer, 1, store="x")
    transit.said_of_all([item], transit.NOT_USABLE)
    with suppress(BackendError):
        refused = transit.refusal(item, store="x")
        assert refused is None or isinstance(refused, Refused)
    with suppress(BackendError):
        assert transit.wrapped(item, version=1, length=32, store="x").startswith(b"vault:v1:")
    with suppress(BackendError):
        assert len(transit.opened(item, length=3, store="x")) == 3


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_an_error_of_ours(body: bytes) -> None:
    with suppress(BackendError):
        assert isinstance(strict_json(body, store="x"), dict)


@settings(max_examples=60)
@given(st.sampled_from(sorted(KEY)), JSON)
def test_a_key_with_one_fact_changed_is_a_key_or_an_error_of_ours(name: str, found: object) -> None:
    with suppress(BackendError):
        info = transit.read_key({"data": {**KEY, name: found}}, store="x").info()
        assert info.versions[-1].id == info.newest
        assert len(info.versions) <= transit.MOST_VERSIONS


@given(st.binary(max_size=120))
def test_any_bytes_are_a_ciphertext_or_none(ciphertext: bytes) -> None:
    parts = transit.taken_apart(ciphertext)
    assert parts is None or parts.version >= 1


@given(st.binary(max_size=64))
def test_base64_is_read_in_its_one_form(content: bytes) -> None:
    text = base64.b64encode(content)
    assert transit.decoded(text) == content
    for other in (text + b"\n", b" " + text, text + b"=", text.rstrip(b"=") if b"=" in text else text + b"A"):
        assert transit.decoded(other) is None


@pytest.mark.parametrize(("text", "canonical"), [(b"AA==", True), (b"AB==", False), (b"AAA=", True), (b"AAB=", False)])
def test_bits_that_stand_for_nothing_are_refused(text: bytes, *, canonical: bool) -> None:
    assert (transit.decoded(text) is not None) is canonical


def test_no_batch_holds_more_strings_than_the_server_takes() -> None:
    def strings(found: object) -> int:
        if isinstance(found, dict):
            return len(found) + sum(map(strings, found.values()))
        return sum(map(strings, found)) if isinstance(found, list) else isinstance(found, str)

    wrap = transit.to_wrap([ToWrap(dek=b"d" * 32, context=b"c")], 2)
    item = ToOpen(ciphertext=b"vault:v1:AAAA", context=b"c")
    for questions, counted in (
        (wrap, transit.WRAP_STRINGS),
        (transit.to_rewrap([item], 2), transit.REWRAP_STRINGS),
        (transit.to_open([item]), transit.UNWRAP_STRINGS),
    ):
        assert strings({**questions[0], "reference": "0"}) == counted
