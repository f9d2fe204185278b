"""Flagging what has become late, and writing down who is to be told of it and of what will soon be."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.states import CAN_BE_OVERDUE
from rotation.kinds import AlertKind
from rotation.routing import alert_mails


class _Told(NamedTuple):
    pk: int
    name: str
    rotate_by: str  # as datetime.isoformat() has it; always 00:00 UTC
    winning_clause_id: int
    is_newly_late: bool
    is_soon_due: bool
    is_unaddressed: bool
    notices: int  # of the whole run


@dataclass(frozen=True, kw_only=True)
class Flagging:
    """What one run did."""

    newly_late: int
    soon_due: int
    notices: int
    unaddressed: int  # keys of which nobody could be told; they are found again by the next run


# One statement: it touches what has crossed a threshold since the last run, and nothing else. A key that crossed
# several meanwhile is told of once, for the last of them. Without anybody to tell, the key keeps its place in the
# queue; what somebody else is changing at this moment is left to the next run. What counts is the date of rotation, or
# the end of what was accepted beyond it, so that the end of an exception is told as a date is. A flag goes away with
# that date alone (inventory.services.keys), not when the clock is set back. The rows that were locked are changed where
# they lie: a join by key would read the whole inventory again as soon as one in thirty is late.
_FLAG = """
WITH crossed AS (
    SELECT k.ctid AS place, k.id, c.counts_from,
           k.flagged_overdue_at IS NULL AND c.counts_from <= %(now)s AS is_newly_late,
           CASE WHEN o.mail <> '' THEN ARRAY[o.mail::text] ELSE %(security)s::text[] END AS recipients,
           CASE WHEN o.mail <> '' THEN o.id END AS told_owner_id,
           (SELECT min(days) FROM unnest(%(thresholds)s::int[]) days
             WHERE c.counts_from - make_interval(days => days) <= %(now)s) AS threshold,
           (SELECT min(c.counts_from - make_interval(days => days)) FROM unnest(%(thresholds)s::int[]) days
             WHERE c.counts_from - make_interval(days => days) > %(now)s) AS next_notice_at
      FROM inventory_key k
     CROSS JOIN LATERAL (
            SELECT COALESCE(k.accepted_until, GREATEST(k.rotate_by, max(LEAST(e.until, e.closed_at)))) AS counts_from
              FROM inventory_policyexception e WHERE e.key_id = k.id AND e.state IN ('expired', 'ended')) c
      LEFT JOIN inventory_owner o ON o.id = k.owner_id AND o.is_active
     WHERE k.next_notice_at <= %(now)s AND k.state = ANY(%(states)s)
       FOR UPDATE OF k SKIP LOCKED
), told AS (
    UPDATE inventory_key k
       SET flagged_overdue_at = CASE WHEN c.is_newly_late THEN %(now)s ELSE k.flagged_overdue_at END,
           next_notice_at = CASE WHEN cardinality(c.recipients) > 0 THEN c.next_notice_at ELSE k.next_notice_at END
      FROM crossed c
     WHERE k.ctid = c.place
 RETURNING k.id, k.name, k.rotate_by, k.winning_clause_id, c.is_newly_late, c.recipients, c.told_owner_id, c.threshold,
           c.counts_from
), noticed AS (
    INSERT INTO rotation_notice (key_id, rotate_by, threshold_days, recipient, owner_id, written_at)
    SELECT id, counts_from, threshold, unnest(recipients), told_owner_id, %(now)s
      FROM told
     WHERE threshold IS NOT NULL
        ON CONFLICT DO NOTHING
 RETURNING key_id
)
SELECT id, name, to_char(rotate_by AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'), winning_clause_id,
       is_newly_late, counts_from > %(now)s, cardinality(recipients) = 0,
       (SELECT count(*) FROM noticed)
  FROM told ORDER BY rotate_by, id
"""


@transaction.atomic
def flag_overdue(*, actor: Actor, now: datetime) -> Flagging:
    """Flag every key that is late by `now`, and write the notices for the thresholds crossed since the last run.

    Idempotent: a second run at the same time finds nothing; a run after a pause catches up. Locks the keys it flags.
    Event: key.flagged_overdue, one for up to 1,000 keys. Queries: 3, and 1 for each event.
    """
    parameters: dict[str, Any] = {
        "now": now,
        "states": [state.value for state in CAN_BE_OVERDUE],
        "thresholds": sorted(settings.NOTICE_DAYS),
        "security": alert_mails(AlertKind.KEYS_WITHOUT_OWNER),
    }
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(_FLAG, parameters)
        told = [_Told(*row) for row in cursor.fetchall()]
    late = [one for one in told if one.is_newly_late]
    flagged_at = now.isoformat()
    for subjects in batches(_subject(one, flagged_at) for one in late):
        record(Action.KEY_FLAGGED_OVERDUE, actor=actor, now=now, subjects=subjects)
    return Flagging(
        newly_late=len(late),
        soon_due=sum(one.is_soon_due for one in told),
        notices=told[0].notices if told else 0,
        unaddressed=sum(one.is_unaddressed for one in told),
    )


def _subject(told: _Told, flagged_at: str) -> Subject:
    after: dict[str, JSON] = {
        "flagged_overdue_at": flagged_at,
        "rotate_by": told.rotate_by,
        "winning_clause": f"clause:{told.winning_clause_id}",
    }
    return Subject(ref=f"key:{told.pk}", label=told.name, before={"flagged_overdue_at": None}, after=after)
