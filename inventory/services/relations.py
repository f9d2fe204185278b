"""Which services use a key and which may, and which keys stand above it: read, compared and written as one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from django.db import connection

from audit.canonical import JSON
from audit.services import Subject
from inventory.errors import CycleError
from inventory.models import Key, KeyConsumer, KeyParent
from inventory.terms import Relation

# How an event names them, and of which kind the records are that it refers to.
RELATIONS: Mapping[str, str] = {
    "consumers": "service", "approved_consumers": "service", "wrapped_by": "key", "derived_from": "key",
}  # fmt: skip

# Everything above some keys. UNION, not UNION ALL: it ends whatever stands there.
_ABOVE = """
WITH RECURSIVE above(id) AS (
    SELECT unnest(%s::bigint[])
    UNION
    SELECT l.parent_id FROM inventory_keyparent l JOIN above a ON l.child_id = a.id
)
SELECT EXISTS (SELECT 1 FROM above WHERE id = %s)
"""


@dataclass(frozen=True, kw_only=True)
class Relations:
    """The services that use a key, each with whether it may, and the keys above it; all by id."""

    consumers: Mapping[int, bool] = field(default_factory=dict)
    parents: frozenset[tuple[int, str]] = frozenset()  # (key, relation)

    @property
    def snapshot(self) -> dict[str, list[str]]:
        """Return them as the log writes them."""
        return {
            "consumers": _refs("service", self.consumers),
            "approved_consumers": _refs("service", (pk for pk, may in self.consumers.items() if may)),
            "wrapped_by": _refs("key", (pk for pk, relation in self.parents if relation == Relation.WRAPPED_BY)),
            "derived_from": _refs("key", (pk for pk, relation in self.parents if relation == Relation.DERIVED_FROM)),
        }


def relations_of(key: Key) -> Relations:
    """Read what stands in the database. Queries: 2."""
    return Relations(
        consumers=dict(KeyConsumer.objects.filter(key=key).values_list("service_id", "is_approved")),
        parents=frozenset(KeyParent.objects.filter(child=key).values_list("parent_id", "relation")),
    )


def write_relations(key: Key, *, before: Relations, after: Relations) -> None:
    """Make of one the other. The caller holds the lock on the key. Raises: CycleError."""
    if new := after.parents - before.parents:
        _refuse_cycles(key, {pk for pk, _ in new})
    for pk, relation in before.parents - after.parents:
        KeyParent.objects.filter(child=key, parent_id=pk, relation=relation).delete()
    KeyParent.objects.bulk_create(KeyParent(child=key, parent_id=pk, relation=relation) for pk, relation in sorted(new))
    KeyConsumer.objects.filter(key=key, service_id__in=before.consumers.keys() - after.consumers.keys()).delete()
    changed = sorted(after.consumers.items() - before.consumers.items())
    KeyConsumer.objects.bulk_create(
        [KeyConsumer(key=key, service_id=pk, is_approved=may) for pk, may in changed],
        update_conflicts=True,
        unique_fields=["key", "service"],
        update_fields=["is_approved"],
    )


def _refuse_cycles(key: Key, parents: set[int]) -> None:
    """One at a time: two people who each make the other's key a parent would close a circle that neither sees."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('inventory.parents'))")
        cursor.execute(_ABOVE, [sorted(parents), key.pk])
        (leads_back,) = cursor.fetchone()
    if leads_back:
        raise CycleError(key.name)


def with_relations(subject: Subject, before: Relations, after: Relations) -> Subject:
    """Add to what an event says of a key how its relations changed."""
    was, now = before.snapshot, after.snapshot
    names = [name for name in RELATIONS if was[name] != now[name]]
    old: dict[str, JSON] = {name: list(was[name]) for name in names}
    new: dict[str, JSON] = {name: list(now[name]) for name in names}
    return replace(subject, before={**subject.before, **old}, after={**subject.after, **new})


def _refs(kind: str, pks: Iterable[int]) -> list[str]:
    return [f"{kind}:{pk}" for pk in sorted(pks)]
