"""Invariant 6: what was carried out is what was signed, by as many different people as it took, and once."""

from typing import LiteralString

from rotation.fsck.results import Result
from rotation.fsck.rows import one, rows

_EXECUTED: LiteralString = """
WITH done AS (
    SELECT r.id, r.digest, r.payload, r.requested_by_ref, r.is_break_glass, r.closed_at,
           convert_from(r.payload, 'UTF8')::jsonb AS said
      FROM rotation_request r WHERE r.state = 'executed'
)
SELECT d.id,
       sha256(d.payload) <> d.digest,
       d.said ->> 'requested_by' IS DISTINCT FROM d.requested_by_ref,
       EXISTS (SELECT FROM rotation_vote v WHERE v.request_id = d.id AND v.voided_at IS NULL AND v.is_approval
                  AND ('user:' || v.person_id = d.said ->> 'requested_by'
                       OR d.said -> 'excluded' ? ('user:' || v.person_id))),
       EXISTS (SELECT FROM rotation_vote v WHERE v.request_id = d.id AND v.voided_at IS NULL AND v.digest <> d.digest),
       EXISTS (SELECT FROM rotation_vote v WHERE v.request_id = d.id AND v.voided_at IS NULL AND NOT v.is_approval),
       NOT d.is_break_glass AND (
           jsonb_array_length(d.said -> 'steps') = 0 OR EXISTS (
           SELECT FROM (SELECT s ->> 'role' AS role, sum((s ->> 'count')::int) AS needed
                          FROM jsonb_array_elements(d.said -> 'steps') s GROUP BY 1) AS step
            WHERE step.needed > (SELECT count(DISTINCT v.person_id) FROM rotation_vote v
                                  WHERE v.request_id = d.id AND v.voided_at IS NULL AND v.is_approval
                                    AND v.role = step.role))),
       (SELECT count(*) > count(DISTINCT v.person_id) FROM rotation_vote v
         WHERE v.request_id = d.id AND v.voided_at IS NULL),
       (SELECT count(*) FROM audit_event_subject s JOIN audit_event e ON e.number = s.number
         WHERE s.subject = 'request:' || d.id AND s.position = 1 AND e.action = 'request.executed'
           AND e.outcome = 'done'),
       d.closed_at < (SELECT at FROM audit_event ORDER BY number LIMIT 1)
  FROM done d ORDER BY d.id
"""
_FLAWS = (
    "its digest is not that of its payload",
    "its payload names another asker than its row",
    "somebody approved it who asked for it or is excluded",
    "a vote is on another digest",
    "somebody voted against it",
    "it was carried out without the votes it needs",
    "one person's votes count twice",
)


def decided() -> Result:
    """Check every request that was carried out, from its payload, its votes and the log."""
    result = Result(number=6, title="what was carried out had been decided, and was done once", unit="requests")
    for pk, *flaws, executions, is_older in rows(_EXECUTED):
        result.checked += 1
        result.take(f"request:{pk}: {words}" for has, words in zip(flaws, _FLAWS, strict=True) if has)
        if executions != 1 and not (executions == 0 and is_older):
            result.add(f"request:{pk} is executed {executions} times in the log")
    if glass := one("SELECT count(*) FROM rotation_request WHERE state = 'executed' AND is_break_glass"):
        result.notes.append(f"{glass:,} of them broke the glass: nobody voted before, and two people look at it after")
    return result
