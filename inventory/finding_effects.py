"""Which findings a change of a clause opens and closes, before it is made: by the rules that find them, set by set.

findings.of_clauses() judges once for each set of facts that keys have in common, under the clauses as they are and as
they would be; the database joins the difference with the keys and with what stands open. So the rules are written down
in one place only, and what is looked at is what refresh_findings() looks at when the clause has been changed.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connection

from inventory.examining import touched_by_clause
from inventory.findings import Definition, Demands, Peers, definition, demands_more, of_clauses
from inventory.models import Key
from inventory.policy import Clause
from inventory.selectors import DESTROYED_STATES, clauses_in_force

SAMPLE = 5  # keys that are named, of each code and direction
NO_FINDINGS = sha256().hexdigest()

# What the clauses look at besides dates, as one text: keys of the same text have the same findings by the clauses.
_FACTS = """
WITH touched (id) AS ({touched}), facts AS MATERIALIZED (
    SELECT k.id, k.name,
           jsonb_build_array(k.kind, k.environment, k.classification, k.access, k.storage_medium, k.is_exportable,
                             k.runbook_url <> '', k.algorithm, k.size_bits, {peers})::text AS said
      FROM touched JOIN inventory_key k USING (id)
)
"""
# Environments and kinds that hold the material of a key, its own among them, as examining has it.
_PEERS = """
(SELECT jsonb_agg(DISTINCT jsonb_build_array(p.environment, p.kind))
   FROM inventory_keyversion own
   JOIN inventory_keyversion same ON same.reuse_digest = own.reuse_digest AND NOT same.state = ANY(%s)
   JOIN inventory_key p ON p.id = same.key_id AND p.current_number = same.number
  WHERE own.key_id = k.id AND own.number = k.current_number)
"""
_NO_PEERS = "NULL::jsonb"
_ALIKE = "SELECT DISTINCT said FROM facts"
# What opens and stands open already, or closes and does not stand open, is no change.
_CHANGED = f"""
, changed AS MATERIALIZED (
    SELECT f.id, f.name, c.code, c.opens
      FROM facts f
      JOIN unnest(%s::text[], %s::text[], %s::boolean[]) AS c(said, code, opens) USING (said)
      LEFT JOIN inventory_finding o ON o.key_id = f.id AND o.code = c.code AND o.closed_at IS NULL
     WHERE c.opens = (o.id IS NULL)
), counted AS (
    SELECT code, opens, count(*) AS keys FROM changed GROUP BY code, opens
), sampled AS (
    SELECT code, opens, json_agg(json_build_array(id, name) ORDER BY id) AS sample
      FROM (SELECT *, row_number() OVER (PARTITION BY code, opens ORDER BY id) AS place FROM changed) numbered
     WHERE place <= {SAMPLE}
     GROUP BY code, opens
), digested AS (
    SELECT id / 10000 AS part,
           sha256(convert_to(string_agg(concat_ws('|', 'key:' || id, CASE WHEN opens THEN 'opens' ELSE 'closes' END,
                                                  code), E'\\n' ORDER BY id, code COLLATE "C"), 'UTF8')) AS digest
      FROM changed GROUP BY id / 10000
)
SELECT (SELECT json_agg(json_build_array(code, opens, keys, sample)) FROM counted JOIN sampled USING (code, opens)),
       (SELECT encode(sha256(COALESCE(string_agg(digest, ''::bytea ORDER BY part), ''::bytea)), 'hex') FROM digested)
"""  # noqa: S608 - made of our own words


class ClauseChange(NamedTuple):
    """A clause as it is and as it would be; None for one that is not there before, or not in force afterwards."""

    before: Clause | None
    after: Clause | None

    @property
    def can_change_findings(self) -> bool:
        """Say whether the two differ in what opens findings: in neither words, ages, events nor permissions."""
        before, after = (_demanding(one) if one and demands_more(one) else None for one in self)
        return before != after


class SampledKey(NamedTuple):
    pk: int
    name: str


@dataclass(frozen=True, kw_only=True)
class CodeChange:
    """How many findings of one code open and close, each on another key, and the first keys of both."""

    code: str
    opens: int = 0
    closes: int = 0
    opened: Sequence[SampledKey] = ()
    closed: Sequence[SampledKey] = ()

    @property
    def definition(self) -> Definition:
        return definition(self.code)


@dataclass(frozen=True, kw_only=True)
class FindingsEffect:
    """What a change of a clause does to the findings, at one instant."""

    by_code: Sequence[CodeChange] = ()  # the worst first
    digest: str = field(default=NO_FINDINGS)  # SHA-256 over (key, opens or closes, code); see docs/policies.md

    @property
    def opens(self) -> int:
        return sum(one.opens for one in self.by_code)

    @property
    def closes(self) -> int:
        return sum(one.closes for one in self.by_code)


def findings_effect_of(change: ClauseChange) -> FindingsEffect:
    """Compare what stands open with what would, were the clause as it would be. Nothing is written.

    Whether the clause is stored as it was or as it would be makes no difference; what is found by time alone is not
    looked at. Queries: none where no demand changes; else 3, 1 more where it demands a strength, and the last one only
    where some key has other findings. Two of them read the keys with which the clause could find fault.
    """
    if not change.can_change_findings:
        return FindingsEffect()
    try:
        touched, parameters = touched_by_clause(*change).order_by().query.sql_with_params()
    except EmptyResultSet:  # no key could be at fault, as the clauses alone say
        return FindingsEffect()
    separates = any(one and (one.separate_per_environment or one.separate_from_production) for one in change)
    facts = _FACTS.format(touched=touched, peers=_PEERS if separates else _NO_PEERS)
    given = [*parameters, *([[state.value for state in DESTROYED_STATES]] if separates else [])]
    with connection.cursor() as cursor:
        cursor.execute(facts + _ALIKE, given)
        different = list(_differences([said for (said,) in cursor.fetchall()], change))
        if not different:
            return FindingsEffect()
        cursor.execute(facts + _CHANGED, [*given, *map(list, zip(*different, strict=True))])
        counted, digest = cursor.fetchone()
    return FindingsEffect(by_code=_by_code(counted or ()), digest=digest)


def _demanding(clause: Clause) -> Clause:
    return replace(
        clause, clause_id=0, label="", source="", requirement="", longest_age=None, on_events=(),
        allowed_media=frozenset(),
    )  # fmt: skip


def _differences(facts: Sequence[str], change: ClauseChange) -> Iterator[tuple[str, str, bool]]:
    """Yield for each text of facts the codes that its keys have under one set of clauses alone: text, code, opens."""
    changing = {one.clause_id for one in change if one}
    others = [one for one in clauses_in_force() if one.clause_id not in changing]
    before, after = (Demands([*others, one] if one else others) for one in change)
    for said in facts:
        stands, would = _codes(said, before), _codes(said, after)
        for code in sorted(stands ^ would):
            yield said, code, code in would


def _codes(said: str, demands: Demands) -> set[str]:
    *facts, has_runbook, algorithm, size_bits, peers = json.loads(said)
    kind, environment, classification, access, storage_medium, is_exportable = facts
    key = Key(
        kind=kind,
        environment=environment,
        classification=classification,
        access=access,
        storage_medium=storage_medium,
        is_exportable=is_exportable,
        runbook_url="one" if has_runbook else "",
        algorithm=algorithm,
        size_bits=size_bits,
    )
    return {
        found.code for found in of_clauses(key, demands, [Peers(where, what, "") for where, what in peers or ()], {})
    }


def _by_code(counted: Sequence[tuple[str, bool, int, Sequence[Any]]]) -> list[CodeChange]:
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for code, opens, keys, sample in counted:
        count, named = ("opens", "opened") if opens else ("closes", "closed")
        found[code] |= {count: keys, named: [SampledKey(*one) for one in sample]}
    changes = [CodeChange(code=code, **said) for code, said in found.items()]
    return sorted(changes, key=lambda one: (one.definition.severity, one.code))


def findings_facts(effect: FindingsEffect) -> list[Mapping[str, Any]]:
    """Return what a request says of it: by code, counts and the first keys by id and name."""
    return [
        {
            "code": one.code,
            "opens": one.opens,
            "closes": one.closes,
            "opened": [list(key) for key in one.opened],
            "closed": [list(key) for key in one.closed],
        }
        for one in effect.by_code
    ]
