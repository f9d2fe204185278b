"""The pages of an import: a file, what it would do and what it leaves open, the confirmation, and how far it is.

Nothing of a file is read here: a worker does that, and leaves what these pages show.
"""

import json
from datetime import datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actor import actor_of
from inventory import services
from inventory.chips import due_chip
from inventory.errors import InventoryError, PlanChangedError
from inventory.import_forms import FIELD_CHOICES, AnswersForm, UploadForm
from inventory.models import ImportDraft
from inventory.models.draft import ImportState
from inventory.reading import DATE_CHOICES
from inventory.services import ImportOptions
from inventory.services.jobs import LIFETIME
from inventory.states import State
from inventory.tasks import nudge_import

_GONE = "This preview is gone: an hour has passed, or it was never yours. Upload the file again."
_STEPS = {
    ("reading", ""): "Reading the file",
    ("reading", "compared"): "Comparing it with the inventory",
    ("applying", ""): "Reading the file once more",
    ("applying", "compared"): "Comparing it with the inventory",
    ("applying", "registered"): "Registering new keys",
    ("applying", "changed"): "Writing what changed",
}


def upload(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Take a file and lead to its preview. Nothing is imported yet."""
    if not request.user.has_perm("inventory.import_keys"):
        raise PermissionDenied
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        taken = form.cleaned_data["file"]
        draft = services.take_file(
            content=taken["content"],
            file_name=taken["name"],
            reason=form.cleaned_data["reason"],
            person=_person(request),
            now=timezone.now(),
        )
        return _hurried(draft)
    context = _context(admin, request, "Import an inventory")
    context |= {"form": form, "max_bytes": settings.IMPORT_MAX_BYTES, "max_rows": settings.IMPORT_MAX_ROWS}
    return TemplateResponse(request, "admin/inventory/key/import.html", context)


def preview(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show what becomes of a file; take answers about it, and the confirmation of just what was shown."""
    draft = _draft(request, pk)
    if draft is None:
        messages.warning(request, _GONE)
        return redirect("admin:inventory_key_import")
    if request.method == "POST":
        try:
            return _answer(request, draft) if "read_again" in request.POST else _confirm(request, draft)
        except InventoryError as error:
            messages.warning(request, str(error))
    context = _context(admin, request, f"Import {draft.file_name}") | {"draft": draft}
    context |= {"field_choices": FIELD_CHOICES, "date_choices": DATE_CHOICES}
    context |= {"options": ImportOptions.restored(draft.options)}
    return TemplateResponse(request, _template(draft), context | _shown(draft, timezone.now()))


def progress(_admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Say how far the worker is, for the script of the waiting page."""
    draft = _draft(request, pk) if request.method == "GET" else None
    if draft is None:
        return JsonResponse({"is_waiting": False}, status=404)
    said = {"is_waiting": draft.is_waiting, "step": _step(draft), "done": draft.rows_done, "of": draft.rows_total}
    return JsonResponse(said)


def _draft(request: HttpRequest, pk: int) -> ImportDraft | None:
    if not request.user.has_perm("inventory.import_keys"):
        raise PermissionDenied
    since = timezone.now() - LIFETIME
    return ImportDraft.objects.filter(pk=pk, uploaded_by_id=request.user.pk, uploaded_at__gte=since).first()


def _template(draft: ImportDraft) -> str:
    name = {
        ImportState.READY: "import_preview" if "plan" in draft.preview else "import_columns",
        ImportState.DONE: "import_done",
        ImportState.REFUSED: "import_refused",
    }.get(ImportState(draft.state), "import_waiting")
    return f"admin/inventory/key/{name}.html"


def _shown(draft: ImportDraft, now: datetime) -> dict[str, Any]:
    """Return what the page says: the preview as the worker drew it, with how late each new key would be now."""
    shown: SimpleNamespace = json.loads(json.dumps(draft.preview), object_hook=lambda said: SimpleNamespace(**said))
    for one in getattr(shown, "new", ()):
        one.due = due_chip(datetime.fromisoformat(one.rotate_by) if one.rotate_by else None, State.ACTIVE, now)
    return vars(shown) | {"step": _step(draft), "is_applying": draft.state == ImportState.APPLYING}


def _step(draft: ImportDraft) -> str:
    if draft.leased_until is None:
        return "Waiting for a free worker"
    return _STEPS.get((draft.state, draft.doing), "Working")


def _answer(request: HttpRequest, draft: ImportDraft) -> HttpResponse:
    options = AnswersForm(request.POST).options(ImportOptions.restored(draft.options))
    if services.read_again(draft=draft, options=options):
        return _hurried(draft)
    return redirect("admin:inventory_key_import_preview", draft.pk)


def _confirm(request: HttpRequest, draft: ImportDraft) -> HttpResponse:
    seen = request.POST.get("plan_digest", "")
    if services.confirm_import(draft=draft, plan_digest=seen, actor=actor_of(request), now=timezone.now()):
        return _hurried(draft)
    draft.refresh_from_db()
    if draft.state == ImportState.READY:
        raise PlanChangedError
    return redirect("admin:inventory_key_import_preview", draft.pk)  # a second click: it is under way, or done


def _hurried(draft: ImportDraft) -> HttpResponse:
    """Nudge a worker and lead to the page of the file; a nudge that fails only makes it wait for the beat."""
    transaction.on_commit(partial(nudge_import, draft.pk), robust=True)
    return redirect("admin:inventory_key_import_preview", draft.pk)


def _person(request: HttpRequest) -> int:
    return int(str(request.user.pk))


def _context(admin: ModelAdmin, request: HttpRequest, title: str) -> dict[str, Any]:
    return {**admin.admin_site.each_context(request), "title": title, "opts": admin.opts}
