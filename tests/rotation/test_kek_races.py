"""REW-07: no version of a KEK is ended while something needs it, whatever races; nothing comes under an ended one.

20 tries and 4 rounds of races on every run; under `make test-full` 100 tries and 25 rounds.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from threading import Barrier

import pytest
from django.db import DatabaseError, connection, transaction

from audit.actor import Actor
from inventory.errors import InventoryError, StillNeededError
from inventory.guarded.deks import clear_dek_version
from inventory.guarded.keks import Voted, close_versions
from inventory.models import DekVersion, HandOut, Kek, KekVersion, KekVersionHold, Key, KeyVersion, Service, Wrapping
from inventory.terms import KeyKind
from tests.conftest import _become
from tests.rotation.permits import being_carried_out

FULL = "tests.full" in sys.modules
TRIES, ROUNDS, RACERS = (100, 25, 8) if FULL else (20, 4, 8)
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
VOTED = Voted(told={}, actor=Actor.system("worker"), reason="test", now=NOW)


@pytest.fixture
def kek(committed_db):
    """A KEK of two versions: DEKs are under the first, the second is the primary. As the worker."""
    with _become("worker"):
        key = Key.objects.create(name="kek", kind=KeyKind.KEK)
        kek = Kek.objects.create(key=key, uri="local:house/kek", algorithm="AES-256-KW")
        for number in (1, 2):
            _version(kek, number)
        Kek.objects.filter(pk=kek.pk).update(primary=kek.versions.latest("pk"))
        Service.objects.create(name="shop")
        for number in range(RACERS):
            _dek(number)
        yield kek


def _version(kek, number):
    generation = KeyVersion.objects.create(key_id=kek.pk, number=number)
    return KekVersion.objects.create(version=generation, kek=kek, store_id=str(number), status_at=NOW)


def _dek(number):
    key = Key.objects.create(name=f"dek {number}", kind=KeyKind.DEK, secret_name=f"s{number}")
    generation = KeyVersion.objects.create(key=key, number=1)
    return DekVersion.objects.create(version=generation, key=key, number=1)


def raced(*acts):
    """Let all begin at once, each in a connection of its own; return for each whether it was done."""
    barrier = Barrier(len(acts))

    def run(act):
        try:
            barrier.wait()
            with transaction.atomic():
                act()
        except (DatabaseError, InventoryError):
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def wrap(version, dek):
    Wrapping.objects.create(kek_version=version, dek_version=dek, wrapped=b"x")


def close(kek, version):
    close_versions(pk=kek.pk, versions=[version.pk], with_primary=False, **VOTED.how)


def is_closed(version):
    return KekVersion.objects.get(pk=version.pk).closed_at is not None


def test_a_version_that_wraps_something_is_never_closed(kek):
    old, _ = kek.versions.order_by("pk")
    wrap(old, DekVersion.objects.first())
    for _ in range(TRIES):
        with pytest.raises(StillNeededError):
            close(kek, old)
        with pytest.raises(DatabaseError), transaction.atomic():
            KekVersion.objects.filter(pk=old.pk).update(closed_at=NOW)
    assert not is_closed(old)


def test_closing_races_with_the_end_of_a_job_and_never_wins_early(kek):
    """The last batch moves what is left while others close the version: they succeed only once it is empty."""
    old, new = kek.versions.order_by("pk")
    deks = list(DekVersion.objects.order_by("pk"))
    for dek in deks:
        wrap(old, dek)
    for _ in range(ROUNDS):
        ends = partial(close, kek, old)
        done = raced(partial(_move, deks, old, new), *[ends] * (RACERS - 1))
        assert done[0], "the job always comes to its end"
        assert not Wrapping.objects.filter(kek_version=old).exists()
        assert is_closed(old) == any(done[1:])
        assert Wrapping.objects.filter(kek_version=new).count() == len(deks)
        old, new = new, _next(kek)


def _move(deks, old, new):
    """Do what the last batch of a job does."""
    for dek in deks:
        wrap(new, dek)
    Wrapping.objects.filter(kek_version=old).delete()
    assert not is_closed(old), "it was closed while this batch was under way"


def test_what_a_job_moves_while_it_is_cleared_goes_too(kek):
    """The job has brought the DEK under the new version and not committed when somebody clears it."""
    old, new = kek.versions.order_by("pk")
    dek = DekVersion.objects.order_by("pk").first()
    wrap(old, dek)
    with _become("migrator"):
        KeyVersion.objects.create(key=dek.key, number=2)
        Key.objects.filter(pk=dek.key_id).update(current_number=2)
        DekVersion.objects.filter(pk=dek.pk).update(reencrypted_at=NOW, reencrypted_by="user:1")
    permit = being_carried_out("dek.clear", dek.key.ref, number=1)
    clearing = partial(
        clear_dek_version, dek=dek.key_id, number=1, permit=permit, actor=VOTED.actor, reason="over", now=NOW
    )
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            wrap(new, dek)
            Wrapping.objects.filter(kek_version=old, dek_version=dek).delete()
            cleared = pool.submit(_alone, clearing)
            with pytest.raises(TimeoutError):
                cleared.result(timeout=1)  # it waits for the job
        cleared.result(timeout=20)
    assert not Wrapping.objects.filter(dek_version=dek).exists()
    assert DekVersion.objects.get(pk=dek.pk).cleared_at == NOW


def _alone(act):
    try:
        act()
    finally:
        connection.close()


def _next(kek):
    """Give the KEK another version, which takes the wraps from then on."""
    version = _version(kek, kek.versions.count() + 1)
    Kek.objects.filter(pk=kek.pk).update(primary=version)
    return version


def test_closing_and_coming_to_need_a_version_never_both_succeed(kek):
    half, service = RACERS // 2, Service.objects.get()
    deks = list(DekVersion.objects.order_by("pk"))[:half]
    ways = {"wrapping": wrap, "hand-out": partial(_hand_out, service), "hold": _hold}
    for way, need in ways.items():
        for turn in range(ROUNDS):
            version = _version(kek, kek.versions.count() + 1)
            closers = [partial(close, kek, version)] * half
            needers = [partial(need, version, dek) for dek in deks]
            done = raced(*closers, *needers) if turn % 2 else raced(*needers, *closers)[::-1]
            closed, needed = done[:half], done[half:]
            assert is_closed(version) == any(closed) != any(needed), f"{way}, turn {turn}: {done}"


def _hand_out(service, version, dek):
    HandOut.objects.create(dek_version=dek, kek_version=version, service=service, handed_at=NOW, handed_by="test")


def _hold(version, dek):
    KekVersionHold.objects.create(kek_version=version, kind="backup", ref=f"dump:{dek.pk}", because="kept", held_at=NOW)
