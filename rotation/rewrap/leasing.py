"""Who works on what: a worker leases the next range of DEKs, one that a dead worker left, the plan, or the end.

    (1) the row of the job is locked: claims of one job come one after the other, and no two ranges overlap
    (2) what is left by somebody dead goes first, then the next range behind the last one of this pass
    (3) a pass that has found its end is followed by another one; the pass that finds nothing at all is the last

Leases are times of the database's clock, which all workers share; one that lies further ahead than a lease ever does
was given before that clock was set back, and counts as run out.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from django.db import connection, transaction

from rotation.models import JobState, RewrapJob
from rotation.rewrap.elsewhere import ranges
from rotation.rewrap.ground import Ground

LEASE = timedelta(seconds=30)  # longer than a batch: whoever lives through one has written it down by then
LONGEST_WAIT = timedelta(minutes=5)  # between two tries of a store in trouble
MOST_ATTEMPTS = 8  # a batch that nobody brings to an end stops its job
PLAN = 0  # number of the batch that is the plan: what there is, before anything is touched
BURST = timedelta(seconds=2)  # a limited job does this much at once

_LOCK = """
SELECT j.state, j.pass_number, j.batch_size, j.per_second, j.next_at, j.target_id = k.primary_id,
       set_config('synchronous_commit', 'off', true)
  FROM rotation_rewrapjob j JOIN inventory_kek k ON k.key_id = j.kek_id WHERE j.id = %s FOR UPDATE OF j
"""  # a lease that a crash of the database forgets is no loss: what was done under it is on disk only together with it
_FACTS = """
SELECT (SELECT b.id FROM rotation_rewrapbatch b
         WHERE b.job_id = %(job)s AND b.state = 'leased'
           AND (b.leased_until < statement_timestamp()
                OR b.leased_until > statement_timestamp() + %(lease)s * interval '1 second')
         ORDER BY b.number LIMIT 1),
       (SELECT count(*) FROM rotation_rewrapbatch b WHERE b.job_id = %(job)s AND b.state = 'leased'),
       (SELECT max(b.number) FROM rotation_rewrapbatch b WHERE b.job_id = %(job)s),
       EXISTS (SELECT FROM rotation_quarantined q WHERE q.job_id = %(job)s AND q.resolved_at IS NULL)
"""
_LAST = """
SELECT kek_version_id, last FROM rotation_rewrapbatch
 WHERE job_id = %s AND number = %s AND pass_number = %s AND number > 0
"""
_NEXT = """
INSERT INTO rotation_rewrapbatch (job_id, number, pass_number, kek_version_id, first, last, state, leased_until,
                                  attempts, rewrapped, quarantined, begun_at)
SELECT %(job)s, %(number)s, %(pass)s, %(version)s, min(r.id), max(r.id), 'leased',
       statement_timestamp() + %(lease)s * interval '1 second', 1, 0, 0, %(now)s
  FROM (SELECT w.dek_version_id AS id FROM inventory_wrapping w
         WHERE w.kek_version_id = %(version)s AND w.dek_version_id > %(after)s {apart}
         ORDER BY w.dek_version_id LIMIT %(size)s) r
HAVING count(*) > 0
RETURNING id, first, last, leased_until
"""
_APART = """
AND NOT EXISTS (SELECT FROM rotation_quarantined q
                 WHERE q.job_id = %(job)s AND q.dek_version_id = w.dek_version_id AND q.resolved_at IS NULL)
"""
_GIVEN = """
INSERT INTO rotation_rewrapbatch (job_id, number, pass_number, kek_version_id, first, last, state, leased_until,
                                  attempts, rewrapped, quarantined, begun_at)
VALUES (%(job)s, %(number)s, %(pass)s, %(version)s, %(first)s, %(last)s, 'leased',
        statement_timestamp() + %(lease)s * interval '1 second', 1, 0, 0, %(now)s)
RETURNING id, first, last, leased_until
"""
_TAKE_BACK = """
UPDATE rotation_rewrapbatch
   SET leased_until = statement_timestamp() + %s * interval '1 second', attempts = attempts + 1 WHERE id = %s
RETURNING id, number, pass_number, kek_version_id, first, last, attempts, leased_until
"""


class Turn(Enum):
    """What there is to do, where it is no batch."""

    WAIT = "wait"  # somebody else is at it, or it is not time yet
    FINISH = "finish"  # a whole pass has found nothing
    SUPERSEDE = "supersede"  # the KEK was rotated again
    PAUSE = "pause"  # a batch kills its workers
    OVER = "over"  # the job does not run


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A range that this worker alone may write down, as long as the row still says `until`."""

    batch: int
    number: int
    pass_number: int
    version: int | None  # the old one; none elsewhere, and of the plan
    first: str
    last: str
    attempts: int
    until: datetime
    has_apart: bool = False  # some of the job's DEKs are in quarantine
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class _Job:
    pass_number: int
    size: int
    has_apart: bool
    number: int | None  # of the latest batch
    leased: int  # batches that somebody is at


def claim(ground: Ground, *, size: int | None, now: datetime) -> Lease | Turn:
    """Lease what is to be done next; a range has at most `size` DEKs, where the job allows as many.

    One short transaction, which locks the row of the job. No event: nothing has happened.
    """
    if ground.source is not None:
        return _claim_elsewhere(ground, size, now)
    with transaction.atomic():
        found = _look(ground, size, now)
        if not isinstance(found, _Job):
            return found
        if found.number is None:
            return _planned(ground, found, now)
        return _next(ground, found, now) or _next_pass(ground, found, now)


def _look(ground: Ground, size: int | None, now: datetime) -> "_Job | Lease | Turn":
    """Lock the job and look whether and how it goes on."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [ground.job])
        state, pass_number, batch_size, per_second, next_at, is_primary, _ = cursor.fetchone()
        if state != JobState.RUNNING:
            return Turn.OVER
        if not is_primary:
            return Turn.SUPERSEDE
        if now < next_at <= now + LONGEST_WAIT:  # further ahead: set before the clock was set back
            return Turn.WAIT
        cursor.execute(_FACTS, {"job": ground.job, "lease": LEASE.total_seconds()})
        left, leased, number, has_apart = cursor.fetchone()
    if left is not None:
        return _take_back(left, has_apart=has_apart)
    if leased and number == PLAN:
        return Turn.WAIT
    size = min(size or batch_size, batch_size)
    if per_second is not None:
        size = min(size, max(1, int(per_second * BURST.total_seconds())))
    if number is not None and per_second is not None:
        _space_out(ground.job, size, per_second, now)
    return _Job(pass_number=pass_number, size=size, has_apart=has_apart, number=number, leased=leased)


def _space_out(job: int, size: int, per_second: int, now: datetime) -> None:
    """Let the next batch, whoever's it is, begin when this one's share of time is over."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE rotation_rewrapjob SET next_at = %s WHERE id = %s",
            [now + timedelta(seconds=size / per_second), job],
        )


def _take_back(batch: int, *, has_apart: bool) -> Lease | Turn:
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_BACK, [LEASE.total_seconds(), batch])
        pk, number, pass_number, version, first, last, attempts, until = cursor.fetchone()
    if attempts > MOST_ATTEMPTS:
        return Turn.PAUSE
    return Lease(
        batch=pk,
        number=number,
        pass_number=pass_number,
        version=version,
        first=first,
        last=last,
        attempts=attempts,
        until=until,
        has_apart=has_apart,
    )


def _planned(ground: Ground, job: _Job, now: datetime) -> Lease:
    values = {"first": "0", "last": "0", "version": None, "pass": 0, "number": PLAN}
    return _insert(_GIVEN, ground, job, now, **values)[0]


def _next(ground: Ground, job: _Job, now: datetime) -> Lease | None:
    """Lease the next range of this pass: behind its last batch, from the oldest version to the newest of the old."""
    last = _last_of_pass(ground, job)
    version_was, after = (last[0] or 0, int(last[1])) if last else (0, 0)
    statement = _NEXT.format(apart=_APART if job.has_apart else "")
    for version in ground.old:
        if version < version_was:
            continue
        behind = after if version == version_was else 0
        found = _insert(statement, ground, job, now, version=version, after=behind, size=job.size)
        if found:
            return found[0]
    return None


def _next_pass(ground: Ground, job: _Job, now: datetime) -> Lease | Turn:
    """Begin another pass where this one has had batches and all of them are written down; else it was the last one."""
    if job.leased:
        return Turn.WAIT
    if _last_of_pass(ground, job) is None:
        return Turn.FINISH
    _count_pass(ground)
    return _next(ground, replace(job, pass_number=job.pass_number + 1), now) or Turn.FINISH


def _claim_elsewhere(ground: Ground, size: int | None, now: datetime) -> Lease | Turn:
    """Lease rows of a source: it is asked outside any transaction, and the answer counts if nobody was quicker."""
    with transaction.atomic():
        found = _look(ground, size, now)
        if not isinstance(found, _Job):
            return found
        last = _last_of_pass(ground, found)
    span = ranges().next_range(
        RewrapJob.objects.select_related("source__kek", "target").get(pk=ground.job),
        after=last[1] if last else "",
        size=found.size,
    )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK, [ground.job])
        cursor.execute(_FACTS, {"job": ground.job, "lease": LEASE.total_seconds()})
        _, leased, number, _ = cursor.fetchone()
        if number != found.number:
            return Turn.WAIT
        if span is not None:
            values = {"version": None, "first": span[0], "last": span[1]}
            return _insert(_GIVEN, ground, found, now, **values)[0]
        if leased:
            return Turn.WAIT
        if last is None:
            return Turn.FINISH
        _count_pass(ground)
        return Turn.WAIT


def _count_pass(ground: Ground) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE rotation_rewrapjob SET pass_number = pass_number + 1 WHERE id = %s", [ground.job])


def _last_of_pass(ground: Ground, job: _Job) -> tuple[int | None, str] | None:
    """Return version and last id of the latest batch, if it is of this pass."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST, [ground.job, job.number, job.pass_number])
        found = cursor.fetchone()
    return (found[0], found[1]) if found else None


def _insert(statement: str, ground: Ground, job: _Job, now: datetime, **values: str | int | None) -> list[Lease]:
    said: dict[str, str | int | float | datetime | None] = {
        "job": ground.job,
        "number": (job.number or 0) + 1,
        "pass": job.pass_number,
        "lease": LEASE.total_seconds(),
        "now": now,
    }
    said |= values
    with connection.cursor() as cursor:
        cursor.execute(statement, said)
        rows = cursor.fetchall()
    version = said["version"]
    return [
        Lease(
            batch=pk,
            number=int(str(said["number"])),
            pass_number=int(str(said["pass"])),
            version=version if isinstance(version, int) else None,
            first=first,
            last=last,
            attempts=1,
            until=until,
            has_apart=job.has_apart,
            size=job.size,
        )
        for pk, first, last, until in rows
    ]
