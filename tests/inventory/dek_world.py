"""A KEK in a real local key store, and DEKs under it, for tests of custody."""

import os
from dataclasses import dataclass, field

from inventory.custody import WrapAlgorithm, forget_stores, store_of
from inventory.models import Kek, KekVersion, Key, KeyVersion, Service, Tenant
from inventory.models.service import Integration
from inventory.services import deks
from tests import canaries
from tests.approving import as_worker
from tests.inventory.world import ACTOR, NOW, make_key

STORE = "house"
ALGORITHM = "AES-256-KW"


@dataclass
class DekWorld:
    kek: Kek
    versions: list[KekVersion]
    made: list[Key] = field(default_factory=list)

    @property
    def store(self):
        return store_of(self.kek.uri)[0]

    def turn(self):
        """Rotate the KEK, as an order does it in the end; return its new version."""
        _, name = store_of(self.kek.uri)
        self.store.rotate(name)
        with as_worker():
            version = _version(self.kek, len(self.versions) + 1, self.store.describe(name).newest)
            self.kek.primary = version
            self.kek.save(update_fields=["primary"])
        self.versions.append(version)
        return version

    def dek(self, name=None, **facts):
        """Make a DEK as the worker does."""
        name = name or f"secret-{len(self.made)}"
        with as_worker():
            drawn = deks.draw_dek(kek=self.kek.pk, now=NOW)
            said = deks.dek_facts(**({"secret_name": name, **facts}), now=NOW)
            key = deks.create_dek(drawn=drawn, facts=said, actor=ACTOR, reason="needed", now=NOW)
        self.made.append(key)
        return key


def use_local_store(settings, folder):
    """Let the settings name one local key store in a folder."""
    ring = folder / "ring"
    ring.mkdir(mode=0o700)
    master_key = os.urandom(32)
    canaries.know("master key", master_key)
    settings.KMS_STORES = {STORE: f"local://{ring}#{STORE}"}
    settings.MASTER_KEY = master_key
    forget_stores()


def make_world(name="payments", algorithm=ALGORITHM):
    """Make a KEK of one version in the store of the settings, and its records."""
    uri = f"local:{STORE}/{name}"
    store, key_name = store_of(uri)
    store.create(key_name, WrapAlgorithm(algorithm))
    key = make_key(name=f"kek/{name}", kind="kek", algorithm="AES-256-KW", size_bits=256)
    with as_worker():
        kek = Kek.objects.create(key=key, uri=uri, algorithm=algorithm)
        version = _version(kek, 1, "1")
        kek.primary = version
        kek.save(update_fields=["primary"])
    return DekWorld(kek, [version])


def _version(kek, number, store_id):
    generation, _ = KeyVersion.objects.get_or_create(key=kek.key, number=number)
    return KekVersion.objects.create(version=generation, kek=kek, store_id=store_id, status_at=NOW)


def make_scope(tenant="acme", integration="crm"):
    return {
        "tenant": Tenant.objects.get_or_create(name=tenant)[0],
        "integration": Integration.objects.get_or_create(name=integration)[0],
    }


def make_service(name="billing"):
    return Service.objects.get_or_create(name=name)[0]
