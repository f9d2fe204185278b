"""Workers that go through a source are killed by kill -9 at random: nothing is lost, and the certificate tells it all.

2,000 rows on every run and leases of two seconds; under `make test-full` 20,000 and the real ones.
"""

import os
import secrets
import signal
import sys
import time
from datetime import timedelta

from django.utils import timezone

from audit import canonical
from audit.models import Certificate
from inventory.models import Kek
from rotation.models import JobState, RewrapBatch, RewrapJob, RewrapSource
from rotation.rewrap import leasing, open_job, working
from rotation.rewrap.planning import Pace
from rotation.rewrap.working import Ended, work
from tests.approving import as_worker, voters
from tests.inventory.world import events_of
from tests.rotation.rewrap_world import in_child
from tests.rotation.sources.elsewhere import WORKER, all_opened, fill, make_kek, registered, rotate

FULL = "tests.full" in sys.modules
ROWS, LEASE, KILLS = (20_000, leasing.LEASE, 12) if FULL else (2_000, timedelta(seconds=2), 5)


def clock():
    """Tell the time, after the votes by which the source was registered."""
    return timezone.now() + timedelta(minutes=5)


def until_over(job):
    while work(pk=job.pk, actor=WORKER, clock=clock, seconds=20).ended is not Ended.OVER:
        time.sleep(0.05)


def test_workers_of_a_source_killed_at_random_lose_nothing(other, ring, committed_db, monkeypatch):
    for module in (leasing, working):
        monkeypatch.setattr(module, "LEASE", LEASE)
    with as_worker():
        kek = make_kek()
    deks = fill(other, kek, "1", range(ROWS))
    registered(other, kek, voters())
    with as_worker():
        rotate(kek)
        kek, source = Kek.objects.get(), RewrapSource.objects.get()
        job = open_job(kek=kek, source=source, actor=WORKER, reason="t", now=clock(), pace=Pace(batch_size=ROWS // 25))
        for number in range(KILLS):
            _killed_at_random(job)
            assert all_opened(other, kek) == deks  # at each moment, and under no third version
            deks |= fill(other, kek, "1", range(-20 * number - 20, -20 * number))  # by who has not heard of the new one
            deks |= fill(other, kek, "2", [10 * ROWS + number])
        began = time.monotonic()
        until_over(job)
        assert time.monotonic() - began < LEASE.total_seconds() + 20
    assert all_opened(other, kek) == deks
    assert other.execute("SELECT DISTINCT kek_version FROM data_keys") == [("2",)]
    check_certificate(job, rows=ROWS + 20 * KILLS)


def _killed_at_random(job):
    before = RewrapBatch.objects.filter(job=job).count()
    pid = in_child(lambda: until_over(job))
    deadline = time.monotonic() + 20
    while RewrapBatch.objects.filter(job=job).count() == before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(secrets.randbelow(300) / 1000)
    os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert RewrapJob.objects.get(pk=job.pk).state == JobState.RUNNING


def check_certificate(job, *, rows):
    """Each row stands in it once, whoever has swapped it."""
    job.refresh_from_db()
    assert (job.state, job.rewrapped, job.verified, job.bound) == (JobState.DONE, rows, rows, rows)
    (written,) = Certificate.objects.filter(subject=job.ref)
    facts = canonical.read(bytes(written.body))
    facts = facts.get("facts", facts)
    assert facts["deks"]["rewrapped"] == facts["deks"]["bound_at_first_opening"] == facts["deks"]["after"] == rows
    assert facts["verified"]["opened_again"] == rows
    assert (facts["quarantined"]["count"], facts["digests_are_equal"]) == (0, None)
    assert sum(event.said.facts["rewrapped"] for event in events_of("rewrap.batch_done")) == rows
    assert not RewrapBatch.objects.filter(job=job, state="leased").exists()
