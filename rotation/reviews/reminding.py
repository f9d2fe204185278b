"""Telling: mail when a review is opened, before it is due, on the day, and every week while it is late."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from rotation.letters import write_letter
from rotation.models import Review, ReviewState
from rotation.reviews.pieces import rules_of, subject
from rotation.selectors import role_mails, signed_roles, with_progress

BEFORE = timedelta(days=2)
WHILE_LATE = timedelta(weeks=1)


def next_reminder(due_at: datetime, now: datetime) -> datetime:
    """Return when the next mail about an unsigned review goes out: two days before, when it is due, then weekly."""
    if now < due_at - BEFORE:
        return due_at - BEFORE
    return due_at if now < due_at else due_at + WHILE_LATE * ((now - due_at) // WHILE_LATE + 1)


@transaction.atomic
def remind(*, actor: Actor, now: datetime) -> int:
    """Write the reminders that are due, to the people of the roles whose signature is missing; return how many mails.

    Each is written once, whatever runs at the same time; after a pause the last of those missed stands for them. Where
    there is nobody to tell, the review keeps its place. Locks the reviews. Event: review.flagged_overdue, once.
    """
    waiting = Review.objects.filter(state=ReviewState.OPEN, next_reminder_at__lte=now).order_by("pk")
    return sum(_remind(review, actor, now) for review in waiting.select_for_update(skip_locked=True))


def _remind(review: Review, actor: Actor, now: datetime) -> int:
    changed: dict[str, datetime] = {}
    if review.due_at <= now and review.flagged_overdue_at is None:
        changed["flagged_overdue_at"] = now
        after = {"flagged_overdue_at": now.isoformat(), "due": review.due_at.isoformat()}
        said = subject(review, {"flagged_overdue_at": None}, after)
        record(Action.REVIEW_FLAGGED_OVERDUE, actor=actor, now=now, subjects=[said])
    signed = signed_roles(review)
    written = tell(review, [role for role in rules_of(review).roles if role not in signed], now)
    if written:
        changed["next_reminder_at"] = next_reminder(review.due_at, now)
    if changed:
        Review.objects.filter(pk=review.pk).update(**changed)
    return written


def tell(review: Review, roles: Sequence[str], now: datetime) -> int:
    """Put a mail about a review into the outbox for everybody who can give a signature that is missing."""
    counted = with_progress(Review.objects.filter(pk=review.pk)).get()
    late = (now.date() - review.due_at.date()).days
    if review.due_at > now:
        subject_line = f"Review to sign by {review.due_at:%-d %B %Y}: {review.get_kind_display()}"
    else:
        subject_line = f"Review overdue since {review.due_at:%-d %B %Y}: {review.get_kind_display()}"
    return write_letter(
        template="emails/review/letter",
        recipients=role_mails(roles),
        subject=subject_line,
        lines=_lines(counted, roles, late),
        url=settings.SITE_URL + reverse("admin:rotation_review_change", args=[review.pk]),
        now=now,
    )


def _lines(review: Review, roles: Sequence[str], late: int) -> list[str]:
    due = f"It is due on {review.due_at:%-d %B %Y}"
    if late > 0:
        due = f"It has been due for {late} day{'' if late == 1 else 's'}"
    clause = rules_of(review).clause
    return [
        f"The {review.get_kind_display()} of a period are reviewed every two weeks ({clause}). {_found(review)}",
        f"{due} and waits for {' and '.join(roles)}. Any person of the role may sign, with their second factor; nobody "
        "judges what they did themselves.",
    ]


def _found(review: Any) -> str:  # noqa: ANN401 - a Review with what with_progress() adds
    if not review.population:
        return f"The log tells of none in {review.period}; that is what you would sign."
    if review.sampled == review.population:
        found = f"{review.sampled:,} in {review.period}: all are to be looked at"
    else:
        found = f"{review.population:,} in {review.period}. A sample of {review.sampled:,} is to be looked at"
    return f"The log tells of {found}, {review.judged:,} are judged."
