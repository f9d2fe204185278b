"""The census: what still needs each version of a KEK. Everything that ends a version asks here."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Count, QuerySet

from inventory.models import HandOut, KekVersion, KekVersionHold, Wrapping

NAMED = 5  # holds in a sentence


@dataclass(frozen=True, kw_only=True)
class Need:
    """What would be lost with a version, as far as this database knows."""

    deks: int = 0
    holds: Sequence[str] = ()  # "dump:12 (the dump of Sunday)"
    hand_outs: int = 0  # wrapped copies that no service has confirmed yet

    @property
    def is_none(self) -> bool:
        return not (self.deks or self.holds or self.hand_outs)

    @property
    def said(self) -> list[str]:
        """Return it in words, one piece each."""
        said = []
        if self.deks:
            said.append("1 DEK is under it" if self.deks == 1 else f"{self.deks:,} DEKs are under it")
        if self.hand_outs:
            copies = "1 handed-out copy waits" if self.hand_outs == 1 else f"{self.hand_outs:,} handed-out copies wait"
            said.append(f"{copies} for the confirmation of a service")
        said += [f"held by {hold}" for hold in self.holds[:NAMED]]
        if len(self.holds) > NAMED:
            said.append(f"and by {len(self.holds) - NAMED:,} more")
        return said


def needs(versions: Collection[int]) -> Mapping[int, Need]:
    """Return what needs each of these KEK versions, by number of the row; of those that nothing needs too. Queries: 3.

    Reads the primary key of the wrappings, so a million of them take a second. For an act that depends on it the
    versions are locked first.
    """
    deks = dict(_counted(Wrapping.objects.filter(kek_version__in=versions), "dek_version"))
    open_copies = HandOut.objects.filter(kek_version__in=versions, confirmed_at__isnull=True)
    copies = dict(_counted(open_copies, "pk"))
    holds: dict[int, list[str]] = {}
    held = KekVersionHold.objects.filter(kek_version__in=versions, released_at__isnull=True).order_by("held_at", "pk")
    for pk, ref, because in held.values_list("kek_version_id", "ref", "because"):
        holds.setdefault(pk, []).append(f"{ref} ({because})")
    return {
        pk: Need(deks=deks.get(pk, 0), holds=tuple(holds.get(pk, ())), hand_outs=copies.get(pk, 0)) for pk in versions
    }


def _counted(rows: QuerySet[Wrapping] | QuerySet[HandOut], what: str) -> QuerySet[Wrapping] | QuerySet[HandOut]:
    return rows.order_by().values_list("kek_version_id").annotate(count=Count(what))  # type: ignore[return-value]


def tenants_under(versions: Collection[int]) -> int:
    """Return how many tenants have DEKs under these versions. Queries: 1, which reads their DEKs."""
    rows = Wrapping.objects.filter(kek_version__in=versions)
    return rows.aggregate(count=Count("dek_version__key__tenant", distinct=True))["count"] or 0


def versions_of(kek: int) -> QuerySet[KekVersion]:
    """Return the versions of a KEK, oldest first, without their canaries. No query by itself."""
    rows = KekVersion.objects.filter(kek=kek).select_related("version")
    return rows.defer("canary").order_by("version__number")
