"""KEKs in a real key ring, and people who have them made, rotated and ended; the worker's steps, one at a time."""

import os
from datetime import timedelta

from django.utils import timezone

from audit.actor import Actor
from inventory import services
from inventory.custody import forget_stores, store_of, wrap_new
from inventory.models import DekVersion, Kek, KekVersion, Key, KeyVersion, Wrapping
from inventory.terms import KeyKind
from rotation import orders
from rotation.models import Order, RequestState
from tests import canaries
from tests.approving import as_worker, carried_through, voters
from tests.inventory.world import make_owner, seal

WORKER = Actor.system("worker")
URI = "local:house/payments"


def key_ring(settings, folder):
    """Give the settings a key store "house" of this test's own."""
    ring = folder / "ring"
    ring.mkdir(mode=0o700)
    settings.MASTER_KEY = os.urandom(32)
    canaries.know("master key", settings.MASTER_KEY)
    settings.KMS_STORES = {"house": f"local://{ring}#house"}
    forget_stores()
    return ring


class KekWorld:
    """Three people, a service and an owner, and a clock of the business."""

    def __init__(self):
        self.now = timezone.now()
        self.asker, self.security, self.devops = voters()
        self.owner = make_owner("ann")
        self.service = services.register_service(
            name="payments", team=None, tier=1, actor=Actor.system("test"), now=self.now
        )

    def facts(self, name="payments/kek"):
        return {
            "name": name,
            "owner": self.owner.ref,
            "creator": self.owner.ref,
            "service": self.service.ref,
            "environment": "production",
        }

    def decided(self, operation, parameters, *, seconds=0):
        """Have it asked, voted for and carried out; return the request."""
        self.now += timedelta(seconds=seconds)
        by = (self.security,) if operation in {"kek.create", "kek.link", "kek.rotate"} else (self.security, self.devops)
        asker = self.devops if len(by) == 1 else self.asker
        request = carried_through(operation, parameters, asker=asker, by=by, now=self.now)
        self.now += timedelta(minutes=3)
        return request

    def ordered(self, operation, parameters):
        request = self.decided(operation, parameters)
        assert request.state == RequestState.EXECUTED, request.closed_because
        return Order.objects.get(request=request)

    def step(self, order, *, seconds=11, dying=()):
        """Let the worker take a step, so many seconds after the last one; raise what it died of."""
        self.now += timedelta(seconds=seconds)
        died = None
        with as_worker():  # what it had committed stays, whatever it dies of
            try:
                orders.carry_out(pk=order.pk, actor=WORKER, now=self.now)
            except dying as error:
                died = error
        seal()
        if died:
            raise died
        return Order.objects.get(pk=order.pk)

    def through(self, order, *, most=6):
        """Let the worker go on until the order waits for nothing it could do."""
        for _ in range(most):
            order = self.step(order)
            if order.state != "waiting":
                return order
        return order

    def made(self, uri=URI, name="payments/kek", algorithm="AES-256-KW"):
        """Return a KEK that people had made."""
        parameters = {"uri": uri, "algorithm": algorithm, "takes_over": False, "facts": self.facts(name)}
        order = self.through(self.ordered("kek.create", parameters))
        assert order.state == "done", order.closed_because
        return Kek.objects.get(uri=uri)

    def rotated(self, kek):
        order = self.through(self.ordered("kek.rotate", {"key": kek.pk}))
        assert order.state == "done", order.closed_because
        return order


def versions(kek):
    """Return the versions of a KEK, oldest first, with everything (as the worker)."""
    return list(KekVersion.objects.filter(kek=kek).defer("canary").select_related("version").order_by("pk"))


def store(kek):
    """Return the store, and what it calls the KEK."""
    return store_of(kek.uri)


def dek_under(version, name="a dek"):
    """Wrap a DEK under a version; return its row. As the worker."""
    key = Key.objects.create(name=name, kind=KeyKind.DEK)
    generation = KeyVersion.objects.create(key=key, number=1)
    dek = DekVersion(version=generation, key=key, number=1)
    wrapped, dek.binding = wrap_new(
        version.kek.uri, version.kek.algorithm, version.store_id, dek_id=dek.dek_id, number=1
    )
    dek.save(force_insert=True)
    Wrapping.objects.create(kek_version=version, dek_version=dek, wrapped=wrapped)
    return dek


def moved(dek, version):
    """Bring a DEK under another version, as a re-wrap job does at last; its bytes do not matter here. As the worker."""
    Wrapping.objects.create(kek_version=version, dek_version=dek, wrapped=b"moved")
    Wrapping.objects.filter(dek_version=dek).exclude(kek_version=version).delete()
