"""REW-04 and REW-05: the same work handed out again and again, rotations during a job, writers who never stop."""

import sys
import time
from itertools import pairwise

import pytest
from django.utils import timezone

from audit.actor import Actor
from audit.models import Event
from audit.selectors import read
from audit.verification import verify
from inventory.models import Wrapping
from rotation import rewrap, tasks
from rotation.models import LIVE_JOBS, JobState, RewrapBatch, RewrapJob
from rotation.rewrap.batches import run_batch
from rotation.rewrap.errors import LeaseLostError
from rotation.rewrap.ground import ground_of
from rotation.rewrap.leasing import claim
from tests.rotation.rewrap_world import (
    add_deks,
    bindings,
    census,
    ended_well,
    forget_stores,
    house,
    in_child,
    make_kek,
    opens,
    rotate,
)  # fmt: skip

FULL = "tests.full" in sys.modules
BULK = 10_000 if FULL else 2_000
WORKER = Actor.system("worker")


@pytest.fixture(autouse=True)
def worker(committed_db, settings, tmp_path, as_role):
    house(settings, tmp_path)
    with as_role("worker"):
        yield
    forget_stores()


def opened(kek, size):
    how = {"kek": kek, "actor": WORKER, "reason": "test", "now": timezone.now()}
    return rewrap.open_job(**how, pace=rewrap.Pace(batch_size=size))


def brought_over(job):
    """Return how many DEKs the log says that a job has brought over."""
    events = [one.said for one in read(Event.objects.filter(action="rewrap.batch_done"))]
    return sum(said.facts["rewrapped"] for said in events if said.subjects[0].ref == job.ref)


def test_the_same_task_five_times_on_four_workers_does_everything_once():
    """REW-02 and REW-04: in bulk, and delivered again and again."""
    kek = make_kek(deks=BULK)
    rotate(kek)
    before = bindings(kek)
    job = opened(kek, 200)

    def deliver():
        for _ in range(5):
            rewrap.work(pk=job.pk, actor=WORKER, clock=timezone.now, seconds=20)

    began = time.monotonic()
    assert ended_well([in_child(deliver) for _ in range(4)])
    assert BULK / (time.monotonic() - began) > 150
    job.refresh_from_db()
    assert (job.state, job.rewrapped, brought_over(job)) == (JobState.DONE, BULK, BULK)
    assert census(kek) == {"2": BULK}
    assert bindings(kek) == before
    assert Wrapping.objects.count() == BULK
    spans = sorted((int(one.first), int(one.last)) for one in RewrapBatch.objects.filter(job=job, number__gt=0))
    assert all(last < first for (_, last), (first, _) in pairwise(spans))
    assert opens(kek) == BULK


def test_one_lease_written_down_five_times_counts_once():
    kek = make_kek(deks=6)
    rotate(kek)
    job = opened(kek, 10)
    ground = ground_of(job.pk)
    rewrap.work(pk=job.pk, actor=WORKER, clock=timezone.now, seconds=0)
    RewrapBatch.objects.filter(pk=claim(ground, size=None, now=timezone.now()).batch).update(
        state="done", leased_until=None
    )
    lease = claim(ground, size=None, now=timezone.now())
    run_batch(ground, lease, actor=WORKER, now=timezone.now())
    for _ in range(4):
        with pytest.raises(LeaseLostError):
            run_batch(ground, lease, actor=WORKER, now=timezone.now())
    job.refresh_from_db()
    assert (job.rewrapped, brought_over(job), census(kek)) == (6, 6, {"2": 6})


def test_a_task_that_finds_enough_workers_leaves():
    kek = make_kek(deks=6)
    rotate(kek)
    job = opened(kek, 2)
    ground = ground_of(job.pk)
    claim(ground, size=None, now=timezone.now())
    RewrapBatch.objects.update(state="done", leased_until=None)
    for _ in range(tasks.WORKERS):
        claim(ground, size=None, now=timezone.now())
    tasks.work_rewrap(job.pk)
    job.refresh_from_db()
    assert job.rewrapped == 0


def tend_until_done():
    """What beat and worker do together, until no job is left."""
    while RewrapJob.objects.filter(state__in=LIVE_JOBS).exists():
        for pk, _ in rewrap.tend(actor=WORKER, now=timezone.now(), workers=4):
            rewrap.work(pk=pk, actor=WORKER, clock=timezone.now, seconds=0.3)
        time.sleep(0.01)


def test_three_rotations_and_a_writer_during_a_job_leave_nothing_behind():
    """REW-05."""
    kek = make_kek(deks=400)
    rotate(kek)
    opened(kek, 20)

    def write():
        for _ in range(10):
            slow = type(kek).objects.get(pk=kek.pk)  # who reads the primary, and wraps under it a while later
            time.sleep(0.03)
            add_deks(slow, 50)

    writer = in_child(write)
    workers = [in_child(tend_until_done) for _ in range(2)]
    for _ in range(3):
        time.sleep(0.15)
        rotate(kek)
    assert ended_well([writer])
    ended_well(workers)
    before = bindings(kek)
    if set(census(kek)) != {"5"}:  # written after the last job was over: the next one takes it along
        opened(kek, 20)
    tend_until_done()
    assert census(kek) == {"5": 900}
    assert bindings(kek) == before
    assert opens(kek) == 900
    states = list(RewrapJob.objects.order_by("pk").values_list("state", flat=True))
    assert states[-1] == JobState.DONE
    assert set(states) <= {JobState.DONE, JobState.SUPERSEDED}
    assert JobState.SUPERSEDED in states
    verdict = verify()
    assert verdict.is_whole, verdict.findings
