"""The stores of the settings, opened once a process."""

import os

from django.conf import settings

from inventory.kms import backend_class, open_store
from inventory.kms.base import Backend, Capabilities, parse_address
from inventory.kms.errors import AddressError

_OPEN: dict[tuple[int, str], Backend] = {}  # by process and name: nothing opened is used after a fork


def store_of(uri: str) -> tuple[Backend, str]:
    """Return the store of a KEK's URI, and the KEK's name there.

    Raises: AddressError where the settings name no such store, or one of another kind.
    """
    scheme, name, key = split_uri(uri)
    place = (os.getpid(), name)
    if place not in _OPEN:
        _OPEN[place] = _opened(name)
    store = _OPEN[place]
    if store.scheme != scheme:
        raise AddressError(f"The key store {name} is of the kind {store.scheme}, and {uri} asks for {scheme}.")
    return store, key


def _opened(name: str) -> Backend:
    address = settings.KMS_STORES.get(name)
    if address is None:
        known = ", ".join(sorted(settings.KMS_STORES)) or "none"
        raise AddressError(f"KEYVAULT_KMS names no key store {name}. It names: {known}.")
    return open_store(parse_address(address), master_key=settings.MASTER_KEY)


def capabilities_of(uri: str) -> Capabilities:
    """Return what the store of a KEK can do; opens nothing. Raises: AddressError, MissingExtraError."""
    return backend_class(split_uri(uri)[0]).capabilities


def split_uri(uri: str) -> tuple[str, str, str]:
    """Take "openbao:main/payments" apart. Raises: AddressError."""
    scheme, colon, rest = uri.partition(":")
    name, slash, key = rest.partition("/")
    if not (scheme and colon and name and slash and key):
        raise AddressError("A KEK's address is scheme:store/name, such as openbao:main/payments.")
    return scheme, name, key


def forget_stores() -> None:
    """Close what this process has opened: after a change of settings, and between tests."""
    for (process, _), store in list(_OPEN.items()):
        if process == os.getpid():
            store.close()
    _OPEN.clear()
