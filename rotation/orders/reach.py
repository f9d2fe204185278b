"""Which versions an act in a store reaches: one, it and all before it, or all of the KEK."""

from inventory.census import versions_of
from inventory.custody import Scope
from inventory.models import Kek, KekVersion
from inventory.terms import StoreStatus


def reached(kek: Kek, version: KekVersion, scope: Scope) -> list[KekVersion]:
    """Return the versions that an act on this one reaches, oldest first; what is gone is not. Queries: 1."""
    rows = versions_of(kek.pk).exclude(status=StoreStatus.GONE)
    if scope is Scope.VERSION:
        rows = rows.filter(pk=version.pk)
    elif scope is Scope.UP_TO:
        rows = rows.filter(pk__lte=version.pk)  # rows of versions are made in the order of the versions
    return list(rows)
