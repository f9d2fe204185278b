"""Which services use a key and which may, and which keys stand above it: read, compared and written as one."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
_LEADS_BACK = """
WITH RECURSIVE above(id) AS (
    SELECT unnest(%s::bigint[])
    UNION
    SELECT l.parent_id FROM inventory_keyparent l JOIN above a ON l.child_id = a.id
)
SELECT EXISTS (SELECT 1 FROM above WHERE id = %s)
"""
_STEPS = """
WITH RECURSIVE step(child_id, parent_id) AS (
    SELECT child_id, parent_id FROM inventory_keyparent WHERE child_id = ANY(%s)
    UNION
    SELECT l.child_id, l.parent_id FROM inventory_keyparent l JOIN step s ON l.child_id = s.parent_id
)
SELECT child.name, parent.name FROM step
  JOIN inventory_key child ON child.id = step.child_id JOIN inventory_key parent ON parent.id = step.parent_id
"""
# Each takes whole columns: an import writes as many relations as it has rows.
_DROP_PARENTS = """
DELETE FROM inventory_keyparent l USING unnest(%s::bigint[], %s::bigint[], %s::text[]) AS gone(child, parent, relation)
 WHERE l.child_id = gone.child AND l.parent_id = gone.parent AND l.relation = gone.relation
"""
_ADD_PARENTS = """
INSERT INTO inventory_keyparent (child_id, parent_id, relation)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[])
"""
_DROP_CONSUMERS = """
DELETE FROM inventory_keyconsumer c USING unnest(%s::bigint[], %s::bigint[]) AS gone(key, service)
 WHERE c.key_id = gone.key AND c.service_id = gone.service
"""
_PUT_CONSUMERS = """
INSERT INTO inventory_keyconsumer (key_id, service_id, is_approved)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::boolean[])
ON CONFLICT (key_id, service_id) DO UPDATE SET is_approved = EXCLUDED.is_approved
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
    write_all_relations([(key.pk, before, after)])


def write_all_relations(changes: Sequence[tuple[int, Relations, Relations]]) -> None:
    """Make of one the other for many keys: (key, before, after). The caller holds the locks, and has refused circles.

    Queries: 4 at most, one for each kind of change.
    """
    _run(_DROP_PARENTS, [(key, *one) for key, was, now in changes for one in was.parents - now.parents])
    _run(_ADD_PARENTS, [(key, *one) for key, was, now in changes for one in now.parents - was.parents])
    _run(_DROP_CONSUMERS, [(key, one) for key, was, now in changes for one in was.consumers.keys() - now.consumers])
    _run(
        _PUT_CONSUMERS,
        [(key, *one) for key, was, now in changes for one in now.consumers.items() - was.consumers.items()],
    )


def _run(statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(statement, [list(column) for column in zip(*sorted(rows), strict=True)])


def steps_above(pks: Sequence[int]) -> dict[str, set[str]]:
    """Return every step above these keys, and above those: the name of a key, the names of those above. Queries: 1."""
    above: defaultdict[str, set[str]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(_STEPS, [list(pks)])
        for child, parent in cursor.fetchall():
            above[child].add(parent)
    return above


def take_turns() -> None:
    """Wait until nobody else makes a key a parent, up to the end of the transaction: one at a time.

    Two who each make the other's key a parent would close a circle that neither sees.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('inventory.parents'))")


def _refuse_cycles(key: Key, parents: set[int]) -> None:
    take_turns()
    with connection.cursor() as cursor:
        cursor.execute(_LEADS_BACK, [sorted(parents), key.pk])
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
