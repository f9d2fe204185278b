"""REW-01: whoever dies, wherever: what was begun is brought to its end, each DEK once, and nothing is lost.

Ten points and four ways to die, 40 DEKs each (12 without tests.full); and workers that are killed at random under load.
"""

import os
import secrets
import sys
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.utils import timezone

from audit.actor import Actor
from audit.models import Certificate, Event
from audit.selectors import read
from audit.verification import verify
from inventory.kms import SCHEMES
from rotation import rewrap
from rotation.models import JobState, RewrapBatch, RewrapJob
from tests.engines import superuser_connection
from tests.rotation.dying_store import POINTS
from tests.rotation.rewrap_world import (
    bindings,
    census,
    end_all,
    forget_stores,
    house,
    in_child,
    make_kek,
    opens,
    quick_clock,
    rotate,
)

FULL = "tests.full" in sys.modules
DEKS, UNDER_LOAD = (40, 20_000) if FULL else (12, 2_000)
WORKER = Actor.system("worker")
POINT_NAMES = (
    "before claim", "after claim", "after unwrap", "after wrap", "after verify", "before update", "after update",
    "before commit", "after commit", "between batches",
)  # fmt: skip


@pytest.fixture
def killable(committed_db, settings, tmp_path, monkeypatch, as_role):
    """The worker's login, in a database of the test's own, with a store that can be died in."""
    monkeypatch.setitem(SCHEMES, "local", ("tests.rotation.dying_store", "DyingBackend", ""))
    house(settings, tmp_path)
    with as_role("worker"):
        yield
    forget_stores()


def worked(job, **how):
    return rewrap.work(pk=job.pk, actor=WORKER, clock=quick_clock(), seconds=20, **how)


class Statements:
    """Watches what a worker asks of the database, and says where it is."""

    def __init__(self, reached):
        self.reached, self.claims = reached, 0

    def __call__(self, execute, sql, params, many, context):
        if "FOR UPDATE OF j" in sql:
            self.claims += 1  # the first one is for the plan
            self.reached({2: "before claim", 3: "between batches"}.get(self.claims, ""))
        elif "SET state = 'done', leased_until = NULL, done_at = greatest(begun_at" in sql:
            self.reached("before update")
        elif "audit_append" in sql and self.claims == 2:
            self.reached("after update")
        answer = execute(sql, params, many, context)
        if "SET rewrapped = rewrapped +" in sql:
            self.reached("before commit")
        return answer


@contextmanager
def watched(point, die):
    """Die once at a point, in the way given."""
    died = []

    def reached(name):
        if name == point and not died:
            died.append(name)
            die()

    POINTS.begin(reached)
    try:
        with connection.execute_wrapper(Statements(reached)):
            yield reached
    finally:
        POINTS.end()
    assert died == [point]


def attempt(job, point, die):
    """Work until death, or until the worker gives up for now."""
    with watched(point, die) as reached, suppress(DiedError):
        worked(job, tell=lambda *_: reached("after commit"))


class DiedError(RuntimeError):
    """Nobody expects this one."""


def raise_error():
    raise DiedError


def lose_connection():
    pid = connection.connection.info.backend_pid
    with superuser_connection() as superuser:
        superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def lose_store():
    POINTS.is_away = True


def died_in_child(job, point):
    pid = in_child(lambda: attempt(job, point, lambda: os._exit(9)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


WAYS = {
    "exception": lambda job, point: attempt(job, point, raise_error),
    "exit": died_in_child,
    "terminated": lambda job, point: attempt(job, point, lose_connection),
    "timeout": lambda job, point: attempt(job, point, lose_store),
}


def let_leases_run_out():
    RewrapBatch.objects.filter(state="leased").update(leased_until=timezone.now() - timedelta(seconds=1))
    RewrapJob.objects.filter(state=JobState.RUNNING).update(next_at=timezone.now() - timedelta(seconds=1))


def check_whole(kek, job, before):
    """Each DEK is under the newest version, is what it was, and stands in the log once."""
    job.refresh_from_db()
    newest = kek.primary.store_id
    assert (job.state, job.rewrapped, census(kek)) == (JobState.DONE, len(before), {newest: len(before)})
    assert bindings(kek) == before
    assert bytes(job.digest_before) == bytes(job.digest_after)
    assert not RewrapBatch.objects.filter(job=job, state="leased").exists()
    assert Certificate.objects.filter(subject=job.ref).count() == 1
    events = [one.said for one in read(Event.objects.filter(action="rewrap.batch_done").order_by("number"))]
    mine = [said for said in events if said.subjects[0].ref == job.ref]
    spans = sorted((int(said.facts["first"]), int(said.facts["last"])) for said in mine)
    assert sum(said.facts["rewrapped"] for said in mine) == len(before)
    assert all(last < first for (_, last), (first, _) in pairwise(spans))
    assert sum(one.said.subjects[0].ref == job.ref for one in read(Event.objects.filter(action="rewrap.finished"))) == 1


@pytest.mark.parametrize("way", WAYS)
def test_wherever_a_worker_dies_the_next_one_brings_it_to_an_end(killable, way):
    for point in POINT_NAMES:
        kek = make_kek(deks=DEKS)
        rotate(kek)
        before = bindings(kek)
        pace = rewrap.Pace(batch_size=-(-DEKS // 2))
        job = rewrap.open_job(kek=kek, actor=WORKER, reason=point, now=timezone.now(), pace=pace)
        WAYS[way](job, point)
        connection.close_if_unusable_or_obsolete()
        assert opens(kek) == DEKS, point  # at this moment too
        let_leases_run_out()
        worked(job)
        check_whole(kek, job, before)
        assert opens(kek) == DEKS
    verdict = verify()
    assert verdict.is_whole, verdict.findings


def start_workers(job, count=2):
    return [in_child(lambda: _work_until_over(job)) for _ in range(count)]


def _work_until_over(job):
    while worked(job).ended is not rewrap.Ended.OVER:
        time.sleep(0.05)


def test_a_group_of_workers_killed_at_random_loses_nothing(killable):
    kek = make_kek(deks=UNDER_LOAD)
    rotate(kek)
    before = bindings(kek)
    pace = rewrap.Pace(batch_size=UNDER_LOAD // 40)
    job = rewrap.open_job(kek=kek, actor=WORKER, reason="killed", now=timezone.now(), pace=pace)
    kills = 0
    while kills < (12 if FULL else 4):
        pids = start_workers(job)
        time.sleep(0.05 + secrets.randbelow(150 if FULL else 60) / 1000)
        end_all(pids)
        kills += 1
        assert sum(census(kek).values()) == UNDER_LOAD
        if RewrapJob.objects.get(pk=job.pk).state != JobState.RUNNING:
            break
        let_leases_run_out()
    worked(job)
    check_whole(kek, job, before)
    assert opens(kek) == UNDER_LOAD


@pytest.mark.skipif(not FULL, reason="waits for a lease to run out: under tests.full")
def test_what_a_killed_worker_had_in_hand_goes_on_within_a_minute(killable):
    kek = make_kek(deks=2_000)
    rotate(kek)
    pace = rewrap.Pace(batch_size=500)
    job = rewrap.open_job(kek=kek, actor=WORKER, reason="killed", now=timezone.now(), pace=pace)
    died_in_child(job, "after wrap")
    began = time.monotonic()
    while RewrapJob.objects.get(pk=job.pk).state == JobState.RUNNING:
        for pk, _lacking in rewrap.tend(actor=WORKER, now=timezone.now(), workers=1):
            rewrap.work(pk=pk, actor=WORKER, clock=timezone.now, seconds=5)
        time.sleep(0.2)
    assert time.monotonic() - began < 60
    assert census(kek) == {"2": 2_000}
