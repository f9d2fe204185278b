"""Which clause decides when a key must be rotated: facts and clauses in, date and reasons out. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

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


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a clause speaks of. An empty set covers everything; the sets are all of them conditions."""

    kinds: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    classifications: frozenset[str] = frozenset()
    access: frozenset[str] = frozenset()  # of production, customer


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One clause that demands a longest age."""

    clause_id: int
    label: str  # "S4 Key Management"
    longest_age: timedelta
    scope: Scope


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
    """Apply the rules: the shortest longest age wins; of equal ones the first given.

    The age counts from the last rotation, or from creation when there was none. `rotate_by` is 00:00 UTC of the day on
    which the longest age is reached: from that instant on the key is overdue. It is None when no rule covers the key or
    when its age is unknown. Source: R23, R79, R210, R211; strictest wins by design.md §3.
    """
    applying = sorted((rule for rule in rules if covers(rule.scope, facts)), key=lambda rule: rule.longest_age)
    if not applying:
        return Verdict(rotate_by=None, winning=None, losing=())
    winning, *losing = applying
    since = facts.last_rotated_on or facts.created_on
    rotate_by = datetime.combine(since + winning.longest_age, time(), tzinfo=UTC) if since else None
    return Verdict(rotate_by=rotate_by, winning=winning, losing=tuple(losing))


def makes_less_late(before: datetime | None, after: datetime | None) -> bool:
    """Say whether a change of date gives the key more time: a later date, or none where there was one."""
    return before is not None and (after is None or after > before)
