"""The log as a stream of bytes in the order of numbers, for whoever works out from it what must be so."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from audit.canonical import timestamp
from audit.chain import TIME_BYTES
from audit.models import Event, EventSubject

FETCHED_ROWS = 2_000
_BEGINS = b'{"action":"'  # canonical JSON has its names in order, and "action" is the first


class Streamed(NamedTuple):
    """One event as it was hashed."""

    number: int
    stamp: bytes
    raw: bytes

    @property
    def action(self) -> str:
        """What happened, read off the first bytes; "" where they are no body of ours."""
        if not self.raw.startswith(_BEGINS):
            return ""
        return self.raw[len(_BEGINS) : self.raw.find(b'"', len(_BEGINS))].decode(errors="replace")


def stream(*, until: datetime | int | None = None) -> Iterator[Streamed]:
    """Yield every event, or those up to a number, or up to a moment of the server's clock, from bytes alone.

    The stream ends before the first event that was written after that moment. One server cursor, so it runs inside a
    transaction; memory is that of FETCHED_ROWS events.
    """
    with connection.chunked_cursor() as cursor:
        cursor.cursor.itersize = FETCHED_ROWS
        cursor.execute("SELECT number, stamp, body FROM audit_event ORDER BY number")
        yield from _up_to(until, (Streamed(number, bytes(stamp), bytes(raw)) for number, stamp, raw in cursor))


def stream_about(
    subjects: Iterable[str], *, actions: Iterable[str] = (), until: datetime | int | None = None
) -> Iterator[Streamed]:
    """Yield the events about some subjects, and those of some actions, found by their copies; otherwise as stream()."""
    about = EventSubject.objects.filter(subject__in=list(subjects)).values("number")
    rows = Event.objects.filter(number__in=about) | Event.objects.filter(action__in=list(actions))
    found = rows.order_by("number").values_list("number", "stamp", "body")
    listed = found.iterator(chunk_size=FETCHED_ROWS)
    yield from _up_to(until, (Streamed(number, bytes(stamp), bytes(raw)) for number, stamp, raw in listed))


def begins_at() -> int:
    """Return the number of the first event that is still in the log; 1 for an empty one. One query."""
    return Event.objects.order_by("number").values_list("number", flat=True).first() or 1


def _up_to(until: datetime | int | None, events: Iterator[Streamed]) -> Iterator[Streamed]:
    last = timestamp(until).encode() if isinstance(until, datetime) else None
    for event in events:
        if isinstance(until, int) and event.number > until:
            return
        if last is not None and event.stamp[TIME_BYTES] > last:
            return
        yield event
