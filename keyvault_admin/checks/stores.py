"""Checks of the key stores: their addresses make sense, their packages are there, and local rings open."""

from django.conf import settings

from inventory.custody import BackendError, NoSuchKeyError, store_of
from keyvault_admin.checks.rules import Answer, Group, Rule

NOBODY = "doctor"  # a KEK that no ring has: whoever answers so has opened the ring


def stores_can_be_used() -> Answer:
    """No server is asked. A local ring is looked at where the master key is: in the worker."""
    for name, address in settings.KMS_STORES.items():
        try:
            _look(name, address.partition(":")[0])
        except BackendError as error:
            return Answer(f"The key store {name} cannot be used: {error}", 'See "Addresses" in docs/key-stores.md.')
    count = len(settings.KMS_STORES)
    return Answer(f"{count} key stores are named." if count != 1 else "1 key store is named.")


def _look(name: str, scheme: str) -> None:
    store, key = store_of(f"{scheme}:{name}/{NOBODY}")
    if scheme == "local" and settings.MASTER_KEY is not None:
        try:
            store.describe(key)
        except NoSuchKeyError:
            return


RULES = (Rule("face.E036", Group.HOUSE, "the key stores of KEYVAULT_KMS can be used", stores_can_be_used),)
