"""Every read of the inventory that is more than a get()."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull
from django.utils.text import smart_split, unescape_string_literal

from audit.counting import COUNTED, count_up_to
from inventory.algorithms import AlgorithmRow, InUse
from inventory.algorithms import Facts as AlgorithmFacts
from inventory.models import Algorithm, Key, Owner, PolicyClause
from inventory.policy import Rule, Verdict, covers, judge
from inventory.states import CAN_BE_OVERDUE, State
from inventory.terms import Classification

SOON = timedelta(days=30)
SINCE = Coalesce("last_rotated_on", "created_on")  # the day from which the age of a key counts
DESTROYED_STATES = (State.DESTROYED, State.DESTROYED_COMPROMISED)


def rules() -> list[Rule]:
    """Return the clauses in force that demand a longest age. Queries: 1."""
    clauses = PolicyClause.objects.filter(is_in_force=True, longest_age_days__isnull=False).order_by("code")
    return [clause.rule for clause in clauses]


def verdict(key: Key) -> Verdict:
    """Judge a key by the clauses in force today. Queries: 1."""
    return judge(key.facts, rules())


def events_that_rotate(key: Key) -> Sequence[PolicyClause]:
    """Return the clauses in force that demand a rotation of such a key after some event. Queries: 1."""
    clauses = PolicyClause.objects.filter(is_in_force=True).exclude(on_events=[])
    return [clause for clause in clauses if covers(clause.scope, key.facts)]


@dataclass(frozen=True, kw_only=True)
class Posture:
    """The inventory in numbers."""

    keys: int
    overdue: int
    due_soon: int
    owners_due_soon: int
    suspended: int
    compromised: int
    without_owner: int
    of_unknown_age: int
    restricted_overdue: int


def posture(now: datetime) -> Posture:
    """Count the inventory at an instant; each figure stops at one more than COUNTED, but `keys` may be an estimate.

    Queries: 1. Each figure is a range of an index, so none of them reads the table however long it is.
    """
    late = Key.objects.filter(rotate_by__lte=now, state__in=CAN_BE_OVERDUE)
    soon = Q(rotate_by__gt=now, rotate_by__lte=now + SOON, state__in=CAN_BE_OVERDUE)
    counted = _counted(
        keys=Key.objects.all(),
        overdue=late,
        due_soon=Key.objects.filter(soon),
        owners_due_soon=Owner.objects.filter(Exists(Key.objects.filter(soon, owner=OuterRef("pk")))),
        suspended=Key.objects.filter(state=State.SUSPENDED),
        compromised=Key.objects.filter(state=State.COMPROMISED),
        without_owner=Key.objects.filter(owner__isnull=True),
        of_unknown_age=Key.objects.filter(IsNull(SINCE, True)),  # noqa: FBT003 - Django's signature
        restricted_overdue=late.filter(classification=Classification.RESTRICTED),
    )
    if counted["keys"] > COUNTED:
        counted["keys"] = max(counted["keys"], counted["estimate"])
    del counted["estimate"]
    return Posture(**counted)


def _counted(**rows: QuerySet[Any]) -> dict[str, int]:
    """Count several sets of rows up to COUNTED in one query, with the estimate of how many keys there are."""
    compiled = {
        name: found.order_by().values("pk")[: COUNTED + 1].query.sql_with_params() for name, found in rows.items()
    }
    parts = [f'(SELECT count(*) FROM ({sql}) AS counted) AS "{name}"' for name, (sql, _) in compiled.items()]  # noqa: S608 - compiled by Django, values apart
    parts.append("(SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('inventory_key')) AS estimate")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", [value for _, values in compiled.values() for value in values])
        found = cursor.fetchone()
    return dict(zip([*rows, "estimate"], found, strict=True))


def count_overdue(now: datetime) -> int:
    """Count the keys that are late, up to one more than COUNTED. Queries: 1, over the partial index."""
    return count_up_to(Key.objects.filter(rotate_by__lte=now, state__in=CAN_BE_OVERDUE))


def held_by(owner: Owner, now: datetime) -> tuple[int, int]:
    """Return how many keys somebody answers for, and how many of them are late, both up to COUNTED. Queries: 1."""
    held = Key.objects.filter(owner=owner)
    counted = _counted(held=held, late=held.filter(rotate_by__lte=now, state__in=CAN_BE_OVERDUE))
    return counted["held"], counted["late"]


def most_overdue(now: datetime, count: int) -> Sequence[Key]:
    """Return the keys that have been late for longest. Queries: 1."""
    late = Key.objects.filter(rotate_by__lte=now, state__in=CAN_BE_OVERDUE)
    return list(late.select_related("owner", "service", "winning_clause").order_by("rotate_by", "pk")[:count])


@dataclass(frozen=True, kw_only=True)
class Week:
    starts_on: datetime
    count: int


def due_in_week(start: datetime, now: datetime) -> Q:
    """What falls due in the week that begins at `start`, and is not late yet."""
    return Q(
        rotate_by__gt=now, rotate_by__gte=start, rotate_by__lt=start + timedelta(weeks=1), state__in=CAN_BE_OVERDUE
    )


def due_by_week(now: datetime, weeks: int) -> list[Week]:
    """Count what will fall due in each week from that of `now` on (Monday, UTC); what is late already is not counted.

    Queries: 1.
    """
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [monday + timedelta(weeks=number) for number in range(weeks)]
    counts = {f"week{number}": Count("pk", filter=due_in_week(start, now)) for number, start in enumerate(starts)}
    found = Key.objects.filter(
        state__in=CAN_BE_OVERDUE, rotate_by__gt=now, rotate_by__lt=starts[-1] + timedelta(weeks=1)
    ).aggregate(**counts)
    return [Week(starts_on=start, count=found[f"week{number}"]) for number, start in enumerate(starts)]


def algorithm_rows() -> list[AlgorithmRow]:
    """Return the table of algorithms, in its order. A caller that judges many keys asks once. Queries: 1."""
    return [algorithm.row for algorithm in Algorithm.objects.order_by("pk")]


def algorithms_in_use() -> list[InUse]:
    """Count the keys that are not destroyed by algorithm, size and kind, with who answers for them. Queries: 1.

    One scan and one GROUP BY, which is hashed as long as it counts rows and no column. What comes back grows with
    owners, not with keys.
    """
    counted = (
        Key.objects.exclude(state__in=DESTROYED_STATES)
        .order_by()
        .values_list("algorithm", "size_bits", "kind", "owner_id")
        .annotate(keys=Count("*"))
    )
    owners: defaultdict[tuple[str, int | None, str], dict[int | None, int]] = defaultdict(dict)
    for algorithm, size_bits, kind, owner, count in counted:
        owners[algorithm, size_bits, kind][owner] = count
    return [
        InUse(
            facts=AlgorithmFacts(algorithm=algorithm, size_bits=size_bits, kind=kind),
            keys=sum(counts.values()),
            owners=frozenset(owner for owner in counts if owner is not None),
            without_owner=counts.get(None, 0),
        )
        for (algorithm, size_bits, kind), counts in owners.items()
    ]


# Three letters or digits in a row: the least that the trigram index can look up.
_INDEXED = re.compile(r"[^\W_]{3}")


def search(keys: QuerySet[Key], text: str) -> QuerySet[Key]:
    """Return the keys in whose text every word occurs; quotes make several words one.

    A search without a single word of three letters or digits asks for names that begin so: no index finds "a" or "%%"
    inside a text, and no search may read a million of them.
    """
    said = text.strip()
    if not said:
        return keys
    words = [
        unescape_string_literal(bit) if bit[0] in "\"'" and bit[-1] == bit[0] else bit for bit in smart_split(said)
    ]
    if not any(_INDEXED.search(word) for word in words):
        return keys.filter(name__istartswith=said)
    for word in words:
        keys = keys.filter(search_text__icontains=word)
    return keys
