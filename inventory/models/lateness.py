"""The one place that says which keys count as overdue, which are accepted, and which will soon be overdue.

Findings likewise: what an exception accepts is neither open work nor mended.

A key is past its date from `rotate_by` on. While `accepted_until` lies ahead, an exception to the clause holds: the key
is accepted, which is neither overdue nor compliant.
"""

from datetime import datetime

from django.db.models import Q

from inventory.states import CAN_BE_OVERDUE


def overdue(now: datetime) -> Q:
    """Past its date, in a state that can be late, and nobody has accepted that. Served by key_can_be_overdue."""
    return Q(rotate_by__lte=now, state__in=CAN_BE_OVERDUE) & _counts_at(now)


def accepted(now: datetime) -> Q:
    """Past its date, and accepted until later. Served by key_accepted, which holds these keys alone."""
    return Q(rotate_by__lte=now, accepted_until__gt=now, state__in=CAN_BE_OVERDUE)


def falls_due(after: datetime, before: datetime, now: datetime) -> Q:
    """Not past its date yet, reaches it from `after` on and before `before`, and counts as overdue then."""
    return Q(rotate_by__gt=now, rotate_by__gte=after, rotate_by__lt=before, state__in=CAN_BE_OVERDUE) & _counts_at(
        before
    )


def due_within(now: datetime, until: datetime) -> Q:
    """Not past its date yet, but overdue by `until` if nobody rotates it."""
    return Q(rotate_by__gt=now, rotate_by__lte=until, state__in=CAN_BE_OVERDUE) & _counts_at(until)


def wrong(now: datetime) -> Q:
    """Open findings that nobody has accepted."""
    return Q(closed_at__isnull=True) & _counts_at(now)


def accepted_wrong(now: datetime) -> Q:
    """Open findings that an exception accepts until later. Served by finding_accepted, which holds these alone."""
    return Q(closed_at__isnull=True, accepted_until__gt=now)


def _counts_at(instant: datetime) -> Q:
    return Q(accepted_until__isnull=True) | Q(accepted_until__lte=instant)
