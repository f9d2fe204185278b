"""Reads of the work to be done."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Prefetch, Q, QuerySet

from inventory.models import Key, KeyVersion
from inventory.states import State
from rotation.kinds import DEVOPS, KINDS, SECURITY, ReviewKind
from rotation.models import (
    Digest,
    DigestState,
    Duty,
    DutyKind,
    DutySignature,
    DutyState,
    Notice,
    Review,
    ReviewItem,
    ReviewSignature,
    ReviewState,
    Verdict,
)

A_MONTH = timedelta(days=30)
AT_A_TIME = 100


def role_mails(roles: Sequence[str], *, but: int | None = None) -> list[str]:
    """Return the addresses of the active people who have one of these roles, but for one of them. Queries: 1."""
    people = get_user_model().objects.filter(groups__name__in=roles, is_active=True).exclude(email="")
    if but is not None:
        people = people.exclude(pk=but)
    return sorted(people.values_list("email", flat=True).distinct())


def everybodys_mails() -> list[str]:
    """Return the addresses of all active people, whatever their role. Queries: 1."""
    people = get_user_model().objects.filter(is_active=True).exclude(email="")
    return sorted(people.values_list("email", flat=True))


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


# Duties


def voting_roles(person: int) -> list[str]:
    """Return for which of Security and DevOps somebody may vote and sign now, as the database sees it. Queries: 1.

    Active, in the role, with an authenticator app or a passkey; by role alone: being superuser signs nothing.
    """
    asked = (
        "SELECT role FROM unnest(%s::text[]) role"
        " WHERE EXISTS (SELECT FROM rotation_voters(role) v WHERE v.person = %s)"
    )
    with connection.cursor() as cursor:
        cursor.execute(asked, [[SECURITY, DEVOPS], person])
        found = {role for (role,) in cursor.fetchall()}
    return [role for role in (SECURITY, DEVOPS) if role in found]


def open_duties() -> QuerySet[Duty]:
    """Return what others still have to look at, late or not."""
    return Duty.objects.filter(state=DutyState.OPEN)


def overdue_duties(now: datetime) -> QuerySet[Duty]:
    """Return the duties that are late: open, and past their date. Pages, mail and beat ask this one."""
    return open_duties().filter(due_at__lte=now)


def duties_to_sign(person: int, roles: Sequence[str]) -> QuerySet[Duty]:
    """Return the open duties that this person, in one of these roles, can sign: not their own act, nor signed yet."""
    signatures = DutySignature.objects.filter(duty=OuterRef("pk"))
    missing = [~Q(Exists(signatures.filter(role=role))) for role in (SECURITY, DEVOPS) if role in roles]
    found = open_duties().exclude(done_by=person).exclude(Exists(signatures.filter(person_id=person)))
    return found.filter(reduce(or_, missing)) if missing else found.none()


def open_glass(person: int) -> Duty | None:
    """Return the break-glass of somebody that two people have not signed yet. Queries: 1."""
    return open_duties().filter(kind=DutyKind.BREAK_GLASS, done_by=person).first()


def suspended_since(before: datetime) -> list[tuple[Key, datetime, str]]:
    """Return keys that were suspended before that and have no duty for it, locked: since when, and by whom if known.

    A hundred at a time. What somebody else has locked is left for the next run. Queries: 3.
    """
    versions = KeyVersion.objects.filter(key=OuterRef("pk"), number=OuterRef("current_number"))
    waiting = Key.objects.filter(Exists(versions.filter(suspended_at__lte=before)), state=State.SUSPENDED)
    known = Duty.objects.filter(kind=DutyKind.STILL_SUSPENDED, key=OuterRef("key"), done_at=OuterRef("suspended_at"))
    locked = waiting.select_for_update(of=("self",), skip_locked=True, no_key=True).order_by("pk")
    keys = {key.pk: key for key in locked.filter(_lacks_duty())[:AT_A_TIME]}
    since = KeyVersion.objects.filter(key__in=keys, number=F("key__current_number")).exclude(Exists(known))
    doers = _suspended_by(keys)
    return [
        (keys[pk], at, doers.get((pk, at), ""))
        for pk, at in since.order_by("key").values_list("key", "suspended_at")
        if at is not None
    ]


def _lacks_duty() -> Q:
    at = KeyVersion.objects.filter(
        key=OuterRef("key"), number=OuterRef("key__current_number"), suspended_at=OuterRef("done_at")
    )
    told = Duty.objects.filter(Exists(at), kind=DutyKind.STILL_SUSPENDED, key=OuterRef("pk"))
    return ~Q(Exists(told))


def _suspended_by(keys: Iterable[int]) -> dict[tuple[int, datetime], str]:
    """Return who did something alone to each key, and when, as the duties say that were opened then."""
    acts = Duty.objects.filter(key__in=keys, kind__in=[DutyKind.SUSPENSION, DutyKind.REPORT])
    return {(key, at): who for key, at, who in acts.values_list("key", "done_at", "done_by_ref")}
