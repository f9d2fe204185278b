"""Every read that examining keys for findings needs: a constant number of queries for any number of keys."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, Case, Count, F, Min, Q, QuerySet, Value, When

from inventory.algorithms import clause_strength
from inventory.excepting import exceptions_by_key
from inventory.findings import Demands, Peers, Surroundings, Table, Under, demands_more
from inventory.models import Finding, Key, KeyParent, KeyVersion
from inventory.policy import Clause
from inventory.selectors import DESTROYED_STATES, algorithm_rows, clauses_in_force

# What findings() reads of a key: neither its texts nor anything that grows with them.
_EXAMINED = (
    "name", "kind", "creator_id", "service_id", "created_on", "last_rotated_on", "never_rotated", "environment",
    "classification", "access", "algorithm", "size_bits", "storage_medium", "is_exportable", "runbook_url", "tenant_id",
    "integration_id", "secret_name", "protect_until", "process_until", "state", "owner__handle", "owner__is_active",
)  # fmt: skip


def around_new(now: datetime) -> Surroundings:
    """Return what every key is judged by, and nothing around it: enough for one not registered yet. Queries: 2."""
    return Surroundings(now=now, table=Table(algorithm_rows()), demands=Demands(clauses_in_force()))


def examined(pks: Collection[int], judged_by: Surroundings) -> list[tuple[Key, Surroundings]]:
    """Return keys with all that findings() needs to know. Queries: 6.

    `judged_by` is of around_new(); who examines many keys asks for it once.
    """
    is_gone = Case(
        When(Q(owner__is_active=False) | Q(owner__user__is_active=False), then=Value(True)),  # noqa: FBT003
        default=Value(False),  # noqa: FBT003
        output_field=BooleanField(),
    )
    keys = list(
        Key.objects.filter(pk__in=pks)
        .select_related("owner")
        .annotate(is_owner_gone=is_gone)
        .only(*_EXAMINED)
        .order_by("pk")
    )
    under, peers = _under(pks), _peers(pks)
    current, excepted = _current_versions(pks), exceptions_by_key(pks)
    return [
        (
            key,
            replace(
                judged_by,
                under=under.get(key.pk, ()),
                peers=peers.get(key.pk, ()),
                **current.get(key.pk, {}),
                excepted=excepted.get(key.pk, {}),
                is_owner_gone=key.is_owner_gone,  # type: ignore[attr-defined]
            ),
        )
        for key in keys
    ]


def open_findings(pks: Collection[int]) -> Sequence[Finding]:
    """Return what stands open on these keys. Queries: 1, over the partial index."""
    return list(Finding.objects.filter(key__in=pks, closed_at__isnull=True).order_by("pk"))


def touched_by(pks: Collection[int]) -> set[int]:
    """Return these keys with all whose findings depend on them: those above, and those of the same material.

    Queries: 2.
    """
    above = _links().filter(below__in=pks).values_list("above", flat=True)
    digests = _current().filter(key__in=pks, reuse_digest__isnull=False).values("reuse_digest")
    alike = _current().filter(reuse_digest__in=digests).values_list("key_id", flat=True)
    return {*pks, *above, *alike}


def touched_by_clause(before: Clause | None, after: Clause | None) -> QuerySet[Any, Any]:
    """Return the ids of the keys of which a clause could open, close or reword a finding, as it was or as it is now.

    Keys that neither version covers, or that nothing in them could find fault with, are left out, so that a clause
    costs what it finds and not what there is. Queries: 0; 1 where it demands a strength.
    """
    versions = [one for one in (before, after) if one and demands_more(one)]
    wrong = Q(pk__in=())
    for one in versions:
        wrong |= _covered(one) & _at_fault(one)
        if one.separate_from_production:  # it opens findings on keys of which it does not speak, on the other side
            wrong |= _sharing()
    return Key.objects.filter(wrong).exclude(state__in=DESTROYED_STATES).order_by("pk").values_list("pk", flat=True)


def _covered(clause: Clause) -> Q:
    """Everything that the clause speaks of, and more: what a key opens is left to the examination."""
    scope, covered = clause.scope, Q()
    for name, chosen in (
        ("kind", scope.kinds),
        ("environment", scope.environments),
        ("classification", scope.classifications),
    ):
        if chosen:
            covered &= Q(**{f"{name}__in": chosen})
    return covered


def _at_fault(clause: Clause) -> Q:
    fault = Q(storage_medium__in=clause.forbidden_media | clause.allowed_media)
    if clause.not_exportable:
        fault |= Q(is_exportable=True)
    if clause.runbook_required:
        fault |= Q(runbook_url="")
    if clause.separate_per_environment:
        fault |= _sharing()
    return fault | _too_weak(clause.smallest_strength_bits) if clause.smallest_strength_bits else fault


def _sharing() -> Q:
    """Keys whose material another key holds too."""
    known = _current().exclude(state__in=DESTROYED_STATES).filter(reuse_digest__isnull=False)
    shared = known.values("reuse_digest").annotate(holders=Count("pk")).filter(holders__gt=1).values("reuse_digest")
    return Q(pk__in=known.filter(reuse_digest__in=shared).values("key"))


def _too_weak(least: int) -> Q:
    weak = Q(pk__in=())
    for name, size in Key.objects.order_by().values_list("algorithm", "size_bits").distinct():
        bits = clause_strength(name, size)
        if bits is not None and bits < least:
            weak |= Q(algorithm=name, size_bits=size)
    return weak


def _links() -> QuerySet[Any, Any]:
    """Every step from a key to one above it: `above`, `below`, and of the lower one kind, algorithm, size and state.

    The only place that knows how parents are stored.
    """
    return KeyParent.objects.annotate(
        above=F("parent_id"),
        below=F("child_id"),
        below_kind=F("child__kind"),
        below_algorithm=F("child__algorithm"),
        below_size=F("child__size_bits"),
        below_state=F("child__state"),
    ).order_by()


def _under(pks: Collection[int]) -> dict[int, list[Under]]:
    """Count what hangs on these keys and is not destroyed, by kind and algorithm. Queries: 1."""
    counted = (
        _links()
        .filter(above__in=pks)
        .exclude(below_state__in=DESTROYED_STATES)
        .values_list("above", "below_kind", "below_algorithm", "below_size")
        .annotate(keys=Count("below", distinct=True))
    )
    found: defaultdict[int, list[Under]] = defaultdict(list)
    for above, *alike in counted:
        found[above].append(Under(*alike))
    return found


def _current() -> QuerySet[KeyVersion]:
    """The generation of each key that is in use: reusing material ends with the rotation that replaces it."""
    return KeyVersion.objects.filter(number=F("key__current_number")).order_by()


def _current_versions(pks: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return what the current versions say, as Surroundings names it, of those that say anything. Queries: 1."""
    names = ("suspended_at", "weaknesses", "expires_on")
    says = Q(suspended_at__isnull=False) | Q(expires_on__isnull=False) | ~Q(weaknesses=[])
    found = _current().filter(says, key__in=pks).values("key_id", *names)
    return {one["key_id"]: {name: one[name] for name in names} for one in found}


def _peers(pks: Collection[int]) -> dict[int, list[Peers]]:
    """Return for each key which environments and kinds have its material, its own among them. Queries: 1, or 2."""
    known = _current().exclude(state__in=DESTROYED_STATES).filter(reuse_digest__isnull=False)
    holders: defaultdict[bytes, set[int]] = defaultdict(set)
    for pk, digest in known.filter(key__in=pks).values_list("key_id", "reuse_digest"):
        holders[bytes(digest or b"")].add(pk)
    if not holders:
        return {}
    same = known.filter(reuse_digest__in=list(holders))
    alike = same.values_list("reuse_digest", "key__environment", "key__kind").annotate(example=Min("key__name"))
    found: defaultdict[int, list[Peers]] = defaultdict(list)
    for digest, *peers in alike:
        for pk in holders[bytes(digest)]:
            found[pk].append(Peers(*peers))
    return found
