"""How far the log has left, for pages and alerts."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, OuterRef, Subquery

from audit import selectors
from audit.exports.shipping import EXPORT
from audit.models import Event, ExportCursor


@dataclass(frozen=True)
class ShownCursor:
    """A cursor as a page shows it."""

    cursor: ExportCursor
    behind: int

    @property
    def sink(self) -> str:
        """Where it leads, without what stands behind the question mark."""
        return self.cursor.name.partition("?")[0]

    @property
    def form(self) -> str:
        return self.cursor.name.partition("?")[2].replace("format=", "").replace("&names=yes", ", with names")

    @property
    def state(self) -> str:
        """One word, and the tone of its chip."""
        if self.cursor.retired_at:
            return "retired"
        if self.cursor.failing_since:
            return "failing"
        return "by hand" if self.cursor.kind == EXPORT else "shipping"


def cursors() -> list[ShownCursor]:
    """Return every cursor with how many events it is behind; two queries."""
    head = selectors.head().number
    listed = ExportCursor.objects.order_by(F("retired_at").asc(nulls_first=True), "name")
    return [ShownCursor(cursor, head - cursor.number) for cursor in listed]


def cursors_before(number: int) -> list[str]:
    """Return the sinks that have not got the event of this number yet, without their options; one query."""
    behind = ExportCursor.objects.filter(retired_at=None, number__lt=number).exclude(kind=EXPORT).order_by("name")
    return [name.partition("?")[0] for name in behind.values_list("name", flat=True)]


def late_cursors(before: datetime) -> list[tuple[str, datetime, str]]:
    """Return name, time and last error of the sinks for which an event waits that was written before a time; one query.

    What follows from checkpoints and from shipping itself does not count, as it waits for something else on purpose.
    """
    waiting = Event.objects.filter(number__gt=OuterRef("number")).exclude(action__in=selectors.BOOKKEEPING)
    oldest = Subquery(waiting.order_by("number").values("recorded_at")[:1])
    named = ExportCursor.objects.filter(retired_at=None).exclude(kind=EXPORT).annotate(since=oldest)
    late = named.filter(since__lt=before).order_by("since").values_list("name", "since", "error")
    return [(name.partition("?")[0], since, error) for name, since, error in late]
