"""What the log says of the inventory: where the tables differ from it, and one key as it was at a moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, time

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit.actor import actor_of
from audit.body import Subject
from audit.selectors import ReadEvent
from audit.sentences import Change
from inventory.chips import Chip, due_chip, state_chip
from inventory.errors import ReplayError
from inventory.findings import title_of
from inventory.forms import DayForm
from inventory.models import Key
from inventory.replay import recording
from inventory.replay.past import key_as_of
from inventory.replay.told import Fields, Told
from inventory.services.keys import FACTS, PERIOD, REFERENCES
from inventory.services.relations import RELATIONS
from inventory.tasks import nudge_comparison
from inventory.wording import label_of, names_of, words_of

_PLAIN_NO = {"never_rotated"}  # goes without saying
_SHOWN = (*FACTS, *PERIOD, *RELATIONS, "rotate_by", "winning_clause", "accepted_until")


def what_the_log_says(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Show the differences that the last comparison found; by POST ask for another one. Queries: 3 at most."""
    if not (admin.has_view_permission(request) and request.user.has_perm("audit.view_event")):
        raise PermissionDenied
    if request.method == "POST":
        return _ask(request)
    known = recording.latest()
    context = {
        **admin.admin_site.each_context(request),
        "title": "What the log says",
        "opts": admin.opts,
        "known": known,
        "counts": known.ran.said.facts if known.ran and known.ran.said else {},
        "differing": [_Differing(subject.ref, subject.label, changes) for subject, changes in _changes(known.ran)],
        "verdict": _verdict(known.ran),
    }
    return TemplateResponse(request, "admin/inventory/key/replay.html", context)


class _Differing:
    """One record whose fields differ."""

    def __init__(self, ref: str, label: str, changes: list[Change]) -> None:
        self.name, self.changes = label or ref, changes
        kind, _, number = ref.partition(":")
        self.url = reverse("admin:inventory_key_change", args=[number]) if kind == "key" else ""
        self.ref = ref


def _ask(request: HttpRequest) -> HttpResponse:
    if not recording.latest().is_waiting:
        with transaction.atomic():
            recording.ask_for_comparison(actor=actor_of(request), now=timezone.now())
            transaction.on_commit(nudge_comparison, robust=True)
    messages.success(request, "A worker compares tables and log now. Load this page again to see what it found.")
    return redirect("admin:inventory_key_replay")


def _changes(ran: ReadEvent | None) -> Iterator[tuple[Subject, list[Change]]]:
    return iter(ran.changes if ran else ())


def _verdict(ran: ReadEvent | None) -> Chip:
    if ran is None or ran.said is None:
        return Chip("soon", "not compared yet")
    if ran.said.facts.get("problem"):
        return Chip("late", "could not be read")
    return Chip("ok", "equal") if ran.said.outcome == "done" else Chip("late", "different")


def as_of(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show a key as the log tells it of the end of a day. Queries: 5, and one for each kind of record it refers to."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    key, now = get_object_or_404(Key, pk=pk), timezone.now()
    form = DayForm(request.GET if "day" in request.GET else None, initial={"day": now.date()})
    day = form.cleaned_data["day"] if form.is_valid() else now.date()
    end = datetime.combine(day, time.max, tzinfo=UTC)
    problem, found = "", None
    try:
        with transaction.atomic():
            found = key_as_of(pk, end)
    except ReplayError as error:
        problem = str(error)
    context = {**admin.admin_site.each_context(request), "title": f"{key.name} as of a day", "opts": admin.opts}
    context |= {"key": key, "form": form, "day": day, "problem": problem, "found": found and found[0]}
    if found:
        context |= _told_of(*found, end)
    return TemplateResponse(request, "admin/inventory/key/as_of.html", context)


def _references(fields: Fields) -> list[str]:
    single = [fields[name] for name in REFERENCES if fields.get(name)]
    return [*single, *(ref for name in RELATIONS for ref in fields.get(name, ()))]


def _open_findings(told: Told) -> list[tuple[str, datetime]]:
    """Return what was found wrong and since when."""
    parts = [(name, part) for name, part in told.parts.items() if name.startswith("finding") and not part["closed_at"]]
    return [
        (title_of(name.removeprefix("finding ").partition(",")[0]), datetime.fromisoformat(part["opened_at"]))
        for name, part in parts
    ]


def _told_of(told: Told, fields: Fields, clauses: dict[str, str], end: datetime) -> dict[str, object]:
    names = names_of(_references(fields)) | clauses
    lines = [
        (label_of(name), words_of(name, fields.get(name), names))
        for name in _SHOWN
        if fields.get(name) or name not in _PLAIN_NO
    ]
    due = datetime.fromisoformat(fields["rotate_by"]) if fields.get("rotate_by") else None
    accepted = datetime.fromisoformat(fields["accepted_until"]) if fields.get("accepted_until") else None
    versions = [(name, part) for name, part in sorted(told.parts.items()) if name.startswith("version")]
    return {
        "lines": [(label, words) for label, words in lines if words],
        "state_chip": state_chip(fields["state"]) if "state" in fields else None,
        "due_chip": due_chip(due, fields["state"], end, accepted) if "state" in fields else None,
        "versions": [(name, state_chip(part["state"]) if "state" in part else None, part) for name, part in versions],
        "last_at": datetime.fromisoformat(told.at),
        "findings": _open_findings(told),
    }
