"""Judging: a verdict on an event of the sample. It voids the signatures that stood over what it changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.errors import KeyMaterialError
from inventory.recognise import holds_key_material
from rotation.errors import JudgedMeanwhileError, NoSuchItemError, OwnTransitionError, WordsMissingError
from rotation.models import Review, ReviewItem, ReviewSignature, Verdict
from rotation.reviews.pieces import had_a_hand, locked, reviewer, rules_of, subject


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What somebody says of one event of the sample, and the revision of the item that they were looking at."""

    item: int
    verdict: Verdict  # IN_ORDER or FINDING
    words: str = ""  # of a finding
    follow_up: int | None = None  # the key that something has to be done about
    seen: int


@transaction.atomic
def judge_items(*, pk: int, judgements: Sequence[Judgement], actor: Actor, now: datetime) -> Review:
    """Set verdicts, all of them or none; what is as it was changes nothing and voids nothing.

    For people of the roles that sign, whether or not they will; never on what they did themselves. Locks the review.
    Events: review.signature_voided where signatures stood, review.item_judged, review.follow_up_asked for each.
    Raises: NotReviewerError, ClosedReviewError, NoSuchItemError, OwnTransitionError, JudgedMeanwhileError,
    WordsMissingError, KeyMaterialError.
    """
    review = locked(pk)
    person = reviewer(actor, rules_of(review).roles)
    items = {item.pk: item for item in review.items.all()}
    if {one.item for one in judgements} - items.keys():
        raise NoSuchItemError
    changed = [(items[one.item], one) for one in judgements if _differs(items[one.item], one)]
    _check(changed, person)
    if not changed:
        return review
    void_signatures(review, person, actor, now)
    before = {_name(item): _words(item) for item, _ in changed}
    for item, one in changed:
        _judge(item, one, person, now)
    after = {_name(item): _words(item) for item, _ in changed}
    record(Action.REVIEW_ITEM_JUDGED, actor=actor, now=now, subjects=[subject(review, before, after)])
    for item, _ in changed:
        _ask_follow_up(item, actor, now)
    return review


def void_signatures(review: Review, person: int, actor: Actor, now: datetime) -> None:
    """Void what stands over the review, in the transaction that changes it and under its lock."""
    standing = ReviewSignature.objects.filter(review=review, voided_at__isnull=True).order_by("role")
    voided = {f"signed_for_{one.role}": f"user:{one.person_id}" for one in standing}
    if standing.update(voided_at=now, voided_by_id=person):
        gone = subject(review, voided, dict.fromkeys(voided))
        record(Action.REVIEW_SIGNATURE_VOIDED, actor=actor, now=now, subjects=[gone])


def _differs(item: ReviewItem, one: Judgement) -> bool:
    return (item.verdict, item.words, item.follow_up_id) != (one.verdict, one.words, one.follow_up)


def _check(changed: Sequence[tuple[ReviewItem, Judgement]], person: int) -> None:
    for item, one in changed:
        if one.verdict == Verdict.NONE:
            raise ValueError("a verdict that was given is changed, not taken back")
        if had_a_hand(item, person):
            raise OwnTransitionError(item.event_number)
        if one.verdict == Verdict.FINDING and not one.words.strip():
            raise WordsMissingError(item.event_number)
        if holds_key_material(one.words):
            raise KeyMaterialError("finding")
    overtaken = [item.event_number for item, one in changed if item.revision != one.seen]
    if overtaken:
        raise JudgedMeanwhileError(overtaken)


def _judge(item: ReviewItem, one: Judgement, person: int, now: datetime) -> None:
    item.verdict, item.words, item.follow_up_id = one.verdict, one.words, one.follow_up
    item.judged_by_id, item.judged_at = person, now
    item.revision += 1
    item.clean_fields(exclude=["review", "done_by", "done_for", "follow_up", "judged_by"])
    item.save(update_fields=["verdict", "words", "follow_up", "judged_by", "judged_at", "revision"])


def _ask_follow_up(item: ReviewItem, actor: Actor, now: datetime) -> None:
    """Tell in the timeline of the key what has to be done about it."""
    key = item.follow_up
    if key is not None:
        facts: dict[str, JSON] = {"review": item.review.ref, "event": item.event_number}
        about = [Subject(ref=key.ref, label=key.name)]
        record(Action.REVIEW_FOLLOW_UP_ASKED, actor=actor, now=now, reason=item.words, subjects=about, facts=facts)


def _name(item: ReviewItem) -> str:
    return f"event_{item.event_number}"


def _words(item: ReviewItem) -> JSON:
    """Return a verdict as the log holds it; None where there is none yet."""
    if item.verdict == Verdict.NONE:
        return None
    follow_up = f" (follow-up: key:{item.follow_up_id})" if item.follow_up_id else ""
    return f"finding: {item.words}{follow_up}" if item.verdict == Verdict.FINDING else "in order"
