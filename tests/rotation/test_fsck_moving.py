"""fsck while the house goes on: what moves between its look at the database and its look at the stores is no break."""

import os
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import connection, connections
from django.utils import timezone

from audit.actor import Actor
from inventory.custody import forget_stores, store_of
from inventory.models import Wrapping
from rotation import fsck, rewrap
from rotation.models import JobState, RewrapJob
from tests.rotation.rewrap_world import census, house, make_kek, rotate

WORKER = Actor.system("worker")


@pytest.fixture(autouse=True)
def worker(committed_db, settings, tmp_path, as_role):
    house(settings, tmp_path)
    with as_role("worker"):
        yield committed_db
    forget_stores()


def elsewhere(act):
    """Do something on a connection of its own, as another process would, and wait for it."""

    def run():
        try:
            return act()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def tamper(statement, pks):
    """Write past every trigger, as who owns the machine can."""
    how = {"dbname": connection.settings_dict["NAME"], "options": "-c session_replication_role=replica"}
    with psycopg.connect(os.environ["KEYVAULT_TEST_SUPERUSER"], **how) as owner:
        owner.execute(statement, [pks])


def deks(count):
    return list(Wrapping.objects.order_by("dek_version_id").values_list("dek_version_id", flat=True)[:count])


def brought_over(kek):
    """Rotate a KEK, let a job bring all over, and disable the version that nothing is under any more."""
    old = kek.primary.store_id
    rotate(kek)
    job = rewrap.open_job(kek=kek, actor=WORKER, reason="test", now=timezone.now())
    rewrap.work(pk=job.pk, actor=WORKER, clock=timezone.now, seconds=20)
    assert RewrapJob.objects.get(pk=job.pk).state == JobState.DONE
    if not Wrapping.objects.filter(kek_version__kek=kek, kek_version__store_id=old).exists():  # the interlock's rule
        store, name = store_of(kek.uri)
        store.disable(name, old)


def looked(act):
    """Let fsck read the database, do something elsewhere, and let it go on to the stores; return what came of 2."""

    def meanwhile(result):
        if result.number == 1:
            elsewhere(act)

    options = fsck.Options(only=frozenset({1, 2}))
    return fsck.run(options, now=timezone.now(), tell=meanwhile).results[1]


def test_what_a_job_has_moved_meanwhile_is_opened_where_it_is_by_now():
    kek = make_kek(deks=5)
    result = looked(lambda: brought_over(kek))
    assert census(kek) == {"2": 5}
    assert (result.breaks, result.is_skipped, result.checked) == ([], False, 5)
    assert result.notes == ["5 were brought under another version meanwhile, and opened there"]


def test_what_moves_twice_is_followed():
    kek = make_kek(deks=3)

    def twice():
        brought_over(kek)
        brought_over(kek)

    result = looked(twice)
    assert (result.breaks, result.is_skipped, result.checked) == ([], False, 3)


def test_what_is_altered_is_a_break_wherever_the_others_go():
    kek = make_kek(deks=5)
    flipped = "set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)"
    tamper(f"UPDATE inventory_wrapping SET wrapped = {flipped} WHERE dek_version_id = ANY(%s)", deks(1))
    result = looked(lambda: brought_over(kek))
    assert census(kek) == {"1": 1, "2": 4}
    assert (result.broken, result.is_skipped, result.checked) == (1, False, 4)
    assert "under version 1 of" in result.breaks[0]


def test_a_swap_after_the_move_is_a_break():
    kek = make_kek(deks=5)
    swapped = deks(2)

    def swap():
        brought_over(kek)
        tamper(
            "UPDATE inventory_wrapping a SET wrapped = b.wrapped FROM inventory_wrapping b"
            " WHERE a.dek_version_id = ANY(%s) AND b.dek_version_id <> a.dek_version_id",
            swapped,
        )

    result = looked(swap)
    assert (result.broken, result.checked) == (2, 3)
    assert "under version 2 of" in result.breaks[0]
    assert "(not_bound)" in result.breaks[0]


def test_what_is_lost_meanwhile_is_found():
    kek = make_kek(deks=5)
    lost = deks(2)

    def lose():
        brought_over(kek)
        tamper("DELETE FROM inventory_wrapping WHERE dek_version_id = ANY(%s)", lost)

    result = looked(lose)
    assert result.broken == 2
    assert "was wrapped a moment ago, and is not now" in result.breaks[0]


def test_a_version_that_was_disabled_over_its_deks_leaves_the_answer_open():
    kek = make_kek(deks=5)
    store, name = store_of(kek.uri)
    result = looked(lambda: store.disable(name, "1"))
    assert (result.broken, result.is_skipped, result.checked) == (0, True, 0)
    assert "is disabled" in result.notes[0]
