"""Opening wrapped DEKs to see that each is what belongs in its row: all of them, a stretch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from inventory.custody import Item, Refusal, check
from inventory.models import KekVersion

AT_ONCE = 2_000
# By the primary key; names come along, since whoever is told of a refusal needs them.
_STRETCH = """
SELECT d.version_id, d.key_id, d.number, k.name, w.wrapped, d.binding, d.context
  FROM inventory_wrapping w
  JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
  JOIN inventory_key k ON k.id = d.key_id
 WHERE w.kek_version_id = %s AND w.dek_version_id > %s
 ORDER BY w.dek_version_id LIMIT %s
"""
_BIND = """
UPDATE inventory_dekversion d SET binding = found.binding
  FROM unnest(%s::bigint[], %s::bytea[]) AS found (id, binding)
 WHERE d.version_id = found.id AND d.binding IS NULL
"""


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A wrapped DEK that is not what belongs in its row."""

    dek_version: int
    key: int
    name: str
    number: int
    reason: str  # of custody.Refusal


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """What came of a stretch; `last` is its last DEK version, None at the end."""

    last: int | None
    opened: int
    bound: int  # opened for the first time: their binding digests are kept from now on
    misfits: Sequence[Misfit]


def open_stretch(version: KekVersion, *, after: int = 0, limit: int = AT_ONCE, keep: bool = True) -> Scanned:
    """Open the next wrappings under a version of a KEK, in the order of their DEK versions, and compare each.

    For the worker, outside of any transaction. With `keep` the binding digests of first openings are written down; what
    was found wrong is for the caller to tell (rotation.refusals). Queries: 1 or 2. Raises: BackendError.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STRETCH, [version.pk, after, limit])
        rows = cursor.fetchall()
    items = [
        Item(
            dek_id=b"key:%d" % key,
            number=number,
            wrapped=bytes(wrapped),
            binding=None if binding is None else bytes(binding),
            context=bytes(context),
        )
        for _, key, number, _, wrapped, binding, context in rows
    ]
    kek = version.kek
    seen = check(kek.uri, version.store_id, items, algorithm=kek.algorithm) if items else []
    found = [
        (row[0], said)
        for row, item, said in zip(rows, items, seen, strict=True)
        if item.binding is None and not isinstance(said, Refusal)
    ]
    misfits = [
        Misfit(dek_version=row[0], key=row[1], name=row[3], number=row[2], reason=said.reason)
        for row, said in zip(rows, seen, strict=True)
        if isinstance(said, Refusal)
    ]
    last = rows[-1][0] if len(rows) == limit else None
    bound = _bind(found) if keep and found else 0
    return Scanned(last=last, opened=len(rows) - len(misfits), bound=bound, misfits=misfits)


@transaction.atomic
def _bind(found: Sequence[tuple[int, bytes]]) -> int:
    """Keep digests of first openings; one that somebody else has kept meanwhile stays."""
    with connection.cursor() as cursor:
        cursor.execute(_BIND, [list(column) for column in zip(*found, strict=True)])
        return cursor.rowcount
