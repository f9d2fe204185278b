"""What the certificate of a job says, and the digests by which before and after are compared.

A digest covers DEKs in the order of their version's id, in chunks of 50,000: SHA-256 over, for each chunk, SHA-256 over
(id as 8 bytes ‖ its binding digest, nothing where it has none). The binding digest proves that a DEK belongs to its row
whatever wraps it: two equal digests say that the same DEKs are there, and none is another one.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Count, Sum

from audit.canonical import JSON
from rotation.models import BatchState, Quarantined, Request, RewrapBatch, RewrapJob
from rotation.requests import standing_votes

CHUNK = 50_000
NAMED = 1_000  # of those in quarantine; the rest is counted
_CHUNK = """
SELECT count(*), max(d.version_id),
       sha256(coalesce(string_agg(int8send(d.version_id) || coalesce(d.binding, ''), '' ORDER BY d.version_id), ''))
  FROM (SELECT DISTINCT w.dek_version_id FROM inventory_wrapping w
         WHERE w.dek_version_id > %s AND w.dek_version_id <= %s AND w.kek_version_id = ANY(%s)
         ORDER BY w.dek_version_id LIMIT %s) w
  JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
"""
_LATEST = "SELECT coalesce(max(dek_version_id), 0) FROM inventory_wrapping WHERE kek_version_id = ANY(%s)"


def latest_dek(versions: list[int]) -> int:
    """Return the largest id of a DEK version that is under one of these versions of a KEK. Queries: 1."""
    with connection.cursor() as cursor:
        cursor.execute(_LATEST, [versions])
        (latest,) = cursor.fetchone()
    return int(latest)


def digest_of(versions: list[int], up_to: int) -> tuple[int, bytes]:
    """Return how many DEKs up to an id are under these versions, and the digest over them. Queries: 1 for 50,000."""
    total, after, overall = 0, 0, hashlib.sha256()
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_CHUNK, [after, up_to, versions, CHUNK])
            count, last, digest = cursor.fetchone()
        if not count:
            return total, overall.digest()
        total, after = total + count, last
        overall.update(bytes(digest))


def certificate(job: RewrapJob, *, deks_after: int, now: datetime) -> dict[str, JSON]:
    """Return what a job's certificate says, as it will be signed; canonical JSON knows no fractions. Queries: 7."""
    done = RewrapBatch.objects.filter(job=job, state=BatchState.DONE, number__gt=0)
    before, after = bytes(job.digest_before or b"").hex(), bytes(job.digest_after or b"").hex()
    return {
        "job": job.ref,
        "kek": {
            "key": job.kek.key.ref,
            "name": job.kek.key.name,
            "uri": job.kek.uri,
            "algorithm": job.kek.algorithm,
        },
        "source": _source(job),
        "to": {"version": job.target.store_id, "ref": f"kekversion:{job.target_id}"},
        "from": _from(job),
        "deks": {
            "counted_before": job.total,
            "rewrapped": job.rewrapped,
            "bound_at_first_opening": job.bound,
            "after": deks_after,
        },
        "verified": {
            "opened_again": job.verified,
            "percent_asked": job.verify_percent if job.is_server_side else 100,
            "by_the_store": job.is_server_side,
        },
        "quarantined": _quarantined(job),
        "digest_before": before,
        "digest_after": after,
        "digests_are_equal": before == after if before else None,  # none elsewhere: rows there come and go meanwhile
        "batches": {"count": done.count(), "passes": job.pass_number, "digest": _over_batches(job)},
        "opened": {"at": job.opened_at, "by": job.opened_by_ref, "reason": job.reason},
        "finished": {"at": now, "seconds": _seconds(now - job.opened_at), "work_milliseconds": _work(job)},
        "request": _request(job),
    }


def _source(job: RewrapJob) -> Mapping[str, JSON] | None:
    """Say where the DEKs are; without a column for their binding digests nothing there shows whose each is."""
    if job.source is None:
        return None
    return {"source": job.source.ref, "name": job.source.name, "keeps_binding_digests": bool(job.source.binding_column)}


def _from(job: RewrapJob) -> list[JSON]:
    """Return how many came from each old version."""
    done = RewrapBatch.objects.filter(job=job, state=BatchState.DONE, kek_version__isnull=False)
    each = (
        done.values("kek_version_id", "kek_version__store_id").annotate(deks=Sum("rewrapped")).order_by("kek_version")
    )
    return [
        {"version": one["kek_version__store_id"], "ref": f"kekversion:{one['kek_version_id']}", "deks": one["deks"]}
        for one in each
    ]


def _quarantined(job: RewrapJob) -> Mapping[str, JSON]:
    left = Quarantined.objects.filter(job=job, resolved_at__isnull=True)
    reasons = left.values("reason").annotate(count=Count("pk")).order_by("reason")
    named = left.order_by("pk").values_list("dek_version__key_id", "dek_version__number", "row", "reason")[:NAMED]
    return {
        "count": left.count(),
        "reasons": {one["reason"]: one["count"] for one in reasons},
        "named": [{"dek": row or f"key:{key} v{number}", "reason": reason} for key, number, row, reason in named],
    }


def _over_batches(job: RewrapJob) -> str:
    """Return SHA-256 over the digests of the batches, in their order; each stands in an event of the log."""
    overall = hashlib.sha256()
    done = RewrapBatch.objects.filter(job=job, state=BatchState.DONE, rewrapped__gt=0).order_by("number")
    for digest in done.values_list("digest", flat=True).iterator(chunk_size=5_000):
        overall.update(bytes(digest or b""))
    return overall.hexdigest()


def _work(job: RewrapJob) -> int:
    """Return how long workers were at it, all together."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(done_at - begun_at), '0') FROM rotation_rewrapbatch WHERE job_id = %s AND number > 0",
            [job.pk],
        )
        (spent,) = cursor.fetchone()
    return int(spent / timedelta(milliseconds=1))


def _seconds(span: timedelta) -> int:
    return max(0, int(span.total_seconds()))


def _request(job: RewrapJob) -> Mapping[str, JSON] | None:
    """Return which request ordered the rotation that this follows from, and who approved it."""
    request: Request | None = job.order.request if job.order else None
    if request is None:
        return None
    return {
        "request": request.ref,
        "digest": bytes(request.digest).hex(),
        "asked_by": request.requested_by_ref,
        "approved_by": [
            {"person": f"user:{vote.person_id}", "role": vote.role, "at": vote.voted_at}
            for vote in standing_votes(request)
            if vote.is_approval
        ],
    }
