"""Rows of an import that would give a DEK the tenant and integration, or the secret, of another one."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from django.db.models import Q

from inventory.models import Key
from inventory.reading import Refusal
from inventory.terms import KeyKind

if TYPE_CHECKING:
    from inventory.services.plan import Plan

Scope = tuple[str, ...]  # ("secret", name) or ("tenant and integration", its name, the other's name)


def refuse_taken_scopes(plan: "Plan") -> None:
    """Take such rows out of a plan and refuse them: each scope has one DEK (R64). Queries: 1, none without a DEK."""
    planned = [*plan.new, *((change.row, change.key) for change in plan.changed)]
    deks = [(row, key) for row, key in planned if key.kind == KeyKind.DEK]
    holders = _holders([key for _, key in deks])
    refused: set[int] = set()
    for row, key in deks:
        for scope in _scopes(key):
            if holders.setdefault(scope, key.name) != key.name:
                problem = f'"{holders[scope]}" is the DEK for this {scope[0]} already.'
                mend = "Correct the row, or the record of the other key: each has one DEK."
                plan.refused.append(Refusal(row=row, field="name", problem=problem, mend=mend))
                refused.add(row)
    if refused:
        plan.new = [(row, key) for row, key in plan.new if row not in refused]
        plan.changed = [change for change in plan.changed if change.row not in refused]


def _scopes(key: Key) -> Iterator[Scope]:
    if key.secret_name:
        yield "secret", key.secret_name
    if key.tenant and key.integration:
        yield "tenant and integration", key.tenant.name, key.integration.name


def _holders(deks: Iterable[Key]) -> dict[Scope, str]:
    """Return whose each scope is in the inventory, but for the keys at hand: what they say now counts."""
    names = [key.name for key in deks]
    secrets = [key.secret_name for key in deks if key.secret_name]
    tenants = [key.tenant.pk for key in deks if key.tenant and key.tenant.pk]
    if not names:
        return {}
    known = Key.objects.filter(Q(secret_name__in=secrets) | Q(tenant__in=tenants), kind=KeyKind.DEK)
    found = known.exclude(name__in=names).select_related("tenant", "integration")
    return {scope: key.name for key in found for scope in _scopes(key)}
