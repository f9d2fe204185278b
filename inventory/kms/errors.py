"""What a key store answers when it does not do what was asked. Sentences may be shown: they never hold material."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


class BackendError(Exception):
    """The key store failed. `transient`: the same call may succeed later, nothing about it is wrong."""

    transient: ClassVar[bool] = False

    def __init__(self, sentence: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after  # the store's own word for when to come back


class UnavailableError(BackendError):
    """It did not answer in time, is sealed, overloaded, or the breaker is open."""

    transient = True


class DeniedError(BackendError):
    """It knows us and says no: a token revoked, a permission missing, a wrong PIN."""


class NoSuchKeyError(BackendError):
    """It has no key, or no version, of that name."""


class KeyExistsError(BackendError):
    """It has a key of that name already, so that creating would hand out somebody else's."""


class NotUsableError(BackendError):
    """The version is there and may not be used: disabled, scheduled for destruction, or below the smallest version."""


class NotCapableError(BackendError):
    """This kind of store cannot do that; its capabilities say so."""


class WrongAnswerError(BackendError):
    """It answered what it never should: unreadable, too large, too few items, a redirect, another version."""


class RolledBackError(WrongAnswerError):
    """Its newest version is older than one that it has shown before (KMS-08)."""


class AddressError(BackendError):
    """The address of the store, or of a key, cannot be understood, or names a place that is not allowed."""


class MissingExtraError(BackendError):
    """The package that speaks to this kind of store is not installed; the sentence says how to install it."""


@dataclass(frozen=True)
class Refused:
    """One item of a batch that the store refused, while others may have passed."""

    reason: str  # of a closed list: "altered", "gone", "not_usable", "denied", "refused"
