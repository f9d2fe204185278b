"""The two ends of a job: what there is before anything is touched, and the certificate once nothing is left.

At the end the old versions are locked against new wraps for a moment, so that the count which finds nothing is true
when the job is closed. What is in quarantine stays under them, and the certificate says so.
"""

from datetime import datetime

from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.certificates import CertificateKind, write_certificate
from inventory import custody
from rotation.models import JobState, Quarantined, RewrapBatch, RewrapJob
from rotation.rewrap.certifying import certificate, digest_of, latest_dek
from rotation.rewrap.elsewhere import ranges
from rotation.rewrap.errors import LeaseLostError
from rotation.rewrap.ground import Ground
from rotation.rewrap.leasing import PLAN, Lease
from rotation.rewrap.pieces import change, locked, tell_log

_COUNT = "SELECT count(*) FROM inventory_wrapping WHERE kek_version_id = ANY(%s)"
_HOLD = (
    "SELECT version_id FROM inventory_kekversion WHERE kek_id = %s AND version_id < %s ORDER BY version_id FOR UPDATE"
)
_LEFT = """
SELECT EXISTS (SELECT FROM inventory_wrapping w WHERE w.kek_version_id = ANY(%s)
   AND NOT EXISTS (SELECT FROM rotation_quarantined q
                    WHERE q.job_id = %s AND q.dek_version_id = w.dek_version_id AND q.resolved_at IS NULL))
"""


def write_plan(ground: Ground, lease: Lease, *, now: datetime) -> int:
    """Count and digest what there is before the first batch, and keep that as batch 0; return how many DEKs go over.

    Raises: LeaseLostError; BackendError where nothing is known of the store.
    """
    on_its_side = custody.capabilities_of(ground.uri).rewraps
    up_to = latest_dek(ground.versions)
    _, digest = digest_of(ground.versions, up_to)
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [list(ground.old)])
        (total,) = cursor.fetchone()
    with transaction.atomic():
        ours = RewrapBatch.objects.filter(pk=lease.batch, attempts=lease.attempts, leased_until=lease.until)
        begun = max(now, ours.values_list("begun_at", flat=True).first() or now)
        if not ours.update(state="done", leased_until=None, done_at=begun, last=str(up_to), digest=digest):
            raise LeaseLostError(f"The plan of {ground.ref} is somebody else's by now.")
        job = locked(ground.job)
        change(job, now, total=total, digest_before=digest, is_server_side=on_its_side)
    return int(total)


def finish(ground: Ground, *, actor: Actor, now: datetime) -> bool:
    """Close a job under whose old versions nothing is left, with its certificate; return whether that is so.

    Events: rewrap.finished, certificate.made.
    """
    if ground.source is not None:
        return _finish_elsewhere(ground, actor, now)
    plan = RewrapBatch.objects.get(job_id=ground.job, number=PLAN)
    deks, digest = digest_of(ground.versions, int(plan.last))
    with transaction.atomic():
        job = locked(ground.job)
        if job.state != JobState.RUNNING:
            return False
        if _is_left(ground):
            change(job, now, pass_number=job.pass_number + 1)
            return False
        _close(job, deks, digest, actor, now)
    return True


def _is_left(ground: Ground) -> bool:
    """Lock the old versions against new wraps, and say whether anything is under them that a pass would find.

    All older ones, also what was closed when this worker began and was opened again since.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [ground.kek, ground.target])
        old = [version for (version,) in cursor.fetchall()]
        cursor.execute(_LEFT, [old, ground.job])
        (is_left,) = cursor.fetchone()
    return bool(is_left)


def _in_quarantine(ground: Ground) -> set[int]:
    return set(Quarantined.objects.filter(job=ground.job, resolved_at__isnull=True).values_list("pk", flat=True))


def _finish_elsewhere(ground: Ground, actor: Actor, now: datetime) -> bool:
    apart = _in_quarantine(ground)
    there = RewrapJob.objects.select_related("source__kek", "target").get(pk=ground.job)
    left = ranges().left(there)
    with transaction.atomic():
        job = locked(ground.job)
        if job.state != JobState.RUNNING:
            return False
        if left or _in_quarantine(ground) != apart:  # what was let out meanwhile was not counted
            change(job, now, pass_number=job.pass_number + 1)
            return False
        _close(job, job.rewrapped, None, actor, now)
    ranges().count(there, actor=actor, now=now)
    return True


def _close(job: RewrapJob, deks: int, digest: bytes | None, actor: Actor, now: datetime) -> None:
    job.digest_after = digest
    said = certificate(job, deks_after=deks, now=now)
    name = job.source.name if job.source else job.kek.key.name
    written = write_certificate(
        kind=CertificateKind.REWRAP,
        subject=job.ref,
        title=f"Re-wrap of {name[:200]} to version {job.target.store_id}",
        facts=said,
        actor=actor,
        now=now,
    )
    left = Quarantined.objects.filter(job=job, resolved_at__isnull=True).count()
    because = "All of it is under the new version." if not left else f"{left:,} stayed behind, in quarantine."
    change(
        job, now, state=JobState.DONE, closed_at=now, closed_because=because, digest_after=digest, certificate=written
    )
    facts: dict[str, JSON] = {
        "deks": job.total,
        "rewrapped": job.rewrapped,
        "verified": job.verified,
        "bound": job.bound,
        "quarantined": left,
        "certificate": written.ref,
        "digests_are_equal": said["digests_are_equal"],
    }
    tell_log(Action.REWRAP_FINISHED, job, actor=actor, now=now, reason=because, facts=facts)
