"""What the tables say, in the words of the log, so that the two can be compared."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from itertools import chain
from typing import Any

from django.db.models import Model, QuerySet

from inventory.models import (
    Finding,
    Integration,
    Key,
    KeyConsumer,
    KeyParent,
    KeyVersion,
    Owner,
    PolicyClause,
    PolicyException,
    RotationEvidence,
    Service,
    Tenant,
    ThreatLevel,
    Vendor,
)
from inventory.replay.of_keys import MOMENTS, finding_name, version_name
from inventory.replay.told import Fields, moment
from inventory.services.clauses import CLAUSE_FACTS, LEVEL_FACTS
from inventory.services.keys import FACTS, PERIOD, plain
from inventory.services.relations import Relations
from inventory.terms import Relation

ROWS_AT_ONCE = 1_000
VERSION_FIELDS = (
    "state", "generated_on", "activated_at", "suspended_at", "deactivated_at", "compromised_at", "destroyed_at",
    "revoked_at", "revocation_reason", "weaknesses", "expires_on",
)  # fmt: skip
EVIDENCE_FIELDS = ("rotated_on", "text", "url", "reported_by", "reported_at")
EXCEPTION_FIELDS = (
    "clause", "compensating_control", "residual_risk", "reason", "granted_at", "until", "longest_days", "request",
    "state", "closed_at", "closed_by", "closed_because",
)  # fmt: skip
_REFERS = {"clause": "clause", "closed_by": "user", "reported_by": "user"}


@dataclass(slots=True)
class Stored:
    """One record as the tables have it."""

    ref: str
    label: str
    fields: Fields
    parts: dict[str, Fields] = field(default_factory=dict)


@cache
def defaults() -> Fields:
    """Return what a key has of which nobody has said anything."""
    return _key_fields(Key()) | {name: [] for name in Relations().snapshot}


@cache
def part_defaults() -> dict[str, Fields]:
    """Return the same for the parts of a key, by the first word of their names."""
    return {
        "version": _fields(KeyVersion(), VERSION_FIELDS),
        "evidence": _fields(RotationEvidence(), EVIDENCE_FIELDS),
        "exception": _fields(PolicyException(), EXCEPTION_FIELDS),
        "finding": {},
    }


def keys(pks: Collection[int] | None, *, first: int = 0, last: int | None = None) -> Iterator[Stored]:
    """Yield the keys by number: those given, or those from first to last. Queries: 7 for each 1,000."""
    rows = Key.objects.order_by("pk") if pks is None else Key.objects.filter(pk__in=pks).order_by("pk")
    rows = rows if last is None else rows.filter(pk__lte=last)
    while found := list(rows.filter(pk__gte=first)[:ROWS_AT_ONCE]):
        yield from _whole(found)
        first = found[-1].pk + 1


def highest_key() -> int:
    """Return the highest number of a key; one query."""
    return Key.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def others() -> Iterator[Stored]:
    """Yield every record that is no key. Queries: 7."""
    return chain(
        _owners(), _services(), _named("tenant", Tenant), _named("integration", Integration), _vendors(), _policy()
    )


def _whole(found: list[Key]) -> Iterator[Stored]:
    stored = {key.pk: Stored(key.ref, key.name, _key_fields(key)) for key in found}
    _add_relations(stored)
    for version in KeyVersion.objects.filter(key__in=stored).order_by("pk"):
        stored[version.key_id].parts[version_name(version.number)] = _fields(version, VERSION_FIELDS)
    for evidence in RotationEvidence.objects.filter(key__in=stored):
        stored[evidence.key_id].parts[evidence.ref] = _fields(evidence, EVIDENCE_FIELDS)
    for exception in PolicyException.objects.filter(key__in=stored):
        stored[exception.key_id].parts[exception.ref] = _fields(exception, EXCEPTION_FIELDS)
    times: Counter[tuple[int, str]] = Counter()
    for finding in Finding.objects.filter(key__in=stored).order_by("pk"):
        times[finding.key_id, finding.code] += 1
        name = finding_name(finding.code, times[finding.key_id, finding.code])
        stored[finding.key_id].parts[name] = _fields(finding, ("opened_at", "closed_at"))
    yield from stored.values()


def _add_relations(stored: dict[int, Stored]) -> None:
    consumers: defaultdict[int, dict[int, bool]] = defaultdict(dict)
    for key, service, may in KeyConsumer.objects.filter(key__in=stored).values_list("key", "service", "is_approved"):
        consumers[key][service] = may
    parents: defaultdict[int, set[tuple[int, str]]] = defaultdict(set)
    for child, parent, relation in KeyParent.objects.filter(child__in=stored).values_list(
        "child", "parent", "relation"
    ):
        parents[child].add((parent, relation))
    for pk, one in stored.items():
        related = Relations(consumers=consumers[pk], parents=frozenset(parents[pk]))
        one.fields |= related.snapshot
        if strange := sorted({relation for _, relation in parents[pk]} - set(Relation.values)):
            one.fields["wrapped_by"] = strange  # cannot be: the database refuses any other word


def _key_fields(key: Key) -> Fields:
    fields: Fields = {name: plain(key, name) for name in (*FACTS, *PERIOD, "winning_clause")}
    fields |= {
        name: _said(getattr(key, name)) for name in (*MOMENTS, "rotate_by", "accepted_until", "flagged_overdue_at")
    }
    return fields | {name: getattr(key, name) for name in ("state", "current_number", "revision")}


def _fields(row: Model, names: Collection[str]) -> Fields:
    return {name: _reference(row, name) if name in _REFERS else _said(getattr(row, name)) for name in names}


def _reference(row: Model, name: str) -> str | None:
    pk = getattr(row, f"{name}_id")
    return f"{_REFERS[name]}:{pk}" if pk else None


def _said(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, datetime):
        return moment(value)
    return value.isoformat() if isinstance(value, date) else value


def _owners() -> Iterator[Stored]:
    for owner in Owner.objects.order_by("pk").iterator():
        fields = {
            "kind": owner.kind,
            "has_mail": bool(owner.mail),
            "is_active": owner.is_active,
            "user": f"user:{owner.user_id}" if owner.user_id else None,
            "revision": owner.revision,
        }
        yield Stored(owner.ref, owner.handle, fields)


def _services() -> Iterator[Stored]:
    for service in Service.objects.order_by("pk").iterator():
        fields = {name: getattr(service, name) for name in ("name", "description", "tier", "data_classes", "revision")}
        fields["team"] = f"owner:{service.team_id}" if service.team_id else None
        fields["vendor"] = f"vendor:{service.vendor_id}" if service.vendor_id else None
        yield Stored(service.ref, service.name, fields)


def _named(kind: str, model: type[Tenant] | type[Integration]) -> Iterator[Stored]:
    rows: QuerySet[Any] = model._default_manager.order_by("pk")
    for pk, name in rows.values_list("pk", "name").iterator():
        yield Stored(f"{kind}:{pk}", name, {"name": name})


def _vendors() -> Iterator[Stored]:
    for vendor in Vendor.objects.order_by("pk").iterator():
        yield Stored(vendor.ref, vendor.name, {name: getattr(vendor, name) for name in ("name", "notes", "revision")})


def _policy() -> Iterator[Stored]:
    for clause in PolicyClause.objects.order_by("pk"):
        names = ("code", "is_in_force", "revision", *CLAUSE_FACTS)
        yield Stored(clause.ref, clause.label, {name: getattr(clause, name) for name in names})
    for level in ThreatLevel.objects.all():
        yield Stored(level.ref, "the threat level", _fields(level, (*LEVEL_FACTS, "changed_at", "revision")))


@cache
def other_defaults() -> dict[str, Fields]:
    """Return what a record of each kind has of which nobody has said anything."""
    clause, level, service, vendor = PolicyClause(), ThreatLevel(), Service(), Vendor()
    return {
        "owner": {"has_mail": False, "user": None},
        "service": {name: getattr(service, name) for name in ("description", "tier", "data_classes")}
        | {"team": None, "vendor": None},
        "tenant": {},
        "integration": {},
        "vendor": {"notes": vendor.notes},
        "clause": {name: getattr(clause, name) for name in CLAUSE_FACTS},
        "threat_level": {"changed_at": None} | {name: getattr(level, name) for name in LEVEL_FACTS},
    }
