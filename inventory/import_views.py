"""The pages of an import: a file, what it would do and what it leaves open, and the confirmation."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actions import Action
from audit.actor import actor_of
from audit.canonical import JSON
from audit.errors import AuditError
from audit.services import record_refusal
from inventory import services
from inventory.chips import due_chip
from inventory.errors import InventoryError, PrivateKeyError
from inventory.import_forms import FIELD_CHOICES, AnswersForm, UploadForm, columns_of
from inventory.models import ImportDraft
from inventory.reading import DATE_CHOICES, ColumnsError
from inventory.services import ImportOptions, Plan
from inventory.states import State
from inventory.wording import label_of, labels_of, planned

DRAFT_LIFETIME = timedelta(hours=1)
SHOWN_ROWS = 100  # of each kind in a preview; the rest is counted


def upload(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Take a file and lead to its preview. Nothing is imported yet, and a file with a private key is not even kept."""
    if not request.user.has_perm("inventory.import_keys"):
        raise PermissionDenied
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        now = timezone.now()
        try:
            return redirect("admin:inventory_key_import_preview", _draft(request, form, now).pk)
        except PrivateKeyError as error:
            form.add_error("file", _refused(request, error, form.cleaned_data["file"]["name"], now))
        except InventoryError as error:
            form.add_error("file", str(error))
    context = _context(admin, request, "Import an inventory")
    context |= {"form": form, "max_bytes": settings.IMPORT_MAX_BYTES, "max_rows": settings.IMPORT_MAX_ROWS}
    return TemplateResponse(request, "admin/inventory/key/import.html", context)


def _draft(request: HttpRequest, form: UploadForm, now: datetime) -> ImportDraft:
    content: bytes = form.cleaned_data["file"]["content"]
    options = services.begin_import(content=content, now=now)
    ImportDraft.objects.filter(uploaded_at__lt=now - DRAFT_LIFETIME).delete()
    return ImportDraft.objects.create(
        uploaded_by_id=request.user.pk,  # type: ignore[misc]  # the admin site lets nobody else in
        uploaded_at=now,
        file_name=form.cleaned_data["file"]["name"][:200],
        content=content,
        reason=form.cleaned_data["reason"],
        options=options.stored,
    )


def _refused(request: HttpRequest, error: PrivateKeyError, name: str, now: datetime) -> str:
    """Leave an event for private keys that somebody brought: the name of the file and how many, nothing else."""
    facts: dict[str, JSON] = {"file": name[:200], "private_keys": error.count}
    try:
        record_refusal(Action.KEY_MATERIAL_REFUSED, actor=actor_of(request), now=now, facts=facts)
    except AuditError as failed:
        return f"{error} {failed}"
    return str(error)


def preview(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Show what the file would do; take answers about it; on confirmation do just what was shown, or show it again."""
    if not request.user.has_perm("inventory.import_keys"):
        raise PermissionDenied
    now = timezone.now()
    draft = ImportDraft.objects.filter(
        pk=pk, uploaded_by_id=request.user.pk, uploaded_at__gte=now - DRAFT_LIFETIME
    ).first()
    if draft is None:
        messages.warning(
            request, "This preview is gone: it was confirmed, or an hour has passed. Upload the file again."
        )
        return redirect("admin:inventory_key_import")
    if request.method == "POST":
        try:
            return _answer(request, draft) if "read_again" in request.POST else _confirm(request, draft)
        except InventoryError as error:
            messages.warning(request, str(error))
    options = ImportOptions.restored(draft.options)
    context = _context(admin, request, f"Import {draft.file_name}") | {"draft": draft, "now": now}
    context |= {"field_choices": FIELD_CHOICES, "date_choices": DATE_CHOICES, "options": options}
    try:
        plan = services.plan_import(content=bytes(draft.content), now=now, options=options)
    except ColumnsError as error:
        context |= {"problem": error, "columns": columns_of(error.headings, options.mapping)}
        return TemplateResponse(request, "admin/inventory/key/import_columns.html", context)
    except InventoryError as error:
        messages.error(request, str(error))
        return redirect("admin:inventory_key_import")
    return TemplateResponse(request, "admin/inventory/key/import_preview.html", context | _shown(plan, now))


def _shown(plan: Plan, now: datetime) -> dict[str, Any]:
    """Return what the preview says of a plan. Queries: those of planned()."""
    columns = columns_of(plan.brought.headings, plan.options.mapping)
    return {
        "plan": plan,
        "new": [(row, key, due_chip(key.rotate_by, State.ACTIVE, now)) for row, key in plan.new[:SHOWN_ROWS]],
        "changed": planned(plan.changed[:SHOWN_ROWS]),
        "held": planned(plan.held[:SHOWN_ROWS]),
        "refused": [(refusal, labels_of(refusal.field)) for refusal in plan.to_mend[:SHOWN_ROWS]],
        "warnings": plan.brought.warnings[:SHOWN_ROWS],
        "columns": columns,
        "suggested": [(column, label_of(column.chosen)) for column in columns if column.because],
        "question": next(iter(plan.brought.questions), None),
        "offered_owners": _offered(plan.owners, plan.owners_left_out, "handle"),
        "offered_services": _offered(plan.services, plan.services_left_out, "name"),
    }


def _offered(new: list[Any], left_out: list[Any], name: str) -> list[tuple[Any, bool]]:
    """Return the new records that can be left out, each with whether it is registered, in the order of their names."""
    both = [(one, True) for one in new] + [(one, False) for one in left_out]
    return sorted(both, key=lambda pair: (pair[1], getattr(pair[0], name)))[:SHOWN_ROWS]


def _answer(request: HttpRequest, draft: ImportDraft) -> HttpResponse:
    draft.options = AnswersForm(request.POST).options(ImportOptions.restored(draft.options)).stored
    draft.save(update_fields=["options"])
    return redirect("admin:inventory_key_import_preview", draft.pk)


def _confirm(request: HttpRequest, draft: ImportDraft) -> HttpResponse:
    done = services.apply_import(
        content=bytes(draft.content),
        file_name=draft.file_name,
        actor=actor_of(request),
        reason=draft.reason,
        now=timezone.now(),
        options=ImportOptions.restored(draft.options),
        expected_digest=request.POST.get("plan_digest", ""),
    )
    draft.delete()
    messages.success(request, f"{draft.file_name}: {done.summary}.")
    return redirect("admin:inventory_key_changelist")


def _context(admin: ModelAdmin, request: HttpRequest, title: str) -> dict[str, Any]:
    return {**admin.admin_site.each_context(request), "title": title, "opts": admin.opts}
