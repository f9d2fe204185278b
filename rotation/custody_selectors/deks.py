"""DEKs: under what each is wrapped, who was handed one, what is stuck."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from inventory.models import DekVersion, HandOut, Kek, Key, Wrapping
from rotation.custody_selectors.rows import unread
from rotation.models import Quarantined


@dataclass(frozen=True, kw_only=True)
class DekWrapping:
    """Under which version of which KEK a DEK version is wrapped."""

    kek: Kek
    number: int
    is_behind: bool  # the KEK has a later primary version
    is_stuck: bool  # a job could not bring the DEK over, and nobody has mended it


@dataclass(frozen=True, kw_only=True)
class DekFacts:
    """A DEK version, and what the pages say of it."""

    row: DekVersion
    wrappings: Sequence[DekWrapping]
    hand_outs: Sequence[HandOut] = field(default=())

    @property
    def is_stuck(self) -> bool:
        return any(one.is_stuck for one in self.wrappings)


def dek_facts(rows: Sequence[DekVersion]) -> dict[int, DekFacts]:
    """Return what is known of some DEK versions, by their ids. Queries: 1."""
    wrappings: defaultdict[int, list[DekWrapping]] = defaultdict(list)
    for dek, wrapping in _wrappings([row.pk for row in rows]):
        wrappings[dek].append(wrapping)
    return {row.pk: DekFacts(row=row, wrappings=wrappings[row.pk]) for row in rows}


def dek_versions_of(key: Key) -> list[DekFacts]:
    """Return the versions of one DEK, the newest first, with to whom each was handed out. Queries: 3."""
    rows = list(DekVersion.objects.filter(key=key).select_related("version").order_by("-number"))
    facts = dek_facts(rows)
    handed: defaultdict[int, list[HandOut]] = defaultdict(list)
    found = HandOut.objects.filter(dek_version__key=key).select_related("service", "kek_version__version")
    for one in found.defer(*unread("kek_version")).order_by("-handed_at", "-pk"):
        handed[one.dek_version_id].append(one)
    return [
        DekFacts(
            row=row,
            wrappings=facts[row.pk].wrappings,
            hand_outs=handed[row.pk],
        )
        for row in rows
    ]


def _wrappings(deks: Sequence[int]) -> list[tuple[int, DekWrapping]]:
    """Return by which KEK versions DEKs are wrapped, without a wrapped byte. Queries: 1."""
    stands = Quarantined.objects.filter(dek_version=OuterRef("dek_version_id"), resolved_at__isnull=True)
    found = Wrapping.objects.filter(dek_version__in=deks).annotate(is_stuck=Exists(stands))
    found = found.order_by("dek_version_id", "-kek_version_id")
    columns = found.values_list(
        "dek_version_id",
        "kek_version_id",
        "kek_version__version__number",
        "kek_version__kek_id",
        "kek_version__kek__key__name",
        "kek_version__kek__uri",
        "kek_version__kek__primary_id",
        "is_stuck",
    )
    return [
        (
            dek,
            DekWrapping(
                kek=Kek(key=Key(pk=kek, name=name), uri=uri, primary_id=primary),
                number=number,
                is_behind=primary is not None and primary != version,
                is_stuck=is_stuck,
            ),
        )
        for dek, version, number, kek, name, uri, primary, is_stuck in columns
    ]


def behind() -> Q:
    """The DEK versions that are still wrapped under a version of a KEK which is not its primary one."""
    under = Wrapping.objects.filter(dek_version_id=OuterRef("pk"), kek_version__kek__primary__isnull=False)
    return Q(Exists(under.filter(~Q(kek_version__kek__primary_id=F("kek_version_id")))))


def stuck() -> Q:
    """The DEK versions that a job could not bring over and that nobody has mended."""
    return Q(Exists(Quarantined.objects.filter(dek_version=OuterRef("pk"), resolved_at__isnull=True)))


def current_deks() -> QuerySet[DekVersion]:
    """Return the current version of each DEK. No query by itself."""
    return DekVersion.objects.filter(number=F("key__current_number"))


def unconfirmed() -> Q:
    """The DEK versions that a service was handed and has not confirmed to use no more."""
    return Q(Exists(HandOut.objects.filter(dek_version=OuterRef("pk"), confirmed_at__isnull=True)))
