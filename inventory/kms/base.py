"""What every key store can be asked, over bytes. Pure Python: no Django, no models, no settings.

A store holds KEKs by name; a KEK has versions, each with an id that the store gives and never uses again. A KEK never
leaves its store. What stands in a wrapped blob around the store's own ciphertext is the business of inventory.envelope.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from inventory.kms.errors import AddressError, NotCapableError, Refused


class WrapAlgorithm(StrEnum):
    """How a KEK wraps, in the words of the field. Values are stored and never renamed."""

    AES_256_KW = "AES-256-KW"  # RFC 3394
    AES_256_KWP = "AES-256-KWP"  # RFC 5649
    AES_256_GCM96 = "AES-256-GCM96"  # transit of OpenBao and Vault, derived by context
    AWS_SYMMETRIC = "AWS-SYMMETRIC-DEFAULT"  # AES-256-GCM with an encryption context
    RSA_2048_OAEP_256 = "RSA-2048-OAEP-256"  # RFC 8017 §7.1, SHA-256 for hash and MGF1
    RSA_3072_OAEP_256 = "RSA-3072-OAEP-256"
    RSA_4096_OAEP_256 = "RSA-4096-OAEP-256"
    RSA_2048_OAEP = "RSA-2048-OAEP"  # SHA-1: only to open and leave what is wrapped so already


class Scope(StrEnum):
    """What disabling or destroying reaches."""

    VERSION = "version"
    UP_TO = "up to version"  # this version and all before it (smallest version raised)
    KEY = "key"  # all versions at once


class Death(StrEnum):
    """How it can be shown that an old version opens nothing any more."""

    REFUSES = "refuses to unwrap"
    RAISED = "smallest version raised"
    CANNOT_BE_SHOWN = "cannot be shown"


class VersionStatus(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    SCHEDULED = "scheduled"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a kind of store can do. Screens and interlocks ask these, never the class."""

    algorithms: tuple[WrapAlgorithm, ...]  # those that new KEKs may have come first
    binds_context: bool  # a blob opens only with the context that it was wrapped with
    rewraps: bool  # from version to version on its side; the DEK does not come to us
    most_items: int  # in one call
    creates: bool = True
    rotates: bool = True
    disables: Scope | None = None
    enables: bool = False
    schedules: Scope | None = None  # destruction after a waiting time
    waiting_days: tuple[int, int] = (0, 0)  # fewest and most; who schedules says how many
    recovers: bool = False  # while it waits
    purges: Scope | None = None  # at once, for good
    death: Death = Death.CANNOT_BE_SHOWN


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    id: str  # "3", or 32 hexadecimal digits: at most 64 characters of [0-9A-Za-z._-]
    status: VersionStatus
    created_at: datetime | None = None
    gone_at: datetime | None = None  # when what is scheduled will be destroyed


@dataclass(frozen=True, kw_only=True)
class KeyInfo:
    """A KEK as its store shows it."""

    algorithm: WrapAlgorithm
    versions: tuple[VersionInfo, ...]  # oldest first; what the store forgets is missing
    newest: str  # id of the version that the store would wrap with
    is_exportable: bool = False

    def version(self, version_id: str) -> VersionInfo | None:
        return next((version for version in self.versions if version.id == version_id), None)


@dataclass(frozen=True, kw_only=True)
class ToWrap:
    dek: bytes | bytearray = field(repr=False)
    context: bytes  # bound where the store can


@dataclass(frozen=True, kw_only=True)
class ToOpen:
    ciphertext: bytes = field(repr=False)  # as this store gave it
    context: bytes


@dataclass(frozen=True, kw_only=True)
class StoreAddress:
    """Where a store is: `scheme://host:port/path?option=…#name`. Secrets are files that options name."""

    scheme: str
    name: str  # of the store, "main": part of each KEK's URI, so it never changes
    host: str = ""
    port: int | None = None
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def parse_address(text: str) -> StoreAddress:
    """Read the address of a store. Raises: AddressError, which repeats nothing of it but its name."""
    try:
        parts = urlsplit(text)
        port = parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:  # its text may quote a password that stands where it should not
        raise AddressError("The address of a key store cannot be read as a URL.") from None
    name = unquote(parts.fragment)
    if not name or not all(char.isascii() and (char.isalnum() or char in "-_") for char in name):
        raise AddressError(
            "Each key store needs a name of letters, digits, - and _ after #, as in local:///ring#house."
        )
    if parts.username or parts.password:
        raise AddressError(f"The address of the key store {name} holds a password. Name a file by an option instead.")
    return StoreAddress(
        scheme=parts.scheme, name=name, host=parts.hostname or "", port=port, path=unquote(parts.path), options=options
    )


class Backend(ABC):
    """One store. Not shared by threads; made anew after a fork.

    Results of a batch stand in the order of its items, one each: a `Refused` for an item, an exception for the whole
    call. Every method raises BackendError or one of its kinds, and nothing else; what the class cannot do raises
    NotCapableError. No call lasts longer than ten seconds an attempt.
    """

    scheme: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    def __init__(self, address: StoreAddress, *, master_key: bytes | None = None) -> None:
        """Look at the options, open nothing yet. `master_key`: 32 bytes, for stores that seal under it."""
        self.address = address
        self._master_key = master_key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address.name}>"

    @abstractmethod
    def describe(self, key: str) -> KeyInfo:
        """Look at a KEK as the store has it now. Raises: NoSuchKeyError."""

    @abstractmethod
    def wrap(self, key: str, version: str, items: Sequence[ToWrap]) -> list[bytes | Refused]:
        """Wrap DEKs under exactly that version; the store's ciphertexts."""

    @abstractmethod
    def unwrap(self, key: str, version: str, items: Sequence[ToOpen]) -> list[bytearray | Refused]:
        """Open what was wrapped under exactly that version; the caller wipes what comes back."""

    def rewrap(self, key: str, old: str, new: str, items: Sequence[ToOpen]) -> list[bytes | Refused]:
        """Let the store take ciphertexts from one version to another."""
        raise NotCapableError(f"The key store {self.address.name} does not re-wrap on its side.")

    def create(self, key: str, algorithm: WrapAlgorithm) -> KeyInfo:
        """Make a KEK, not exportable. Not idempotent: describe() first. Raises: KeyExistsError."""
        raise NotCapableError(f"KEKs are not created in the key store {self.address.name} from here.")

    def rotate(self, key: str) -> None:
        """Add a version, which becomes the newest. Not idempotent: describe() before and after says whether it did."""
        raise NotCapableError(f"KEKs are not rotated in the key store {self.address.name} from here.")

    def disable(self, key: str, version: str) -> None:
        """Let the version (or what `capabilities.disables` reaches) open and wrap nothing. Idempotent."""
        raise NotCapableError(f"The key store {self.address.name} cannot disable a version.")

    def enable(self, key: str, version: str) -> None:
        """Undo disable(). Idempotent."""
        raise NotCapableError(f"The key store {self.address.name} cannot enable a version again.")

    def schedule_destruction(self, key: str, version: str, *, days: int) -> datetime | None:
        """Have it destroyed after so many days; return when, where the store says so. Idempotent."""
        raise NotCapableError(f"The key store {self.address.name} cannot schedule a destruction.")

    def recover(self, key: str, version: str) -> None:
        """Take back schedule_destruction(); it may come back disabled. Idempotent."""
        raise NotCapableError(f"The key store {self.address.name} cannot recover what is scheduled.")

    def purge(self, key: str, version: str) -> None:
        """Destroy it now, for good. Idempotent."""
        raise NotCapableError(f"The key store {self.address.name} cannot destroy at once.")

    def close(self) -> None:  # noqa: B027 - most stores have nothing to let go of
        """Let go of connections, handles and keys in memory."""
