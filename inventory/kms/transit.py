"""What the transit engine of OpenBao and Vault is asked and answers, taken apart strictly. Pure: nothing is contacted.

Texts of the server are compared with those known here and never repeated: they could hold what was sent.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from inventory.kms.base import KeyInfo, ToOpen, ToWrap, VersionInfo, VersionStatus, WrapAlgorithm
from inventory.kms.errors import NotUsableError, Refused, WrongAnswerError

KEY_TYPE = "aes256-gcm96"
OVERHEAD = 12 + 16  # bytes of nonce and tag around the plaintext
MOST_STRINGS = 1000  # names and values of one request's JSON, by default (max_request_json_strings, CVE-2025-6203)
WRAP_STRINGS = REWRAP_STRINGS = 7  # of an item: four names and three values; the version is a number
UNWRAP_STRINGS = 6
MOST_VERSIONS = 100_000  # of a key: more is nonsense
_VERSION = re.compile(r"[1-9][0-9]{0,5}")
_CIPHERTEXT = re.compile(rb"vault:v([1-9][0-9]{0,5}):([A-Za-z0-9+/]+={0,2})")

TOO_OLD = "ciphertext or signature version is disallowed by policy (too old)"
# What a version as a whole cannot do; the server says it item by item.
NOT_USABLE = frozenset(
    {TOO_OLD, "no such key version", "requested version for encryption is less than the minimum encryption key version"}
)
NO_SUCH_VERSION = frozenset(
    {
        "invalid ciphertext: version is too new",
        "requested version for encryption is higher than the latest key version",
    }
)
NO_SUCH_KEY = frozenset({"encryption key not found", "key not found"})
_NO_KEY_NAMED = re.compile(r"no existing key named \S+ could be found")
TOO_MANY_STRINGS = "exceeded maximum number of strings"
_ALTERED = ("cipher: message authentication failed", "invalid ciphertext", "invalid nonce", "illegal base64 data")


@dataclass(frozen=True, kw_only=True)
class TransitKey:
    """A key of transit, as far as it matters here."""

    newest: int
    smallest_opening: int  # min_decryption_version: those before it open nothing
    smallest_wrapping: int  # min_encryption_version; 0 where any may wrap
    smallest_kept: int  # min_available_version: those before it are gone for good
    is_exportable: bool
    created: Mapping[int, datetime] = field(default_factory=dict)

    def status(self, number: int) -> VersionStatus:
        if number < self.smallest_kept:
            return VersionStatus.GONE
        return VersionStatus.DISABLED if number < self.smallest_opening else VersionStatus.ENABLED

    def info(self) -> KeyInfo:
        versions = tuple(
            VersionInfo(id=str(number), status=self.status(number), created_at=self.created.get(number))
            for number in range(1, self.newest + 1)
        )
        return KeyInfo(
            algorithm=WrapAlgorithm.AES_256_GCM96,
            versions=versions,
            newest=str(self.newest),
            is_exportable=self.is_exportable,
        )


def version_number(version: str) -> int | None:
    """Return the number that a version's id is; None where transit never gave such an id."""
    return int(version) if _VERSION.fullmatch(version) else None


def version_of(ciphertext: bytes) -> int | None:
    """Return the version that a ciphertext names; None where this is none of transit's."""
    found = _CIPHERTEXT.fullmatch(ciphertext)
    return int(found[1]) if found and decoded(found[2].decode("ascii")) is not None else None


def length_within(ciphertext: bytes) -> int:
    """Return the length of the plaintext in a ciphertext that version_of() knows."""
    return len(decoded(ciphertext.rpartition(b":")[2].decode("ascii")) or b"") - OVERHEAD


def decoded(text: object) -> bytes | None:
    """Return what canonical base64 stands for; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if _encoded(content) == text else None


def _encoded(content: bytes | bytearray) -> str:
    return base64.b64encode(content).decode("ascii")


# Questions


def new_key() -> dict[str, Any]:
    """Return what a KEK is made as: bound by context, and never to be had in plaintext."""
    return {
        "type": KEY_TYPE,
        "derived": True,
        "convergent_encryption": False,
        "exportable": False,
        "allow_plaintext_backup": False,
    }


def to_wrap(items: Sequence[ToWrap], version: int) -> list[dict[str, Any]]:
    return [
        {"plaintext": _encoded(item.dek), "context": _encoded(item.context), "key_version": version} for item in items
    ]


def to_open(items: Sequence[ToOpen]) -> list[dict[str, Any]]:
    return [{"ciphertext": item.ciphertext.decode("ascii"), "context": _encoded(item.context)} for item in items]


def to_rewrap(items: Sequence[ToOpen], version: int) -> list[dict[str, Any]]:
    return [{**item, "key_version": version} for item in to_open(items)]


# Answers


def read_key(answer: Mapping[str, Any], *, store: str) -> TransitKey:
    """Return the key of an answer. Raises: WrongAnswerError; NotUsableError where it is not of our making."""
    facts = answer.get("data")
    if not isinstance(facts, dict):
        raise _unreadable(store)
    if facts.get("type") != KEY_TYPE or facts.get("derived") is not True or facts.get("convergent_encryption"):
        raise NotUsableError(
            f"A key of that name in the key store {store} is not bound by context: KEKs there are of type {KEY_TYPE}, "
            "derived and not convergent. Create another one."
        )
    return _checked(
        TransitKey(
            newest=_number(facts, "latest_version", store),
            smallest_opening=_number(facts, "min_decryption_version", store),
            smallest_wrapping=_number(facts, "min_encryption_version", store),
            smallest_kept=_number(facts, "min_available_version", store),
            is_exportable=facts.get("exportable") is not False or facts.get("allow_plaintext_backup") is not False,
            created=_created(facts.get("keys"), store),
        ),
        store,
    )


def _checked(key: TransitKey, store: str) -> TransitKey:
    in_order = key.newest >= 1 and key.smallest_kept <= max(key.smallest_opening, 1) <= key.newest
    if not in_order or key.newest not in key.created or max(key.created) > key.newest:
        raise _unreadable(store)
    return key


def _number(facts: Mapping[str, Any], name: str, store: str) -> int:
    number = facts.get(name)
    if type(number) is not int or not 0 <= number <= MOST_VERSIONS:
        raise _unreadable(store)
    return number


def _created(found: object, store: str) -> dict[int, datetime]:
    """Return when the versions were made: seconds since 1970 by number. Those that are disabled are not among them."""
    if not isinstance(found, dict) or len(found) > MOST_VERSIONS:
        raise _unreadable(store)
    created = {}
    for name, seconds in found.items():
        number = version_number(name)
        if number is None or type(seconds) is not int or not 0 < seconds < 2**36:
            raise _unreadable(store)
        created[number] = datetime.fromtimestamp(seconds, UTC)
    return created


def is_of_a_batch(answer: Mapping[str, Any]) -> bool:
    """Whether an answer holds results, as one does whose status is 400 because some of the items were refused."""
    facts = answer.get("data")
    return isinstance(facts, dict) and "batch_results" in facts


def batch_results(answer: Mapping[str, Any], count: int, *, store: str) -> list[dict[str, Any]]:
    """Return the results in the order of the items, one each.

    Each item went with its place as `reference`, and has to come back with it. Raises: WrongAnswerError.
    """
    results = answer["data"]["batch_results"] if is_of_a_batch(answer) else None
    if not isinstance(results, list) or len(results) != count:
        raise WrongAnswerError(f"The key store {store} answered for another number of items than it was asked for.")
    for place, result in enumerate(results):
        if not isinstance(result, dict) or result.get("reference") != str(place):
            raise WrongAnswerError(f"The key store {store} answered in another order than it was asked in.")
    return results


def said_of_all(results: Sequence[Mapping[str, Any]], texts: frozenset[str]) -> bool:
    """Whether each item was refused for one of these reasons, so that it is the version's and not the item's."""
    return all(isinstance(text := result.get("error"), str) and text in texts for result in results)


def refusal(result: Mapping[str, Any], *, store: str) -> Refused | None:
    """Return why the server refused an item, in a word of ours; None where it did not."""
    text = result.get("error")
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise _unreadable(store)
    if text in NOT_USABLE:
        return Refused("not_usable")
    if text in NO_SUCH_VERSION:
        return Refused("gone")
    return Refused("altered" if text.startswith(_ALTERED) else "refused")


def wrapped(result: Mapping[str, Any], *, version: int, length: int, store: str) -> bytes:
    """Return an item's ciphertext: of exactly that version, around a plaintext of that length."""
    text = result.get("ciphertext")
    ciphertext = text.encode("ascii", "replace") if isinstance(text, str) else b""
    named = version_of(ciphertext)
    if named is None or length_within(ciphertext) != length:
        raise _unreadable(store)
    if named != version or result.get("key_version", version) != version:
        raise WrongAnswerError(f"The key store {store} wrapped under another version than it was asked to.")
    return ciphertext


def opened(result: Mapping[str, Any], *, length: int, store: str) -> bytearray:
    """Return an item's plaintext, which must be as long as its ciphertext says."""
    plaintext = decoded(result.get("plaintext"))
    if plaintext is None or len(plaintext) != length:
        raise _unreadable(store)
    return bytearray(plaintext)


def errors_of(answer: Mapping[str, Any]) -> list[str]:
    """Return the texts of an error, to compare with those known here."""
    texts = answer.get("errors")
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []


def says_no_such_key(texts: Sequence[str]) -> bool:
    return any(text in NO_SUCH_KEY or _NO_KEY_NAMED.fullmatch(text) for text in texts)


def _unreadable(store: str) -> WrongAnswerError:
    return WrongAnswerError(f"The key store {store} answered something that cannot be read.")
