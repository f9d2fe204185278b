"""What the clauses demand of a key besides an age, and the key does not meet. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from inventory.algorithms import clause_strength
from inventory.findings.catalogue import Finding
from inventory.policy import Breach, Clause, Demand, Facts, breaches, covers
from inventory.terms import Environment, KeyKind, StorageMedium

if TYPE_CHECKING:
    from inventory.models import Key

_PLACES = {
    StorageMedium.SOURCE_CONTROL: "kept-in-source-control",
    StorageMedium.ENVIRONMENT_VARIABLE: "kept-in-environment-variable",
    StorageMedium.KUBERNETES_SECRET: "kept-in-kubernetes-secret",
}


class Peers(NamedTuple):
    """Keys with the same material, of one environment and kind; `name` is one of them."""

    environment: str
    kind: str
    name: str


class Demands:
    """The clauses that demand more than an age; remembers what it has judged, because many keys are alike."""

    def __init__(self, clauses: Sequence[Clause]) -> None:
        self._clauses = [clause for clause in clauses if demands_more(clause)]
        self._judged: dict[Facts, list[Breach]] = {}

    def broken(self, facts: Facts) -> list[Breach]:
        if facts not in self._judged:
            self._judged[facts] = breaches(facts, self._clauses)
        return self._judged[facts]

    def permitting(self, facts: Facts) -> list[Clause]:
        """Return the clauses that permit, in so many words, where the key is kept."""
        return [one for one in self._clauses if facts.storage_medium in one.allowed_media and covers(one.scope, facts)]

    def parting(self, facts: Facts, kind: str) -> list[Clause]:
        """Return the clauses by which keys of that kind, and not this one, have other material than production."""
        return [
            one
            for one in self._clauses
            if one.separate_from_production and kind in one.scope.kinds and not covers(one.scope, facts)
        ]


def demands_more(clause: Clause) -> bool:
    """Say whether a clause can open a finding: whether it demands, or permits, anything but an age."""
    return bool(
        clause.smallest_strength_bits
        or clause.forbidden_media
        or clause.allowed_media
        or clause.not_exportable
        or clause.runbook_required
        or clause.separate_per_environment
        or clause.separate_from_production
    )


def of_clauses(
    key: "Key", demands: Demands, peers: Sequence[Peers], excepted: Mapping[int, datetime]
) -> Iterator[Finding]:
    """Return a finding for each demand that the key does not meet, with all the clauses that make it. No queries.

    `excepted` says until when the key is excepted from which clause, by its id. A finding is accepted only as long as
    that holds for every clause that makes it.
    """
    facts = _facts(key, peers)
    broken: dict[Demand, list[Clause]] = {}
    for breach in demands.broken(facts):
        broken.setdefault(breach.demand, []).append(breach.clause)
    for demand, clauses in broken.items():
        untils = [excepted.get(clause.clause_id) for clause in clauses]
        accepted = None if None in untils else min(until for until in untils if until)
        for found in _finding(demand, clauses, facts, demands, peers):
            yield replace(found, accepted_until=accepted)
    if Demand.SEPARATE_FROM_PRODUCTION not in broken and key.environment == Environment.PRODUCTION:
        yield from _equal_to_backups(facts, demands, peers)


def _facts(key: "Key", peers: Sequence[Peers]) -> Facts:
    return Facts(
        kind=key.kind,
        environment=key.environment,
        classification=key.classification,
        access=key.access,
        created_on=None,
        last_rotated_on=None,
        storage_medium=key.storage_medium,
        is_exportable=key.is_exportable,
        has_runbook=bool(key.runbook_url),
        strength_bits=clause_strength(key.algorithm, key.size_bits),
        same_material_in=frozenset(
            peer.environment for peer in peers if (peer.environment, peer.kind) != (key.environment, key.kind)
        ),
    )


def _finding(
    demand: Demand, clauses: Sequence[Clause], facts: Facts, demands: Demands, peers: Sequence[Peers]
) -> Iterator[Finding]:
    said: dict[str, str | int] = {"clauses": _named(clauses)}
    match demand:
        case Demand.STRENGTH:
            least = max(clause.smallest_strength_bits or 0 for clause in clauses)
            yield Finding(code="weaker-than-demanded", facts=said | {"bits": facts.strength_bits or 0, "least": least})
        case Demand.MEDIUM:
            yield _place(facts, said, demands.permitting(facts))
        case Demand.NOT_EXPORTABLE:
            yield Finding(code="exportable", facts=said)
        case Demand.RUNBOOK:
            yield Finding(code="without-runbook", facts=said)
        case Demand.SEPARATE_PER_ENVIRONMENT:
            yield _reused(facts, said, peers)
        case Demand.SEPARATE_FROM_PRODUCTION:
            equal = [p.name for p in peers if p.kind != facts.kind and p.environment == Environment.PRODUCTION]
            if equal:
                yield Finding(code="backup-equals-production", facts=said | {"peer": min(equal)})


def _place(facts: Facts, said: dict[str, str | int], permitting: Sequence[Clause]) -> Finding:
    medium = StorageMedium(facts.storage_medium)
    permitted = (
        f" It is permitted by {_named(permitting)}; all clauses hold at once, and the strictest wins."
        if permitting
        else ""
    )
    code = _PLACES.get(medium, "kept-in-forbidden-place")
    return Finding(code=code, facts=said | {"permitted": permitted, "place": str(medium.label)})


def _reused(facts: Facts, said: dict[str, str | int], peers: Sequence[Peers]) -> Finding:
    elsewhere = [peer for peer in peers if peer.environment not in {"", facts.environment}]
    environments = ", ".join(sorted({facts.environment, *(peer.environment for peer in elsewhere)}))
    peer = min(peer.name for peer in elsewhere)
    return Finding(code="reused-across-environments", facts=said | {"environments": environments, "peer": peer})


def _equal_to_backups(facts: Facts, demands: Demands, peers: Sequence[Peers]) -> Iterator[Finding]:
    """Find it on the key of production too: whoever looks there must see that a backup can be opened with it.

    A backup key of production is no such key: it would be found equal to itself.
    """
    backups = [peer.name for peer in peers if peer.kind == KeyKind.BACKUP_KEY != facts.kind]
    clauses = demands.parting(facts, KeyKind.BACKUP_KEY)
    if backups and clauses:
        yield Finding(code="backup-equals-production", facts={"clauses": _named(clauses), "peer": min(backups)})


def _named(clauses: Sequence[Clause]) -> str:
    """Name clauses as people look them up: "R22, S0 §5 Key Management; R208, S4 Key Management"."""
    return "; ".join(f"{one.requirement}, {one.label}" if one.requirement else one.label for one in clauses)
