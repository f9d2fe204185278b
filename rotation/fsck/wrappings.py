"""Invariants 1 and 3: no DEK was lost, and none lies where it may not."""

from typing import LiteralString

from rotation.fsck.results import Result
from rotation.fsck.rows import one, rows

# 1. A DEK version without a wrapping was cleared by a request that two people decided and that names it.
_BARE: LiteralString = """
WITH allowed AS MATERIALIZED (
    SELECT t ->> 'ref' AS ref,
           CASE r.operation WHEN 'dek.clear' THEN coalesce((p.said -> 'parameters' ->> 'number')::int, 0) END AS number
      FROM rotation_request r
     CROSS JOIN LATERAL (SELECT convert_from(r.payload, 'UTF8')::jsonb AS said OFFSET 0) p
     CROSS JOIN LATERAL jsonb_array_elements(p.said -> 'targets') t
     WHERE r.state = 'executed' AND r.operation IN ('dek.clear', 'key.destroy')
)
SELECT d.key_id, d.number, d.cleared_at IS NOT NULL
  FROM inventory_dekversion d
  LEFT JOIN allowed a ON a.ref = 'key:' || d.key_id AND coalesce(a.number, d.number) = d.number
   AND d.cleared_at IS NOT NULL
 WHERE NOT EXISTS (SELECT FROM inventory_wrapping w WHERE w.dek_version_id = d.version_id) AND a.ref IS NULL
 ORDER BY d.key_id, d.number
"""
_HALF_CLEARED: LiteralString = """
SELECT d.key_id, d.number FROM inventory_dekversion d
 WHERE d.cleared_at IS NOT NULL AND EXISTS (SELECT FROM inventory_wrapping w WHERE w.dek_version_id = d.version_id)
"""
_STRAY: LiteralString = """
SELECT w.dek_version_id, w.kek_version_id FROM inventory_wrapping w
  LEFT JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
  LEFT JOIN inventory_kekversion k ON k.version_id = w.kek_version_id
 WHERE d.version_id IS NULL OR k.version_id IS NULL
"""
# What the log says was made here, and is not here: the count of DEKs never drops.
_GONE: LiteralString = """
SELECT DISTINCT s.subject FROM audit_event e JOIN audit_event_subject s ON s.number = e.number
 WHERE e.action IN ('dek.created', 'dek.imported') AND e.outcome = 'done' AND s.subject ~ '^key:[0-9]{1,18}$'
   AND NOT EXISTS (SELECT FROM inventory_dekversion d WHERE d.key_id = substring(s.subject FROM 5)::bigint)
"""
# 3.
_MISPLACED: LiteralString = """
SELECT k.uri, v.store_id, g.state, v.closed_at IS NOT NULL, v.status, count(*)
  FROM inventory_wrapping w
  JOIN inventory_kekversion v ON v.version_id = w.kek_version_id JOIN inventory_kek k ON k.key_id = v.kek_id
  JOIN inventory_keyversion g ON g.id = v.version_id
 WHERE g.state IN ('pre_activation', 'destroyed', 'destroyed_compromised') OR v.closed_at IS NOT NULL
    OR v.status = 'gone'
 GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2
"""
_BOOKS: LiteralString = """
SELECT j.id, j.rewrapped, coalesce(sum(b.rewrapped), 0)
  FROM rotation_rewrapjob j LEFT JOIN rotation_rewrapbatch b ON b.job_id = j.id AND b.state = 'done'
 GROUP BY j.id HAVING j.rewrapped <> coalesce(sum(b.rewrapped), 0) ORDER BY j.id
"""
# Under older versions than a finished job's target: in quarantine of a job, or came after it was finished. Who wrapped
# before and wrote down afterwards is told of later in the log, whatever time that event bears.
_LEFT: LiteralString = """
SELECT j.id, k.uri, count(*)
  FROM rotation_rewrapjob j
  JOIN inventory_kek k ON k.key_id = j.kek_id
  JOIN inventory_kekversion v ON v.kek_id = j.kek_id AND v.version_id < j.target_id
  JOIN inventory_wrapping w ON w.kek_version_id = v.version_id
  JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
 WHERE j.state = 'done' AND j.source_id IS NULL
   AND NOT EXISTS (SELECT FROM rotation_quarantined q WHERE q.dek_version_id = w.dek_version_id)
   AND NOT EXISTS (
        SELECT FROM audit_event_subject s JOIN audit_event e ON e.number = s.number
         WHERE s.subject = 'key:' || d.key_id AND e.outcome = 'done'
           AND (d.number = 1 AND e.action IN ('dek.created', 'dek.imported')
                OR d.number > 1 AND e.action = 'key.rotated')
           AND (e.at >= j.closed_at OR e.number > (
               SELECT max(f.number) FROM audit_event_subject t JOIN audit_event f ON f.number = t.number
                WHERE t.subject = 'rewrap:' || j.id AND f.action = 'rewrap.finished' AND f.outcome = 'done')))
 GROUP BY j.id, k.uri ORDER BY j.id
"""
_OLD: LiteralString = """
SELECT k.uri, count(*),
       EXISTS (SELECT FROM rotation_rewrapjob j WHERE j.kek_id = k.key_id AND j.state IN ('running', 'paused'))
  FROM inventory_kek k
  JOIN inventory_kekversion v ON v.kek_id = k.key_id AND v.version_id < k.primary_id
  JOIN inventory_wrapping w ON w.kek_version_id = v.version_id
 GROUP BY k.key_id, k.uri ORDER BY k.uri
"""


def all_wrapped() -> Result:
    """Check that every DEK version is wrapped by something, but for those that people have had cleared."""
    result = Result(number=1, title="every DEK version is wrapped, or was cleared by votes", unit="DEK versions")
    result.checked = one("SELECT count(*) FROM inventory_dekversion")
    for key, number, is_cleared in rows(_BARE):
        why = "and no request that was carried out says so" if is_cleared else "and it was not cleared"
        result.add(f"key:{key} version {number} has no wrapping, {why}")
    result.take(f"key:{key} version {number} was cleared and is wrapped still" for key, number in rows(_HALF_CLEARED))
    result.take(f"a wrapping names DEK version {dek} and KEK version {kek}: not both are" for dek, kek in rows(_STRAY))
    result.take(f"{ref} was made as a DEK, says the log, and is none any more" for (ref,) in rows(_GONE))
    return result


def none_misplaced() -> Result:
    """Check that nothing is under a version that cannot open it, and that what is left is what the jobs say."""
    result = Result(number=3, title="nothing lies under a version that is closed, gone or unused", unit="KEK versions")
    result.checked = one("SELECT count(*) FROM inventory_kekversion")
    for uri, store_id, state, is_closed, status, count in rows(_MISPLACED):
        why = f"closed to wraps, {state}" if is_closed else f"{state}, {status} in its store"
        result.add(f"{count:,} DEKs are under version {store_id} of {uri}, which is {why}", count=count)
    for job, said, done in rows(_BOOKS):
        result.add(f"rewrap:{job} counts {said:,} DEKs, its batches {done:,}")
    for job, uri, count in rows(_LEFT):
        result.add(f"{count:,} DEKs are under older versions of {uri} that rewrap:{job} is said to have emptied")
    for uri, count, has_job in rows(_OLD):
        if not has_job:
            result.notes.append(f"{count:,} DEKs are under older versions of {uri}, and no job brings them over")
    return result
