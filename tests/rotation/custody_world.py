"""A KEK of four versions, DEKs of tenants under them, a running job and what it could not bring over, as rows alone."""

from datetime import timedelta

from audit.actor import Actor
from inventory.models import (
    DekVersion,
    HandOut,
    Integration,
    Kek,
    KekVersion,
    KekVersionHold,
    Key,
    KeyVersion,
    Service,
    Tenant,
    Wrapping,
)
from inventory.terms import HoldKind, KeyKind, StoreStatus
from rotation.models import BatchState, Order, OrderState, Quarantined, RewrapBatch, RewrapJob
from tests.approving import as_worker
from tests.inventory.world import NOW, make_key

PERSON = Actor(kind="person", id="user:1")
DEKS_OLD, DEKS_NEW = 7, 5


class CustodyWorld:
    """The third version is left by a job towards the fourth; the first is gone, the second disabled."""

    def __init__(self, *, old=DEKS_OLD, new=DEKS_NEW, uri="local:house/payments", name="payments/kek", now=NOW):
        self.now = now
        self.key = make_key(name=name, kind=KeyKind.KEK, algorithm="AES-256-KW", size_bits=256)
        with as_worker():
            self.kek = Kek.objects.create(key=self.key, uri=uri, algorithm="AES-256-KW", newest_seen="4")
            self.versions = [self._version(number) for number in (1, 2, 3, 4)]
            Kek.objects.filter(pk=self.kek.pk).update(primary=self.versions[3], looked_at=self.now)
        self.kek.refresh_from_db(fields=["primary"])
        self.deks = self.add_deks(self.versions[2], old) + self.add_deks(self.versions[3], new)
        with as_worker():
            gone = {"closed_at": self.now, "status": StoreStatus.GONE, "death": "the store refuses to unwrap under it"}
            KekVersion.objects.filter(pk=self.versions[0].pk).update(**gone)
            KekVersion.objects.filter(pk=self.versions[1].pk).update(closed_at=self.now, status=StoreStatus.DISABLED)

    def _version(self, number):
        generation, _ = KeyVersion.objects.get_or_create(key=self.key, number=number)
        return KekVersion.objects.create(version=generation, kek=self.kek, store_id=str(number), status_at=self.now)

    def add_deks(self, version, count):
        """Add DEKs of tenants of their own under a version."""
        integration, _ = Integration.objects.get_or_create(name="crm")
        begin = DekVersion.objects.count()
        named = range(begin, begin + count)
        tenants = Tenant.objects.bulk_create([Tenant(name=f"tenant-{n:05}") for n in named])
        keys = Key.objects.bulk_create(
            [
                Key(
                    name=f"dek/{tenant}/crm",
                    kind=KeyKind.DEK,
                    tenant=tenant,
                    integration=integration,
                    created_on=self.now,
                )
                for tenant in tenants
            ]
        )
        versions = KeyVersion.objects.bulk_create([KeyVersion(key=key, number=1) for key in keys])
        with as_worker():
            deks = DekVersion.objects.bulk_create(
                [DekVersion(version=one, key=one.key, number=1, binding=bytes(32)) for one in versions]
            )
            Wrapping.objects.bulk_create([Wrapping(kek_version=version, dek_version=dek, wrapped=b"x") for dek in deks])
        return deks

    def hold(self):
        with as_worker():
            return KekVersionHold.objects.create(
                kek_version=self.versions[2],
                kind=HoldKind.BACKUP,
                ref="dump:12",
                because="the dump of March is kept",
                held_at=self.now,
            )

    def hand_out(self, dek=0):
        service, _ = Service.objects.get_or_create(name="billing-api")
        return HandOut.objects.create(
            dek_version=self.deks[dek],
            kek_version=self.versions[2],
            service=service,
            handed_at=self.now,
            handed_by="user:1",
        )

    def job(self, **said):
        """A running job that has brought over some, with batches of the last seconds."""
        columns = {"total": 12, "rewrapped": 4, "verified": 4, "reason": "the yearly rotation", **said}
        with as_worker():
            job = RewrapJob.objects.create(
                kek=self.kek,
                target=self.versions[3],
                opened_by_ref="user:1",
                opened_at=self.now,
                changed_at=self.now,
                next_at=self.now,
                **columns,
            )
            for number in (1, 2):
                RewrapBatch.objects.create(
                    job=job, number=number, pass_number=1, kek_version=self.versions[2], first="1", last="9",
                    state=BatchState.DONE, rewrapped=2, begun_at=self.now - timedelta(seconds=4),
                    done_at=self.now - timedelta(seconds=2),
                )  # fmt: skip
        return job

    def quarantine(self, job, reason="not_bound"):
        with as_worker():
            return Quarantined.objects.create(
                job=job, dek_version=self.deks[0], kek_version=self.versions[2], reason=reason, at=self.now
            )

    def order(self, **became):
        """A free order that waits, or what a worker has made of it."""
        order = Order.objects.create(
            act="dek.create",
            parameters={"kek": self.kek.pk, "secret_name": "smtp"},
            reason="a new tenant",
            asked_by_ref="user:1",
            created_at=self.now,
            next_at=self.now,
        )
        with as_worker():
            Order.objects.filter(pk=order.pk).update(**{"state": OrderState.WAITING, **became})
        return order
