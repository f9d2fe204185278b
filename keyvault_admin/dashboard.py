"""The first page: the posture in numbers, each of which links to the list that it counts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from audit import selectors as audit
from inventory import selectors as inventory
from inventory.chips import Chip, due_chip
from inventory.models import Key

WEEKS = 12
MOST_OVERDUE = 6


@dataclass(frozen=True)
class Tile:
    """One number. `look` is a class of the stylesheet; `url` the list that is counted, or nothing."""

    label: str
    figure: str
    look: str
    note: str
    url: str = ""


@dataclass(frozen=True)
class Bar:
    """One week of the chart. Positions are those of its 640 x 190 drawing."""

    label: str
    count: int
    x: int
    y: int
    height: int


def posture_context(request: HttpRequest) -> dict[str, Any]:
    """Return what the first page shows this person, by what they may see. Queries: 6."""
    if not request.user.has_perm("inventory.view_key"):
        return {}
    now = timezone.now()
    counted = inventory.posture(now)
    overdue = inventory.most_overdue(now, MOST_OVERDUE)
    return {
        "now": now,
        "posture": counted,
        "tiles": [*_key_tiles(counted), *_log_tile(request, now)],
        "bars": _bars(inventory.due_by_week(now, WEEKS)),
        "most_overdue": [(key, _due(key, now)) for key in overdue],
        "list_url": reverse("admin:inventory_key_changelist"),
    }


def _due(key: Key, now: datetime) -> Chip:
    return due_chip(key.rotate_by, key.state, now)


def _key_tiles(counted: inventory.Posture) -> list[Tile]:
    keys = reverse("admin:inventory_key_changelist")
    worst = f"{counted.restricted_overdue:,} of restricted data" if counted.overdue else "nothing is late"
    return [
        Tile("Overdue", f"{counted.overdue:,}", "late" if counted.overdue else "ok", worst, f"{keys}?due=overdue"),
        Tile("Due in 30 days", f"{counted.due_soon:,}", "soon" if counted.due_soon else "", "", f"{keys}?due=soon"),
        Tile(
            "Suspended",
            f"{counted.suspended:,}",
            "hold" if counted.suspended else "",
            f"{counted.compromised:,} compromised",
            f"{keys}?state__exact=suspended",
        ),
        Tile(
            "Without an owner",
            f"{counted.without_owner:,}",
            "soon" if counted.without_owner else "ok",
            f"{counted.of_unknown_age:,} of unknown age",
            f"{keys}?missing=owner",
        ),
    ]


def _log_tile(request: HttpRequest, now: datetime) -> list[Tile]:
    """Say when the log was last verified and how that ended."""
    if not request.user.has_perm("audit.view_event"):
        return []
    url = reverse("admin:audit_event_changelist")
    events = f"{audit.head().number:,} events"
    verified = audit.latest_verification()
    if verified is None or verified.said is None:
        return [Tile("Audit log", "not verified", "soon", f"{events}; run verify_audit", url)]
    hours = int((now - verified.said.at).total_seconds() // 3600)
    ago = "within the hour" if hours < 1 else f"{hours:,} h ago"
    if verified.said.outcome == "done":
        return [Tile("Audit log", "verified", "ok", f"{ago} · {events}", url)]
    return [Tile("Audit log", "altered", "late", f"found {ago} · {events}", url)]


def _bars(weeks: list[inventory.Week]) -> list[Bar]:
    """Lay the weeks out: 52 wide each, the tallest 130 high, on a base line at 160."""
    tallest = max((week.count for week in weeks), default=0) or 1
    bars = []
    for number, week in enumerate(weeks):
        height = round(130 * week.count / tallest)
        label = f"{week.starts_on:%-d %b}" if number == 0 or week.starts_on.day <= 7 else f"{week.starts_on:%-d}"  # noqa: PLR2004 - days of a week
        bars.append(Bar(label=label, count=week.count, x=10 + 52 * number, y=160 - height, height=height))
    return bars
