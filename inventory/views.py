"""The pages of a key: each parses, asks one service and shows what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit.actor import actor_of
from audit.selectors import timeline
from inventory import asking, services
from inventory.algorithms import Facts, InUse, falls, judge
from inventory.asking import Asked
from inventory.chips import Chip, algorithm_chip, due_chip, finding_chip, state_chip, status_chip
from inventory.errors import InventoryError, LessLateError
from inventory.excepting import exceptions_of
from inventory.exception_wording import exception_chip
from inventory.forms import DayForm, KeyForm, ReasonForm, RegisterKeyForm
from inventory.models import Key
from inventory.selectors import (
    DESTROYED_STATES,
    algorithm_rows,
    algorithms_in_use,
    events_that_rotate,
    findings_of,
    surroundings,
    threat_level,
    verdict,
)
from inventory.states import CAN_BE_OVERDUE, State, targets
from inventory.terms import KeyKind
from inventory.wording import entries, permitted

TIMELINE_LENGTH = 20
SHOWN_CHILDREN = 10
WAITS = "stays as it is for now: the change waits until somebody of DevOps approves it"


@dataclass(frozen=True)
class Page:
    """What every form page says: its title, what the act means, and the words on the button."""

    title: str
    consequence: str
    verb: str
    becomes: Chip | None = None  # the state that a decision leads to


def dossier(admin: ModelAdmin, request: HttpRequest, pk: str) -> HttpResponse:
    """Show everything about a key. Queries: at most 23, however much there is to show."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    keys = Key.objects.select_related("owner", "creator", "service", "tenant", "integration", "vendor")
    key = get_object_or_404(keys.prefetch_related("notices__digest"), pk=pk if pk.isdecimal() else None)
    now = timezone.now()
    since = key.last_rotated_on or key.created_on
    may_change, may_suspend = may(request, key, "change_key"), may(request, key, "suspend_key")
    versions = list(key.versions.order_by("-number"))
    events = timeline(key.ref, limit=TIMELINE_LENGTH + 1)
    requests = asking.live([key.ref]).get(key.ref, [])
    waits = any(one.operation in services.LESS_LATE for one in requests)
    judgement = judge(
        Facts(algorithm=key.algorithm, size_bits=key.size_bits, kind=key.kind), algorithm_rows(), now.date()
    )
    context = {
        **admin.admin_site.each_context(request),
        "title": key.name,
        "opts": admin.opts,
        "key": key,
        "now": now,
        "state_chip": state_chip(key.state),
        "due_chip": due_chip(key.rotate_by, key.state, now, key.accepted_until),
        "age_days": (now.date() - since).days if since else None,
        "verdict": verdict(key),
        "threat": threat_level(),
        "judgement": judgement,
        "algorithm_chip": algorithm_chip(judgement),
        "on_events": events_that_rotate(key),
        "findings": [(finding, finding_chip(finding, now)) for finding in findings_of(key)],
        "exceptions": [(one, exception_chip(one, now)) for one in exceptions_of(key)],
        "may_except": key.state not in DESTROYED_STATES and may(request, key, "ask_policyexception"),
        "versions": [(version, state_chip(version.state)) for version in versions],
        "findable": any(one.reuse_digest for one in versions if one.number == key.current_number),
        "around": surroundings(key, SHOWN_CHILDREN),
        "permits": permitted(key, now),
        "timeline": entries(events[:TIMELINE_LENGTH], key),
        "has_older": len(events) > TIMELINE_LENGTH,
        "can_be_late": key.state in CAN_BE_OVERDUE,
        "may_edit": may_change,
        "may_suspend": may_suspend and State.SUSPENDED in targets(State(key.state)),
        "requests": requests,
        "may_report": key.state == State.ACTIVE and not waits and may(request, key, "report_rotation"),
        "may_activate": may_change and key.state == State.PRE_ACTIVATION,
        "may_report_compromise": key.state not in {State.COMPROMISED, State.DESTROYED_COMPROMISED},
        "may_break_glass": key.state in {State.ACTIVE, State.SUSPENDED}
        and request.user.has_perm("inventory.suspend_key"),
    }
    return TemplateResponse(request, "admin/inventory/key/dossier.html", context)


def may(request: HttpRequest, key: Key, permission: str) -> bool:
    """Say whether the person may do this to this key: by role, or as its owner with a role that opens their own."""
    if request.user.has_perm(f"inventory.{permission}"):
        return True
    owns = key.owner is not None and key.owner.user_id == request.user.pk
    return owns and request.user.has_perm("inventory.change_own_key")


def register(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Register a key."""
    if not admin.has_add_permission(request):
        raise PermissionDenied
    form = RegisterKeyForm(request.POST or None)
    page = Page(
        "Register a key",
        "The record is made at once. The key itself stays where it is: never enter its value.",
        "Register",
    )

    def act() -> Key:
        return services.register_key(
            facts=form.facts,
            state=State(form.cleaned_data["state"]),
            relations=form.relations,
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )

    return form_page(admin, request, form, page, act, "is registered")


def edit(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Change the facts of a key."""
    key = key_for(request, pk, "change_key")
    form = KeyForm(request.POST or None, instance=key, initial={"revision": key.revision})
    page = Page(
        f"Edit {key.name}",
        _edit_consequence(key),
        "Save the changes",
    )

    def act() -> Key | Asked:
        asked: dict[str, Any] = {
            "pk": pk,
            "changes": form.facts,
            "expected_revision": form.cleaned_data["revision"] or 0,
            "relations": form.relations,
            "actor": actor_of(request),
            "reason": form.cleaned_data["reason"],
            "now": timezone.now(),
        }
        try:
            return services.edit_key(**asked)
        except LessLateError:
            return services.hold_edit(**asked)

    return form_page(admin, request, form, page, act, "is changed", key)


def _edit_consequence(key: Key) -> str:
    said = "An edit that would give the key more time waits until somebody of DevOps has approved it."
    if services.waiting_on(key):
        said += " One waits already: any other change that you save here closes it."
    return said


def activate(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Bring a key into use."""
    key = key_for(request, pk, "change_key")
    page = Page(
        f"Activate {key.name}",
        "From now on it may protect things, its age counts, and it can be late.",
        "Activate it",
        state_chip(State.ACTIVE),
    )
    return _decision(admin, request, key, page, services.activate_key, "is active")


def _decision(
    admin: ModelAdmin, request: HttpRequest, key: Key, page: Page, service: Callable[..., Key], done: str
) -> HttpResponse:
    form = ReasonForm(request.POST or None)

    def act() -> Key:
        reason = form.cleaned_data["reason"]
        return service(pk=key.pk, actor=actor_of(request), reason=reason, now=timezone.now())

    return form_page(admin, request, form, page, act, done, key)


def key_for(request: HttpRequest, pk: int, permission: str) -> Key:
    """Return the key, or raise what the person is to see instead."""
    key = get_object_or_404(Key.objects.select_related("owner", "service"), pk=pk)
    if not may(request, key, permission):
        raise PermissionDenied
    return key


def form_page(
    admin: ModelAdmin,
    request: HttpRequest,
    form: Any,  # noqa: ANN401 - a Form or a ModelForm
    page: Page,
    act: Callable[[], Key | Asked],
    done: str,
    key: Key | None = None,
) -> HttpResponse:
    """Show a form; when it is sent and the service agrees, lead to the key, else say why not.

    `act` returns the key, or the request for a change of it (`key`) that waits for a second person.
    """
    if request.method == "POST" and form.is_valid():
        try:
            made = act()
        except InventoryError as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            _show(form, error)
        else:
            of: object
            if isinstance(made, Key):
                of, said = made.pk, f"{made} {done}."
            else:
                of, said = made.parameters["key"], f"{key} {WAITS}."
            messages.success(request, said)
            return redirect("admin:inventory_key_change", of)
    context = {**admin.admin_site.each_context(request), "title": page.title, "opts": admin.opts}
    context |= {"form": form, "page": page, "key": key}
    return TemplateResponse(request, "admin/inventory/key/form.html", context)


def _show(form: Form, error: ValidationError) -> None:
    """Put what the model says beside the fields it names; the rest above them."""
    for name, sentences in error.message_dict.items():
        form.add_error(name if name in form.fields else None, sentences)


def what_falls_when(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Show on which days keys in use change their status, and what each algorithm in use is on a day asked for.

    Queries: 2, each of them one scan however many keys there are.
    """
    if not (admin.has_view_permission(request) and request.user.has_perm("inventory.view_key")):
        raise PermissionDenied
    today = timezone.now().date()
    form = DayForm(request.GET if "day" in request.GET else None, initial={"day": today})
    day = form.cleaned_data["day"] if form.is_valid() else today
    rows, in_use = algorithm_rows(), sorted(algorithms_in_use(), key=lambda used: (-used.keys, used.facts.algorithm))
    context = {
        **admin.admin_site.each_context(request),
        "title": "What falls when",
        "opts": admin.opts,
        "form": form,
        "day": day,
        "today": today,
        "falls": [
            (fall, [(*_in_use(change.in_use), change, status_chip(change.after.status)) for change in fall.changes])
            for fall in falls(in_use, rows, today)
        ],
        "judged": [
            (*_in_use(used), judged, algorithm_chip(judged), status_chip(judged.status_new))
            for used in in_use
            for judged in [judge(used.facts, rows, day)]
        ],
    }
    return TemplateResponse(request, "admin/inventory/algorithm/falls.html", context)


def _in_use(used: InUse) -> tuple[InUse, str, str]:
    """Return keys in use with the words for their kind and the address of the list that shows them."""
    facts: Facts = used.facts
    bits = "none" if facts.size_bits is None else facts.size_bits
    chosen = {"algorithm": facts.algorithm or "none", "bits": bits, "kind__exact": facts.kind}
    return used, KeyKind(facts.kind).label, f"{reverse('admin:inventory_key_changelist')}?{urlencode(chosen)}"
