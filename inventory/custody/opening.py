"""Wrapping, opening and re-wrapping DEKs, each bound to its row. A DEK in clear lives here, and never leaves."""

import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

from inventory.custody.stores import store_of
from inventory.envelope import (
    EnvelopeError,
    binding_digest,
    context_of,
    head_of,
    kek_digest,
    new_dek,
    unpack,
    wipe,
)
from inventory.kms.base import Backend, ToOpen, ToWrap
from inventory.kms.errors import Refused, WrongAnswerError

T = TypeVar("T")
R = TypeVar("R")


class Item(NamedTuple):
    """A wrapped DEK, and what it must be bound to. No dataclass, because a job makes a hundred thousand a second."""

    dek_id: bytes
    number: int
    wrapped: bytes  # envelope.pack()
    binding: bytes | None = None  # none before its first opening
    context: bytes = b""  # empty: envelope.context_of()

    def __repr__(self) -> str:
        return f"<Item {self.dek_id!r} v{self.number}>"

    @property
    def bound_context(self) -> bytes:
        return self.context or context_of(self.dek_id, self.number)


@dataclass(frozen=True)
class Refusal:
    """A wrapped DEK that is not what belongs in its row. Says no more: whoever altered it learns nothing."""

    reason: str  # "altered", "not_bound", "other_version", or the store's own of kms.errors.Refused


class Rewrapped(NamedTuple):
    wrapped: bytes
    binding: bytes  # of a DEK taken over, found at this, its first opening
    is_verified: bool  # opened again after it was wrapped, and found the same

    def __repr__(self) -> str:
        return f"<Rewrapped {'verified' if self.is_verified else 'unseen'}>"


ALTERED, NOT_BOUND, OTHER_VERSION = Refusal("altered"), Refusal("not_bound"), Refusal("other_version")
_UNSEEN = Refusal("unseen")  # stands where nobody opens again what the store has moved
_RANDOM = secrets.SystemRandom()


@dataclass(frozen=True, kw_only=True)
class _Generation:
    """One version of a KEK in its opened store, and the bytes that each DEK wrapped under it begins with."""

    store: Backend = field(repr=False)
    key: str
    version: str
    head: bytes

    @classmethod
    def of(cls, uri: str, algorithm: str, version: str) -> "_Generation":
        store, key = store_of(uri)
        try:
            head = head_of(algorithm, kek_digest(uri), version)
        except EnvelopeError as error:
            raise WrongAnswerError(f"Nothing can be wrapped by {uri} as its record says.") from error
        return cls(store=store, key=key, version=version, head=head)

    def asked(self, items: Iterable[Item]) -> "list[ToOpen | Refusal]":
        """Take from each what the store gave once; refuse what was not wrapped by it, under this very version."""
        head, skip, binds = self.head, len(self.head), self.store.capabilities.binds_context
        return [
            ToOpen(ciphertext=item.wrapped[skip:], context=item.bound_context if binds else b"")
            if item.wrapped.startswith(head) and len(item.wrapped) > skip
            else _why_not(item.wrapped)
            for item in items
        ]

    def unwrapped(self, asked: "Sequence[ToOpen | Refusal]") -> "list[bytearray | Refusal]":
        return _passing(partial(self.store.unwrap, self.key, self.version), asked)

    def wrapped(self, deks: "Sequence[bytearray | Refusal]", items: Sequence[Item]) -> "list[bytes | Refusal]":
        binds = self.store.capabilities.binds_context
        asked = [
            dek if isinstance(dek, Refusal) else ToWrap(dek=dek, context=item.bound_context if binds else b"")
            for dek, item in zip(deks, items, strict=True)
        ]
        return _passing(partial(self.store.wrap, self.key, self.version), asked)

    def asked_again(self, sealed: "Sequence[bytes | Refusal]", items: Sequence[Item]) -> "list[ToOpen | Refusal]":
        """Ask for what this store has just made."""
        binds = self.store.capabilities.binds_context
        return [
            it if isinstance(it, Refusal) else ToOpen(ciphertext=it, context=item.bound_context if binds else b"")
            for it, item in zip(sealed, items, strict=True)
        ]


def _why_not(wrapped: bytes) -> Refusal:
    try:
        unpack(wrapped)
    except EnvelopeError:
        return ALTERED
    return OTHER_VERSION


def _passing(ask: Callable[[list[T]], list[R | Refused]], values: Sequence[T | Refusal]) -> list[R | Refusal]:
    """Ask the store about those that were not refused so far; its own refusals take their places among the others."""
    going = [value for value in values if not isinstance(value, Refusal)]
    answers = ask(going) if going else []
    if len(answers) != len(going):
        _wipe_all(answers)
        raise WrongAnswerError(f"The key store was asked about {len(going)} DEKs and answered about {len(answers)}.")
    said = iter([Refusal(answer.reason) if isinstance(answer, Refused) else answer for answer in answers])
    return [value if isinstance(value, Refusal) else next(said) for value in values]


def _wipe_all(answers: Iterable[object]) -> None:
    for one in answers:
        if isinstance(one, bytearray):
            wipe(one)


def _bound(dek: bytearray | Refusal, item: Item) -> bytes | Refusal:
    """Return the binding digest of what was opened; compare it with the one that is known, in constant time."""
    if isinstance(dek, Refusal):
        return dek
    found = binding_digest(dek, item.dek_id, item.number)
    return found if item.binding is None or hmac.compare_digest(found, item.binding) else NOT_BOUND


def _parts(items: Sequence[Item], generation: _Generation) -> Iterator[Sequence[Item]]:
    size = generation.store.capabilities.most_items
    return (items[start : start + size] for start in range(0, len(items), size))


def wrap_new(uri: str, algorithm: str, version: str, *, dek_id: bytes, number: int) -> tuple[bytes, bytes]:
    """Draw a DEK and wrap it under that version; return what is stored of it: the wrapped DEK, its binding digest."""
    generation = _Generation.of(uri, algorithm, version)
    dek = new_dek()
    try:
        (sealed,) = generation.wrapped([dek], [Item(dek_id=dek_id, number=number, wrapped=b"")])
        if isinstance(sealed, Refusal):
            raise WrongAnswerError(f"The key store refused to wrap a new DEK ({sealed.reason}).")
        binding = binding_digest(dek, dek_id, number)
    finally:
        wipe(dek)
    wrapped = generation.head + sealed
    (seen,) = _checked(generation, [Item(dek_id=dek_id, number=number, wrapped=wrapped, binding=binding)])
    if isinstance(seen, Refusal):
        raise WrongAnswerError(f"What the key store has just wrapped does not open again ({seen.reason}).")
    return wrapped, binding


def check(uri: str, version: str, items: Sequence[Item], *, algorithm: str | None = None) -> list[bytes | Refusal]:
    """Open each under exactly that version; return its binding digest, or that it is not what belongs in its row.

    `algorithm`: the KEK's; without it the store is asked, once a call.
    """
    if algorithm is None:
        store, key = store_of(uri)
        algorithm = store.describe(key).algorithm
    generation = _Generation.of(uri, algorithm, version)
    return [seen for part in _parts(items, generation) for seen in _checked(generation, part)]


def _checked(generation: _Generation, items: Sequence[Item]) -> list[bytes | Refusal]:
    deks = generation.unwrapped(generation.asked(items))
    try:
        return [_bound(dek, item) for dek, item in zip(deks, items, strict=True)]
    finally:
        _wipe_all(deks)


def rewrap(
    uri: str, algorithm: str, old: str, new: str, items: Sequence[Item], *, verify_percent: int = 100
) -> list[Rewrapped | Refusal]:
    """Take each from one version to another; the store does it unseen where it can, else it is opened here and wiped.

    What is opened here is bound before it is wrapped again, and all of it is opened again afterwards. Of what the store
    does itself, a share is: `verify_percent`, chosen by chance, and everything that had no binding digest.
    """
    before, after = _Generation.of(uri, algorithm, old), _Generation.of(uri, algorithm, new)
    if before.store.capabilities.rewraps:
        moved = (_moved_there(before, after, part, verify_percent) for part in _parts(items, before))
    else:
        moved = (_moved_here(before, after, part) for part in _parts(items, before))
    return [result for part in moved for result in part]


def _moved_here(before: _Generation, after: _Generation, items: Sequence[Item]) -> list[Rewrapped | Refusal]:
    deks = before.unwrapped(before.asked(items))
    again: list[bytearray | Refusal] = []
    try:
        bindings = [_bound(dek, item) for dek, item in zip(deks, items, strict=True)]
        ours = [found if isinstance(found, Refusal) else dek for found, dek in zip(bindings, deks, strict=True)]
        sealed = after.wrapped(ours, items)
        again = after.unwrapped(after.asked_again(sealed, items))
        seen = [_same(dek, back) for dek, back in zip(ours, again, strict=True)]
    finally:
        _wipe_all(deks)
        _wipe_all(again)
    return _results(after.head, sealed, bindings, seen)


def _moved_there(
    before: _Generation, after: _Generation, items: Sequence[Item], percent: int
) -> list[Rewrapped | Refusal]:
    bindings = _all_bindings(before, items)
    asked = [
        found if isinstance(found, Refusal) else it for found, it in zip(bindings, before.asked(items), strict=True)
    ]
    sealed = _passing(partial(before.store.rewrap, before.key, before.version, after.version), asked)
    chosen = _chosen(items, percent)
    to_look = [it if place in chosen else _UNSEEN for place, it in enumerate(after.asked_again(sealed, items))]
    again = after.unwrapped(to_look)
    try:
        seen = [_still_bound(*parts) for parts in zip(again, bindings, items, strict=True)]
    finally:
        _wipe_all(again)
    return _results(after.head, sealed, bindings, seen)


def _all_bindings(before: _Generation, items: Sequence[Item]) -> list[bytes | Refusal]:
    """Return the known ones; a DEK that has none is opened while it is still as it came, never after the move."""
    unknown = [item for item in items if item.binding is None]
    found = iter(_checked(before, unknown) if unknown else [])
    return [next(found) if item.binding is None else item.binding for item in items]


def _chosen(items: Sequence[Item], percent: int) -> set[int]:
    """Return the places of those that are opened after the store has moved them."""
    share = _RANDOM.sample(range(len(items)), -(-len(items) * percent // 100))
    return {*share, *(place for place, item in enumerate(items) if item.binding is None)}


def _same(dek: bytearray | Refusal, back: bytearray | Refusal) -> bool | Refusal:
    """Compare what was wrapped with what comes out again: the same DEK is bound to the same row."""
    if isinstance(dek, Refusal) or isinstance(back, Refusal):
        return back if isinstance(back, Refusal) else NOT_BOUND
    return hmac.compare_digest(dek, back) or NOT_BOUND


def _still_bound(back: bytearray | Refusal, binding: bytes | Refusal, item: Item) -> bool | Refusal:
    """Compare what the store has moved with what is known of it; what nobody looks at is not refused for that."""
    if back is _UNSEEN:
        return False
    if isinstance(back, Refusal) or isinstance(binding, Refusal):
        return back if isinstance(back, Refusal) else NOT_BOUND
    return hmac.compare_digest(binding_digest(back, item.dek_id, item.number), binding) or NOT_BOUND


def _results(
    head: bytes,
    sealed: Sequence[bytes | Refusal],
    bindings: Sequence[bytes | Refusal],
    seen: Sequence[bool | Refusal],
) -> list[Rewrapped | Refusal]:
    """`seen`: whether each was opened again and found the same, or why not. What was refused first is why."""
    return [
        binding
        if isinstance(binding, Refusal)
        else new
        if isinstance(new, Refusal)
        else is_verified
        if isinstance(is_verified, Refusal)
        else Rewrapped(head + new, binding, is_verified)
        for new, binding, is_verified in zip(sealed, bindings, seen, strict=True)
    ]
