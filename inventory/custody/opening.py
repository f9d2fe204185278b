"""Wrapping, opening and re-wrapping DEKs, each bound to its row. A DEK in clear lives here, and never leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from inventory.custody.stores import store_of
from inventory.envelope import (
    Blob,
    EnvelopeError,
    binding_digest,
    context_of,
    is_bound,
    kek_digest,
    new_dek,
    pack,
    unpack,
    wipe,
)
from inventory.kms.base import ToOpen, ToWrap
from inventory.kms.errors import Refused, WrongAnswerError


@dataclass(frozen=True, kw_only=True)
class Item:
    """A wrapped DEK, and what it must be bound to."""

    dek_id: bytes
    number: int
    wrapped: bytes = field(repr=False)  # envelope.pack()
    binding: bytes | None = None  # none before its first opening
    context: bytes = b""  # empty: envelope.context_of()

    @property
    def bound_context(self) -> bytes:
        return self.context or context_of(self.dek_id, self.number)


@dataclass(frozen=True)
class Refusal:
    """A wrapped DEK that is not what belongs in its row. Says no more: whoever altered it learns nothing."""

    reason: str  # "altered", "not_bound", "other_version", or the store's own of kms.errors.Refused


@dataclass(frozen=True, kw_only=True)
class Rewrapped:
    wrapped: bytes = field(repr=False)
    binding: bytes | None  # none where the store re-wrapped it unseen and nobody knew it before
    is_verified: bool  # opened again after it was wrapped, and bound


def wrap_new(uri: str, algorithm: str, version: str, *, dek_id: bytes, number: int) -> tuple[bytes, bytes]:
    """Draw a DEK and wrap it under that version; return what is stored of it: the wrapped DEK, its binding digest."""
    store, key = store_of(uri)
    dek = new_dek()
    try:
        (sealed,) = store.wrap(key, version, [ToWrap(dek=dek, context=context_of(dek_id, number))])
        if isinstance(sealed, Refused):
            raise WrongAnswerError(f"The key store refused to wrap a new DEK ({sealed.reason}).")
        binding = binding_digest(dek, dek_id, number)
    finally:
        wipe(dek)
    wrapped = pack(Blob(algorithm=algorithm, kek=kek_digest(uri), version=version, ciphertext=sealed))
    (seen,) = check(uri, version, [Item(dek_id=dek_id, number=number, wrapped=wrapped, binding=binding)])
    if isinstance(seen, Refusal):
        raise WrongAnswerError(f"What the key store has just wrapped does not open again ({seen.reason}).")
    return wrapped, binding


def check(uri: str, version: str, items: Sequence[Item]) -> list[bytes | Refusal]:
    """Open each under exactly that version; return its binding digest, or that it is not what belongs in its row."""
    raise NotImplementedError


def rewrap(
    uri: str, algorithm: str, old: str, new: str, items: Sequence[Item], *, verify_percent: int = 100
) -> list[Rewrapped | Refusal]:
    """Take each from one version to another; the store does it unseen where it can, else it is opened here and wiped.

    What is opened here is bound before it is wrapped again, and all of it is opened again afterwards. Of what the store
    does itself, a share is: `verify_percent`, chosen by chance, and everything that had no binding digest.
    """
    raise NotImplementedError
