"""Opening: at the end of a period its transitions are counted, a sample is drawn, and the reviewers are told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Max

from audit import ranges
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.selectors import ReadEvent
from audit.services import record
from rotation.kinds import KINDS, ReviewKind, Rules
from rotation.models import Review, ReviewItem
from rotation.reviews.pieces import subject
from rotation.reviews.reminding import next_reminder, tell
from rotation.sampling import draw, new_seed


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A review that was opened, and how many people were told of it."""

    review: Review
    sampled: int
    told: int


@transaction.atomic
def open_reviews(*, actor: Actor, now: datetime, until_now: bool = False) -> list[Opened]:
    """Open the review of each kind whose period is over, and tell the people who sign it.

    Idempotent, however many run at once. After a pause one review covers all the periods that were missed. `until_now`
    ends the period at hand with `now`, before its time. Locks: one at a time. Event: review.opened for each.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('rotation.open_reviews'))")
    return list(_open_each(actor, now, until_now=until_now))


def _open_each(actor: Actor, now: datetime, *, until_now: bool) -> Iterator[Opened]:
    for kind, rules in KINDS.items():
        period = _period(kind, now if until_now else rules.latest_end(now), now)
        if period is not None:
            yield _open(kind, rules, *period, actor, now)


def _period(kind: ReviewKind, ends: datetime, now: datetime) -> tuple[datetime, datetime] | None:
    """Return the period that has to be opened, or None.

    It begins where the last one ended. One that ends in the future was opened by a clock that ran ahead: it is passed
    over, or it would stand in the way until that day. What it covers is not covered again (see `_open`).
    """
    so_far = Review.objects.filter(kind=kind, period_to__lte=now).aggregate(latest=Max("period_to"))["latest"]
    begins = so_far or ranges.first_written_at()
    return (begins, ends) if begins and begins < ends else None


def _open(kind: ReviewKind, rules: Rules, begins: datetime, ends: datetime, actor: Actor, now: datetime) -> Opened:
    after = Review.objects.filter(kind=kind).aggregate(latest=Max("through_event"))["latest"] or 0
    through = max(after, ranges.last_before(ends))
    numbers = list(ranges.done_between(rules.actions, after=after, through=through))
    seed = new_seed()
    review = Review(
        kind=kind,
        period_from=begins,
        period_to=ends,
        due_at=ends + rules.to_sign,
        after_event=after,
        through_event=through,
        population=len(numbers),
        seed=seed,
        opened_at=now,
        next_reminder_at=next_reminder(ends + rules.to_sign, now),
    )
    review.save(force_insert=True)
    drawn = ranges.numbered(draw(numbers, seed=seed, size=rules.sample))
    ReviewItem.objects.bulk_create([_item(review, drawn[number]) for number in sorted(drawn)])
    _record(review, sorted(drawn), actor, now)
    return Opened(review=review, sampled=len(drawn), told=tell(review, rules.roles, now))


def _item(review: Review, event: ReadEvent) -> ReviewItem:
    said = event.said
    return ReviewItem(
        review=review,
        event_number=event.number,
        event_digest=event.digest,
        done_by_id=_person(said.actor_id) if said else None,
        done_for_id=_person(said.on_behalf_of) if said else None,
        hands=_hands(said.facts) if said else [],
    )


def _hands(facts: Mapping[str, JSON]) -> list[int]:
    """Return who asked for it and who approved it, as what carries a request out says (Permit.facts)."""
    approved = facts.get("approved_by")
    refs = [facts.get("asked_by"), *(approved if isinstance(approved, list | tuple) else [])]
    return sorted({person for ref in refs if (person := _person(str(ref))) is not None})


def _person(reference: str) -> int | None:
    kind, _, number = reference.partition(":")
    return int(number) if kind == "user" and number.isdecimal() else None


def _record(review: Review, sample: list[int], actor: Actor, now: datetime) -> None:
    record(
        Action.REVIEW_OPENED,
        actor=actor,
        now=now,
        subjects=[subject(review)],
        facts={
            "kind": review.kind,
            "period_from": review.period_from,
            "period_to": review.period_to,
            "due": review.due_at,
            "after_event": review.after_event,
            "through_event": review.through_event,
            "population": review.population,
            "seed": bytes(review.seed).hex(),
            "sample": sample,
        },
    )
