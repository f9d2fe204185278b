"""What judging and signing share: who acts, and the review with its sample under lock."""

from collections.abc import Mapping, Sequence

from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject
from rotation.errors import ClosedReviewError, NotReviewerError
from rotation.kinds import KINDS, ReviewKind, Rules
from rotation.models import Review, ReviewItem, ReviewState
from rotation.selectors import signing_roles


def rules_of(review: Review) -> Rules:
    return KINDS[ReviewKind(review.kind)]


def reviewer(actor: Actor, roles: Sequence[str]) -> int:
    """Return the number of the person who acts, if one of these roles is theirs now. Raises: NotReviewerError."""
    person = int(actor.id.removeprefix("user:")) if actor.kind == "person" else None
    if person is None or not signing_roles(person, roles):
        raise NotReviewerError(roles)
    return person


def locked(pk: int) -> Review:
    """Return an open review, locked: everybody who judges or signs takes this lock first. Raises: ClosedReviewError."""
    review = Review.objects.select_for_update().get(pk=pk)
    if review.state != ReviewState.OPEN:
        raise ClosedReviewError
    return review


def had_a_hand(item: ReviewItem, person: int) -> bool:
    """Whether somebody did what the event tells of, asked for it or approved it, or it was done on their wish."""
    return person in {item.done_by_id, item.done_for_id, *item.hands}


def subject(
    review: Review, before: Mapping[str, JSON] | None = None, after: Mapping[str, JSON] | None = None
) -> Subject:
    return Subject(ref=review.ref, label=str(review), before=before or {}, after=after or {})
