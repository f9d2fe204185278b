"""What a worker does, turn after turn until its time is over, and what the beat does: find where workers are missing.

Trouble with the key store never costs a DEK. What may pass gives the batch back and lets the job wait, longer each
time; what does not pass, or does not end, pauses the job with the sentence that says why.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Count, F, Q
from django.db.models.functions import Now

from audit.actor import Actor
from audit.errors import AuditError
from inventory.custody import BackendError
from rotation.errors import RotationError
from rotation.models import LIVE_JOBS, JobState, RewrapJob
from rotation.rewrap.batches import Done, run_batch
from rotation.rewrap.errors import ChangedMeanwhileError, LeaseLostError
from rotation.rewrap.finishing import finish, write_plan
from rotation.rewrap.ground import Ground, ground_of
from rotation.rewrap.leasing import LEASE, LONGEST_WAIT, MOST_ATTEMPTS, PLAN, Lease, Turn, claim
from rotation.rewrap.pieces import change, locked
from rotation.rewrap.planning import Pace, open_job
from rotation.rewrap.steering import hold

logger = logging.getLogger(__name__)

WAITS = [timedelta(seconds=seconds) for seconds in (1, 2, 5, 10, 20, 40, 60)]  # after the first, second … try in vain
BATCH_SECONDS = 4.0  # a batch that takes longer is followed by a smaller one: leases are short
IDLE_SECONDS = 0.05
MOST_FAILURES = 5  # of the database, one after the other, before a worker leaves it to the next one
TROUBLE = (OperationalError, InterfaceError)
NO_TARGET = "The KEK takes no new wraps any more: it is being ended. Stop the job, or resume it once it is recovered."
_GIVE_BACK = """
UPDATE rotation_rewrapbatch SET leased_until = statement_timestamp() - interval '1 second', attempts = %s
 WHERE id = %s AND state = 'leased' AND attempts = %s AND leased_until = %s
"""
_FORGET_ATTEMPTS = """
UPDATE rotation_rewrapbatch SET leased_until = statement_timestamp() - interval '1 second', attempts = 0
 WHERE job_id = %s AND state = 'leased' AND attempts > %s
"""
_CLOSE_LEFT = """
UPDATE rotation_rewrapbatch b SET state = 'done', leased_until = NULL, done_at = greatest(b.begun_at, %s)
  FROM rotation_rewrapjob j
 WHERE j.id = b.job_id AND b.state = 'leased' AND j.state NOT IN ('running', 'paused')
   AND (b.leased_until < statement_timestamp() OR b.leased_until > statement_timestamp() + %s * interval '1 second')
"""


class Ended(Enum):
    """Why a worker stopped working on a job."""

    TIME = "time"  # there is more to do
    WAITS = "waits"  # longer than a worker stays for
    OVER = "over"  # the job is finished, paused, stopped or superseded


@dataclass(kw_only=True)
class Work:
    """What one worker did with a job."""

    batches: int = 0
    rewrapped: int = 0
    quarantined: int = 0
    ended: Ended = Ended.TIME


Clock = Callable[[], datetime]
Tell = Callable[[Lease, Done], None]


def work(*, pk: int, actor: Actor, clock: Clock, seconds: float, tell: Tell | None = None) -> Work:
    """Bring over batch after batch of a job for about so many seconds; return what was done, and why it ended.

    Outside any transaction. `tell` hears of each batch once it is written down. A batch is never left in the middle
    because time is over. Events: those of the batches, and of what becomes of the job.
    """
    done, ends, size, failures = Work(), time.monotonic() + seconds, None, 0
    ground = ground_of(pk)
    while time.monotonic() < ends and failures < MOST_FAILURES:
        try:
            began, turn = time.monotonic(), _claimed(ground, size, actor, clock())
            if isinstance(turn, Lease):
                brought = _carry(ground, turn, actor, clock())
                size = _next_size(size, turn, time.monotonic() - began)
                _count(done, turn, brought, tell)
            elif not _goes_on(ground, turn, actor, clock(), done):
                break
            failures = 0
        except (*TROUBLE, AuditError) as error:
            failures += 1
            _reconnect(error)
    return done


def _count(done: Work, lease: Lease, brought: Done | None, tell: Tell | None) -> None:
    if brought is None:
        return
    done.batches += 1
    done.rewrapped += brought.rewrapped
    done.quarantined += brought.quarantined
    if tell is not None:
        tell(lease, brought)


def _next_size(size: int | None, lease: Lease, took: float) -> int | None:
    """Return how many DEKs the next batch has at most, fewer after one that took too long; None: as the job says."""
    if lease.size and took > BATCH_SECONDS:
        return max(1, int(lease.size * BATCH_SECONDS / took / 2))
    return size


def _goes_on(ground: Ground, turn: Turn, actor: Actor, now: datetime, done: Work) -> bool:
    """Do what there is to do besides batches; return whether this worker has something to do here still."""
    if turn is Turn.FINISH:
        if not _finished(ground, actor, now):
            return True
        done.ended = Ended.OVER
        return False
    if turn is Turn.WAIT:
        if _sleeps(ground, now):
            return True
        done.ended = Ended.WAITS
        return False
    done.ended = Ended.OVER
    if turn is Turn.SUPERSEDE:
        supersede(pk=ground.job, actor=actor, now=now)
    elif turn is Turn.PAUSE:
        _pause_worn(ground, actor, now)
    return False


def _finished(ground: Ground, actor: Actor, now: datetime) -> bool:
    try:
        return finish(ground, actor=actor, now=now)
    except (BackendError, RotationError) as error:  # of a source elsewhere, which was asked whether anything is left
        _postpone(ground, None, error, actor, now)
        return False


def _sleeps(ground: Ground, now: datetime) -> bool:
    """Sleep a moment where that is all it takes; False where somebody has to come back later."""
    next_at = RewrapJob.objects.values_list("next_at", flat=True).get(pk=ground.job)
    ahead = (next_at - now).total_seconds()
    if ahead > BATCH_SECONDS and ahead <= LONGEST_WAIT.total_seconds():
        return False
    time.sleep(min(max(ahead, IDLE_SECONDS), 1.0))
    return True


def _claimed(ground: Ground, size: int | None, actor: Actor, now: datetime) -> Lease | Turn:
    try:
        return claim(ground, size=size, now=now)
    except (BackendError, RotationError) as error:  # of a source elsewhere, which was asked for its next rows
        _postpone(ground, None, error, actor, now)
        return Turn.WAIT


def _carry(ground: Ground, lease: Lease, actor: Actor, now: datetime) -> Done | None:
    """Do what was leased; None where nothing of it stands. Trouble gives it back."""
    try:
        if lease.number == PLAN:
            write_plan(ground, lease, now=now)
            return None
        return run_batch(ground, lease, actor=actor, now=now)
    except LeaseLostError:
        logger.warning("%s: batch %d is somebody else's by now; nothing of this one stands", ground.ref, lease.number)
    except (BackendError, RotationError) as error:
        _postpone(ground, lease, error, actor, now)
    except (*TROUBLE, AuditError) as error:
        _reconnect(error)
        _give_back(lease)
    return None


def _reconnect(error: Exception) -> None:
    """Begin anew with the database after what a new connection may mend; what else went wrong is raised once more."""
    if not isinstance(error, TROUBLE) and not isinstance(error.__cause__, TROUBLE):
        raise error
    logger.warning("the database let a worker down (%s)", type(error).__name__)
    connection.close_if_unusable_or_obsolete()


def _give_back(lease: Lease, *, attempts: int | None = None) -> None:
    """Let the range be claimed again at once, if it is still ours."""
    with connection.cursor() as cursor:
        kept = lease.attempts if attempts is None else attempts
        cursor.execute(_GIVE_BACK, [kept, lease.batch, lease.attempts, lease.until])


@transaction.atomic
def _postpone(ground: Ground, lease: Lease | None, error: Exception, actor: Actor, now: datetime) -> None:
    """Give a batch back after trouble, and let the job wait, or pause it where waiting does not help."""
    job = locked(ground.job)
    attempts = lease.attempts if lease else 1
    passes = getattr(error, "transient", False) or isinstance(error, ChangedMeanwhileError)
    is_worn = attempts >= MOST_ATTEMPTS
    if job.state == JobState.RUNNING:
        if passes and not is_worn:
            change(job, now, next_at=now + _wait(error, attempts))
        else:
            tries = f" It was tried {attempts} times." if is_worn else ""
            hold(job, because=f"{error}{tries}", actor=actor, now=now)
    if lease is not None:
        _give_back(lease, attempts=0 if is_worn else None)
    logger.warning("%s: batch %s was given back (%s)", job.ref, lease.number if lease else "", type(error).__name__)


def _wait(error: Exception, attempts: int) -> timedelta:
    asked: timedelta | None = getattr(error, "retry_after", None)
    return min(max(asked or timedelta(), WAITS[min(attempts, len(WAITS)) - 1]), LONGEST_WAIT)


@transaction.atomic
def _pause_worn(ground: Ground, actor: Actor, now: datetime) -> None:
    """Pause a job one of whose batches was begun again and again, and nobody lived to bring it to an end."""
    job = locked(ground.job)
    with connection.cursor() as cursor:
        cursor.execute(_FORGET_ATTEMPTS, [ground.job, MOST_ATTEMPTS])
    if job.state == JobState.RUNNING:
        because = (
            f"A batch was begun {MOST_ATTEMPTS} times, and whoever did so never came to an end. Read the worker's log, "
            "choose smaller batches if memory ran out, then resume."
        )
        hold(job, because=because, actor=actor, now=now)


@transaction.atomic
def supersede(*, pk: int, actor: Actor, now: datetime) -> RewrapJob | None:
    """Let a new job take over where the KEK was rotated again; None where that has happened, or the job is over.

    A job of a KEK that has no primary version any more is paused: the KEK is being ended, and nothing is under it.
    Events: rewrap.superseded, rewrap.opened; rewrap.paused.
    """
    job = locked(pk)
    if job.state not in LIVE_JOBS or job.kek.primary_id == job.target_id:
        return None
    if job.kek.primary_id is None:
        if job.state == JobState.RUNNING:
            hold(job, because=NO_TARGET, actor=actor, now=now)
        return None
    return open_job(
        kek=job.kek,
        actor=actor,
        reason=job.reason,
        now=now,
        source=job.source,
        pace=Pace(batch_size=job.batch_size, per_second=job.per_second, verify_percent=job.verify_percent),
    )


def tend(*, actor: Actor, now: datetime, workers: int) -> list[tuple[int, int]]:
    """Find the jobs that need workers: never nudged, or left by dead ones; return each with how many it lacks.

    `workers`: how many may be at one job. What was rotated again is superseded here too; a lease that somebody dead
    left of a job that is over is closed. Events: rewrap.superseded, rewrap.opened.
    """
    # A paused one whose KEK has no primary version waits for a person.
    waits = Q(state=JobState.PAUSED, kek__primary=None) | Q(kek__primary=F("target"))
    for job in RewrapJob.objects.filter(state__in=LIVE_JOBS).exclude(waits):
        supersede(pk=job.pk, actor=actor, now=now)
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE_LEFT, [now, LEASE.total_seconds()])
    due = Q(next_at__lte=now) | Q(next_at__gt=now + LONGEST_WAIT)
    busy = Count("batches", filter=Q(batches__state="leased", batches__leased_until__gt=Now()))
    jobs = RewrapJob.objects.filter(due, state=JobState.RUNNING).annotate(busy=busy).order_by("pk")
    return [(job.pk, max(0, workers - job.busy)) for job in jobs if job.busy < workers]


def busy_on(pk: int) -> int:
    """Return how many batches of a job somebody has in hand."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM rotation_rewrapbatch WHERE job_id = %s AND state = 'leased' "
            "AND leased_until BETWEEN statement_timestamp() AND statement_timestamp() + %s * interval '1 second'",
            [pk, LEASE.total_seconds()],
        )
        (count,) = cursor.fetchone()
    return int(count)
