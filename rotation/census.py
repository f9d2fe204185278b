"""The table "KEK version → what still needs it", with what sources elsewhere said when they were counted last."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from inventory.census import Need, needs
from inventory.models import Kek, KekVersion
from rotation.models import RewrapSource


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """DEKs of one source, under one version, as counted last."""

    source: str
    deks: int
    counted_at: datetime | None
    trouble: str  # why the last look failed, if it did


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One version of a KEK, and what needs it."""

    version: KekVersion
    need: Need
    elsewhere: Sequence[Elsewhere]
    is_primary: bool

    @property
    def is_free(self) -> bool:
        """Whether nothing that is known here needs it. A source that nobody could count is not nothing."""
        return self.need.is_none and not any(one.deks or one.counted_at is None for one in self.elsewhere)


@dataclass(frozen=True, kw_only=True)
class KekCensus:
    """A KEK with its versions, oldest first."""

    kek: Kek
    versions: Sequence[Counted]

    @property
    def deks(self) -> int:
        return sum(one.need.deks for one in self.versions)

    @property
    def under_old(self) -> int:
        return sum(one.need.deks for one in self.versions if not one.is_primary)


def census(keks: Collection[int] | None = None) -> list[KekCensus]:
    """Return the census of these KEKs, or of all, by name. Queries: 6, however many there are."""
    rows = Kek.objects.select_related("key").order_by("key__name")
    found = list(rows if keks is None else rows.filter(pk__in=keks))
    pks = [kek.pk for kek in found]
    versions: dict[int, list[KekVersion]] = defaultdict(list)
    of_them = KekVersion.objects.filter(kek__in=pks).select_related("version").defer("canary")
    for version in of_them.order_by("version__number"):
        versions[version.kek_id].append(version)
    needed = needs([version.pk for some in versions.values() for version in some])
    sources: dict[int, list[RewrapSource]] = defaultdict(list)
    for source in RewrapSource.objects.filter(kek__in=pks, retired_at__isnull=True).order_by("name"):
        sources[source.kek_id].append(source)
    return [
        KekCensus(
            kek=kek,
            versions=[
                Counted(
                    version=version,
                    need=needed[version.pk],
                    elsewhere=[_elsewhere(source, version) for source in sources[kek.pk]],
                    is_primary=version.pk == kek.primary_id,
                )
                for version in versions[kek.pk]
            ],
        )
        for kek in found
    ]


def _elsewhere(source: RewrapSource, version: KekVersion) -> Elsewhere:
    return Elsewhere(
        source=source.name,
        deks=source.counts.get(version.store_id, 0),
        counted_at=source.counted_at,
        trouble=source.trouble,
    )
