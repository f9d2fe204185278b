"""Every read of the inventory that is more than a get()."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db import OperationalError, connection
from django.db.models import BinaryField, Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Substr, Upper
from django.utils.text import smart_split, unescape_string_literal
from psycopg.errors import LockNotAvailable

from audit.counting import COUNTED, estimate_each
from audit.sealing import EPOCH_BYTES
from inventory.algorithms import AlgorithmRow, InUse
from inventory.algorithms import Facts as AlgorithmFacts
from inventory.errors import ClausesHeldError
from inventory.excepting import UNTIL, by_key
from inventory.findings import Severity
from inventory.models import (
    Algorithm,
    Finding,
    Key,
    KeyConsumer,
    KeyParent,
    KeyVersion,
    Owner,
    PolicyClause,
    Service,
    ThreatLevel,
    lateness,
)
from inventory.policy import Clause, Rule, Verdict, covers, judge
from inventory.states import State
from inventory.terms import Classification

SOON = timedelta(days=30)
SINCE = Coalesce("last_rotated_on", "created_on")  # the day from which the age of a key counts
AGE_UNKNOWN = Q(last_rotated_on__isnull=True, created_on__isnull=True)  # as the index key_age_unknown has it
DESTROYED_STATES = (State.DESTROYED, State.DESTROYED_COMPROMISED)


# Who derives dates holds the clauses still; who changes a clause waits for them, and they for who changes it. Taken
# before any row of a key, so that the two never wait for each other crosswise.
_HOLD = "SELECT pg_advisory_xact_lock_shared(hashtext('inventory.policy'))"
_HOLD_ALONE = "SELECT pg_advisory_xact_lock(hashtext('inventory.policy'))"


def rules(*, hold: bool = False) -> list[Rule]:
    """Return the clauses in force that demand a longest age, by code, at today's threat level. Queries: 2.

    With `hold`, for whoever writes what follows from them (1 query more): until the end of the transaction nobody
    changes a clause or the threat level. Call it before any key is locked. Raises: ClausesHeldError.
    """
    if hold:
        share_clauses()
    return rules_if()


def share_clauses() -> None:
    """Let nobody change a clause or the threat level until the end of the transaction; others may share it.

    For whoever writes what follows from them. Call it before any key is locked. Queries: 1. Raises: ClausesHeldError.
    """
    _lock(_HOLD)


def rules_if(*, clause: PolicyClause | None = None, threat: ThreatLevel | None = None) -> list[Rule]:
    """Return the rules that would hold with a clause, or a threat level, as the given object has it.

    Each knows for which keys an exception to it stands. The object need not be saved. Queries: 2, or 1 with a threat
    level.
    """
    clauses = PolicyClause.objects.filter(is_in_force=True, longest_age_days__isnull=False)
    found = list(clauses.annotate(standing=ArraySubquery(UNTIL.filter(clause=OuterRef("pk")))))
    excepted = {one.code: by_key(one.standing) for one in found}
    ageing: dict[str, PolicyClause] = {one.code: one for one in found}
    if clause is not None:
        ageing.pop(clause.code, None)
        if clause.is_in_force and clause.longest_age_days is not None:
            ageing[clause.code] = clause
    percent = (threat or threat_level()).percent
    return [replace(one.rule(percent), excepted=excepted.get(code, {})) for code, one in sorted(ageing.items())]


def hold_clauses() -> None:
    """Wait until nobody derives dates from the clauses, and let nobody begin until the end of the transaction.

    Raises: ClausesHeldError.
    """
    _lock(_HOLD_ALONE)


def hold_clauses_patiently() -> None:
    """Hold the clauses as hold_clauses() does, and wait for imports and other long work. For the worker alone.

    Raises: OperationalError when they take longer still, so that it is tried again.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '60s'")
        cursor.execute(_HOLD_ALONE)


def _lock(statement: str) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise ClausesHeldError from error
        raise


def threat_level() -> ThreatLevel:
    """Return the threat level. Queries: 1."""
    return ThreatLevel.objects.get()


def clauses_in_force() -> list[Clause]:
    """Return every clause in force, with all that it demands, by code: what policy.breaches() takes. Queries: 1."""
    return [clause.terms for clause in sorted(PolicyClause.objects.filter(is_in_force=True), key=lambda one: one.code)]


def verdict(key: Key) -> Verdict:
    """Judge a key by the clauses in force today. Queries: 2."""
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
    accepted: int  # past their dates, and excepted
    due_soon: int
    owners_due_soon: int
    suspended: int
    compromised: int
    without_owner: int
    of_unknown_age: int
    restricted_overdue: int
    open_findings: int
    critical_findings: int
    accepted_findings: int


def posture(now: datetime) -> Posture:
    """Count the inventory at an instant; each figure stops at one more than COUNTED, but `keys` may be an estimate.

    `owners_due_soon` are the owners of those keys that were counted as `due_soon`.
    Queries: 1. Each figure is a range of an index, so none of them reads the table however long it is.
    """
    late = Key.objects.filter(lateness.overdue(now))
    soon = lateness.due_within(now, now + SOON)
    counted = _counted(
        keys=Key.objects.all(),
        overdue=late,
        accepted=Key.objects.filter(lateness.accepted(now)),
        due_soon=Key.objects.filter(soon),
        owners_due_soon=Key.objects.filter(soon),
        suspended=Key.objects.filter(state=State.SUSPENDED),
        compromised=Key.objects.filter(state=State.COMPROMISED),
        without_owner=Key.objects.filter(owner__isnull=True),
        of_unknown_age=Key.objects.filter(AGE_UNKNOWN),
        restricted_overdue=late.filter(classification=Classification.RESTRICTED),
        open_findings=Finding.objects.filter(lateness.wrong(now)),
        critical_findings=critical_findings(now),
        accepted_findings=Finding.objects.filter(lateness.accepted_wrong(now)),
    )
    if counted["keys"] > COUNTED:
        counted["keys"] = max(counted["keys"], counted["estimate"])
    del counted["estimate"]
    return Posture(**counted)


def _counted(**rows: QuerySet[Any]) -> dict[str, int]:
    """Count several sets of rows up to COUNTED in one query, with the estimate of how many keys there are.

    What is called "owners_…" is a set of keys whose owners are counted.
    """
    parts = ["(SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('inventory_key')) AS estimate"]
    values: list[Any] = []
    for name, found in rows.items():
        field, count = ("owner", "DISTINCT owner") if name.startswith("owners_") else ("pk", "*")
        compiled, its_values = found.order_by().values(field)[: COUNTED + 1].query.sql_with_params()
        parts.append(f'(SELECT count({count}) FROM ({compiled}) AS counted) AS "{name}"')  # noqa: S608 - compiled by Django, values apart
        values += its_values
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", values)
        found_counts = cursor.fetchone()
    return dict(zip(["estimate", *rows], found_counts, strict=True))


def critical_findings(now: datetime) -> QuerySet[Finding]:
    """Return the critical findings that are open and not accepted: a partial index. No query by itself."""
    return Finding.objects.filter(lateness.wrong(now), severity=Severity.CRITICAL)


def findings_of(key: Key) -> Sequence[Finding]:
    """Return what stands open on a key, the worst first, then the oldest. Queries: 1."""
    return list(Finding.objects.filter(key=key, closed_at__isnull=True).order_by("severity", "opened_at", "pk"))


def held_by(owner: Owner, now: datetime) -> tuple[int, int]:
    """Return how many keys somebody answers for, and how many of them are late, both up to COUNTED. Queries: 1."""
    held = Key.objects.filter(owner=owner)
    counted = _counted(held=held, late=held.filter(lateness.overdue(now)))
    return counted["held"], counted["late"]


def most_overdue(now: datetime, count: int) -> Sequence[Key]:
    """Return the keys that have been late for longest. Queries: 1."""
    late = Key.objects.filter(lateness.overdue(now))
    return list(late.select_related("owner", "service", "winning_clause").order_by("rotate_by", "pk")[:count])


@dataclass(frozen=True, kw_only=True)
class Week:
    starts_on: datetime
    count: int
    is_estimate: bool = False


def due_in_week(start: datetime, now: datetime) -> Q:
    """What falls due in the week that begins at `start`, and is not late yet."""
    return lateness.falls_due(start, start + timedelta(weeks=1), now)


def due_by_week(now: datetime, weeks: int) -> list[Week]:
    """Say what will fall due in each week from that of `now` on (Monday, UTC); what is late already is not counted.

    A week of more than COUNTED keys is estimated. Queries: 1, and 1 more where there is such a week.
    """
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [monday + timedelta(weeks=number) for number in range(weeks)]
    due = {f"week{number}": Key.objects.filter(due_in_week(start, now)) for number, start in enumerate(starts)}
    counted = _counted(**due)
    long = [name for name in due if counted[name] > COUNTED]
    estimated = dict(zip(long, estimate_each([due[name] for name in long]), strict=True))
    return [
        Week(starts_on=start, count=max(counted[name], estimated.get(name, 0)), is_estimate=name in estimated)
        for name, start in zip(due, starts, strict=True)
    ]


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


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What depends on a key, and what it depends on."""

    consumers: Sequence[KeyConsumer]
    above: Sequence[KeyParent]
    below: Sequence[KeyParent]  # the first of them
    below_count: int


def surroundings(key: Key, count: int) -> Surroundings:
    """Return the services that use a key and the keys above it, and `count` of those below it. Queries: 4."""
    below = KeyParent.objects.filter(parent=key).select_related("child")
    return Surroundings(
        consumers=list(KeyConsumer.objects.filter(key=key).select_related("service")),
        above=list(KeyParent.objects.filter(child=key).select_related("parent")),
        below=list(below.order_by("child__name")[:count]),
        below_count=below.count(),
    )


def uncovered_services() -> Sequence[Service]:
    """Return the services of which no key is known, neither their own nor one they use; the most important first.

    Queries: 1.
    """
    services = Service.objects.filter(
        ~Exists(Key.objects.filter(service=OuterRef("pk"))), ~Exists(KeyConsumer.objects.filter(service=OuterRef("pk")))
    )
    return list(services.select_related("team", "vendor").order_by(F("tier").asc(nulls_last=True), "name"))


def kept_digests() -> dict[bytes, int]:
    """Count the versions that are findable by their material, by the epoch of the digest key. Queries: 1, one scan."""
    kept = KeyVersion.objects.filter(reuse_digest__isnull=False)
    epochs = kept.values_list(Substr("reuse_digest", 1, EPOCH_BYTES, output_field=BinaryField()))
    return {bytes(epoch): count for epoch, count in epochs.annotate(Count("pk")).order_by()}


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
        return keys.filter(search__beginning__startswith=Upper(Value(said)))
    for word in words:
        keys = keys.filter(search__text__contains=Upper(Value(word)))
    return keys
