"""Opening a re-wrap job: what is under which old version of a KEK, and how it will be brought to the newest.

A job goes to the version that was the primary when it was opened. Once the KEK has a newer one the job is closed as
superseded, and another one takes over what is left: wherever its DEKs are by then, they end under the newest version.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.models import Kek, KekVersion, Wrapping
from inventory.services.keys import require
from rotation.models import LIVE_JOBS, JobState, Order, RewrapJob, RewrapSource
from rotation.models.rewrap import DEFAULT_BATCH
from rotation.rewrap.errors import JobRunningError, NoPrimaryError, NothingToRewrapError, SpeedError
from rotation.rewrap.pieces import change, tell_log

LARGEST_BATCH = 50_000
LARGEST_RATE = 1_000_000  # DEKs a second: more than any store does, and less than a column holds
# DEKs that take a core a few seconds, where the store opens and wraps them one by one.
BATCHES = {"RSA-2048": 500, "RSA-3072": 250, "RSA-4096": 100}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How a job goes. What nobody says follows from the algorithm: batches of a few seconds, as fast as it goes."""

    batch_size: int | None = None  # DEKs, at most
    per_second: int | None = None  # DEKs, all workers together
    verify_percent: int = 100  # of what the store re-wraps on its side; what comes through us is verified whole


USUAL = Pace()


@dataclass(frozen=True, kw_only=True)
class OldVersion:
    """A version of a KEK that takes no new wraps any more, and how many DEKs are still under it."""

    version: KekVersion
    deks: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a job would do."""

    kek: Kek
    target: KekVersion
    old: tuple[OldVersion, ...]
    batch_size: int

    @property
    def total(self) -> int:
        return sum(one.deks for one in self.old)

    @property
    def batches(self) -> int:
        return sum(-(-one.deks // self.batch_size) for one in self.old)


def batch_for(algorithm: str) -> int:
    """Return how many DEKs a batch has at most, where nobody says otherwise."""
    return BATCHES.get(algorithm[:8], DEFAULT_BATCH)


def old_versions(kek: Kek, target: KekVersion) -> list[KekVersion]:
    """Return the versions that DEKs are taken from, oldest first: nothing is under a closed one. Queries: 1."""
    found = KekVersion.objects.filter(kek=kek, pk__lt=target.pk, closed_at__isnull=True).defer("canary")
    return list(found.order_by("pk"))


def plan(*, kek: Kek, batch_size: int | None = None) -> Plan:
    """Count what is under the old versions of a KEK. Queries: 1, and 1 for each old version that is not closed.

    Raises: NoPrimaryError.
    """
    if kek.primary is None:
        raise NoPrimaryError(kek.key.name)
    old = [
        OldVersion(version=version, deks=Wrapping.objects.filter(kek_version_id=version.pk).count())
        for version in old_versions(kek, kek.primary)
    ]
    counted = tuple(one for one in old if one.deks)
    return Plan(kek=kek, target=kek.primary, old=counted, batch_size=batch_size or batch_for(kek.algorithm))


@transaction.atomic
def open_job(
    *,
    kek: Kek,
    actor: Actor,
    reason: str,
    now: datetime,
    order: Order | None = None,
    source: RewrapSource | None = None,
    pace: Pace = USUAL,
) -> RewrapJob:
    """Open a job that brings all DEKs of a KEK (or of a source elsewhere) under its primary version.

    A live job to an older version is closed as superseded; one to the same version is returned where the same order
    opens it, else refused. A job of an order may have nothing to do: its certificate says so.
    Events: rewrap.opened, rewrap.superseded of the one before.
    Raises: NoPrimaryError, NothingToRewrapError, JobRunningError, SpeedError, ReasonMissingError.
    """
    require(reason)
    check_speed(pace.batch_size, pace.per_second)
    kek = Kek.objects.select_related("key", "primary").defer("primary__canary").get(pk=kek.pk)
    planned = plan(kek=kek, batch_size=pace.batch_size)
    before = _live(kek, source)
    if before is not None and before.target_id == planned.target.pk:
        if order is not None and before.order_id == order.pk:
            return before
        raise JobRunningError(source.name if source else kek.key.name, before.ref)
    total = _total(planned, source)
    if not total and order is None and before is None and source is None:
        raise NothingToRewrapError(kek.key.name)
    if before is not None:
        close_superseded(before, planned.target, actor, now)
    job = RewrapJob(
        kek=kek,
        target=planned.target,
        source=source,
        order=order or (before.order if before else None),
        reason=reason,
        opened_by_ref=actor.on_behalf_of or actor.id,
        opened_at=now,
        changed_at=now,
        next_at=now,
        batch_size=planned.batch_size,
        per_second=pace.per_second,
        verify_percent=pace.verify_percent,
        total=total,
    )
    _insert(job)
    old: list[JSON] = [{"version": one.version.store_id, "deks": one.deks} for one in planned.old]
    facts: dict[str, JSON] = {"from": old if source is None else [], "to": planned.target.store_id, "deks": total}
    facts |= {"batch_size": job.batch_size, "per_second": job.per_second, "verify_percent": job.verify_percent}
    tell_log(Action.REWRAP_OPENED, job, actor=actor, now=now, reason=reason, facts=facts)
    return job


def _live(kek: Kek, source: RewrapSource | None) -> RewrapJob | None:
    """Return the live job of a KEK, or of a source of it, locked."""
    jobs = RewrapJob.objects.filter(kek=kek, source=source, state__in=LIVE_JOBS)
    jobs = jobs.select_related("kek__key", "target", "source", "order").defer("target__canary")
    return jobs.select_for_update(of=("self",)).first()


def _total(planned: Plan, source: RewrapSource | None) -> int:
    """Return how many DEKs there are to bring over; of a source elsewhere as many as were counted there last."""
    if source is None:
        return planned.total
    return sum(deks for version, deks in source.counts.items() if version != planned.target.store_id)


def _insert(job: RewrapJob) -> None:
    """Insert a job. Raises: JobRunningError where somebody else did so a moment ago."""
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError as error:
        raise JobRunningError(job.source.name if job.source else job.kek.key.name, "opened a moment ago") from error


def close_superseded(job: RewrapJob, newer: KekVersion, actor: Actor, now: datetime) -> None:
    """Close a locked job that a later version has overtaken; what it did stays. Event: rewrap.superseded."""
    because = f"The KEK was rotated again; another job brings all of it to version {newer.store_id}."
    change(job, now, state=JobState.SUPERSEDED, closed_at=now, closed_because=because, paused_because="")
    facts: dict[str, JSON] = {"rewrapped": job.rewrapped, "deks": job.total, "now_to": newer.store_id}
    tell_log(Action.REWRAP_SUPERSEDED, job, actor=actor, now=now, facts=facts)


def check_speed(batch_size: int | None, per_second: int | None) -> None:
    """Raises: SpeedError."""
    fits = (
        (batch_size is None or 1 <= batch_size <= LARGEST_BATCH),
        (per_second is None or 1 <= per_second <= LARGEST_RATE),
    )
    if not all(fits):
        raise SpeedError(LARGEST_BATCH, LARGEST_RATE)
