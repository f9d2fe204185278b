"""kek.link: a record that was there before is linked to the KEK of its store, once, and keeps what it was."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Barrier

import pytest
from django.db import connection
from django.utils import timezone

from audit.actions import Action
from inventory.custody import WrapAlgorithm, store_of
from inventory.errors import NotLinkableError
from inventory.guarded.kek_links import agrees, link_kek
from inventory.guarded.keks import Generation
from inventory.models import Kek, Key, KeyVersion
from inventory.replay.running import Run
from inventory.services import edit_key
from inventory.states import State
from inventory.terms import KeyKind
from rotation.errors import RotationError
from rotation.fsck.states import states_follow
from rotation.models import Order
from rotation.orders import retry
from tests.approving import as_worker, carried_through
from tests.conftest import _become
from tests.inventory.world import make_key, make_owner, seal, told_of
from tests.rotation.approval_world import actor_for
from tests.rotation.kek_world import URI, WORKER, KekWorld, dek_under, key_ring, versions
from tests.rotation.permits import being_carried_out

KW = "AES-256-KW"


@pytest.fixture
def world(db, settings, tmp_path):
    key_ring(settings, tmp_path)
    return KekWorld()


def in_store(uri=URI, *, versions=1, algorithm=WrapAlgorithm.AES_256_KW):
    backend, name = store_of(uri)
    backend.create(name, algorithm)
    for _ in range(versions - 1):
        backend.rotate(name)
    return backend, name


def record(name="legacy/kek", **facts):
    said = {"algorithm": "AES-256", "notes": "from the spreadsheet", "storage_location": "HSM slot 2", **facts}
    return make_key(name=name, kind=KeyKind.KEK, owner=make_owner(f"owner of {name}"), **said)


def asked(key, uri=URI, algorithm=KW):
    return {"key": key.pk, "uri": uri, "algorithm": algorithm}


def linked(world, key, **said):
    order = world.through(world.ordered("kek.link", asked(key, **said)))
    assert order.state == "done", order.closed_because
    return Kek.objects.get(pk=key.pk)


def test_a_record_is_linked_after_two_looks_and_keeps_what_it_was(world):
    in_store()
    key = record(created_on=date(2024, 3, 1), last_rotated_on=date(2026, 9, 1))
    order = world.ordered("kek.link", asked(key))
    assert (order.key_id, world.step(order).state) == (key.pk, "waiting")
    assert world.step(order).state == "done"
    after = Key.objects.get(pk=key.pk)
    assert (after.algorithm, after.size_bits, after.storage_location) == (KW, 256, URI)
    kept = ("name", "owner_id", "created_on", "last_rotated_on", "notes", "current_number", "rotate_by")
    assert [getattr(after, name) for name in kept] == [getattr(key, name) for name in kept]
    kek = Kek.objects.get(pk=key.pk)
    assert (kek.uri, kek.primary.store_id, kek.primary.version.number) == (URI, "1", 1)
    seal()
    told = told_of(key)
    assert told[0] == Action.KEY_REGISTERED
    assert [one for one in told if one in {Action.KEY_EDITED, Action.KEK_LINKED, Action.KEY_ROTATED}] == [
        Action.KEY_EDITED,
        Action.KEK_LINKED,
    ]
    assert [str(one) for one in Run().differences()] == []


def test_what_is_linked_wraps_and_rotates_like_any_other(world):
    in_store()
    kek = linked(world, record())
    with as_worker():
        dek_under(versions(kek)[0])
    world.rotated(kek)
    assert [(one.store_id, one.version.number) for one in versions(kek)] == [("1", 1), ("2", 2)]


def test_versions_that_the_record_lacks_are_added(world):
    backend, name = in_store(versions=3)
    backend.disable(name, "1")
    key = record(created_on=date(2024, 3, 1), last_rotated_on=date(2026, 9, 1))
    kek = linked(world, key)
    found = [(one.store_id, one.version.number, one.version.state, one.closed_at is None) for one in versions(kek)]
    assert found == [
        ("1", 1, State.DEACTIVATED, False),
        ("2", 2, State.DEACTIVATED, True),
        ("3", 3, State.ACTIVE, True),
    ]
    after = Key.objects.get(pk=key.pk)
    assert (after.current_number, after.last_rotated_on) == (3, date(2026, 9, 1))
    seal()
    assert [str(one) for one in Run().differences()] == []
    with as_worker():
        assert states_follow().holds


def test_earlier_versions_of_the_record_stay_history(world):
    in_store()
    key = record()
    with _become("migrator"):
        KeyVersion.objects.filter(key=key).update(state=State.DEACTIVATED, deactivated_at=timezone.now())
        KeyVersion.objects.create(key=key, number=2, state=State.ACTIVE, activated_at=timezone.now())
        Key.objects.filter(pk=key.pk).update(current_number=2)
    kek = linked(world, key)
    assert [(one.store_id, one.version.number) for one in versions(kek)] == [("1", 2)]


def test_without_a_day_of_rotation_nothing_is_made_up(world):
    in_store(versions=2)
    key = record(last_rotated_on=None, never_rotated=True)
    order = world.through(world.ordered("kek.link", asked(key)))
    assert order.state == "failed"
    assert "does not say when it was last rotated" in order.closed_because
    assert not Kek.objects.exists()
    changes = {"last_rotated_on": date(2026, 1, 10), "never_rotated": False}
    now = world.now
    revision = Key.objects.get(pk=key.pk).revision
    edit_key(pk=key.pk, changes=changes, expected_revision=revision, actor=WORKER, reason="said", now=now)
    retry(pk=order.pk, actor=actor_for(world.security), reason="it says so now", now=now)
    assert world.through(order).state == "done"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"kind": KeyKind.HMAC_KEY}, "is no key-encrypting key"),
        ({"state": State.PRE_ACTIVATION}, "Only a record of a KEK that is active"),
        ({"algorithm": "RSA-3072"}, "this is another key"),
        ({"algorithm": "AES-128"}, "this is another key"),
        ({"algorithm": "opaque"}, "this is another key"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_asked(world, facts, words):
    key = make_key(**{"name": "legacy/kek", "kind": KeyKind.KEK, "algorithm": "AES-256", **facts})
    with pytest.raises(NotLinkableError, match=words):
        carried_through("kek.link", asked(key), asker=world.devops, by=(world.security,), now=world.now)


def test_what_the_store_keeps_in_another_way_is_refused_by_the_worker(world):
    in_store(algorithm=WrapAlgorithm.RSA_3072_OAEP_256)
    key = record()
    order = world.through(world.ordered("kek.link", asked(key)))
    assert (order.state, Kek.objects.count()) == ("failed", 0)
    assert "RSA-3072-OAEP-256" in order.closed_because
    assert Key.objects.get(pk=key.pk).storage_location == "HSM slot 2"


def test_nothing_is_linked_twice(world):
    in_store()
    key, other = record(), record("other/kek")
    kek = linked(world, key)
    for one, uri, words in ((key, "local:house/else", f"linked already, to {kek.uri}"), (other, URI, "another record")):
        with pytest.raises(NotLinkableError, match=words):
            carried_through("kek.link", asked(one, uri=uri), asker=world.devops, by=(world.security,), now=world.now)


def test_of_two_that_are_asked_for_one_store_key_the_first_wins(world):
    in_store()
    first = world.ordered("kek.link", asked(record()))
    second = world.ordered("kek.link", asked(record("other/kek")))
    assert world.through(first).state == "done"
    lost = world.through(second)
    assert lost.state == "failed"
    assert "another record already" in lost.closed_because
    assert Kek.objects.count() == 1


def test_one_that_waits_in_its_store_is_not_asked_for_again(world):
    in_store()
    key = record()
    order = world.ordered("kek.link", asked(key))
    with pytest.raises(RotationError, match=f"order:{order.pk}"):
        carried_through("kek.link", asked(key), asker=world.devops, by=(world.security,), now=world.now)


@pytest.mark.parametrize(
    ("algorithm", "bits", "there", "size", "agree"),
    [
        ("AES-256", None, "AES-256-GCM", 256, True),
        ("AES", 256, KW, 256, True),
        ("AES", 128, KW, 256, False),
        ("RSA-3072", None, "RSA-OAEP-256", 3072, True),
        ("RSA", 2048, "RSA-OAEP-256", 3072, False),
        ("", None, KW, 256, True),
        ("", 128, KW, 256, False),
        ("secret", 256, KW, 256, False),
    ],
)
def test_an_algorithm_agrees_with_every_way_of_wrapping_of_the_same_key(algorithm, bits, there, size, agree):
    assert agrees(Key(algorithm=algorithm, size_bits=bits, kind=KeyKind.KEK), there, size) is agree


# Races


def _links(key, uri, permits, barrier):
    """Link in a connection of its own; return whether it was this one."""
    facts = {"algorithm": KW, "size_bits": 256, "storage_location": uri}
    told = permits[key.pk].facts
    try:
        barrier.wait()
        link_kek(
            pk=key.pk, facts=facts, uri=uri, algorithm=KW, generations=[Generation(store_id="1")], canary=b"c",
            told=told, actor=WORKER, reason="race", now=timezone.now(),
        )  # fmt: skip
    except NotLinkableError:
        return False
    else:
        return True
    finally:
        connection.close()


@pytest.mark.parametrize("same", ["record", "store key"])
def test_of_many_at_once_one_is_linked(committed_db, same):
    keys = [record(f"kek {number}") for number in range(1 if same == "record" else 4)] * (4 if same == "record" else 1)
    permits = {key.pk: being_carried_out("kek.link", key.ref) for key in set(keys)}
    uris = [f"local:house/k{number}" if same == "record" else URI for number in range(4)]
    barrier = Barrier(4)
    with _become("worker"), ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda pair: _links(*pair, permits, barrier), zip(keys, uris, strict=True)))
    assert sorted(won) == [False, False, False, True]
    assert Kek.objects.count() == 1
    assert not Order.objects.exists()
