"""Every read that examining keys for findings needs: a constant number of queries for any number of keys."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import BooleanField, Case, Count, F, Min, Q, QuerySet, Value, When

from inventory.findings import Peers, Surroundings, Table, Under
from inventory.models import Finding, Key, KeyVersion
from inventory.selectors import DESTROYED_STATES, algorithm_rows
from inventory.states import State

_DIGEST: str = "reuse_digest"
_HAS_DIGEST = {f"{_DIGEST}__isnull": False}


def table() -> Table:
    """Return the table of algorithms, to judge many keys by. Queries: 1."""
    return Table(algorithm_rows())


def examined(pks: Collection[int], now: datetime) -> list[tuple[Key, Surroundings]]:
    """Return keys with all that findings() needs to know. Queries: 4, with digests of reuse 6."""
    is_gone = Case(
        When(Q(owner__is_active=False) | Q(owner__user__is_active=False), then=Value(True)),  # noqa: FBT003
        default=Value(False),  # noqa: FBT003
        output_field=BooleanField(),
    )
    keys = list(Key.objects.filter(pk__in=pks).select_related("owner").annotate(is_owner_gone=is_gone).order_by("pk"))
    judged_by, under, peers = table(), _under(pks), _peers(pks)
    suspended = _suspended(keys)
    return [
        (
            key,
            Surroundings(
                now=now,
                table=judged_by,
                under=under.get(key.pk, ()),
                peers=peers.get(key.pk, ()),
                suspended_at=suspended.get(key.pk),
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

    Queries: 1, with digests of reuse 2.
    """
    above = _links().filter(below__in=pks).values_list("above", flat=True)
    return {*pks, *above, *_of_same_material(pks)}


def _links() -> QuerySet[Any, Any]:
    """Every step from a key to one above it: `above`, `below`, and of the lower one kind, algorithm, size and state.

    The only place that knows how parents are stored.
    """
    return Key.objects.filter(parent__isnull=False).annotate(
        above=F("parent_id"),
        below=F("pk"),
        below_kind=F("kind"),
        below_algorithm=F("algorithm"),
        below_size=F("size_bits"),
        below_state=F("state"),
    )


def _under(pks: Collection[int]) -> dict[int, list[Under]]:
    """Count what hangs on these keys and is not destroyed, by kind and algorithm. Queries: 1."""
    counted = (
        _links()
        .filter(above__in=pks)
        .exclude(below_state__in=DESTROYED_STATES)
        .order_by()
        .values_list("above", "below_kind", "below_algorithm", "below_size")
        .annotate(keys=Count("below", distinct=True))
    )
    found: defaultdict[int, list[Under]] = defaultdict(list)
    for above, *alike in counted:
        found[above].append(Under(*alike))
    return found


def _suspended(keys: Iterable[Key]) -> dict[int, datetime]:
    """Return since when the suspended ones among these keys are. Queries: 1, none when there are none."""
    pks = [key.pk for key in keys if key.state == State.SUSPENDED]
    current = KeyVersion.objects.filter(key__in=pks, number=F("key__current_number"), suspended_at__isnull=False)
    return {pk: at for pk, at in current.values_list("key_id", "suspended_at") if at} if pks else {}


def has_reuse_digests() -> bool:
    """Say whether versions carry a digest by which the same material is found."""
    try:
        KeyVersion._meta.get_field(_DIGEST)
    except FieldDoesNotExist:
        return False
    return True


def _digests(pks: Collection[int]) -> dict[bytes, set[int]]:
    """Return which of these keys has which material now. Queries: 1."""
    versions = KeyVersion.objects.filter(key__in=pks, **_HAS_DIGEST).exclude(state__in=DESTROYED_STATES)
    holders: defaultdict[bytes, set[int]] = defaultdict(set)
    for pk, digest in versions.values_list("key_id", _DIGEST):
        holders[bytes(digest)].add(pk)
    return holders


def _of_same_material(pks: Collection[int]) -> Iterable[int]:
    """Return every key with material of one of these. Queries: 2, none without digests."""
    if not has_reuse_digests():
        return ()
    same = KeyVersion.objects.filter(**{f"{_DIGEST}__in": list(_digests(pks))}).exclude(state__in=DESTROYED_STATES)
    return same.values_list("key_id", flat=True)


def _peers(pks: Collection[int]) -> dict[int, list[Peers]]:
    """Return for each key which environments and kinds have its material, its own among them. Queries: 2, or none."""
    if not has_reuse_digests():
        return {}
    holders = _digests(pks)
    same = KeyVersion.objects.filter(**{f"{_DIGEST}__in": list(holders)}).exclude(state__in=DESTROYED_STATES)
    alike = same.order_by().values_list(_DIGEST, "key__environment", "key__kind").annotate(example=Min("key__name"))
    found: defaultdict[int, list[Peers]] = defaultdict(list)
    for digest, *peers in alike:
        for pk in holders[bytes(digest)]:
            found[pk].append(Peers(*peers))
    return found
