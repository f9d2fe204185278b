"""The end of a version that its store shows as gone: its record, and the certificate of destruction."""

from collections.abc import Sequence

from audit.canonical import JSON, timestamp
from audit.certificates import CertificateKind, write_certificate
from inventory.guarded.keks import Voted, destroy_versions
from inventory.models import Kek, KekVersion
from rotation.models import Act, Order, RewrapSource
from rotation.orders.dying import Death, write_deaths

NOT_REACHED = (
    "Copies of the KEK in backups of its key store, or exported before, are not reached.",
    "Wrapped DEKs in backups and the write-ahead log of the database open no more, unless such a copy is found.",
    "Data that was encrypted under those DEKs stays where it is; DEKs handed out in clear elsewhere are not reached.",
)
METHODS = {
    Act.SCHEDULE: "scheduled for destruction in its key store, which destroyed it when the waiting time was over",
    Act.PURGE: "destroyed at once in its key store",
    Act.DISABLE: "gone from its key store when it was to be disabled",
}


def write_gone(order: Order, kek: Kek, versions: Sequence[KekVersion], deaths: Sequence[Death], voted: Voted) -> None:
    """Record the destruction of versions and certify it, in the transaction that ends the order.

    Events: kek.version_seen, key.destroyed, kek.version_shown_dead, certificate.made.
    """
    method = METHODS[Act(order.act)]
    destroyed = destroy_versions(
        pk=kek.pk, versions=[one.pk for one in versions], method=method, not_reached=NOT_REACHED, **voted.how
    )
    write_deaths(kek, deaths, voted)
    seen = {one.version: one.words for one in deaths}
    for one in destroyed:
        write_certificate(
            kind=CertificateKind.DESTRUCTION,
            subject=f"kekversion:{one.pk}",
            title=f"Destruction of {kek.key.name[:200]}, version {one.version.number}",
            facts=_facts(order, kek, one, method, seen.get(one.pk, ""), voted),
            actor=voted.actor,
            now=voted.now,
        )


def _facts(order: Order, kek: Kek, version: KekVersion, method: str, death: str, voted: Voted) -> dict[str, JSON]:
    counted = RewrapSource.objects.filter(kek=kek, retired_at__isnull=True).order_by("name")
    return {
        "key": kek.key.ref,
        "name": kek.key.name,
        "kek": kek.uri,
        "algorithm": kek.algorithm,
        "version": version.version.number,
        "id_in_store": version.store_id,
        "done": method,
        "reason": voted.reason,
        "order": order.ref,
        "request": voted.told.get("request"),
        "asked_by": voted.told.get("asked_by"),
        "approved_by": voted.told.get("approved_by", []),
        "ordered_at": timestamp(order.created_at),
        "nothing_under_it_since": timestamp(version.closed_at) if version.closed_at else None,
        "sources_elsewhere": [
            {
                "name": source.name,
                "under_it": source.counts.get(version.store_id, 0),
                "counted_at": timestamp(source.counted_at) if source.counted_at else None,
            }
            for source in counted
        ],
        "store_said": "gone",
        "seen_at": timestamp(voted.now),
        "proof_of_death": death or "Not tried.",
        "not_reached": list(NOT_REACHED),
    }
