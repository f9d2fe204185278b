"""Signing: a person of a role vouches for exactly what the page showed them."""

from collections.abc import Sequence
from datetime import datetime
from hmac import compare_digest

from django.db import transaction

from audit import ranges
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from rotation.errors import (
    AlreadySignedError,
    LogDiffersError,
    NobodyApartError,
    NotReviewerError,
    OneRoleEachError,
    ReviewChangedError,
    UnjudgedError,
)
from rotation.models import Review, ReviewItem, ReviewSignature, ReviewState, Verdict
from rotation.reviews.content import content_digest
from rotation.reviews.pieces import had_a_hand, locked, reviewer, rules_of, subject
from rotation.selectors import items_of, standing_signatures


@transaction.atomic
def sign_review(*, pk: int, role: str, digest: bytes, actor: Actor, now: datetime) -> Review:
    """Sign for a role what has this digest; the last missing signature closes the review.

    The door has asked for a fresh second factor. A signature does not cover what its signer did, or had done: its event
    names these, and the other signature must cover them. Locks the review.
    Events: review.signed, review.completed. Raises: NotReviewerError, ClosedReviewError, AlreadySignedError,
    OneRoleEachError, UnjudgedError, ReviewChangedError, LogDiffersError, NobodyApartError.
    """
    review = locked(pk)
    roles = rules_of(review).roles
    if role not in roles:
        raise NotReviewerError(roles)
    person = reviewer(actor, [role])
    if not actor.verified_by:
        raise ValueError("a signature needs a second factor")
    items, standing = items_of(review), standing_signatures(review)
    _check_place(standing, role, person)
    _check_content(review, items, digest)
    signers = [*(one.person_id for one in standing), person]
    is_last = {one.role for one in standing} | {role} == set(roles)
    if is_last:
        _check_apart(items, signers)
    ReviewSignature.objects.create(
        review=review,
        role=role,
        person_id=person,
        content_digest=digest,
        verified_by=actor.verified_by,
        signed_at=now,
    )
    excepted = [item.event_number for item in items if had_a_hand(item, person)]
    facts: dict[str, JSON] = {"role": role, "content": digest.hex(), "excepts": excepted}
    record(Action.REVIEW_SIGNED, actor=actor, now=now, subjects=[subject(review)], facts=facts)
    if is_last:
        _complete(review, digest, actor, now)
    return review


def _check_place(standing: Sequence[ReviewSignature], role: str, person: int) -> None:
    if any(one.person_id == person for one in standing):
        raise OneRoleEachError
    if any(one.role == role for one in standing):
        raise AlreadySignedError(role)


def _check_content(review: Review, items: Sequence[ReviewItem], digest: bytes) -> None:
    """Check that what is signed is what stands there, complete, and about the log as it is."""
    if not compare_digest(content_digest(review, items), digest):
        raise ReviewChangedError
    unjudged = sum(item.verdict == Verdict.NONE for item in items)
    if unjudged:
        raise UnjudgedError(unjudged)
    differing = differing_from_log(items)
    if differing:
        raise LogDiffersError(differing)


def differing_from_log(items: Sequence[ReviewItem]) -> list[int]:
    """Return the numbers of the events that the log holds no more as they were drawn. Queries: 2."""
    events = ranges.numbered([item.event_number for item in items])
    found = {number: event.digest for number, event in events.items()}
    return [item.event_number for item in items if found.get(item.event_number) != bytes(item.event_digest)]


def _check_apart(items: Sequence[ReviewItem], signers: Sequence[int]) -> None:
    """Check that each event has a signer who had no hand in it."""
    close = [item.event_number for item in items if all(had_a_hand(item, person) for person in signers)]
    if close:
        raise NobodyApartError(close)


def _complete(review: Review, digest: bytes, actor: Actor, now: datetime) -> None:
    review.state, review.completed_at = ReviewState.SIGNED, now
    review.save(update_fields=["state", "completed_at"])
    found = review.items.filter(verdict=Verdict.FINDING).count()
    facts: dict[str, JSON] = {"content": digest.hex(), "findings": found}
    record(Action.REVIEW_COMPLETED, actor=actor, now=now, subjects=[subject(review)], facts=facts)
