"""A re-wrap job of a source, from the votes that register it to the certificate; and the interlock beside it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit import canonical
from inventory.models import Kek
from rotation.models import Digest, JobState, Quarantined, RewrapJob, RewrapSource
from rotation.rewrap import open_job
from rotation.rewrap.planning import Pace
from rotation.rewrap.working import Ended, work
from rotation.sources import count_now, still_needed
from tests.approving import as_worker, voters
from tests.inventory.world import events_of
from tests.rotation.sources.elsewhere import WORKER, fill, make_kek, opened, registered, rotate


@pytest.fixture
def kek(ring, committed_db):
    with as_worker():
        return make_kek()


def clock():
    """Tell the time, after the votes by which the source was registered."""
    return timezone.now() + timedelta(minutes=5)


def brought_over(kek, source, *, size=40):
    """Open a job and work on it until it ends."""
    kek = Kek.objects.get(pk=kek.pk)
    job = open_job(kek=kek, source=source, actor=WORKER, reason="test", now=clock(), pace=Pace(batch_size=size))
    done = work(pk=job.pk, actor=WORKER, clock=clock, seconds=30)
    return RewrapJob.objects.get(pk=job.pk), done


def test_a_job_of_a_source_ends_with_a_certificate_and_lets_the_old_version_go(other, kek):
    deks = fill(other, kek, "1", range(100))
    assert registered(other, kek, voters()).closed_because == ""
    source = RewrapSource.objects.get()
    with as_worker():
        rotate(kek)
        assert still_needed(count_now(kek, actor=WORKER, now=clock()), ["1"]) == 100
        job, done = brought_over(kek, source)
        assert done.ended is Ended.OVER
        assert (job.state, job.total, job.rewrapped, job.verified, job.bound) == (JobState.DONE, 100, 100, 100, 100)
        source.refresh_from_db()
        assert source.counts == {"2": 100}  # counted when the job ended, for its page
        assert still_needed(count_now(kek, actor=WORKER, now=clock()), ["1"]) == 0
    cells = other.execute("SELECT wrapped FROM data_keys ORDER BY id")
    assert opened(kek, "2", [bytes(cell) for (cell,) in cells]) == list(deks.values())
    said = canonical.read(bytes(job.certificate.body))
    facts = said.get("facts", said)
    assert facts["source"] == {"source": source.ref, "name": "payments", "keeps_binding_digests": True}
    assert sum(event.said.facts["rewrapped"] for event in events_of("rewrap.batch_done")) == 100
    assert len(events_of("source.batch_begun")) == 3


def test_what_was_swapped_there_goes_into_quarantine_and_is_told(other, kek):
    fill(other, kek, "1", range(50))
    registered(other, kek, voters())
    source = RewrapSource.objects.get()
    with as_worker():
        rotate(kek)
        brought_over(kek, source)
        other.execute(
            "UPDATE public.data_keys a SET wrapped = b.wrapped FROM public.data_keys b"
            " WHERE (a.id, b.id) IN ((1, 2), (2, 1))"
        )
        other.execute(
            "UPDATE public.data_keys SET wrapped = set_byte(wrapped, 9, get_byte(wrapped, 9) # 4) WHERE id = 3"
        )
        rotate(kek)
        job, _ = brought_over(kek, source)
        assert (job.state, job.rewrapped) == (JobState.DONE, 47)
        rows = Quarantined.objects.filter(job=job).order_by("row").values_list("row", "reason")
        assert dict(rows)["1"] == dict(rows)["2"] == "not_bound"
        assert len(rows) == 3
        assert still_needed(count_now(kek, actor=WORKER, now=clock()), ["2"]) == 3
    assert other.execute("SELECT id FROM data_keys WHERE kek_version = '2' ORDER BY id") == [(1,), (2,), (3,)]
    refused = [event for event in events_of("dek.opened") if event.said.outcome == "refused"]
    assert {subject.ref for event in refused for subject in event.said.subjects} >= {
        f"{source.ref}/1",
        f"{source.ref}/3",
    }
    assert len(events_of("rewrap.quarantined")) == 1
    assert Digest.objects.filter(subject__icontains="DEK").exists()


def test_a_source_that_cannot_be_reached_lets_the_job_wait(other, kek):
    fill(other, kek, "1", range(10))
    registered(other, kek, voters())
    source = RewrapSource.objects.get()
    with as_worker():
        rotate(kek)
        job = open_job(
            kek=Kek.objects.get(pk=kek.pk),
            source=source,
            actor=WORKER,
            reason="test",
            now=clock(),
            pace=Pace(batch_size=5),
        )
        other.execute(f"ALTER ROLE {other.login} NOLOGIN")
        work(pk=job.pk, actor=WORKER, clock=clock, seconds=1)
        job.refresh_from_db()
        assert (job.state, job.rewrapped) == (JobState.RUNNING, 0)
        other.execute(f"ALTER ROLE {other.login} LOGIN")
        RewrapJob.objects.filter(pk=job.pk).update(next_at=timezone.now())
        work(pk=job.pk, actor=WORKER, clock=clock, seconds=20)
        job.refresh_from_db()
        assert (job.state, job.rewrapped) == (JobState.DONE, 10)
