"""What the clauses demand of a key: facts and clauses in; date, reasons and breaches out. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from inventory.terms import Access, Environment

# What a key opens, for a clause about access to some kind of data. "either" counts as each: the strictest reading.
_OPENS: dict[str, frozenset[str]] = {
    Access.PRODUCTION: frozenset({Access.PRODUCTION}),
    Access.CUSTOMER: frozenset({Access.CUSTOMER}),
    Access.BOTH: frozenset({Access.PRODUCTION, Access.CUSTOMER}),
    Access.EITHER: frozenset({Access.PRODUCTION, Access.CUSTOMER}),
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the clauses look at. Empty strings and None mean that nobody has said."""

    kind: str
    environment: str
    classification: str
    access: str
    created_on: date | None
    last_rotated_on: date | None
    # What the demands besides an age look at.
    storage_medium: str = ""
    is_exportable: bool | None = None
    has_runbook: bool | None = None
    strength_bits: int | None = None  # classical, of its algorithm and size: 112 for RSA-2048, 256 for AES-256
    same_material_in: frozenset[str] = frozenset()  # environments of the other records that hold the same material


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a clause speaks of. An empty set covers everything; the sets are all of them conditions."""

    kinds: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    classifications: frozenset[str] = frozenset()
    access: frozenset[str] = frozenset()  # of production, customer


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One clause that demands a longest age, at the threat level of the day."""

    clause_id: int
    label: str  # "S4 Key Management"
    longest_age: timedelta  # in the clause's own words
    scope: Scope
    code: str = ""  # "s4-production-90"
    percent: int = 100  # what the threat level leaves of a longest age, 1 to 100 (R65)
    excepted: Mapping[int, datetime] = field(default_factory=dict, compare=False, hash=False)  # key's id → until when

    @property
    def limit(self) -> timedelta:
        """Return the age that holds now, in whole days rounded down, and never less than one."""
        return timedelta(days=max(1, self.longest_age.days * self.percent // 100))


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One clause as a whole: what it speaks of, and everything that it demands."""

    clause_id: int
    label: str
    source: str  # "S4"
    requirement: str  # "R210"
    scope: Scope
    longest_age: timedelta | None = None
    on_events: tuple[str, ...] = ()
    smallest_strength_bits: int | None = None
    forbidden_media: frozenset[str] = frozenset()
    allowed_media: frozenset[str] = frozenset()  # permitted in so many words; another clause's prohibition wins
    not_exportable: bool = False
    runbook_required: bool = False
    separate_per_environment: bool = False
    separate_from_production: bool = False


class Demand(StrEnum):
    """What a clause can demand besides a rotation. Findings are stored under these words; never rename one."""

    STRENGTH = "strength"
    MEDIUM = "medium"
    NOT_EXPORTABLE = "not_exportable"
    RUNBOOK = "runbook"
    SEPARATE_PER_ENVIRONMENT = "separate_per_environment"
    SEPARATE_FROM_PRODUCTION = "separate_from_production"


@dataclass(frozen=True, kw_only=True)
class Breach:
    """One demand of one clause that a key does not meet."""

    demand: Demand
    clause: Clause


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """When the key must be rotated and by which rule; the losing rules in order of strictness."""

    rotate_by: datetime | None
    winning: Rule | None
    losing: tuple[Rule, ...]


def opens(facts: Facts) -> frozenset[str]:
    """Return what the key gives access to. A key of production opens production, whatever its record says of access."""
    opened = _OPENS.get(facts.access, frozenset())
    return opened | {Access.PRODUCTION} if facts.environment == Environment.PRODUCTION else opened


def covers(scope: Scope, facts: Facts) -> bool:
    """Say whether a clause of that scope speaks of this key."""
    return (
        (not scope.kinds or facts.kind in scope.kinds)
        and (not scope.environments or facts.environment in scope.environments)
        and (not scope.classifications or facts.classification in scope.classifications)
        and (not scope.access or bool(scope.access & opens(facts)))
    )


def judge(facts: Facts, rules: Iterable[Rule]) -> Verdict:
    """Apply the rules: the shortest limit wins; of equal ones the first given.

    The age counts from the last rotation, or from creation when there was none. `rotate_by` is 00:00 UTC of the day on
    which the longest age is reached: from that instant on the key is overdue. It is None when no rule covers the key or
    when its age is unknown. Source: R23, R65, R79, R210, R211; strictest wins by design.md §3.
    """
    applying = sorted((rule for rule in rules if covers(rule.scope, facts)), key=lambda rule: rule.limit)
    if not applying:
        return Verdict(rotate_by=None, winning=None, losing=())
    winning, *losing = applying
    since = facts.last_rotated_on or facts.created_on
    rotate_by = datetime.combine(since + winning.limit, time(), tzinfo=UTC) if since else None
    return Verdict(rotate_by=rotate_by, winning=winning, losing=tuple(losing))


def accepted_until(facts: Facts, rules: Iterable[Rule], key: int) -> datetime | None:
    """Return until when the lateness of a key, given by its id, is accepted: later than its `rotate_by`, or None.

    An exception holds for one clause. A key that is late by several counts again from the first instant at which one of
    them demands its rotation and no exception stands for that one.
    """
    since = facts.last_rotated_on or facts.created_on
    applying = [rule for rule in rules if covers(rule.scope, facts)]
    if since is None or not any(key in rule.excepted for rule in applying):
        return None
    dues = [(datetime.combine(since + rule.limit, time(), tzinfo=UTC), rule.excepted.get(key)) for rule in applying]
    counts_from = min(max(due, until or due) for due, until in dues)
    return counts_from if counts_from > min(due for due, _ in dues) else None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How long an exception may last for the keys of a scope."""

    label: str
    longest_days: int
    scope: Scope


def longest_exception(facts: Facts, limits: Iterable[Limit]) -> Limit | None:
    """Return the shortest of the limits that speak of the key; None where nothing limits, and so nothing is allowed."""
    return min((one for one in limits if covers(one.scope, facts)), key=lambda one: one.longest_days, default=None)


def makes_less_late(before: datetime | None, after: datetime | None) -> bool:
    """Say whether a change of date gives the key more time: a later date, or none where there was one."""
    return before is not None and (after is None or after > before)


def breaches(facts: Facts, clauses: Iterable[Clause]) -> list[Breach]:
    """Return which demands besides an age the key does not meet, in the order of the clauses and of Demand.

    What nobody has said breaks nothing here: that the record is silent is a finding of its own.
    Source: R22, R28, R33, R42, R72, R78, R88, R139, R144, R186, R208.
    """
    return [
        Breach(demand=demand, clause=clause)
        for clause in clauses
        if covers(clause.scope, facts)
        for demand, is_broken in _BROKEN.items()
        if is_broken(facts, clause)
    ]


def _is_too_weak(facts: Facts, clause: Clause) -> bool:
    if clause.smallest_strength_bits is None or facts.strength_bits is None:
        return False
    return facts.strength_bits < clause.smallest_strength_bits


def _is_shared_between_environments(facts: Facts, clause: Clause) -> bool:
    elsewhere = facts.same_material_in - {"", facts.environment}
    return clause.separate_per_environment and bool(facts.environment) and bool(elsewhere)


_BROKEN: Mapping[Demand, Callable[[Facts, Clause], bool]] = {
    Demand.STRENGTH: _is_too_weak,
    Demand.MEDIUM: lambda facts, clause: facts.storage_medium in clause.forbidden_media,
    Demand.NOT_EXPORTABLE: lambda facts, clause: clause.not_exportable and facts.is_exportable is True,
    Demand.RUNBOOK: lambda facts, clause: clause.runbook_required and facts.has_runbook is False,
    Demand.SEPARATE_PER_ENVIRONMENT: _is_shared_between_environments,
    Demand.SEPARATE_FROM_PRODUCTION: lambda facts, clause: (
        clause.separate_from_production and Environment.PRODUCTION in facts.same_material_in
    ),
}
