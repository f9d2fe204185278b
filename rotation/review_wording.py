"""How reviews read on a page: chips, the events of a sample as sentences, who may do what now."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from audit import ranges
from audit.body import Subject
from audit.selectors import ReadEvent
from inventory.chips import Chip
from rotation.models import Review, ReviewItem, ReviewSignature, ReviewState, Verdict
from rotation.review_forms import MOST_KEYS, ItemForm
from rotation.reviews.pieces import had_a_hand

SOON = timedelta(days=7)
_VERDICTS = {
    Verdict.NONE: Chip("rest", "not judged"),
    Verdict.IN_ORDER: Chip("ok", "in order"),
    Verdict.FINDING: Chip("late", "finding"),
}


@dataclass(frozen=True)
class KeyLink:
    """A key that an event speaks of, by the name it had then."""

    pk: int
    name: str


@dataclass(frozen=True)
class Row:
    """One event of the sample as the page shows it. Without an event the log holds it no more."""

    item: ReviewItem
    event: ReadEvent | None
    is_altered: bool
    sentence: str
    keys: Sequence[KeyLink]
    more_keys: int
    chip: Chip
    is_own: bool  # of whoever looks
    form: ItemForm | None  # for whoever may judge it


@dataclass(frozen=True)
class Place:
    """A signature that is given or missing."""

    role: str
    signature: ReviewSignature | None
    excepts: Sequence[int]  # the events that its signer had a hand in; of whoever looks while it is missing
    may_sign: bool


def due_chip(review: Review, now: datetime) -> Chip:
    """Say how far away the date of a review is, in whole days of UTC; a signed one is not late any more."""
    if review.state == ReviewState.SIGNED:
        return Chip("rest", "signed")
    days = (review.due_at.astimezone(UTC).date() - now.astimezone(UTC).date()).days
    if review.due_at <= now:
        return Chip("late", f"{-days} {_days(-days)} late" if days else "due today")
    if not days:
        return Chip("soon", "due today")
    return Chip("soon" if review.due_at - now <= SOON else "ok", f"in {days} {_days(days)}")


def state_chip(review: Review) -> Chip:
    return Chip("ok", "signed") if review.state == ReviewState.SIGNED else Chip("run", "open")


def rows(items: Sequence[ReviewItem], person: int, *, forms: dict[int, ItemForm] | None) -> list[Row]:
    """Return the sample as it is shown to somebody; with `forms` None they judge nothing. Queries: 2."""
    events = ranges.numbered([item.event_number for item in items])
    return [_row(item, events.get(item.event_number), person, forms) for item in items]


def _row(item: ReviewItem, event: ReadEvent | None, person: int, forms: dict[int, ItemForm] | None) -> Row:
    said = event.said if event else None
    keys = keys_of(said.subjects if said else ())
    is_own = had_a_hand(item, person)
    form = None
    if forms is not None and not is_own:
        form = forms.get(item.pk) or item_form(item, keys)
    return Row(
        item=item,
        event=event,
        is_altered=event is None or event.digest != bytes(item.event_digest),
        sentence=event.sentence if event else f"Event {item.event_number} is not in the log",
        keys=keys[:MOST_KEYS],
        more_keys=max(len(keys) - MOST_KEYS, 0),
        chip=_VERDICTS[Verdict(item.verdict)],
        is_own=is_own,
        form=form,
    )


def keys_of(subjects: Sequence[Subject]) -> list[KeyLink]:
    """Return the keys among the subjects of an event."""
    found = []
    for subject in subjects:
        kind, _, number = subject.ref.partition(":")
        if kind == "key" and number.isdecimal():
            found.append(KeyLink(int(number), subject.label or subject.ref))
    return found


def item_form(item: ReviewItem, keys: Sequence[KeyLink], sent: object = None) -> ItemForm:
    """Return the form of an item; with what was sent bound to it."""
    choices = [(key.pk, key.name) for key in keys[:MOST_KEYS]]
    if item.follow_up and item.follow_up_id not in dict(choices):
        choices.append((item.follow_up.pk, item.follow_up.name))
    shown = {
        "verdict": item.verdict,
        "words": item.words,
        "follow_up": item.follow_up_id or "",
        "seen": item.revision,
    }
    return ItemForm(sent, keys=choices, initial=shown, prefix=f"item-{item.pk}")


def places(
    roles: Sequence[str],
    standing: Sequence[ReviewSignature],
    items: Sequence[ReviewItem],
    *,
    person: int,
    own_roles: Collection[str],
    is_ready: bool,
) -> list[Place]:
    """Return the signatures of each role, and where whoever looks may sign now."""
    given = {signature.role: signature for signature in standing}
    has_signed = any(signature.person_id == person for signature in standing)
    found = []
    for role in roles:
        signature = given.get(role)
        signer = signature.person_id if signature else person
        excepts = [item.event_number for item in items if had_a_hand(item, signer)]
        may_sign = is_ready and signature is None and not has_signed and role in own_roles
        found.append(Place(role=role, signature=signature, excepts=excepts, may_sign=may_sign))
    return found


def _days(count: int) -> str:
    return "day" if count == 1 else "days"
