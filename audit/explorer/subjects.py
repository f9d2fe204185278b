"""The subjects of an event: where each has its page, if it still exists, and its events before and after this one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.contrib.admin import ModelAdmin
from django.contrib.admin.sites import AdminSite
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from audit import sentences
from audit.body import Subject
from audit.explorer import people
from audit.explorer.asked import number_of
from audit.models import EventSubject
from audit.selectors import ReadEvent
from audit.sentences import Change

MOST = 50  # subjects of one event that its page shows; it may have 1,000


@dataclass(frozen=True)
class Shown:
    """One subject on the page of an event."""

    subject: Subject
    changes: Sequence[Change]
    url: str = ""  # its page, where it still exists and this person may look
    previous: int | None = None  # the numbers of its events next to this one
    next: int | None = None


def with_names(event: ReadEvent) -> ReadEvent:
    """Return the event with the names of people among the subjects of its page. Queries: 1 where there are any."""
    return event.naming(people.names_of(subject.ref for subject in event.said.subjects[:MOST])) if event.said else event


def shown(event: ReadEvent, request: HttpRequest, site: AdminSite) -> list[Shown]:
    """Return the first MOST subjects of an event. Queries: 1, and 1 for each kind of record among them."""
    subjects = event.said.subjects[:MOST] if event.said else ()
    refs = [subject.ref for subject in subjects]
    urls, around = _pages(refs, request, site), _around(event.number, refs)
    return [
        Shown(subject, sentences.changes(subject), urls.get(subject.ref, ""), *around.get(subject.ref, (None, None)))
        for subject in subjects
    ]


def _around(number: int, refs: Sequence[str]) -> dict[str, tuple[int | None, int | None]]:
    """Return the numbers before and after of each reference."""
    if not refs:
        return {}
    same = EventSubject.objects.filter(subject=OuterRef("subject"))
    before = same.filter(number__lt=number).order_by("-number").values("number")[:1]
    after = same.filter(number__gt=number).order_by("number").values("number")[:1]
    rows = EventSubject.objects.filter(subject__in=refs, number=number)
    found = rows.annotate(before=Subquery(before), after=Subquery(after)).values_list("subject", "before", "after")
    return {subject: (earlier, later) for subject, earlier, later in found}


def _pages(refs: Iterable[str], request: HttpRequest, site: AdminSite) -> dict[str, str]:
    """Return the pages of what still exists, by reference."""
    asked: dict[str, dict[int, str]] = defaultdict(dict)
    for ref in refs:
        kind, _, number = ref.partition(":")
        pk = number_of(number)
        if pk is not None:
            asked[kind][pk] = ref
    found: dict[str, str] = {}
    for kind, page in _kinds(site):
        if kind in asked and page.has_view_permission(request):
            existing = page.model._default_manager.filter(pk__in=asked[kind]).values_list("pk", flat=True)
            found |= {asked[kind][pk]: _url(page, pk) for pk in existing}
    return found


def _kinds(site: AdminSite) -> Iterator[tuple[str, ModelAdmin]]:
    """Give what has pages by the first word of its reference: a record says its own, and the log need not know it."""
    for model, page in site._registry.items():
        ref = getattr(model(pk=0), "ref", "")
        kind, _, number = ref.partition(":") if isinstance(ref, str) else ("", "", "")
        if number == "0":
            yield kind, page


def _url(page: ModelAdmin, pk: int) -> str:
    opts = page.model._meta
    try:
        return reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[pk])
    except NoReverseMatch:
        return ""
