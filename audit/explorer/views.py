"""The page of one event, and the door that turns what was typed into an address."""

import json
from collections.abc import Sequence

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit import proofs, selectors
from audit.actor import actor_of
from audit.body import MAX_TEXT, Subject
from audit.canonical import JSON
from audit.explorer import asked, people, subjects
from audit.explorer.asked import NAMES, AskedError
from audit.explorer.people import Person
from audit.period_admin import dropped_event
from audit.readings import QUIET, THE_LOG, record_reading

TOLD = "audit.readings"  # in the session: what was read → when
REMEMBERED = 100
LIST = "admin:audit_event_changelist"


def event(model_admin: ModelAdmin, request: HttpRequest, number: int) -> HttpResponse:
    """Show one event as its bytes tell it, with its proof. That it was read is an event."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    told = selectors.event(number)
    if told is None:
        return _gone(model_admin, request, number)
    told = subjects.with_names(told)
    shown = subjects.shown(told, request, model_admin.admin_site)
    proof = proofs.proof_of(number)
    note_reading(request, subject=Subject(ref=f"event:{number}", label=f"event {number:,}"))
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": told.sentence,
        "event": told,
        "subjects": shown,
        "all_subjects": len(told.said.subjects) if told.said else 0,
        "proof": proof,
    }
    return TemplateResponse(request, "admin/audit/event/event.html", context)


def _gone(model_admin: ModelAdmin, request: HttpRequest, number: int) -> HttpResponse:
    """Say with which period an event has left. Raises: Http404 where there never was one."""
    dropped = dropped_event(request, model_admin.admin_site, number)
    if dropped is None:
        raise Http404("There is no such event.")
    return dropped


def note_reading(request: HttpRequest, *, subject: Subject = THE_LOG, facts: dict[str, JSON] | None = None) -> None:
    """Record that the sender read something. The session remembers it, so that a page turned asks nothing more."""
    now, told = timezone.now(), f"{subject.ref} {json.dumps(facts or {}, sort_keys=True)}"
    known = {what: at for what, at in request.session.get(TOLD, {}).items() if at > (now - QUIET).timestamp()}
    if told in known:
        return
    record_reading(actor=actor_of(request), now=now, subject=subject, facts=facts)
    request.session[TOLD] = dict(list({**known, told: now.timestamp()}.items())[-REMEMBERED:])


def choose(model_admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Lead to the list with one more filter. What was typed comes by POST: a name or an address stands in no log."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    kept = _kept(request.POST.get("kept", ""))
    name, typed = request.POST.get("name", ""), request.POST.get("typed", "").strip()[:MAX_TEXT]
    try:
        if name == "when":
            days = f"{request.POST.get('first', '')}..{request.POST.get('last', '')}"
            return _listed(kept, when=str(asked.days_of(days, timezone.now().date())))
        if name == "where" and typed:
            return _listed(kept, where=asked.sealed(asked.network_of(typed)))
    except AskedError as error:
        messages.warning(request, str(error))
        return _listed(kept)
    if name == "who" and typed:
        return _who(model_admin, request, typed, kept)
    return _listed(kept, **({name: typed} if name in {"on", "path"} and typed else {}))


def _who(model_admin: ModelAdmin, request: HttpRequest, typed: str, kept: QueryDict) -> HttpResponse:
    """Lead to the events of whoever was meant; ask when it may be several."""
    if people.has_acted(typed):
        return _listed(kept, who=typed)
    found = people.called(typed)
    if len(found) == 1:
        return _listed(kept, who=found[0].ref)
    if not found:
        messages.warning(
            request,
            "Nobody of that name is known here, and no event has it as a reference. "
            "Write a part of a name or account, or a reference such as user:3, beat or anonymous.",
        )
        return _listed(kept)
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": "Who is meant?",
        "offered": _offered(found, kept),
        "is_cut": len(found) > people.MOST,
        "back": _address(kept),
    }
    return TemplateResponse(request, "admin/audit/event/which.html", context)


def _offered(found: Sequence[Person], kept: QueryDict) -> list[tuple[Person, str]]:
    return [(person, _address(kept, who=person.ref)) for person in found[: people.MOST]]


def _kept(text: str) -> QueryDict:
    """Return the filters that stand already, those that are ours alone."""
    given, kept = QueryDict(text[:2_000]), QueryDict(mutable=True)
    for name in NAMES:
        if given.get(name):
            kept[name] = given[name]
    return kept


def _listed(kept: QueryDict, **more: str) -> HttpResponse:
    return redirect(_address(kept, **more))


def _address(kept: QueryDict, **more: str) -> str:
    query = kept.copy()
    for name, text in more.items():
        query[name] = text
    return f"{reverse(LIST)}?{query.urlencode()}" if query else reverse(LIST)
