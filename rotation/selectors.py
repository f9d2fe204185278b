"""Reads of the work to be done."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.contrib.auth import get_user_model
from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet

from rotation.kinds import KINDS, ReviewKind
from rotation.models import Digest, DigestState, Notice, Review, ReviewItem, ReviewSignature, ReviewState, Verdict

A_MONTH = timedelta(days=30)


def role_mails(roles: Sequence[str]) -> list[str]:
    """Return the addresses of the active people who have one of these roles. Queries: 1."""
    people = get_user_model().objects.filter(groups__name__in=roles, is_active=True).exclude(email="")
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


# Reviews

STANDING = Prefetch(
    "signatures", ReviewSignature.objects.filter(voided_at__isnull=True).select_related("person"), "standing"
)


def overdue_reviews(now: datetime) -> QuerySet[Review]:
    """Return the reviews that are late: open, and past their date. Pages, mail and beat ask this one."""
    return Review.objects.filter(state=ReviewState.OPEN, due_at__lte=now)


def roles_of(review: Review) -> tuple[str, ...]:
    """Return whose signatures a review needs."""
    return KINDS[ReviewKind(review.kind)].roles


def open_reviews() -> QuerySet[Review]:
    """Return the reviews that wait for a signature, late or not."""
    return Review.objects.filter(state=ReviewState.OPEN)


def reviews_to_sign(person: int, roles: Sequence[str]) -> QuerySet[Review]:
    """Return the open reviews that lack a signature of one of these roles, and have none of this person."""
    standing = ReviewSignature.objects.filter(review=OuterRef("pk"), voided_at__isnull=True)
    lacks = [
        Q(kind=kind) & ~Q(Exists(standing.filter(role=role)))
        for kind, rules in KINDS.items()
        for role in rules.roles
        if role in roles
    ]
    found = open_reviews().exclude(Exists(standing.filter(person_id=person)))
    return found.filter(reduce(or_, lacks)) if lacks else found.none()


def with_progress(reviews: QuerySet[Review]) -> QuerySet[Review]:
    """Count of each review what its sample holds, what is judged and what was found."""
    return reviews.annotate(
        sampled=Count("items"),
        judged=Count("items", filter=~Q(items__verdict=Verdict.NONE)),
        found=Count("items", filter=Q(items__verdict=Verdict.FINDING)),
    )


def items_of(review: Review) -> list[ReviewItem]:
    """Return the sample in the order of the log, with who judged and what is followed up. Queries: 1."""
    return list(review.items.select_related("judged_by", "follow_up", "done_by", "done_for").order_by("event_number"))


def standing_signatures(review: Review) -> list[ReviewSignature]:
    """Return the signatures that are not void, the first one first. Queries: 1."""
    found = ReviewSignature.objects.filter(review=review, voided_at__isnull=True)
    return list(found.select_related("person").order_by("signed_at", "pk"))


def signed_roles(review: Review) -> set[str]:
    """Return for which roles a signature stands. Queries: 1; also for the worker, who may not read who people are."""
    return set(ReviewSignature.objects.filter(review=review, voided_at__isnull=True).values_list("role", flat=True))


def signing_roles(person: int, roles: Sequence[str]) -> list[str]:
    """Return for which of these roles somebody may sign now: active, in the role, which holds the right. Queries: 1.

    By role alone: being superuser signs nothing.
    """
    held = get_user_model().objects.filter(
        pk=person,
        is_active=True,
        groups__name__in=roles,
        groups__permissions__codename="sign_review",
        groups__permissions__content_type__app_label="rotation",
    )
    found = set(held.values_list("groups__name", flat=True))
    return [role for role in roles if role in found]
