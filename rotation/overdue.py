"""Flagging what has become late, and writing down who is to be told of it and of what will soon be."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.services import MAX_SUBJECTS, Subject, record
from inventory.states import CAN_BE_OVERDUE
from rotation.selectors import security_mails


class _Told(NamedTuple):
    pk: int
    name: str
    rotate_by: datetime
    winning_clause_id: int
    is_newly_late: bool


@dataclass(frozen=True, kw_only=True)
class Flagging:
    """What one run did."""

    newly_late: int
    soon_due: int
    notices: int
    unaddressed: int  # keys of which nobody could be told; they are found again by the next run


# One statement: it touches what has crossed a threshold since the last run, and nothing else. A key that crossed several
# while nobody ran it is told of once, for the last of them. Without anybody to tell, the key keeps its place in the queue.
_FLAG = """
WITH crossed AS (
    SELECT k.id,
           coalesce(nullif(o.mail, ''), '') AS mail,
           (SELECT min(t) FROM unnest(%(thresholds)s::int[]) t
             WHERE k.rotate_by - make_interval(days => t) <= %(now)s) AS threshold,
           (SELECT min(k.rotate_by - make_interval(days => t)) FROM unnest(%(thresholds)s::int[]) t
             WHERE k.rotate_by - make_interval(days => t) > %(now)s) AS next_notice_at
      FROM inventory_key k
      LEFT JOIN inventory_owner o ON o.id = k.owner_id AND o.is_active
     WHERE k.next_notice_at <= %(now)s AND k.state = ANY(%(states)s)
       FOR UPDATE OF k
), told AS (
    UPDATE inventory_key k
       SET flagged_overdue_at = CASE WHEN k.rotate_by <= %(now)s THEN coalesce(k.flagged_overdue_at, %(now)s) END,
           next_notice_at = CASE WHEN c.mail <> '' OR cardinality(%(security)s::text[]) > 0
                                 THEN c.next_notice_at ELSE k.next_notice_at END
      FROM crossed c
     WHERE k.id = c.id
 RETURNING k.id, k.name, k.rotate_by, k.winning_clause_id, k.owner_id, c.mail, c.threshold,
           k.flagged_overdue_at = %(now)s AS is_newly_late
), noticed AS (
    INSERT INTO rotation_notice (key_id, rotate_by, threshold_days, recipient, owner_id, written_at)
    SELECT t.id, t.rotate_by, t.threshold, r.recipient, CASE WHEN t.mail <> '' THEN t.owner_id END, %(now)s
      FROM told t
     CROSS JOIN LATERAL unnest(CASE WHEN t.mail <> '' THEN ARRAY[t.mail] ELSE %(security)s::text[] END) AS r(recipient)
        ON CONFLICT DO NOTHING
 RETURNING key_id
)
SELECT told.id, told.name, told.rotate_by, told.winning_clause_id, coalesce(told.is_newly_late, false),
       (SELECT count(*) FROM noticed),
       told.mail = '' AND cardinality(%(security)s::text[]) = 0
  FROM told ORDER BY told.rotate_by, told.id
"""


@transaction.atomic
def flag_overdue(*, actor: Actor, now: datetime) -> Flagging:
    """Flag every key that has become late by `now`, and write the notices for every threshold crossed since the last run.

    Idempotent: a second run at the same time finds nothing; a run after a pause catches up. Locks the keys it flags.
    Event: key.flagged_overdue, one for up to 1,000 keys. Queries: 2, and 1 for each event.
    """
    parameters = {
        "now": now,
        "states": [state.value for state in CAN_BE_OVERDUE],
        "thresholds": sorted(settings.NOTICE_DAYS),
        "security": security_mails(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_FLAG, parameters)
        rows = cursor.fetchall()
    late = [_Told(*row[:5]) for row in rows if row[4]]
    for chunk in _chunks(late):
        record(Action.KEY_FLAGGED_OVERDUE, actor=actor, now=now, subjects=[_subject(told, now) for told in chunk])
    return Flagging(
        newly_late=len(late),
        soon_due=sum(row[2] > now for row in rows),
        notices=rows[0][5] if rows else 0,
        unaddressed=sum(row[6] for row in rows),
    )


def _subject(told: _Told, now: datetime) -> Subject:
    after = {
        "flagged_overdue_at": now.isoformat(),
        "rotate_by": told.rotate_by.isoformat(),
        "winning_clause": f"clause:{told.winning_clause_id}",
    }
    return Subject(ref=f"key:{told.pk}", label=told.name, before={"flagged_overdue_at": None}, after=after)


def _chunks(items: list[_Told]) -> Iterator[list[_Told]]:
    rest = iter(items)
    while chunk := list(islice(rest, MAX_SUBJECTS)):
        yield chunk
