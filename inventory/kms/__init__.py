"""The kinds of key stores that are supported: read SCHEMES. Only inventory.custody opens one."""

from importlib import import_module

from inventory.kms.base import Backend, StoreAddress
from inventory.kms.errors import AddressError, MissingExtraError

# Scheme of an address → the module, the class, and the extra that its package comes with, if it needs one.
SCHEMES = {
    "local": ("inventory.kms.local", "LocalBackend", ""),
    "openbao": ("inventory.kms.openbao", "OpenBaoBackend", ""),
    "pkcs11": ("inventory.kms.pkcs11", "Pkcs11Backend", "pkcs11"),
    "azure": ("inventory.kms.azure", "AzureBackend", "azure"),
    "aws": ("inventory.kms.aws", "AwsBackend", "aws"),
}


def backend_class(scheme: str) -> type[Backend]:
    """Return the class for a scheme. Raises: AddressError, MissingExtraError."""
    if scheme not in SCHEMES:
        raise AddressError(f"No key store has the scheme {scheme[:20]!r}. Known are: {', '.join(SCHEMES)}.")
    module, name, extra = SCHEMES[scheme]
    try:
        found: type[Backend] = getattr(import_module(module), name)
    except ImportError as error:
        if not extra:
            raise
        raise MissingExtraError(
            f"The packages for {scheme} key stores are not installed: uv sync --extra {extra}"
        ) from error
    return found


def open_store(address: StoreAddress, *, master_key: bytes | None = None) -> Backend:
    """Return the store at an address; nothing is contacted yet. Raises: AddressError, MissingExtraError."""
    return backend_class(address.scheme)(address, master_key=master_key)
