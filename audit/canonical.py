"""Canonical JSON: one byte string for one meaning. Pure.

Source: RFC 8785 (JSON Canonicalization Scheme). What JSON cannot say exactly is written as a string: bytes in base64
(RFC 4648 §4), decimals as digits, times in RFC 3339 (UTC, microseconds), dates in ISO 8601, integers beyond 2^53-1 as
digits. Floats are refused: their shortest form is not the same number everywhere.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias
from uuid import UUID

import rfc8785

from audit.errors import AuditError

JSON: TypeAlias = (
    "str | int | bool | bytes | Decimal | datetime | date | UUID | Sequence[JSON] | Mapping[str, JSON] | None"
)

GREATEST_INTEGER = 2**53 - 1
TIMESTAMP_CHARACTERS = 27


def canonical(payload: JSON) -> bytes:
    """Return the canonical bytes of a payload.

    Raises: AuditError for U+0000, lone surrogates, floats, times without zone, and types that have no JSON form.
    """
    try:
        return _encode(plain(payload))
    except RecursionError as error:
        raise AuditError("The payload is nested too deeply.") from error


def read(raw: bytes) -> Any:  # noqa: ANN401 - any JSON
    """Return what canonical bytes say.

    Raises: AuditError when they are no JSON, hold a float, or are not the canonical form of what they say.
    """
    try:
        said = _DECODER.decode(raw.decode())
        if raw == _encode(said):
            return said
    except (ValueError, RecursionError) as error:
        raise AuditError("The bytes are no JSON of ours.") from error
    raise AuditError("The bytes are not in canonical form.")


def timestamp(moment: datetime) -> str:
    """Return an aware time in UTC with microseconds: "2026-11-21T09:30:00.000000Z"."""
    if moment.tzinfo is None:
        raise AuditError("A time without a zone cannot be recorded.")
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """Return the time that `timestamp` wrote.

    Raises: ValueError for any other form of writing it.
    """
    if len(text) != TIMESTAMP_CHARACTERS or not text.endswith("Z"):
        raise ValueError("A time is written as 2026-11-21T09:30:00.000000Z.")
    return datetime.fromisoformat(text)


def plain(payload: Any) -> Any:  # noqa: ANN401 - whatever is to be recorded
    """Return the payload made of None, bool, int, str, list and dict alone."""
    if type(payload) is str:  # what most of an event is, looked at first
        return _text(payload)
    if type(payload) is dict:
        return {_name(name): plain(entry) for name, entry in payload.items()}
    return _plain(payload)


def _plain(payload: Any) -> Any:  # noqa: ANN401, C901, PLR0911 - one line a type
    match payload:
        case Enum():
            return plain(payload.value)
        case None | bool():
            return payload
        case str():
            return _text(payload)
        case int():
            return payload if abs(payload) <= GREATEST_INTEGER else str(payload)
        case bytes() | bytearray() | memoryview():
            return b64encode(payload).decode()
        case Decimal() | UUID():
            return str(payload)
        case datetime():
            return timestamp(payload)
        case date():
            return payload.isoformat()
        case Mapping():
            return {_name(name): plain(entry) for name, entry in payload.items()}
        case Sequence():
            return [plain(entry) for entry in payload]
    raise AuditError(f"A {type(payload).__name__} has no canonical form.")


def _text(text: str) -> str:
    if "\0" in text:
        raise AuditError("The text holds U+0000, which cannot be recorded.")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise AuditError("The text holds half of a surrogate pair, which cannot be recorded.") from error
    return text


@lru_cache(maxsize=1024)  # an event repeats the few names that there are, up to a thousand times
def _name(name: object) -> str:
    if not isinstance(name, str):
        raise AuditError("Names in a payload must be text.")
    return _text(name)


def _encode(said: Any) -> bytes:  # noqa: ANN401 - any JSON without floats
    # For ASCII without floats the C encoder writes RFC 8785 too, in a tenth of the library's time.
    raw = _ENCODER.encode(said).encode()
    return raw if raw.isascii() else rfc8785.dumps(said)


def _exact(digits: str) -> int:
    number = int(digits)
    if abs(number) > GREATEST_INTEGER:
        _refuse(digits)
    return number


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"{number} is no number of ours.")


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)
_DECODER = json.JSONDecoder(parse_int=_exact, parse_float=_refuse, parse_constant=_refuse)
