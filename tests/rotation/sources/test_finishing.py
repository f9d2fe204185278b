"""The end of a job of a source: what was counted there a moment ago, and what people decide meanwhile."""

from datetime import timedelta

import pytest
from django.utils import timezone

from inventory.models import Kek
from rotation.models import JobState, Quarantined, RewrapJob, RewrapSource
from rotation.rewrap import finishing, open_job, retry_quarantined
from rotation.rewrap.elsewhere import ranges
from rotation.rewrap.working import work
from tests.approving import as_worker, voters
from tests.inventory.world import events_of
from tests.rotation.sources.elsewhere import WORKER, fill, make_kek, registered, rotate


@pytest.fixture
def kek(ring, committed_db):
    with as_worker():
        return make_kek()


@pytest.fixture
def job(other, kek):
    """A job that has three rows to bring over, one of which does not open."""
    fill(other, kek, "1", range(3))
    registered(other, kek, voters())
    with as_worker():
        rotate(kek)
        other.execute(
            "UPDATE public.data_keys SET wrapped = set_byte(wrapped, 9, get_byte(wrapped, 9) # 4) WHERE id = 1"
        )
        found = Kek.objects.get(pk=kek.pk)
        yield open_job(kek=found, source=RewrapSource.objects.get(), actor=WORKER, reason="test", now=clock())


def clock():
    return timezone.now() + timedelta(minutes=5)


class Counting:
    """Asks the real source, and does something right after it has counted for the first time."""

    def __init__(self, then):
        self.then = then

    def left(self, job):
        if self.then is None:
            return ranges().left(job)
        act, self.then = self.then, None
        found = ranges().left(job)
        act()
        return found

    def count(self, *arguments, **named):
        ranges().count(*arguments, **named)


def test_what_is_let_out_of_quarantine_while_a_job_finishes_is_not_forgotten(job, monkeypatch):
    """It was left out of the count, because it was in quarantine; and it is in quarantine no more."""
    counting = Counting(lambda: retry_quarantined(pk=job.pk, actor=WORKER, reason="again", now=clock()))
    monkeypatch.setattr(finishing, "ranges", lambda: counting)
    work(pk=job.pk, actor=WORKER, clock=clock, seconds=20)
    job = RewrapJob.objects.get(pk=job.pk)
    assert job.state == JobState.DONE
    assert Quarantined.objects.filter(job=job, resolved_at=None).count() == 1
    assert job.closed_because == "1 stayed behind, in quarantine."
    assert events_of("rewrap.finished")[-1].said.facts["quarantined"] == 1


def test_a_source_that_goes_away_while_a_job_finishes_lets_it_wait(job, other, monkeypatch):
    counting = Counting(lambda: None)
    counting.left = lambda asked: [other.execute(f"ALTER ROLE {other.login} NOLOGIN"), ranges().left(asked)]
    monkeypatch.setattr(finishing, "ranges", lambda: counting)
    work(pk=job.pk, actor=WORKER, clock=clock, seconds=3)
    monkeypatch.undo()
    job = RewrapJob.objects.get(pk=job.pk)
    assert (job.state, job.rewrapped, job.next_at > job.changed_at) == (JobState.RUNNING, 2, True)
    other.execute(f"ALTER ROLE {other.login} LOGIN")
