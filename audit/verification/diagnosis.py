"""What the first event that does not continue the chain looks like, from what follows it. Pure, and slow on purpose.

The first pass (links.py) says how far the chain holds; this begins there, and may read to the end of the log to find
where an event has gone.
"""

import itertools
from collections.abc import Iterable, Iterator
from uuid import UUID

from audit.chain import Position, chain_digest
from audit.verification.damage import Damage, Finding
from audit.verification.links import Link


def first_bad(links: Iterable[Link], begin: Position, end: Position) -> Finding | None:
    """Return the first event that does not continue the chain from `begin` to `end`; None when all of them do."""
    last, rest = begin, iter(links)
    for link in rest:
        if link.number != last.number + 1 or link.number > end.number or not _follows(link, last.digest):
            return _broken(link, last, end, rest)
        last = Position(link.number, link.digest)
    if last.number != end.number:
        words = f"the log ends here, its head is event {end.number}"
        return Finding(last.number + 1, Damage.TRUNCATION, words)
    if last.digest != end.digest:
        return Finding(last.number, Damage.HEAD, "the head has another digest than the last event")
    return None


def _broken(link: Link, last: Position, end: Position, rest: Iterator[Link]) -> Finding:
    if link.number > end.number:
        return _behind_the_head(link, last, end, rest)
    if link.number != last.number + 1:
        return _gap(link, last, rest)
    return _mismatch(link, last, rest)


def _behind_the_head(link: Link, last: Position, end: Position, rest: Iterator[Link]) -> Finding:
    if last.number == end.number:
        words = f"it stands behind the head, which is event {end.number}"
        return Finding(link.number, Damage.HEAD, words, UUID(bytes=link.id))
    return _gap(link, last, rest)


def _gap(link: Link, last: Position, rest: Iterator[Link]) -> Finding:
    """Say what a number that is not the next one looks like."""
    missing = last.number + 1
    if link.number <= last.number:
        words = f"another event with the number {link.number} stands here"
        return Finding(missing, Damage.INSERT, words, UUID(bytes=link.id))
    moved = _moved(missing, last, itertools.chain((link,), rest))
    if moved:
        return Finding(missing, Damage.REORDER, f"it stands as event {moved.number}", UUID(bytes=moved.id))
    return Finding(missing, Damage.DELETE, f"it is missing, the next event is {link.number}")


def _mismatch(link: Link, last: Position, rest: Iterator[Link]) -> Finding:
    """Say what a wrong digest looks like."""
    event_id = UUID(bytes=link.id)
    following = next(rest, None)
    if following and _follows(following, chain_digest(last.digest, link.number, link.stamp, link.body)):
        words = "its digest was altered: the next event continues the digest that the bytes have"
        return Finding(link.number, Damage.EDIT, words, event_id)
    if following and _follows(following._replace(number=following.number + 1), link.digest):
        words = "the event of this number was taken out and the later ones were renumbered"
        return Finding(link.number, Damage.DELETE, words, event_id)
    ahead = itertools.chain((following,) if following else (), rest)
    before = link
    for other in ahead:
        if _follows(other._replace(number=link.number), last.digest):
            return _displaced(link, before, other, next(ahead, None))
        before = other
    words = "its bytes were altered, or those of the event before together with its digest"
    return Finding(link.number, Damage.EDIT, words, event_id)


def _displaced(link: Link, before: Link, moved: Link, after: Link | None) -> Finding:
    """Tell an event that was put in, so that all later ones moved on, from events that changed places.

    `moved` is what belongs where `link` stands; `before` and `after` stand around it.
    """
    if before is link:
        is_swapped = _follows(link._replace(number=link.number + 1), moved.digest)
    else:
        is_swapped = _follows(link._replace(number=moved.number), before.digest)
    is_shifted = after is None or _follows(after._replace(number=link.number + 1), moved.digest)
    damage = Damage.INSERT if is_shifted and not is_swapped else Damage.REORDER
    return Finding(link.number, damage, f"what belongs here stands as event {moved.number}", UUID(bytes=link.id))


def _moved(number: int, last: Position, links: Iterable[Link]) -> Link | None:
    """Return the event that was written as this number, wherever it stands now."""
    return next((link for link in links if _follows(link._replace(number=number), last.digest)), None)


def _follows(link: Link, previous: bytes) -> bool:
    return chain_digest(previous, link.number, link.stamp, link.body) == link.digest
