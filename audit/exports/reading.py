"""The part of the log that is asked for, page by page.

The log only grows at its end, so a range whose end is fixed when it begins is a snapshot by itself: no transaction
stays open while bytes travel, and memory is that of one page.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from audit import chain, selectors
from audit.errors import AuditError
from audit.models import Event
from audit.selectors import ReadEvent
from audit.tiles import stored_nodes
from audit.tree import Frontier, leaf_digest, peaks_of

PAGE_EVENTS = 1_000
READ = ("number", "event_id", "digest", "stamp", "body", "identity")


class ExportError(AuditError):
    """The log, or this part of it, cannot leave like this. The sentence may be shown."""


@dataclass(frozen=True)
class Chosen:
    """The events after one number up to and with another."""

    after: int
    until: int

    @property
    def count(self) -> int:
        return max(self.until - self.after, 0)


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What precedes the first event of an export: by it an export of a later part can be verified alone."""

    origin: str  # the name of the log
    after: int
    digest: bytes
    peaks: list[bytes]


def choose(
    *, after: int | None = None, until: int | None = None, since: datetime | None = None, before: datetime | None = None
) -> Chosen:
    """Return what is there now of the events asked for; at most 60 look-ups by number.

    `since` and `before` are times of the server's clock at the writing: from the one on, up to the other.
    """
    first, last = selectors.beginning().number, selectors.head().number
    begin = max(first, after or 0, _written_before(since, first, last) if since else 0)
    end = min(last, until if until is not None else last, _written_before(before, first, last) if before else last)
    return Chosen(begin, max(begin, end))


def digest_at(number: int) -> bytes:
    """Return the digest of an event, or of what stands before the first one; at most two queries.

    Raises: ExportError when there is no such event.
    """
    first, digest = selectors.beginning()
    if number == first:
        return digest
    found = Event.objects.filter(number=number).values_list("digest", flat=True).first()
    if found is None:
        raise ExportError(f"Event {number} is not in the log.")
    return bytes(found)


def beginning_at(number: int) -> Beginning:
    """Return what precedes the event after that number. Raises: ExportError."""
    return Beginning(origin=log_name(), after=number, digest=digest_at(number), peaks=_peaks_at(number))


def log_name() -> str:
    """Return how the log calls itself; one query."""
    epochs = selectors.signing_epochs()
    return epochs[min(epochs)].name if epochs else settings.LOG_ORIGIN


def in_pages(chosen: Chosen) -> Iterator[list[Event]]:
    """Yield the rows of these events in order, a page a statement; a number that is missing is passed over."""
    rows, last = Event.objects.only(*READ).order_by("number"), chosen.after
    while last < chosen.until:
        end = min(last + PAGE_EVENTS, chosen.until)
        yield list(rows.filter(number__gt=last, number__lte=end))
        last = end


def read(rows: Sequence[Event], *, with_names: bool) -> list[ReadEvent]:
    """Return rows as events; with the names that can still be read only where they are asked for, by one more query."""
    if with_names:
        return selectors.read(rows)
    return [ReadEvent(row.number, bytes(row.digest), bytes(row.stamp), bytes(row.body)) for row in rows]


def _written_before(moment: datetime, first: int, last: int) -> int:
    """Return the number of the last event that was written before a time, by halving: numbers grow with the clock."""
    while first < last:
        middle = (first + last + 1) // 2
        at = Event.objects.filter(number__gte=middle).order_by("number").values_list("recorded_at", flat=True).first()
        if at is not None and at < moment:
            first = middle
        else:
            last = middle - 1
    return first


def _peaks_at(number: int) -> list[bytes]:
    """Return the full subtrees over the first events: from the tiles, and the events that these do not cover yet."""
    signed = selectors.latest_checkpoint()
    size = min(signed.size if signed else 0, number)
    try:
        frontier = Frontier(size, peaks_of(stored_nodes(), size))
    except LookupError as error:
        raise ExportError(f"The tiles of the tree are not whole: {error} Run verify_audit.") from error
    for page in in_pages(Chosen(size, number)):
        for row in page:
            frontier.add(leaf_digest(chain.entry(row.number, bytes(row.stamp), bytes(row.body))))
    return frontier.peaks
