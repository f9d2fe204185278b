"""Workers who stood still while others went on: what they saw is old, and nothing comes of it."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from inventory.custody import store_of
from inventory.kms import SCHEMES
from inventory.kms.local import LocalBackend
from inventory.models import Kek
from inventory.states import State
from rotation import rewrap
from rotation.models import Order, RewrapJob
from rotation.orders import cancel, look_around, retry
from rotation.orders.carrying import _claim, _step
from tests.approving import as_worker
from tests.inventory.world import seal
from tests.rotation.approval_world import actor_for
from tests.rotation.kek_world import WORKER, KekWorld, key_ring, versions
from tests.rotation.stores import add_schemes

URI = "slow:slow/payments"


class SlowBackend(LocalBackend):
    """Answers so late that others do something between its look and the moment when the caller hears of it."""

    scheme = "slow"
    meanwhile: ClassVar = None
    is_late = False  # somebody else makes a KEK of the same name a moment before

    def describe(self, key):
        found, act = super().describe(key), type(self).meanwhile
        if act is not None:
            type(self).meanwhile = None
            act()
        return found

    def create(self, key, algorithm):
        if self.is_late:
            type(self).is_late = False
            super().create(key, algorithm)
        return super().create(key, algorithm)


@pytest.fixture
def world(db, settings, tmp_path, monkeypatch):
    monkeypatch.setitem(SCHEMES, "slow", (__name__, "SlowBackend", ""))
    key_ring(settings, tmp_path)
    (Path(tmp_path) / "slow").mkdir(mode=0o700)
    settings.KMS_STORES["slow"] = f"slow://{tmp_path / 'slow'}#slow"
    yield KekWorld()
    SlowBackend.meanwhile = None


def meanwhile(act):
    SlowBackend.meanwhile = staticmethod(act)


def looked(world):
    with as_worker():
        seen = look_around(actor=WORKER, now=world.now)
    seal()
    return seen


@pytest.mark.parametrize("operation", ["kek.disable", "kek.purge"])
def test_who_has_lost_an_order_asks_the_store_for_nothing(world, operation):
    """It claimed the order and stood still; another one took over, the store was away, a person gave it up."""
    kek = world.made(uri=URI)
    world.rotated(kek)
    order = world.ordered(operation, {"key": kek.pk, "number": 1})
    with as_worker():
        claimed = _claim(order.pk, WORKER, world.now)
        Order.objects.filter(pk=order.pk).update(state="waiting", leased_until=None, attempts=1)
    cancel(pk=order.pk, actor=actor_for(world.security), reason="a dump needs it", now=world.now)
    looked(world)
    assert versions(kek)[0].closed_at is None
    with as_worker():
        _step(claimed, WORKER, world.now + timedelta(minutes=9))
    seal()
    backend, name = store_of(URI)
    assert backend.describe(name).version("1").status == "enabled"
    assert Order.objects.get(pk=order.pk).state == "cancelled"


def test_who_has_lost_a_recovery_asks_the_store_for_nothing(world):
    kek = world.made(uri=URI)
    world.rotated(kek)
    world.through(world.ordered("kek.disable", {"key": kek.pk, "number": 1}))
    order = world.ordered("kek.recover", {"key": kek.pk, "number": 1})
    with as_worker():
        claimed = _claim(order.pk, WORKER, world.now)
        Order.objects.filter(pk=order.pk).update(state="waiting", leased_until=None, attempts=1)
    cancel(pk=order.pk, actor=actor_for(world.security), reason="not after all", now=world.now)
    with as_worker():
        _step(claimed, WORKER, world.now + timedelta(minutes=9))
    backend, name = store_of(URI)
    assert backend.describe(name).version("1").status == "disabled"


def test_an_old_look_does_not_take_back_which_version_was_seen_newest(world):
    """The patrol looks, then a rotation is finished, then the patrol writes down what it saw."""
    kek = world.made(uri=URI)
    order = world.ordered("kek.rotate", {"key": kek.pk})
    meanwhile(lambda: world.through(order))
    looked(world)
    kek.refresh_from_db()
    assert (kek.newest_seen, kek.primary.store_id) == ("2", "2")


def test_an_old_look_does_not_bring_back_a_version_that_was_destroyed_meanwhile(world):
    kek = world.made(uri=URI)
    world.rotated(kek)
    order = world.ordered("kek.purge", {"key": kek.pk, "number": 1})
    meanwhile(lambda: world.through(order))
    looked(world)
    old = versions(kek)[0]
    assert (old.status, old.closed_at is not None, old.version.state) == ("gone", True, State.DESTROYED)


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_job_of_an_ended_kek_does_not_keep_others_from_their_workers(world, settings, monkeypatch, is_paused):
    """It had nothing left to do, and nobody had finished it, when the whole KEK was scheduled for destruction."""
    add_schemes(monkeypatch)
    ring = Path(settings.KMS_STORES["slow"].removeprefix("slow://").partition("#")[0])
    (ring.parent / "whole").mkdir(mode=0o700)
    settings.KMS_STORES["whole"] = f"whole://{ring.parent / 'whole'}#whole"
    kek = world.made(uri="whole:whole/payments")
    world.rotated(kek)
    with as_worker():
        job = RewrapJob.objects.create(
            kek=kek,
            target=versions(kek)[-1],
            reason="test",
            opened_by_ref="user:1",
            opened_at=world.now,
            changed_at=world.now,
            next_at=world.now,
        )
        if is_paused:
            rewrap.pause(pk=job.pk, actor=WORKER, reason="later", now=world.now)
    order = world.through(world.ordered("kek.schedule", {"key": kek.pk, "number": 1, "days": 7}))
    assert order.state == "watching", order.closed_because
    with as_worker():
        assert rewrap.tend(actor=WORKER, now=world.now, workers=1) == []
        assert rewrap.work(pk=job.pk, actor=WORKER, clock=lambda: world.now, seconds=5).ended is rewrap.Ended.OVER
    job.refresh_from_db()
    assert job.state == "paused"
    assert is_paused or job.paused_because.startswith("The KEK takes no new wraps any more")
    seal()


def test_a_kek_that_somebody_else_made_a_moment_before_is_not_taken_for_ours(world, monkeypatch):
    """Between the look and the act; and when the order is tried again it is still theirs."""
    parameters = {"uri": URI, "algorithm": "AES-256-KW", "takes_over": False, "facts": world.facts()}
    order = world.ordered("kek.create", parameters)
    monkeypatch.setattr(SlowBackend, "is_late", True)
    assert world.step(order).state == "failed"
    retry(pk=order.pk, actor=actor_for(world.security), reason="again", now=world.now)
    order = world.through(order)
    assert (order.state, Kek.objects.count()) == ("failed", 0)
    assert "has a KEK slow:slow/payments already" in order.closed_because
