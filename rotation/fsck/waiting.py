"""Invariant 7: whatever is leased is being done, and whatever waits is taken up."""

from datetime import datetime, timedelta
from typing import LiteralString, NamedTuple

from rotation.fsck.results import Result
from rotation.fsck.rows import one, rows

NEW = timedelta(minutes=5)  # that something may wait before anybody takes it up
LEASE = timedelta(minutes=5)  # of requests, orders, mails and imports
BATCH_LEASE = timedelta(minutes=2)  # of a batch: less than that, and the reaper comes once a minute


class _Rows(NamedTuple):
    """What is wrong with a kind of row, and how the late ones are found, given a time."""

    what: str
    late: LiteralString


# A lease that was over for as long as it lasts was begun more than twice its length ago.
_LEASES: tuple[tuple[_Rows, timedelta], ...] = (
    (_Rows("request", "SELECT id FROM rotation_request WHERE state = 'executing' AND leased_until < %s"), LEASE),
    (_Rows("order", "SELECT id FROM rotation_order WHERE state = 'doing' AND leased_until < %s"), LEASE),
    (
        _Rows(
            "batch of a re-wrap job",
            "SELECT b.id FROM rotation_rewrapbatch b JOIN rotation_rewrapjob j ON j.id = b.job_id"
            " WHERE b.state = 'leased' AND j.state = 'running' AND b.leased_until < %s",
        ),
        BATCH_LEASE,
    ),
    (_Rows("mail", "SELECT id FROM rotation_digest WHERE state = 'sending' AND leased_until < %s"), LEASE),
    (
        _Rows(
            "import",
            "SELECT id FROM inventory_importdraft WHERE state IN ('reading', 'applying') AND leased_until < %s",
        ),
        LEASE,
    ),
)
_QUEUES: tuple[_Rows, ...] = (
    _Rows("mail", "SELECT id FROM rotation_digest WHERE state = 'pending' AND attempts = 0 AND next_attempt_at < %s"),
    _Rows("notice", "SELECT id FROM rotation_notice WHERE digest_id IS NULL AND written_at < %s"),
    _Rows("order", "SELECT id FROM rotation_order WHERE state = 'waiting' AND next_at < %s"),
    _Rows(
        "re-wrap job",
        "SELECT id FROM rotation_rewrapjob WHERE state = 'running' AND greatest(next_at, changed_at) < %s",
    ),
)
_REQUESTS: LiteralString = """
SELECT id FROM rotation_request
 WHERE state = 'approved' AND attempts = 0 AND next_attempt_at < %s AND NOT operation = ANY(%s)
"""
_HOW_MANY: LiteralString = """
SELECT (SELECT count(*) FROM rotation_request WHERE state IN ('approved', 'executing'))
     + (SELECT count(*) FROM rotation_order WHERE state IN ('waiting', 'doing'))
     + (SELECT count(*) FROM rotation_rewrapbatch WHERE state = 'leased')
     + (SELECT count(*) FROM rotation_rewrapjob WHERE state = 'running')
     + (SELECT count(*) FROM rotation_digest WHERE state IN ('pending', 'sending'))
     + (SELECT count(*) FROM rotation_notice WHERE digest_id IS NULL)
     + (SELECT count(*) FROM inventory_importdraft WHERE leased_until IS NOT NULL)
"""


def nothing_lies(*, now: datetime, at_machine: list[str]) -> Result:
    """Check leases and queues as of `now`. `at_machine`: operations that wait for a person at the machine."""
    result = Result(number=7, title="nothing waits that nobody does", unit="leases and rows that wait")
    result.checked = one(_HOW_MANY)
    for kind, length in _LEASES:
        for (pk,) in rows(kind.late, [now - length]):
            result.add(f"{kind.what} {pk} has a lease that was over {_minutes(length)} ago, and nobody took it back")
    waited = f"has waited for more than {_minutes(NEW)}, and nobody took it up"
    for kind in _QUEUES:
        result.take(f"{kind.what} {pk} {waited}" for (pk,) in rows(kind.late, [now - NEW]))
    result.take(f"request {pk} {waited}" for (pk,) in rows(_REQUESTS, [now - NEW, at_machine]))
    return result


def _minutes(length: timedelta) -> str:
    return f"{length // timedelta(minutes=1)} minutes"
