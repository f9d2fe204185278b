"""What a change of the clauses, or of the threat level, does to the keys: counted over all of them in one statement.

policy.judge() decides once for each combination of what the clauses look at, a few thousand in all; the database joins
those verdicts with the keys. So the policy is written down in one place only, and a million keys take seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import product
from typing import Any

from django.db import connection, transaction

from audit.canonical import JSON
from inventory.finding_effects import ClauseChange, FindingsEffect, findings_effect_of
from inventory.models import Key, PolicyClause, ThreatLevel
from inventory.policy import Facts, Rule, accepted_until, judge
from inventory.selectors import SOON, rules_if
from inventory.states import CAN_BE_OVERDUE
from inventory.terms import Access, Classification, Environment, KeyKind

LISTED_OWNERS = 20
SAMPLE_KEYS = 20
_LOOKED_AT = (
    "kind", "environment", "classification", "access", "created_on", "last_rotated_on", "storage_medium",
    "is_exportable", "runbook_url",
)  # fmt: skip
_COMBINATIONS = (KeyKind.values, ["", *Environment.values], ["", *Classification.values], ["", *Access.values])

# The verdict on each combination; `days` is null where no clause decides. The four facts are one text, so that the
# planner sees one column with few values and hashes the verdicts instead of sorting the keys.
VERDICTS = """
SELECT * FROM unnest(%(words)s::text[], %(days)s::int[], %(codes)s::text[], %(clause_ids)s::bigint[])
    AS v(words, days, code, clause_id)
"""
# Until when the keys that have an exception are accepted; no row for a key that is not.
EXCEPTED = "SELECT * FROM unnest(%(excepted)s::bigint[], %(accepted)s::timestamptz[]) AS e(id, until)"
SAME_COMBINATION = "v.words = k.kind || '|' || k.environment || '|' || k.classification || '|' || k.access"
# 00:00 UTC of the day on which the limit is reached, as policy.judge() has it; null when the age is unknown.
DUE = "(COALESCE(k.last_rotated_on, k.created_on) + v.days)::timestamp AT TIME ZONE 'UTC'"
DECIDED_BY = "CASE WHEN COALESCE(k.last_rotated_on, k.created_on) IS NOT NULL THEN v.{} END"

_EFFECT = f"""
WITH verdict AS ({VERDICTS}), excepted AS ({EXCEPTED}), judged AS (
    SELECT k.id, k.name, k.owner_id, k.state = ANY(%(states)s) AS can_be_late,
           k.rotate_by AS due_before, k.winning_clause_id AS clause_before, {DUE} AS due_after,
           {DECIDED_BY.format("clause_id")} AS clause_after, {DECIDED_BY.format("code")} AS code_after,
           k.accepted_until AS accepted_before, e.until AS accepted_after,
           COALESCE(k.accepted_until, k.rotate_by) AS counts_before, COALESCE(e.until, {DUE}) AS counts_after
      FROM inventory_key k
      JOIN verdict v ON {SAME_COMBINATION}
      LEFT JOIN excepted e ON e.id = k.id
), changed AS MATERIALIZED (
    SELECT *,
           can_be_late AND counts_after <= %(now)s AND (counts_before <= %(now)s) IS NOT TRUE AS becomes_late,
           can_be_late AND counts_before <= %(now)s AND (counts_after <= %(now)s) IS NOT TRUE AS is_late_no_more,
           can_be_late AND due_after > %(now)s AND counts_after <= %(soon)s
               AND (counts_before <= %(soon)s) IS NOT TRUE AS becomes_due_soon
      FROM judged
     WHERE due_before IS DISTINCT FROM due_after OR clause_before IS DISTINCT FROM clause_after
        OR accepted_before IS DISTINCT FROM accepted_after
), counted AS (
    SELECT count(*) AS changed,
           count(*) FILTER (WHERE becomes_late) AS become_late,
           count(*) FILTER (WHERE is_late_no_more) AS late_no_more,
           count(*) FILTER (WHERE becomes_due_soon) AS become_due_soon,
           count(*) FILTER (WHERE counts_after < COALESCE(counts_before, 'infinity')) AS get_less_time,
           count(*) FILTER (WHERE counts_before < COALESCE(counts_after, 'infinity')) AS get_more_time,
           count(DISTINCT owner_id) FILTER (WHERE becomes_late OR is_late_no_more OR becomes_due_soon) AS owners
      FROM changed
), owned AS (
    SELECT owner_id,
           count(*) FILTER (WHERE becomes_late) AS become_late,
           count(*) FILTER (WHERE is_late_no_more) AS late_no_more,
           count(*) FILTER (WHERE becomes_due_soon) AS become_due_soon
      FROM changed
     WHERE becomes_late OR is_late_no_more OR becomes_due_soon
     GROUP BY owner_id
     ORDER BY 2 DESC, 3 DESC, 4 DESC, owner_id
     LIMIT {LISTED_OWNERS}
), sampled AS (
    (SELECT 'become_late' AS of, changed.* FROM changed WHERE becomes_late ORDER BY due_after, id LIMIT {SAMPLE_KEYS})
    UNION ALL
    (SELECT 'late_no_more', changed.* FROM changed WHERE is_late_no_more ORDER BY due_before, id LIMIT {SAMPLE_KEYS})
    UNION ALL
    (SELECT 'become_due_soon', changed.* FROM changed WHERE becomes_due_soon ORDER BY due_after, id LIMIT {SAMPLE_KEYS})
), digested AS (
    SELECT k.id / 10000 AS part,
           sha256(convert_to(string_agg(
               concat_ws('|', 'key:' || k.id,
                         COALESCE(to_char(due_before, 'YYYY-MM-DD'), '-'), COALESCE(c.code, '-'),
                         COALESCE(to_char(due_after, 'YYYY-MM-DD'), '-'), COALESCE(code_after, '-'),
                         'until ' || to_char(accepted_before, 'YYYY-MM-DD'),
                         'then until ' || to_char(accepted_after, 'YYYY-MM-DD')),
               E'\\n' ORDER BY k.id), 'UTF8')) AS digest
      FROM changed k LEFT JOIN inventory_policyclause c ON c.id = k.clause_before
     GROUP BY k.id / 10000
)
SELECT (SELECT row_to_json(counted) FROM counted),
       (SELECT json_agg(json_build_array(COALESCE(o.handle, ''), w.owner_id, become_late, late_no_more, become_due_soon)
                        ORDER BY become_late DESC, late_no_more DESC, become_due_soon DESC, w.owner_id)
          FROM owned w LEFT JOIN inventory_owner o ON o.id = w.owner_id),
       (SELECT json_agg(json_build_array(s.of, s.id, s.name, COALESCE(o.handle, ''), s.due_before, s.due_after))
          FROM sampled s LEFT JOIN inventory_owner o ON o.id = s.owner_id),
       (SELECT encode(sha256(COALESCE(string_agg(digest, ''::bytea ORDER BY part), ''::bytea)), 'hex') FROM digested)
"""  # noqa: S608 - made of our own words


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many keys become late, are late no more, and become due within 30 days that were not before."""

    become_late: int
    late_no_more: int
    become_due_soon: int


@dataclass(frozen=True)
class OwnerShare:
    """What a change does to the keys of one owner; the owner "" is nobody."""

    owner: str
    owner_id: int | None
    shares: Shares


@dataclass(frozen=True)
class SampledKey:
    pk: int
    name: str
    owner: str
    due_before: datetime | None
    due_after: datetime | None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a change of the policy does to the keys, at one instant."""

    changed: int  # keys that get another date, or the same one by another clause
    get_less_time: int
    get_more_time: int
    shares: Shares
    owners: int  # of those three kinds of keys; nobody is no owner
    by_owner: Sequence[OwnerShare]  # the 20 with the most
    samples: Mapping[str, Sequence[SampledKey]]  # by the name of the share, up to 20 keys each
    changes_digest: str  # SHA-256 over (key, date and clause before, date and clause after); see docs/policies.md
    findings: FindingsEffect = field(default_factory=FindingsEffect)

    @property
    def digest(self) -> str:
        """Return what tells this effect apart from others: of the dates alone, unless some finding opens or closes."""
        if not self.findings.by_code:
            return self.changes_digest
        return sha256(f"{self.changes_digest}|{self.findings.digest}".encode()).hexdigest()

    @property
    def facts(self) -> dict[str, JSON]:
        """Return what the event of the change says of it."""
        return {
            "keys_changed": self.changed,
            "keys_became_late": self.shares.become_late,
            "keys_late_no_more": self.shares.late_no_more,
            "keys_became_due_soon": self.shares.become_due_soon,
            "keys_with_less_time": self.get_less_time,
            "keys_with_more_time": self.get_more_time,
            "keys_sha256": self.changes_digest,
            "findings_opened": self.findings.opens,
            "findings_closed": self.findings.closes,
        }


def simulate(*, clause: PolicyClause | None = None, threat: ThreatLevel | None = None, now: datetime) -> Effect:
    """Return what saving the given clause, or threat level, would do to the keys. Nothing is written.

    The object holds the new values and need not be saved. A clause that is not in force is one that is retired. No
    finding follows from a longest age, so none from the threat level. Queries: 3 or 4; of a clause that is stored
    already 1 more, and those of findings_effect_of().
    """
    return effect_of(rules_if(clause=clause, threat=threat), now, _change_to(clause) if clause else None)


def _change_to(clause: PolicyClause) -> ClauseChange:
    stored = PolicyClause.objects.filter(pk=clause.pk, is_in_force=True).first() if clause.pk else None
    return ClauseChange(stored.terms if stored else None, clause.terms if clause.is_in_force else None)


@transaction.atomic
def effect_of(rules: Sequence[Rule], now: datetime, change: ClauseChange | None = None) -> Effect:
    """Compare what the keys' records say with what these rules say, and the findings with those after the change.

    Queries: 3, one of them a scan of all keys, and those of findings_effect_of().
    """
    parameters = verdicts(rules) | {"now": now, "soon": now + SOON, "states": [state.value for state in CAN_BE_OVERDUE]}
    with connection.cursor() as cursor:
        be_patient(cursor)
        cursor.execute(_EFFECT, parameters)
        counts, owners, samples, digest = cursor.fetchone()
    return Effect(
        changed=counts["changed"],
        get_less_time=counts["get_less_time"],
        get_more_time=counts["get_more_time"],
        shares=_shares(counts["become_late"], counts["late_no_more"], counts["become_due_soon"]),
        owners=counts["owners"],
        by_owner=[OwnerShare(handle, pk, _shares(*numbers)) for handle, pk, *numbers in owners or ()],
        samples=_samples(samples or ()),
        changes_digest=digest,
        findings=findings_effect_of(change) if change else FindingsEffect(),
    )


def be_patient(cursor: Any) -> None:  # noqa: ANN401 - a cursor of Django's or the driver's
    """Let this transaction take as long as all keys take; web's own limit is meant for pages."""
    cursor.execute("SET LOCAL statement_timeout = '300s'")


def verdicts(rules: Sequence[Rule]) -> dict[str, Any]:
    """Return the parameters of VERDICTS and EXCEPTED: what these rules decide for every combination of facts that a key
    can have, and until when they let the keys be that have an exception. Queries: 1 where there are such keys.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("words", "days", "codes", "clause_ids")}
    for words in product(*_COMBINATIONS):
        winning = judge(_facts(*words), rules).winning
        decided = (winning.limit.days, winning.code, winning.clause_id) if winning else (None, None, None)
        for column, said in zip(columns.values(), ("|".join(words), *decided), strict=True):
            column.append(said)
    return columns | _excepted(rules)


def _excepted(rules: Sequence[Rule]) -> dict[str, Any]:
    pks = {pk for rule in rules for pk in rule.excepted}
    keys = Key.objects.filter(pk__in=pks).only(*_LOOKED_AT) if pks else ()
    accepted = {key.pk: accepted_until(key.facts, rules, key.pk) for key in keys}
    standing = {pk: until for pk, until in accepted.items() if until is not None}
    return {"excepted": list(standing), "accepted": list(standing.values())}


def _facts(kind: str, environment: str, classification: str, access: str) -> Facts:
    return Facts(
        kind=kind,
        environment=environment,
        classification=classification,
        access=access,
        created_on=None,
        last_rotated_on=None,
    )


def _shares(become_late: int, late_no_more: int, become_due_soon: int) -> Shares:
    return Shares(become_late=become_late, late_no_more=late_no_more, become_due_soon=become_due_soon)


def _samples(rows: Sequence[Sequence[Any]]) -> dict[str, list[SampledKey]]:
    found: dict[str, list[SampledKey]] = {"become_late": [], "late_no_more": [], "become_due_soon": []}
    for of, pk, name, owner, before, after in rows:
        found[of].append(SampledKey(pk, name, owner, _instant(before), _instant(after)))
    for keys in found.values():
        keys.sort(key=lambda key: (key.due_after or key.due_before, key.pk))
    return found


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
