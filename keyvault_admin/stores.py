"""The key stores that KEYVAULT_KMS names: each address read once, where the settings load. Nothing is opened here."""

from inventory.kms import SCHEMES
from inventory.kms.base import parse_address
from inventory.kms.errors import AddressError


def stores_named(text: str) -> dict[str, str]:
    """Return each store's address by its name; TEXT holds addresses with white space between them.

    Raises: AddressError for an address that cannot be read, an unknown kind, or a name that stands there twice.
    """
    stores: dict[str, str] = {}
    for address in text.split():
        found = parse_address(address)
        if found.scheme not in SCHEMES:
            known = ", ".join(SCHEMES)
            raise AddressError(f"The key store {found.name} is of no kind that is known. Known are: {known}.")
        if found.name in stores:
            raise AddressError(f"Two key stores have the name {found.name}. Give each one of its own.")
        stores[found.name] = address
    return stores


def needs_master_key(stores: dict[str, str]) -> list[str]:
    """Return the names of the stores that are sealed under the master key."""
    return [name for name, address in stores.items() if parse_address(address).scheme == "local"]
