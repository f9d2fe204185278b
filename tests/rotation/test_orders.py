"""Orders: a KEK is made, rotated and ended in its store, each once; whoever dies leaves nothing undone."""

import json
import shutil
import sys
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from audit.actions import Action
from audit.models import Certificate, Event
from inventory.custody import WrapAlgorithm, forget_stores, store_of
from inventory.errors import StillNeededError
from inventory.kms.local import LocalBackend
from inventory.models import Kek, KekVersion, Key, KeyVersion
from inventory.replay.running import Run
from inventory.states import State
from rotation.census import census
from rotation.errors import NotOrderingError, OrderWaitsError
from rotation.models import Act, Digest, Order, RewrapJob
from rotation.orders import cancel, look_around, open_order, retry
from rotation.orders.looking import Look
from tests.approving import as_worker
from tests.conftest import make_person
from tests.inventory.world import seal, told_of
from tests.rotation.approval_world import actor_for
from tests.rotation.kek_world import URI, WORKER, KekWorld, dek_under, key_ring, moved, store, versions
from tests.rotation.stores import MADE, KilledError, ShakyBackend, add_schemes


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
    told = [action for action in told_of(kek.key) if action.startswith(("kek", "order"))]
    assert told == [Action.KEK_LINKED, Action.ORDER_DONE]


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
    world.now += timedelta(minutes=6)
    assert world.through(order).state == "done"
    assert [one.id for one in backend.describe(name).versions] == ["1", "2"]
    assert [one.store_id for one in versions(kek)] == ["1", "2"]


def _plain(info):
    return Look.of(info).plain


def _left(order, world, seen):
    """Leave an order as a worker does that is killed."""
    with as_worker():
        Order.objects.filter(pk=order.pk).update(
            state="doing", leased_until=world.now + timedelta(minutes=4), seen=seen
        )


def test_a_store_that_went_back_is_refused_and_security_is_told(world, tmp_path):
    kek = world.made()
    ring = tmp_path / "ring"
    shutil.copytree(ring, tmp_path / "saved")
    world.rotated(kek)
    shutil.rmtree(ring)
    shutil.copytree(tmp_path / "saved", ring)
    forget_stores()
    order = world.through(world.ordered("kek.rotate", {"key": kek.pk}))
    assert order.state == "failed"
    assert "has shown 2 before" in order.closed_because
    assert Event.objects.get(action=Action.KEK_ROLLED_BACK).outcome == "refused"
    assert Digest.objects.filter(subject__contains="older version").count() == 2  # people of Security
    assert len(versions(kek)) == 2
    cancel(pk=order.pk, actor=actor_for(world.security), reason="not now", now=world.now)
    order = world.through(world.ordered("kek.purge", {"key": kek.pk, "number": 1}))
    assert (order.state, "has shown 2 before" in order.closed_because) == ("failed", True)
    assert store(kek)[0].describe("payments").versions[0].status == "enabled"
    with as_worker():
        assert look_around(actor=WORKER, now=world.now).rolled_back == 1
    seal()
    assert Event.objects.filter(action=Action.KEK_ROLLED_BACK).count() == 2  # once a day, however often it is looked at


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
    kek = world.made()
    with as_worker():
        dek_under(versions(kek)[0])
    world.rotated(kek)
    with pytest.raises(StillNeededError, match="1 DEK is under it"):
        world.decided("kek.purge", {"key": kek.pk, "number": 1})


# Other kinds of stores


@pytest.fixture
def others(world, settings, monkeypatch):
    """The same world, with a store of each kind that tests make up."""
    add_schemes(monkeypatch)
    ring = settings.KMS_STORES["house"].removeprefix("local://").partition("#")[0]
    for scheme in MADE:
        (Path(ring).parent / scheme).mkdir(mode=0o700)
        settings.KMS_STORES[scheme] = f"{scheme}://{Path(ring).parent / scheme}#{scheme}"
    yield world
    ShakyBackend.mood = ""


def test_where_the_store_knows_no_smaller_step_all_earlier_versions_are_closed_and_checked(others):
    kek = others.made("upto:upto/payments")
    with as_worker():
        dek = dek_under(versions(kek)[0])
    others.rotated(kek)
    others.rotated(kek)
    with pytest.raises(StillNeededError, match="version 1: 1 DEK is under it"):
        others.decided("kek.disable", {"key": kek.pk, "number": 2})
    with as_worker():
        moved(dek, versions(kek)[2])
    order = others.through(others.ordered("kek.disable", {"key": kek.pk, "number": 2}))
    assert order.state == "done", order.closed_because
    assert [(one.status, one.closed_at is None) for one in versions(kek)] == [
        ("disabled", False),
        ("disabled", False),
        ("enabled", True),
    ]
    assert "smallest version was raised" in versions(kek)[0].death


def test_a_whole_kek_is_scheduled_and_recovered_and_then_destroyed(others):
    kek = others.made("whole:whole/payments")
    others.rotated(kek)
    order = others.through(others.ordered("kek.schedule", {"key": kek.pk, "number": 2, "days": 30}))
    assert order.state == "watching", order.closed_because
    kek.refresh_from_db()
    assert kek.primary is None
    back = others.through(others.ordered("kek.recover", {"key": kek.pk, "number": 2}))
    assert back.state == "done", back.closed_because
    order.refresh_from_db()
    kek.refresh_from_db()
    assert (order.state, kek.primary.store_id) == ("cancelled", "2")
    assert [one.closed_at for one in versions(kek)] == [None, None]
    order = others.through(others.ordered("kek.schedule", {"key": kek.pk, "number": 2, "days": 7}))
    backend, name = store(kek)
    for one in backend.describe(name).versions:
        LocalBackend.purge(backend, name, one.id)
    assert others.step(order, seconds=3601).state == "done"
    assert Key.objects.get(pk=kek.pk).state == State.DESTROYED
    assert [one.version.state for one in versions(kek)] == [State.DESTROYED] * 2
    assert [b"Cannot be shown" in bytes(one.body) for one in Certificate.objects.all()] == [True, True]
    assert [str(one) for one in Run().differences()] == []


def test_a_store_that_is_away_is_waited_for_and_one_that_says_no_is_not(others):
    kek = others.made("shaky:shaky/payments")
    order = others.ordered("kek.rotate", {"key": kek.pk})
    ShakyBackend.mood = "away"
    waiting = others.step(order)
    assert (waiting.state, waiting.attempts) == ("waiting", 1)
    assert waiting.next_at - others.now == timedelta(minutes=1)
    ShakyBackend.mood = "denies"
    failed = others.step(order, seconds=61)
    assert (failed.state, failed.closed_because) == ("failed", "The key store says no.")
    with pytest.raises(OrderWaitsError):
        others.decided("kek.rotate", {"key": kek.pk})
    ShakyBackend.mood = ""
    retry(pk=order.pk, actor=actor_for(others.devops), reason="it may again", now=others.now)
    assert others.through(order, most=8).state == "done"
    assert len(store(kek)[0].describe("payments").versions) == 2


def test_a_store_that_rotates_and_does_not_answer_is_not_asked_again(others):
    kek = others.made("shaky:shaky/payments")
    order = others.ordered("kek.rotate", {"key": kek.pk})
    ShakyBackend.mood = "silent"
    assert others.step(order).state == "waiting"
    ShakyBackend.mood = ""
    others.now += timedelta(minutes=2)
    assert others.through(order).state == "done"
    assert len(store(kek)[0].describe("payments").versions) == 2


KILLED = (
    "at a look at 1",
    "before it is asked",
    "after it was asked",
    "at a look at 2",
    "before the canary",
    "after the canary",
)


@pytest.mark.parametrize(
    "where", KILLED if "tests.full" in sys.modules else KILLED[2:4]
)  # around what is not idempotent
def test_a_worker_killed_anywhere_leaves_one_rotation_and_one_job(others, where):
    kek = others.made("shaky:shaky/payments")
    with as_worker():
        dek_under(versions(kek)[0])
    order = others.ordered("kek.rotate", {"key": kek.pk})
    ShakyBackend.mood = where
    killed = 0
    for _ in range(8):
        with suppress(KilledError):
            if others.step(order, dying=(KilledError,)).state == "done":
                break
            continue
        killed += 1
        assert Order.objects.get(pk=order.pk).state == "doing"
        others.now += timedelta(minutes=6)  # the lease runs out
    assert (killed, Order.objects.get(pk=order.pk).state) == (1, "done")
    assert [one.id for one in store(kek)[0].describe("payments").versions] == ["1", "2"]
    assert [one.store_id for one in versions(kek)] == ["1", "2"]
    assert RewrapJob.objects.count() == 1


# Taken over, taken back, looked after


def test_a_kek_with_earlier_versions_is_taken_over_whole_and_the_log_tells_it(world):
    backend, name = store_of(URI)
    backend.create(name, WrapAlgorithm.AES_256_KW)
    backend.rotate(name)
    backend.rotate(name)
    backend.disable(name, "1")
    facts = world.facts() | {"created_on": "2026-01-05", "last_rotated_on": "2026-06-01"}
    parameters = {"uri": URI, "algorithm": "AES-256-KW", "takes_over": True, "facts": facts}
    order = world.through(world.ordered("kek.create", parameters))
    assert order.state == "done", order.closed_because
    kek = Kek.objects.get(uri=URI)
    found = [(one.store_id, one.status, one.version.state, one.closed_at is None) for one in versions(kek)]
    assert found == [
        ("1", "disabled", State.DEACTIVATED, False),
        ("2", "enabled", State.DEACTIVATED, True),
        ("3", "enabled", State.ACTIVE, True),
    ]
    assert kek.primary.store_id == "3"
    world.rotated(kek)
    assert [str(one) for one in Run().differences()] == []


def test_what_was_closed_for_an_order_that_is_cancelled_is_opened_again(world):
    kek = world.made()
    world.rotated(kek)
    order = world.ordered("kek.purge", {"key": kek.pk, "number": 1})
    assert versions(kek)[0].closed_at
    with pytest.raises(NotOrderingError):
        cancel(pk=order.pk, actor=actor_for(make_person("eve", "Engineering")), reason="no", now=world.now)
    cancel(pk=order.pk, actor=actor_for(world.security), reason="a dump needs it", now=world.now)
    with as_worker():
        look_around(actor=WORKER, now=world.now)
    assert (versions(kek)[0].closed_at, len(store(kek)[0].describe("payments").versions)) == (None, 2)


def test_what_others_changed_in_the_store_is_noted_by_the_hour(world):
    kek = world.made()
    backend, name = store(kek)
    backend.rotate(name)
    backend.disable(name, "1")
    with as_worker():
        assert look_around(actor=WORKER, now=world.now).looked == 1
    kek.refresh_from_db()
    assert (versions(kek)[0].status, kek.newest_seen) == ("disabled", "2")


def test_deks_are_drawn_by_orders(world):
    kek = world.made()
    with as_worker():
        order = open_order(
            act=Act.NEW_DEK,
            key=None,
            parameters={"kek": kek.pk, "secret_name": "smtp"},
            permit=None,
            actor=WORKER,
            reason="a new secret",
            now=world.now,
        )
    done = world.step(order)
    assert done.state == "done", done.closed_because
    assert done.key.secret_name == "smtp"
    assert next(one for one in census([kek.pk])).deks == 1


# Commands


def test_the_census_is_flat_in_queries_and_says_what_each_version_wraps(world, django_assert_num_queries):
    keks = [world.made(), world.made("local:house/other", "other/kek")]
    with as_worker():
        dek_under(versions(keks[0])[0])
    world.rotated(keks[0])
    with django_assert_num_queries(6):
        found = census()
    assert [(one.kek.key.name, one.deks, one.under_old) for one in found] == [
        ("other/kek", 0, 0),
        ("payments/kek", 1, 1),
    ]
    said = StringIO()
    call_command("census", "payments/kek", "--json", stdout=said)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [(line["version"], line["deks"], line["is_primary"]) for line in lines] == [(1, 1, False), (2, 0, True)]
    said = StringIO()
    call_command("census", stdout=said)
    assert "1 DEKs, 1 of them not under the primary version" in said.getvalue()


def test_the_command_asks_where_two_vote_and_follows_a_request(world):
    kek = world.made()
    with pytest.raises(CommandError, match="somebody of DevOps asks"):
        call_command("rotate_kek", kek.uri, "--reason", "yearly")
    order = world.rotated(kek)
    said = StringIO()
    call_command("rotate_kek", kek.uri, "--request", str(order.request_id), stdout=said)
    assert f"{order.ref} is done. Version 2 is in use." in said.getvalue()
