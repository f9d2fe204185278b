"""Every read of exceptions to clauses."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db.models.functions import JSONObject

from inventory.models import ExceptionLimit, ExceptionState, Key, PolicyClause, PolicyException
from inventory.policy import Limit, covers

# What stands. What has run out and nobody has closed yet is among it: its moment lies behind and says so.
STANDING = PolicyException.objects.filter(state=ExceptionState.STANDING).order_by()
UNTIL = STANDING.values(when=JSONObject(key="key_id", until="until"))


def by_key(standing: Sequence[Mapping[str, Any]]) -> dict[int, datetime]:
    """Return until when each key is excepted, out of rows of UNTIL."""
    return {one["key"]: datetime.fromisoformat(one["until"]).astimezone(UTC) for one in standing}


def binding_clauses(key: Key) -> Sequence[PolicyClause]:
    """Return the clauses in force that speak of a key and demand something that can be broken, by code. Queries: 1."""
    demanding = PolicyClause.objects.filter(is_in_force=True).exclude(
        longest_age_days=None, smallest_strength_bits=None, forbidden_media=[], not_exportable=False,
        runbook_required=False, separate_per_environment=False, separate_from_production=False,
    )  # fmt: skip
    return [clause for clause in demanding.order_by("code") if covers(clause.scope, key.facts)]


def exceptions_of(key: Key) -> Sequence[PolicyException]:
    """Return the exceptions that stand for a key, the first to end first. Queries: 1."""
    return list(STANDING.filter(key=key).select_related("clause").order_by("until", "pk"))


def exceptions_by_key(pks: Collection[int]) -> dict[int, dict[int, datetime]]:
    """Return the clauses from which these keys are excepted, and until when: by key, by clause. Queries: 1."""
    found: defaultdict[int, dict[int, datetime]] = defaultdict(dict)
    for key, clause, until in STANDING.filter(key__in=pks).values_list("key", "clause", "until"):
        found[key][clause] = until
    return found


def exception_limits() -> list[Limit]:
    """Return how long exceptions may last. Queries: 1."""
    return [limit.terms for limit in ExceptionLimit.objects.all()]
