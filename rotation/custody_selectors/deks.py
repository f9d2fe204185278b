"""DEKs: under what each is wrapped, who was handed one, what is stuck."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from inventory.models import DekVersion, HandOut, Kek, Key, Wrapping
from rotation.custody_selectors.rows import unread
from rotation.models import (
    Quarantined,
)


@dataclass(frozen=True, kw_only=True)
class DekWrapping:
    """Under which version of which KEK a DEK version is wrapped."""

    kek: Kek
    number: int
    is_behind: bool  # the KEK has a later primary version


@dataclass(frozen=True, kw_only=True)
class DekFacts:
    """A DEK version, and what the pages say of it."""

    row: DekVersion
    wrappings: Sequence[DekWrapping]
    hand_outs: Sequence[HandOut] = field(default=())
    quarantined: Sequence[Quarantined] = field(default=())


def dek_facts(rows: Sequence[DekVersion]) -> dict[int, DekFacts]:
    """Return what is known of some DEK versions, by their ids. Queries: 2."""
    ids = [row.pk for row in rows]
    wrappings: defaultdict[int, list[DekWrapping]] = defaultdict(list)
    for dek, wrapping in _wrappings(ids):
        wrappings[dek].append(wrapping)
    stuck: defaultdict[int, list[Quarantined]] = defaultdict(list)
    for one in Quarantined.objects.filter(dek_version__in=ids, resolved_at__isnull=True).order_by("pk"):
        stuck[one.dek_version_id or 0].append(one)
    return {row.pk: DekFacts(row=row, wrappings=wrappings[row.pk], quarantined=stuck[row.pk]) for row in rows}


def dek_versions_of(key: Key) -> list[DekFacts]:
    """Return the versions of one DEK, the newest first, with to whom each was handed out. Queries: 4."""
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
            quarantined=facts[row.pk].quarantined,
        )
        for row in rows
    ]


def _wrappings(deks: Sequence[int]) -> list[tuple[int, DekWrapping]]:
    """Return by which KEK versions DEKs are wrapped, without a wrapped byte. Queries: 1."""
    found = Wrapping.objects.filter(dek_version__in=deks).order_by("dek_version_id", "-kek_version_id")
    columns = found.values_list(
        "dek_version_id",
        "kek_version_id",
        "kek_version__version__number",
        "kek_version__kek_id",
        "kek_version__kek__key__name",
        "kek_version__kek__uri",
        "kek_version__kek__primary_id",
    )
    return [
        (
            dek,
            DekWrapping(
                kek=Kek(key=Key(pk=kek, name=name), uri=uri, primary_id=primary),
                number=number,
                is_behind=primary is not None and primary != version,
            ),
        )
        for dek, version, number, kek, name, uri, primary in columns
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
