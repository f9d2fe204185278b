"""What people do with a job: pause, resume, stop, change how fast it goes, let what was refused be tried again.

A batch that a worker has in hand is brought to its end whatever is decided meanwhile; the next one is not begun.
"""

from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.services.keys import require
from rotation.models import JobState, Quarantined, RewrapJob
from rotation.rewrap.errors import NothingQuarantinedError, NotPausedError, NotRunningError
from rotation.rewrap.pieces import change, cut, live, tell_log
from rotation.rewrap.planning import check_speed

MOST_NAMED = 1_000


@transaction.atomic
def pause(*, pk: int, actor: Actor, reason: str, now: datetime) -> RewrapJob:
    """Let no further batch begin. Event: rewrap.paused. Raises: NotRunningError, ClosedJobError."""
    require(reason)
    job = live(pk)
    if job.state != JobState.RUNNING:
        raise NotRunningError(job.ref, job.get_state_display())
    hold(job, because=reason, actor=actor, now=now)
    return job


def hold(job: RewrapJob, *, because: str, actor: Actor, now: datetime) -> None:
    """Pause a locked job and say why, on its page and in the log."""
    change(job, now, state=JobState.PAUSED, paused_because=cut(because))
    facts: dict[str, JSON] = {"rewrapped": job.rewrapped, "deks": job.total}
    tell_log(Action.REWRAP_PAUSED, job, actor=actor, now=now, reason=because, facts=facts)


@transaction.atomic
def resume(*, pk: int, actor: Actor, reason: str, now: datetime) -> RewrapJob:
    """Let a paused job go on at once. Event: rewrap.resumed. Raises: NotPausedError, ClosedJobError."""
    require(reason)
    job = live(pk)
    if job.state != JobState.PAUSED:
        raise NotPausedError(job.ref, job.get_state_display())
    change(job, now, state=JobState.RUNNING, paused_because="", next_at=now)
    tell_log(Action.REWRAP_RESUMED, job, actor=actor, now=now, reason=reason)
    return job


@transaction.atomic
def stop(*, pk: int, actor: Actor, reason: str, now: datetime) -> RewrapJob:
    """End a job for good; what it has brought over stays there. Event: rewrap.stopped. Raises: ClosedJobError."""
    require(reason)
    job = live(pk)
    change(job, now, state=JobState.STOPPED, closed_at=now, closed_because=cut(reason), paused_because="")
    facts: dict[str, JSON] = {"rewrapped": job.rewrapped, "deks": job.total}
    tell_log(Action.REWRAP_STOPPED, job, actor=actor, now=now, reason=reason, facts=facts)
    return job


@transaction.atomic
def change_speed(
    *, pk: int, actor: Actor, reason: str, now: datetime, batch_size: int | None = None, per_second: int | None = None
) -> RewrapJob:
    """Set how many DEKs a batch has at most (None: as before), and how many a second all workers together bring over
    (None: no limit). Event: rewrap.changed. Raises: SpeedError, ClosedJobError.
    """
    require(reason)
    check_speed(batch_size, per_second)
    job = live(pk)
    facts: dict[str, JSON] = {
        "before": {"batch_size": job.batch_size, "per_second": job.per_second},
        "after": {"batch_size": batch_size or job.batch_size, "per_second": per_second},
    }
    change(job, now, batch_size=batch_size or job.batch_size, per_second=per_second, next_at=now)
    tell_log(Action.REWRAP_CHANGED, job, actor=actor, now=now, reason=reason, facts=facts)
    return job


@transaction.atomic
def retry_quarantined(*, pk: int, actor: Actor, reason: str, now: datetime) -> int:
    """Let a live job try again what it could not bring over; return how many. They come with the next pass.

    Of a job that is over, a new one takes them along. Event: rewrap.released.
    Raises: NothingQuarantinedError, ClosedJobError.
    """
    require(reason)
    job = live(pk)
    waiting = Quarantined.objects.filter(job=job, resolved_at__isnull=True)
    named = list(waiting.order_by("pk").values_list("dek_version_id", "row")[:MOST_NAMED])
    count = waiting.update(resolved_at=now, resolved_because=cut(f"To be tried again: {reason}"))
    if not count:
        raise NothingQuarantinedError(job.ref)
    facts: dict[str, JSON] = {"released": count, "deks": [row or str(dek) for dek, row in named]}
    change(job, now)
    tell_log(Action.REWRAP_RELEASED, job, actor=actor, now=now, reason=reason, facts=facts)
    return count
