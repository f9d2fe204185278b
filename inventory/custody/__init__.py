"""The only door to the key stores: which KEK, which version, which context, and whether what comes back is bound.

Everything here speaks to a store and belongs outside any transaction. Raises, besides what is said: BackendError.
"""

from inventory.custody.opening import Item, Refusal, Rewrapped, check, rewrap, wrap_new
from inventory.custody.stores import capabilities_of, forget_stores, store_of
from inventory.kms.base import Capabilities, Death, KeyInfo, Scope, VersionInfo, VersionStatus, WrapAlgorithm
from inventory.kms.errors import (
    BackendError,
    KeyExistsError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    RolledBackError,
)

__all__ = [
    "BackendError",
    "Capabilities",
    "Death",
    "Item",
    "KeyExistsError",
    "KeyInfo",
    "NoSuchKeyError",
    "NotCapableError",
    "NotUsableError",
    "Refusal",
    "Rewrapped",
    "RolledBackError",
    "Scope",
    "VersionInfo",
    "VersionStatus",
    "WrapAlgorithm",
    "capabilities_of",
    "check",
    "forget_stores",
    "rewrap",
    "store_of",
    "wrap_new",
]
