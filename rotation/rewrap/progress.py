"""How far a job is, and whether what it would bring over opens at all."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Sum

from inventory import custody
from inventory.custody import Item, Refusal
from inventory.models import KekVersion
from rotation.models import JobState, RewrapBatch, RewrapJob
from rotation.rewrap.planning import Plan

LOOK_BACK = timedelta(minutes=1)  # for the rate
_BOUNDS = "SELECT min(dek_version_id), max(dek_version_id) FROM inventory_wrapping WHERE kek_version_id = %s"
_SOME = """
SELECT DISTINCT w.dek_version_id, w.wrapped, d.key_id, d.number, d.binding, d.context
  FROM unnest(%s::bigint[]) AS drawn (id)
 CROSS JOIN LATERAL (SELECT * FROM inventory_wrapping w WHERE w.kek_version_id = %s AND w.dek_version_id >= drawn.id
                      ORDER BY w.dek_version_id LIMIT 1) w
  JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
"""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A job at a moment. DEKs that were added meanwhile are brought over too: it may come to more than was counted."""

    job: RewrapJob
    rewrapped: int
    total: int
    quarantined: int
    per_second: float  # in the last minute, all workers together

    @property
    def left(self) -> int:
        return max(0, self.total - self.rewrapped - self.quarantined)

    @property
    def percent(self) -> int:
        return 100 if self.left == 0 else min(99, 100 * self.rewrapped // max(1, self.total))

    @property
    def time_left(self) -> timedelta | None:
        """Return how long it takes at the rate of the last minute; None where nothing moved or is to be moved."""
        if self.job.state != JobState.RUNNING or not self.per_second or not self.left:
            return None
        return timedelta(seconds=round(self.left / self.per_second))


def progress_of(pk: int, *, now: datetime) -> Progress:
    """Return how far a job is. Queries: 3."""
    job = RewrapJob.objects.select_related("kek__key", "target", "source").get(pk=pk)
    since = max(job.opened_at, now - LOOK_BACK)
    lately = RewrapBatch.objects.filter(job=job, state="done", number__gt=0, done_at__gt=since)
    done = lately.aggregate(deks=Sum("rewrapped"))["deks"] or 0
    end = min(now, job.closed_at or now)
    return Progress(
        job=job,
        rewrapped=job.rewrapped,
        total=max(job.total, job.rewrapped),
        quarantined=job.quarantined.filter(resolved_at__isnull=True).count(),
        per_second=done / max(1.0, (end - since).total_seconds()),
    )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a look at some of the wrapped DEKs under an old version has shown; nothing was changed."""

    version: KekVersion
    looked_at: int
    refused: tuple[str, ...]  # the reasons, one for each that did not open as what belongs in its row


def sample(plan: Plan, *, size: int) -> list[Sample]:
    """Open some of the DEKs under each old version, drawn by chance, and wipe them. Raises: BackendError."""
    found = []
    for one in plan.old:
        items = _some(one.version.pk, size)
        seen = custody.check(plan.kek.uri, one.version.store_id, items, algorithm=plan.kek.algorithm)
        refused = tuple(answer.reason for answer in seen if isinstance(answer, Refusal))
        found.append(Sample(version=one.version, looked_at=len(items), refused=refused))
    return found


def _some(version: int, size: int) -> Sequence[Item]:
    with connection.cursor() as cursor:
        cursor.execute(_BOUNDS, [version])
        first, last = cursor.fetchone()
        if first is None:
            return []
        drawn = [first + secrets.randbelow(last - first + 1) for _ in range(size)]
        cursor.execute(_SOME, [drawn, version])
        return [
            Item(b"key:%d" % key, number, bytes(wrapped), bytes(binding) if binding else None, bytes(context))
            for _, wrapped, key, number, binding, context in cursor.fetchall()
        ]
