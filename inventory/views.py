"""The pages of a key, and of an import: each parses, asks one service and shows what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
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
from inventory import services
from inventory.algorithms import Facts, InUse, falls, judge
from inventory.chips import Chip, algorithm_chip, due_chip, state_chip, status_chip
from inventory.errors import InventoryError
from inventory.forms import DayForm, KeyForm, ReasonForm, RegisterKeyForm, UploadForm
from inventory.models import ImportDraft, Key
from inventory.reading import TableError
from inventory.selectors import algorithm_rows, algorithms_in_use, events_that_rotate, findings_of, verdict
from inventory.states import CAN_BE_OVERDUE, State, targets
from inventory.terms import KeyKind
from inventory.wording import entries, label_of, labels_of, planned

DRAFT_LIFETIME = timedelta(hours=1)
TIMELINE_LENGTH = 20
SHOWN_ROWS = 100  # of each kind in a preview; the rest is counted


@dataclass(frozen=True)
class Page:
    """What every form page says: its title, what the act means, and the words on the button."""

    title: str
    consequence: str
    verb: str
    becomes: Chip | None = None  # the state that a decision leads to


def dossier(admin: ModelAdmin, request: HttpRequest, pk: str) -> HttpResponse:
    """Show everything about a key. Queries: at most 17, however much there is to show."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    keys = Key.objects.select_related("owner", "creator", "service", "tenant", "integration", "parent")
    key = get_object_or_404(keys.prefetch_related("children", "notices__digest"), pk=pk if pk.isdecimal() else None)
    now = timezone.now()
    since = key.last_rotated_on or key.created_on
    may_change, may_suspend = may(request, key, "change_key"), may(request, key, "suspend_key")
    events = timeline(key.ref, limit=TIMELINE_LENGTH + 1)
    context = {
        **admin.admin_site.each_context(request),
        "title": key.name,
        "opts": admin.opts,
        "key": key,
        "now": now,
        "state_chip": state_chip(key.state),
        "due_chip": due_chip(key.rotate_by, key.state, now),
        "age_days": (now.date() - since).days if since else None,
        "verdict": verdict(key),
        "on_events": events_that_rotate(key),
        "findings": findings_of(key),
        "versions": [(version, state_chip(version.state)) for version in key.versions.order_by("-number")],
        "timeline": entries(events[:TIMELINE_LENGTH], key),
        "has_older": len(events) > TIMELINE_LENGTH,
        "can_be_late": key.state in CAN_BE_OVERDUE,
        "may_edit": may_change,
        "may_suspend": may_suspend and State.SUSPENDED in targets(State(key.state)),
        "may_activate": may_change and key.state == State.PRE_ACTIVATION,
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
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )

    return _form_page(admin, request, form, page, act, "is registered")


def edit(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Change the facts of a key."""
    key = _key_for(request, pk, "change_key")
    form = KeyForm(request.POST or None, instance=key, initial={"revision": key.revision})
    page = Page(
        f"Edit {key.name}",
        "An edit that would give the key more time is refused: that takes a second person.",
        "Save the changes",
    )

    def act() -> Key:
        return services.edit_key(
            pk=pk,
            changes=form.facts,
            expected_revision=form.cleaned_data["revision"] or 0,
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )

    return _form_page(admin, request, form, page, act, "is changed", key)


def suspend(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Suspend a key at once."""
    key = _key_for(request, pk, "suspend_key")
    page = Page(
        f"Suspend {key.name}",
        "From now on the key must not protect anything new. Nothing is switched off where it is kept: tell the "
        "services that use it. Taking it back into use needs two people.",
        "Suspend it now",
        state_chip(State.SUSPENDED),
    )
    return _decision(admin, request, key, page, services.suspend_key, "is suspended")


def activate(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Bring a key into use."""
    key = _key_for(request, pk, "change_key")
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

    return _form_page(admin, request, form, page, act, done, key)


def _key_for(request: HttpRequest, pk: int, permission: str) -> Key:
    key = get_object_or_404(Key.objects.select_related("owner", "service"), pk=pk)
    if not may(request, key, permission):
        raise PermissionDenied
    return key


def _form_page(
    admin: ModelAdmin,
    request: HttpRequest,
    form: Any,  # noqa: ANN401 - a Form or a ModelForm
    page: Page,
    act: Callable[[], Key],
    done: str,
    key: Key | None = None,
) -> HttpResponse:
    if request.method == "POST" and form.is_valid():
        try:
            key = act()
        except InventoryError as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            _show(form, error)
        else:
            messages.success(request, f"{key.name} {done}.")
            return redirect("admin:inventory_key_change", key.pk)
    context = {**admin.admin_site.each_context(request), "title": page.title, "opts": admin.opts}
    context |= {"form": form, "page": page, "key": key}
    return TemplateResponse(request, "admin/inventory/key/form.html", context)


def _show(form: Form, error: ValidationError) -> None:
    """Put what the model says beside the fields it names; the rest above them."""
    for name, sentences in error.message_dict.items():
        form.add_error(name if name in form.fields else None, sentences)


def upload(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Take a file and lead to its preview. Nothing is imported yet."""
    if not request.user.has_perm("inventory.import_keys"):
        raise PermissionDenied
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        now = timezone.now()
        content: bytes = form.cleaned_data["file"]["content"]
        try:
            plan = services.plan_import(content=content, now=now)
        except TableError as error:
            form.add_error("file", str(error))
        else:
            ImportDraft.objects.filter(uploaded_at__lt=now - DRAFT_LIFETIME).delete()
            draft = ImportDraft.objects.create(
                uploaded_by_id=request.user.pk,  # type: ignore[misc]  # the admin site lets nobody else in
                uploaded_at=now,
                file_name=form.cleaned_data["file"]["name"][:200],
                content=content,
                reason=form.cleaned_data["reason"],
                plan_digest=plan.digest,
            )
            return redirect("admin:inventory_key_import_preview", draft.pk)
    context = {
        **admin.admin_site.each_context(request),
        "title": "Import an inventory",
        "opts": admin.opts,
        "form": form,
        "max_bytes": settings.IMPORT_MAX_BYTES,
        "max_rows": settings.IMPORT_MAX_ROWS,
    }
    return TemplateResponse(request, "admin/inventory/key/import.html", context)


def preview(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show what the file would do; on confirmation do just that, or show again what has changed meanwhile."""
    if not request.user.has_perm("inventory.import_keys"):
        raise PermissionDenied
    now = timezone.now()
    draft = get_object_or_404(ImportDraft, pk=pk, uploaded_by_id=request.user.pk, uploaded_at__gte=now - DRAFT_LIFETIME)
    content = bytes(draft.content)
    if request.method == "POST":
        try:
            return _confirm(request, draft, content)
        except InventoryError as error:
            messages.warning(request, str(error))
    plan = services.plan_import(content=content, now=now)
    context = {**admin.admin_site.each_context(request), "title": f"Import {draft.file_name}", "opts": admin.opts}
    context |= {
        "draft": draft,
        "plan": plan,
        "now": now,
        "new": [(row, key, due_chip(key.rotate_by, State.ACTIVE, now)) for row, key in plan.new[:SHOWN_ROWS]],
        "changed": planned(plan.changed[:SHOWN_ROWS]),
        "refused": [(refusal, labels_of(refusal.field)) for refusal in plan.refused[:SHOWN_ROWS]],
        "columns": [(header, label_of(read_as)) for header, read_as in plan.columns.items()],
    }
    return TemplateResponse(request, "admin/inventory/key/import_preview.html", context)


def _confirm(request: HttpRequest, draft: ImportDraft, content: bytes) -> HttpResponse:
    done = services.apply_import(
        content=content,
        file_name=draft.file_name,
        actor=actor_of(request),
        reason=draft.reason,
        now=timezone.now(),
        expected_digest=request.POST.get("plan_digest", ""),
    )
    draft.delete()
    messages.success(request, f"{draft.file_name}: {done.summary}.")
    return redirect("admin:inventory_key_changelist")


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
