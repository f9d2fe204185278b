"""Rules of approval as the house has them: never below what the release asks, whatever stands in the row."""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from rotation.models import ApprovalRule


class Demand(NamedTuple):
    """What a request for an operation needs from now on."""

    votes: Mapping[str, int]  # by role, in the order of the release, then further roles
    lifetime: timedelta


def rule_of(operation: str) -> ApprovalRule | None:
    """Return what the house has decided about an operation; None where the release's word holds. Queries: 1."""
    return ApprovalRule.objects.filter(operation=operation).first()


def demanded(rule: ApprovalRule | None, *, floor: Mapping[str, int], lifetime: timedelta) -> Demand:
    """Return the stricter of the rule and the release: of each role the more votes, of the times the shorter one.

    A row that somebody lowered past the service, or that a later release has overtaken, therefore lowers nothing.
    """
    if rule is None:
        return Demand(dict(floor), lifetime)
    votes = {role: max(floor.get(role, 0), rule.votes.get(role, 0)) for role in dict.fromkeys([*floor, *rule.votes])}
    if rule.lifetime_hours is None:
        return Demand(votes, lifetime)
    return Demand(votes, min(lifetime, timedelta(hours=rule.lifetime_hours)))
