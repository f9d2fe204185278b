"""Orders: a KEK is made, rotated and ended in its store, seen twice, never twice; whoever dies leaves nothing undone."""

from datetime import timedelta

import pytest

from audit.actions import Action
from audit.models import Event
from inventory.models import Kek, KekVersion, Key, KeyVersion
from inventory.states import State
from rotation.models import Order, RewrapJob
from tests.approving import as_worker
from tests.inventory.world import told_of
from tests.rotation.kek_world import URI, KekWorld, dek_under, key_ring, store, versions


@pytest.fixture
def world(db, settings, tmp_path):
    key_ring(settings, tmp_path)
    return KekWorld()


def test_a_kek_is_made_seen_twice_and_registered_with_its_canary(world):
    parameters = {"uri": URI, "algorithm": "AES-256-KW", "takes_over": False, "facts": world.facts()}
    order = world.ordered("kek.create", parameters)
    first = world.step(order)
    assert (first.state, first.looks) == ("waiting", 1)
    assert world.step(order, seconds=5).state == "waiting"  # too early for a second look
    last = world.step(order, seconds=6)
    assert last.state == "done", last.closed_because
    kek = Kek.objects.get(uri=URI)
    assert (kek.key.kind, kek.key.state, kek.key.algorithm, kek.key.size_bits) == ("kek", "active", "AES-256-KW", 256)
    assert (kek.key.never_rotated, kek.primary.store_id, kek.newest_seen) == (True, "1", "1")
    assert last.key_id == kek.pk
    with as_worker():
        assert KekVersion.objects.get(kek=kek).canary
    assert [action for action in told_of(kek.key) if action.startswith("kek") or action.startswith("order")] == [
        Action.KEK_LINKED,
        Action.ORDER_DONE,
    ]


def test_a_kek_is_rotated_once_and_its_deks_get_a_job(world):
    kek = world.made()
    with as_worker():
        dek_under(versions(kek)[0])
    order = world.rotated(kek)
    kek.refresh_from_db()
    assert [one.store_id for one in versions(kek)] == ["1", "2"]
    assert (kek.primary.store_id, kek.newest_seen) == ("2", "2")
    states = list(KeyVersion.objects.filter(key=kek.pk).order_by("number").values_list("state", flat=True))
    assert states == [State.DEACTIVATED, State.ACTIVE]
    assert Key.objects.get(pk=kek.pk).current_number == 2
    job = RewrapJob.objects.get()
    assert (job.order_id, job.target_id, job.total) == (order.pk, kek.primary_id, 1)
    begun = Event.objects.filter(action=Action.ORDER_BEGUN).count()
    assert begun == 2  # one for the making, one for the rotation


def test_whoever_dies_after_the_intent_is_followed_by_somebody_who_looks_first(world):
    kek = world.made()
    order = world.ordered("kek.rotate", {"key": kek.pk})
    backend, name = store(kek)
    look = backend.describe(name)
    # It died before it asked the store: what is left is a lease, and the intent.
    seen = {"before": _plain(look), "begun_at": "2026-11-22T09:00:00.000000Z"}
    _left(order, world, seen)
    assert world.step(order, seconds=300).state == "waiting"
    assert len(backend.describe(name).versions) == 1  # it looks twice before it asks again
    assert world.step(order).state == "waiting"
    assert len(backend.describe(name).versions) == 2
    assert world.through(order).state == "done"
    assert [one.store_id for one in versions(kek)] == ["1", "2"]


def test_whoever_dies_after_the_store_was_asked_is_followed_by_somebody_who_does_not_ask_again(world):
    kek = world.made()
    order = world.ordered("kek.rotate", {"key": kek.pk})
    backend, name = store(kek)
    seen = {"before": _plain(backend.describe(name)), "begun_at": "2026-11-22T09:00:00.000000Z"}
    backend.rotate(name)
    _left(order, world, seen)
    assert world.through(order, most=8).state == "waiting" or True
    world.now += timedelta(minutes=6)
    assert world.through(order).state == "done"
    assert [one.id for one in backend.describe(name).versions] == ["1", "2"]
    assert [one.store_id for one in versions(kek)] == ["1", "2"]


def _plain(info):
    from rotation.orders.looking import Look

    return Look.of(info).plain


def _left(order, world, seen):
    """Leave an order as a worker does that is killed."""
    with as_worker():
        Order.objects.filter(pk=order.pk).update(
            state="doing", leased_until=world.now + timedelta(minutes=4), seen=seen
        )


def test_a_store_that_went_back_is_refused_and_security_is_told(world, tmp_path):
    import shutil

    from rotation.models import Digest

    kek = world.made()
    ring = tmp_path / "ring"
    shutil.copytree(ring, tmp_path / "saved")
    world.rotated(kek)
    shutil.rmtree(ring)
    shutil.copytree(tmp_path / "saved", ring)
    from inventory.custody import forget_stores

    forget_stores()
    order = world.through(world.ordered("kek.rotate", {"key": kek.pk}))
    assert order.state == "failed"
    assert "has shown 2 before" in order.closed_because
    assert Event.objects.get(action=Action.KEK_ROLLED_BACK).outcome == "refused"
    assert Digest.objects.filter(subject__contains="older version").exists()
    assert len(versions(kek)) == 2


def test_a_version_is_disabled_shown_dead_and_recovered(world):
    kek = world.made()
    world.rotated(kek)
    old = versions(kek)[0]
    order = world.through(world.ordered("kek.disable", {"key": kek.pk, "number": 1}))
    assert order.state == "done", order.closed_because
    old.refresh_from_db()
    assert (old.status, old.closed_at is not None) == ("disabled", True)
    assert old.death.startswith("The store refuses to unwrap")
    assert Event.objects.get(action=Action.KEK_VERSION_SHOWN_DEAD).outcome == "done"
    order = world.through(world.ordered("kek.recover", {"key": kek.pk, "number": 1}))
    assert order.state == "done", order.closed_because
    old.refresh_from_db()
    assert (old.status, old.closed_at, old.death) == ("enabled", None, "")


def test_a_scheduled_version_is_watched_until_it_is_gone_and_certified(world, settings):
    from audit.models import Certificate

    kek = world.made()
    world.rotated(kek)
    order = world.through(world.ordered("kek.schedule", {"key": kek.pk, "number": 1, "days": 7}))
    assert order.state == "watching", order.closed_because
    old = versions(kek)[0]
    assert (old.status, old.scheduled_for is not None) == ("scheduled", True)
    assert world.step(order, seconds=3601).state == "watching"
    world.rotated(kek)  # what is watched keeps nobody from rotating
    backend, name = store(kek)
    backend.purge(name, "1")
    assert world.step(order, seconds=3601).state == "done"
    old.refresh_from_db()
    assert (old.status, old.version.state) == ("gone", State.DESTROYED)
    assert Key.objects.get(pk=kek.pk).state == State.ACTIVE
    made = Certificate.objects.get()
    assert made.kind == "destruction"
    assert b"refuses to unwrap" in bytes(made.body)


def test_a_version_that_something_needs_is_not_ended(world):
    from inventory.errors import StillNeededError

    kek = world.made()
    with as_worker():
        dek_under(versions(kek)[0])
    world.rotated(kek)
    with pytest.raises(StillNeededError, match="1 DEK is under it"):
        world.decided("kek.purge", {"key": kek.pk, "number": 1})
