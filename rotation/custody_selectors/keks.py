"""KEKs: their versions, what is under each, and what still needs it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, QuerySet

from inventory.models import HandOut, Kek, KekVersion, KekVersionHold, Key
from inventory.terms import StoreStatus
from rotation.custody_selectors.rows import jobs, orders, unread
from rotation.models import (
    LIVE_JOBS,
    LIVE_ORDERS,
    Order,
    RewrapJob,
    RewrapSource,
)

COUNTED_DEKS = 1_000_000  # under one version; beyond that a page says "more than"
SHOWN_HAND_OUTS = 20
SHOWN_CLOSED = 5


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """How many DEKs a source elsewhere had under a version when it was last counted; `deks` is None before that."""

    source: RewrapSource
    deks: int | None


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """A version of a KEK, and what still needs it."""

    row: KekVersion
    is_primary: bool
    deks: int  # at most COUNTED_DEKS + 1
    holds: Sequence[KekVersionHold] = ()
    hand_outs: int = 0  # not confirmed
    elsewhere: Sequence[Elsewhere] = ()

    @property
    def number(self) -> int:
        return self.row.version.number

    @property
    def is_open(self) -> bool:
        return self.row.closed_at is None

    @property
    def is_gone(self) -> bool:
        return self.row.status == StoreStatus.GONE

    @property
    def is_needed(self) -> bool:
        """Whether the interlock would refuse to close it, as far as is known here."""
        uncounted = any(one.deks is None or one.deks for one in self.elsewhere)
        return bool(self.is_primary or self.deks or self.holds or self.hand_outs or uncounted)


@dataclass(frozen=True, kw_only=True)
class KekRow:
    """A KEK in the list."""

    kek: Kek
    versions: Sequence[VersionFacts]
    job: RewrapJob | None


@dataclass(frozen=True, kw_only=True)
class KekFacts:
    """Everything that the page of a KEK says of it."""

    kek: Kek
    versions: Sequence[VersionFacts]  # the oldest first
    hand_outs: Sequence[HandOut]
    orders: Sequence[Order]
    jobs: Sequence[RewrapJob]
    sources: Sequence[RewrapSource]

    @property
    def job(self) -> RewrapJob | None:
        """The live job that re-wraps what is kept here."""
        return next((job for job in self.jobs if job.state in LIVE_JOBS and job.source_id is None), None)

    @property
    def order(self) -> Order | None:
        """The live order: a KEK has one at most."""
        return next((order for order in self.orders if order.state in LIVE_ORDERS), None)


# KEKs


def kek_rows(keks: Sequence[Kek]) -> dict[int, KekRow]:
    """Return what the list says of some KEKs. Queries: 3."""
    versions = versions_of(keks)
    live = {job.kek_id: job for job in jobs().filter(kek__in=keks, state__in=LIVE_JOBS, source__isnull=True)}
    return {kek.pk: KekRow(kek=kek, versions=versions[kek.pk], job=live.get(kek.pk)) for kek in keks}


def kek_facts(kek: Kek) -> KekFacts:
    """Return what the page of one KEK says. Queries: 8."""
    sources = list(RewrapSource.objects.filter(kek=kek, retired_at__isnull=True))
    waiting = HandOut.objects.filter(kek_version__kek=kek, confirmed_at__isnull=True)
    return KekFacts(
        kek=kek,
        versions=_with_needs(kek, versions_of([kek])[kek.pk], sources, waiting),
        hand_outs=list(
            waiting.select_related("service", "dek_version__key", "kek_version__version")
            .defer(*unread("kek_version"))
            .order_by("handed_at", "pk")[:SHOWN_HAND_OUTS]
        ),
        orders=list(orders().filter(key_id=kek.pk)[: SHOWN_CLOSED + 1]),
        jobs=list(jobs().filter(kek=kek)[: SHOWN_CLOSED + 1]),
        sources=sources,
    )


def versions_of(keks: Sequence[Kek]) -> Mapping[int, list[VersionFacts]]:
    """Return the versions of some KEKs, the oldest first, with how many DEKs are under each. Queries: 2."""
    primary = {kek.primary_id for kek in keks}
    rows = list(
        KekVersion.objects.filter(kek__in=keks).select_related("version").defer("canary").order_by("version__number")
    )
    deks = deks_under([row.pk for row in rows])
    found: defaultdict[int, list[VersionFacts]] = defaultdict(list)
    for row in rows:
        found[row.kek_id].append(VersionFacts(row=row, is_primary=row.pk in primary, deks=deks[row.pk]))
    return found


def deks_under(versions: Sequence[int]) -> dict[int, int]:
    """Count the DEK versions under each KEK version, now, each up to one more than COUNTED_DEKS. Queries: 1."""
    if not versions:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, (SELECT count(*) FROM"
            " (SELECT FROM inventory_wrapping w WHERE w.kek_version_id = id LIMIT %s) counted)"
            " FROM unnest(%s::bigint[]) id",
            [COUNTED_DEKS + 1, list(versions)],
        )
        return dict(cursor.fetchall())


def _with_needs(
    kek: Kek, versions: Iterable[VersionFacts], sources: Sequence[RewrapSource], waiting: QuerySet[HandOut]
) -> list[VersionFacts]:
    """Add what needs each version besides the DEKs here. Queries: 2."""
    holds: defaultdict[int, list[KekVersionHold]] = defaultdict(list)
    for hold in KekVersionHold.objects.filter(kek_version__kek=kek, released_at__isnull=True).order_by("held_at", "pk"):
        holds[hold.kek_version_id].append(hold)
    counts = waiting.order_by().values_list("kek_version").annotate(count=Count("pk"))
    handed = dict(counts.values_list("kek_version", "count"))
    return [
        VersionFacts(
            row=one.row,
            is_primary=one.is_primary,
            deks=one.deks,
            holds=holds[one.row.pk],
            hand_outs=handed.get(one.row.pk, 0),
            elsewhere=[found for source in sources if (found := _elsewhere(source, one)) is not None],
        )
        for one in versions
    ]


def _elsewhere(source: RewrapSource, version: VersionFacts) -> Elsewhere | None:
    """Return what a source has under a version; None where it was counted and has nothing there."""
    if version.is_gone:
        return None
    if source.counted_at is None:
        return Elsewhere(source=source, deks=None)
    deks = int(source.counts.get(version.row.store_id, 0))
    return Elsewhere(source=source, deks=deks) if deks else None


def kek_of(key: Key) -> Kek | None:
    """Return where a key lives in a store, if it is a KEK of ours. Queries: 1."""
    return Kek.objects.select_related("key").filter(pk=key.pk).first()
