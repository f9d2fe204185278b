"""Reads of the work to be done."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from rotation.models import Digest, DigestState, Notice

A_MONTH = timedelta(days=30)
SECURITY = "Security"  # the role that is told when nobody else can be


def security_mails() -> list[str]:
    """Return the addresses of the active people of Security. Queries: 1."""
    people = get_user_model().objects.filter(groups__name=SECURITY, is_active=True).exclude(email="")
    return sorted(people.values_list("email", flat=True).distinct())


def recipients_waiting() -> Sequence[str]:
    """Return who has notices that no digest has gathered yet. Queries: 1."""
    return list(
        Notice.objects.filter(digest__isnull=True).order_by("recipient").values_list("recipient", flat=True).distinct()
    )


def to_be_sent(now: datetime) -> Q:
    """The digests that somebody should send now: due ones, and those whose sender's lease ran out."""
    due = Q(state=DigestState.PENDING, next_attempt_at__lte=now)
    return due | Q(state=DigestState.SENDING, leased_until__lt=now)


def undelivered(now: datetime) -> QuerySet[Digest]:
    """Return the mails of the last month that were given up."""
    return Digest.objects.filter(composed_at__gte=now - A_MONTH, state=DigestState.FAILED)
