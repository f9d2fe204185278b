"""Re-wrap jobs: where each stands, how fast it goes, and what it could not bring over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from rotation.custody_selectors.keks import VersionFacts, versions_of
from rotation.custody_selectors.rows import jobs, unread
from rotation.models import (
    LIVE_JOBS,
    BatchState,
    JobState,
    Order,
    OrderState,
    Quarantined,
    RewrapBatch,
    RewrapJob,
    RewrapSource,
)

PACE_WINDOW = timedelta(seconds=30)
PACE_BATCHES = 200
SHOWN_BATCHES = 8
SHOWN_QUARANTINED = 50


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a job went lately; nothing is known of it before its first batch."""

    a_second: float | None
    batches: Sequence[RewrapBatch]  # the last ones, the newest first


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """Where a job stands now."""

    job: RewrapJob
    pace: Pace
    quarantined: int
    old: Sequence[VersionFacts]  # versions below the target that still have DEKs or had a batch

    @property
    def left(self) -> int:
        """How many DEKs are still to be brought over, by what was planned."""
        return max(self.job.total - self.job.rewrapped - self.quarantined, 0)

    @property
    def seconds_left(self) -> float | None:
        if self.job.state != JobState.RUNNING or not self.pace.a_second:
            return None
        return self.left / self.pace.a_second


def live_jobs() -> QuerySet[RewrapJob]:
    """Return the jobs that are not over. No query by itself."""
    return RewrapJob.objects.filter(state__in=LIVE_JOBS)


def failed_orders() -> QuerySet[Order]:
    """Return the orders that somebody has to look at. No query by itself."""
    return Order.objects.filter(state=OrderState.FAILED)


def running_jobs(most: int) -> list[RewrapJob]:
    """Return the live jobs, the newest first. Queries: 1."""
    return list(jobs().filter(state__in=LIVE_JOBS)[:most])


def job_facts(job: RewrapJob, now: datetime) -> JobFacts:
    """Return where a job stands. Queries: 4."""
    old = [one for one in versions_of([job.kek])[job.kek_id] if one.number < job.target.version.number]
    return JobFacts(
        job=job,
        pace=pace(job, now),
        quarantined=Quarantined.objects.filter(job=job, resolved_at__isnull=True).count(),
        old=[one for one in old if one.deks or one.is_open],
    )


def pace(job: RewrapJob, now: datetime) -> Pace:
    """Measure the batches that ended within PACE_WINDOW before `now`. Queries: 1."""
    found = RewrapBatch.objects.filter(job=job).select_related("kek_version__version").defer(*unread("kek_version"))
    batches = list(found.order_by("-number")[:PACE_BATCHES])
    lately = [
        batch
        for batch in batches
        if batch.state == BatchState.DONE and batch.done_at and batch.done_at > now - PACE_WINDOW
    ]
    a_second = None
    if lately:
        since = max(now - PACE_WINDOW, min(batch.begun_at for batch in lately))
        until = max(batch.done_at for batch in lately if batch.done_at)
        seconds = max((until - since).total_seconds(), 0.001)
        a_second = sum(batch.rewrapped for batch in lately) / seconds
    return Pace(a_second=a_second, batches=batches[:SHOWN_BATCHES])


def quarantined_of(job: RewrapJob) -> list[Quarantined]:
    """Return the first of what a job could not bring over and nobody has mended. Queries: 1."""
    found = Quarantined.objects.filter(job=job, resolved_at__isnull=True).order_by("pk")
    return list(
        found.select_related("dek_version__key", "kek_version__version").defer(*unread("kek_version"))[
            :SHOWN_QUARANTINED
        ]
    )


def source_jobs(sources_shown: Sequence[RewrapSource]) -> dict[int, RewrapJob]:
    """Return the latest job of each source. Queries: 1."""
    found = jobs().filter(source__in=sources_shown).order_by("source_id", "-opened_at", "-pk").distinct("source_id")
    return {job.source_id: job for job in found if job.source_id is not None}
