"""How many keys belong to each record of a list, at a cost that does not grow with the inventory."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.db import connection
from django.db.models import Count, Func, IntegerField, JSONField, QuerySet, Subquery, TextField
from django.db.models.functions import Cast, Coalesce

from audit.counting import COUNTED, shown
from inventory.models import Key, PolicyClause, lateness
from inventory.policy import Facts, covers
from inventory.states import CAN_BE_OVERDUE

Belonging = Literal["owner", "service"]  # the fields of Key by which keys are counted


@dataclass(frozen=True)
class KeysHeld:
    """How many keys belong to a record, how many of them are late and how many accepted; each up to COUNTED + 1."""

    keys: int = 0
    late: int = 0
    accepted: int = 0


def keys_of(field: Belonging, pks: Sequence[int], now: datetime) -> dict[int, KeysHeld]:
    """Count the keys of each of these records. Queries: 1; ranges of an index for each, however many there are.

    What counts as late and as accepted is as models.lateness has it; a test compares the two.
    """
    column = connection.ops.quote_name(f"{field}_id")
    counted = f"""
        SELECT held.id,
               (SELECT count(*) FROM (SELECT FROM inventory_key k
                  WHERE k.{column} = held.id LIMIT %(most)s) c) AS keys_held,
               (SELECT count(*) FROM (SELECT FROM inventory_key k
                  WHERE k.{column} = held.id AND k.rotate_by <= %(now)s
                    AND k.state = ANY(%(states)s)
                    AND (k.accepted_until IS NULL OR k.accepted_until <= %(now)s)
                  LIMIT %(most)s) c) AS keys_late,
               (SELECT count(*) FROM (SELECT FROM inventory_key k
                  WHERE k.{column} = held.id AND k.rotate_by <= %(now)s
                    AND k.state = ANY(%(states)s)
                    AND k.accepted_until > %(now)s
                  LIMIT %(most)s) c) AS keys_accepted
          FROM unnest(%(pks)s::bigint[]) AS held (id)
    """  # noqa: S608 - a column of ours
    states = [state.value for state in CAN_BE_OVERDUE]
    with connection.cursor() as cursor:
        cursor.execute(counted, {"pks": list(pks), "now": now, "states": states, "most": COUNTED + 1})
        return {pk: KeysHeld(*counts) for pk, *counts in cursor.fetchall()}


def sortable_by_counts(records: QuerySet[Any], field: Belonging, now: datetime) -> QuerySet[Any]:
    """Return the records so that `keys_held` or `keys_late` can sort them.

    What is sorted by is counted for all records in one pass: over a range of key_can_be_overdue, which holds the late
    keys alone, or over the index of the field.
    """
    keys = Key.objects.filter(**{f"{field}__isnull": False}).order_by().values(field).annotate(count=Count("*"))
    sortable: QuerySet[Any] = records.alias(
        keys_held=_count_of_each(keys), keys_late=_count_of_each(keys.filter(lateness.overdue(now)))
    )
    return sortable


class _ByRecord(Subquery):
    """One object of all counts, by the key of the record; it names no outer row, so it is made once a statement."""

    template = "(SELECT jsonb_object_agg(record, keys) FROM (%(subquery)s) AS counted (record, keys))"
    output_field = JSONField()


def _count_of_each(grouped: QuerySet[Any]) -> Coalesce:
    """Look a record's count up in those of all; none where it has no such key."""
    said = Func(_ByRecord(grouped), Cast("pk", TextField()), function="jsonb_extract_path_text")
    return Coalesce(Cast(said, IntegerField()), 0)


@dataclass(frozen=True)
class Reach:
    """Of how many keys a clause speaks, and for how many it decides the date."""

    covered: int = 0
    won: int = 0

    @property
    def words(self) -> tuple[str, str]:
        """Return both figures as they are shown."""
        return shown(self.covered), shown(self.won)


# Leaps along the index key_judged from one combination to the next, and counts each of them up to a limit.
_LEAP = """
SELECT winning_clause_id, kind, environment, classification, access FROM inventory_key WHERE {where}
 ORDER BY winning_clause_id, kind, environment, classification, access LIMIT 1
"""
_SAME = "(kind, environment, classification, access)"
_NEXT = "(winning_clause_id, kind, environment, classification, access) > (a.clause, a.kind, a.env, a.class, a.access)"
_ALIKE = f"""
WITH RECURSIVE decided (clause, kind, env, class, access) AS (
    ({_LEAP.format(where="winning_clause_id IS NOT NULL")})
    UNION ALL
    SELECT n.* FROM decided a CROSS JOIN LATERAL ({_LEAP.format(where=_NEXT)}) n
), undecided (clause, kind, env, class, access) AS (
    ({_LEAP.format(where="winning_clause_id IS NULL")})
    UNION ALL
    SELECT n.* FROM undecided a CROSS JOIN LATERAL (
        {_LEAP.format(where=f"winning_clause_id IS NULL AND {_SAME} > (a.kind, a.env, a.class, a.access)")}) n
)
SELECT a.*, (SELECT count(*) FROM (SELECT FROM inventory_key WHERE winning_clause_id = a.clause
                AND {_SAME} = (a.kind, a.env, a.class, a.access) LIMIT %(most)s) c) FROM decided a
UNION ALL
SELECT a.*, (SELECT count(*) FROM (SELECT FROM inventory_key WHERE winning_clause_id IS NULL
                AND {_SAME} = (a.kind, a.env, a.class, a.access) LIMIT %(most)s) c) FROM undecided a
"""  # noqa: S608 - made of our own words


def reaches(clauses: Iterable[PolicyClause]) -> dict[int, Reach]:
    """Count for each clause, by its id, the keys that it covers and those whose date it sets. Queries: 1.

    Each figure is exact up to COUNTED; a greater one means only "more than that". It matters little how many clauses
    there are: the keys are counted by the combinations of what a clause looks at, hundreds or a few thousand.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ALIKE, {"most": COUNTED + 1})
        counted = cursor.fetchall()
    alike = [
        (
            Facts(
                kind=kind,
                environment=environment,
                classification=classification,
                access=access,
                created_on=None,
                last_rotated_on=None,
            ),
            won_by,
            count,
        )
        for won_by, kind, environment, classification, access, count in counted
    ]
    return {
        clause.pk: Reach(
            covered=sum(count for facts, _, count in alike if covers(clause.scope, facts)),
            won=sum(count for _, won_by, count in alike if won_by == clause.pk),
        )
        for clause in clauses
    }
