"""Every read of the inventory that is more than a get()."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q

from inventory.algorithms import AlgorithmRow, InUse
from inventory.algorithms import Facts as AlgorithmFacts
from inventory.findings import Severity, rank
from inventory.models import Algorithm, Finding, Key, Owner, PolicyClause
from inventory.policy import Rule, Verdict, covers, judge
from inventory.states import CAN_BE_OVERDUE, State
from inventory.terms import Classification

SOON = timedelta(days=30)
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
    """Count the inventory at an instant. Queries: 1."""
    late = Q(rotate_by__lte=now, state__in=CAN_BE_OVERDUE)
    soon = Q(rotate_by__gt=now, rotate_by__lte=now + SOON, state__in=CAN_BE_OVERDUE)
    counted = Key.objects.aggregate(
        keys=Count("pk"),
        overdue=Count("pk", filter=late),
        due_soon=Count("pk", filter=soon),
        owners_due_soon=Count("owner", filter=soon, distinct=True),
        suspended=Count("pk", filter=Q(state=State.SUSPENDED)),
        compromised=Count("pk", filter=Q(state=State.COMPROMISED)),
        without_owner=Count("pk", filter=Q(owner__isnull=True)),
        of_unknown_age=Count("pk", filter=Q(created_on__isnull=True, last_rotated_on__isnull=True)),
        restricted_overdue=Count("pk", filter=late & Q(classification=Classification.RESTRICTED)),
    )
    return Posture(**counted)


def count_overdue(now: datetime) -> int:
    """Count the keys that are late. Queries: 1, over the partial index."""
    return Key.objects.filter(rotate_by__lte=now, state__in=CAN_BE_OVERDUE).count()


def held_by(owner: Owner, now: datetime) -> tuple[int, int]:
    """Return how many keys somebody answers for, and how many of them are late. Queries: 1."""
    late = Count("pk", filter=Q(rotate_by__lte=now, state__in=CAN_BE_OVERDUE))
    counted = Key.objects.filter(owner=owner).aggregate(held=Count("pk"), late=late)
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


def findings_of(key: Key) -> Sequence[Finding]:
    """Return what stands open on a key, the worst first, then the oldest. Queries: 1."""
    found = Finding.objects.filter(key=key, closed_at__isnull=True)
    return sorted(found, key=lambda finding: (rank(finding.severity), finding.opened_at, finding.pk))


def count_findings() -> tuple[int, int]:
    """Return how many findings are open, and how many of them are critical. Queries: 1, over a partial index."""
    critical = Count("pk", filter=Q(severity=Severity.CRITICAL))
    counted = Finding.objects.filter(closed_at__isnull=True).aggregate(all=Count("pk"), critical=critical)
    return counted["all"], counted["critical"]
