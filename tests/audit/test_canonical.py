"""Canonical bytes: the published example of RFC 8785, what becomes a string, what is refused."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as some

from audit.actions import Outcome
from audit.canonical import canonical, parse_timestamp, plain, read, timestamp
from audit.errors import AuditError

TEXT = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | TEXT,
    lambda inner: some.lists(inner) | some.dictionaries(TEXT, inner),
    max_leaves=20,
)


def test_canonical_sorts_names_as_rfc_8785_shows() -> None:
    # Source: RFC 8785 §3.2.3, sorted by UTF-16 code units: the smiley (a surrogate pair) comes before U+FB33.
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    raw = canonical(dict.fromkeys(names, ""))
    assert list(json.loads(raw)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_canonical_escapes_as_rfc_8785_does() -> None:
    assert canonical('\u20ac$\u000f\nA\'B"\\\\"/') == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"\x00\xff", '"AP8="'),
        (Decimal("1.10"), '"1.10"'),
        (2**53 - 1, "9007199254740991"),
        (2**53, '"9007199254740992"'),
        (-(2**53), '"-9007199254740992"'),
        (True, "true"),
        (Outcome.DONE, '"done"'),
        (date(2026, 11, 21), '"2026-11-21"'),
        (
            datetime(2026, 11, 21, 10, 30, tzinfo=timezone(timedelta(hours=1))),
            '"2026-11-21T09:30:00.000000Z"',
        ),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ((1, [None]), "[1,[null]]"),
    ],
)
def test_canonical_writes_as_text_what_json_cannot_say_exactly(payload: object, text: str) -> None:
    assert canonical(payload).decode() == text


@pytest.mark.parametrize(
    "payload",
    ["a\0b", {"a\0": 1}, "\ud800", {"\udfff": 1}, 0.1, datetime(2026, 1, 1), object(), {1: 2}, {"s": {3, 4}}],  # noqa: DTZ001
)
def test_canonical_refuses_what_has_no_form(payload: object) -> None:
    with pytest.raises(AuditError):
        canonical({"nested": [payload]})


@given(JSON)
def test_canonical_writes_what_the_library_of_rfc_8785_writes(payload: object) -> None:
    raw = canonical(payload)
    assert raw == rfc8785.dumps(plain(payload))
    assert canonical(read(raw)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"b":1,"a":2}',
        b'{"a":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":9007199254740992}',
        b'{"a":NaN}',
        b'{"a":"\\u0041"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        '{"\ufb33":1,"\U0001f600":2}'.encode(),
        b"",
        b"[" * 100_000,
    ],
)
def test_read_refuses_every_other_form(raw: bytes) -> None:
    with pytest.raises(AuditError):
        read(raw)


def test_timestamp_and_parse_timestamp_are_inverse() -> None:
    moment = datetime(2026, 11, 21, 9, 30, 0, 7, tzinfo=UTC)
    assert parse_timestamp(timestamp(moment)) == moment


@pytest.mark.parametrize("text", ["2026-11-21T09:30:00Z", "2026-11-21T09:30:00.000000+00:00", "2026-11-21"])
def test_parse_timestamp_refuses_other_forms(text: str) -> None:
    with pytest.raises(ValueError, match="written as"):
        parse_timestamp(text)
