"""The pages of exceptions: asking for one from a key's page, looking at one, ending one early."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.selectors import timeline
from audit.step_up import requires_step_up
from inventory import asking, services
from inventory.chips import Chip, accepted_chip, due_chip
from inventory.clause_wording import demands_of
from inventory.errors import InventoryError
from inventory.excepting import binding_clauses, exceptions_of
from inventory.exception_forms import ExceptionForm
from inventory.exception_wording import binding_words, exception_chip
from inventory.forms import ReasonForm
from inventory.models import ExceptionState, Key, PolicyClause, PolicyException
from inventory.selectors import verdict
from inventory.services.exceptions import check_exception, effect_of_exception, limit_of
from inventory.views import key_for, may
from inventory.wording import entries

OPERATION = "exception.grant"
DRAFT_LIFETIME = timedelta(hours=1)
HISTORY_LENGTH = 50
SALT = "inventory.exception_views.draft"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An exception that somebody has described and not asked for yet."""

    user: int
    key: int
    clause: int
    revision: int  # of the clause
    until: str  # "2027-02-19"
    compensating_control: str
    residual_risk: str
    reason: str

    def sealed(self) -> str:
        return signing.dumps(asdict(self), salt=SALT, compress=True)

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: said for name, said in asdict(self).items() if name not in {"user", "reason"}}


def page(admin: ModelAdmin, request: HttpRequest, pk: str) -> HttpResponse:
    """Show an exception: from what, until when, what is done instead, and its history. Queries: at most 12."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    found = PolicyException.objects.select_related("key__owner", "clause", "closed_by")
    exception = get_object_or_404(found, pk=pk if pk.isdecimal() else None)
    events = timeline(exception.key.ref, limit=HISTORY_LENGTH)
    context = {
        "title": f"Exception for {exception.key}",
        **_told(exception, timezone.now()),
        "history": entries([event for event in events if _is_about(event, exception)], exception.key),
        "may_end": exception.state == ExceptionState.STANDING
        and request.user.has_perm("inventory.end_policyexception"),
        "may_ask": may(request, exception.key, "ask_policyexception"),
    }
    return _render(admin, request, "exception", context)


def _told(exception: PolicyException, now: datetime) -> dict[str, Any]:
    key = exception.key
    return {
        "exception": exception,
        "key": key,
        "chip": exception_chip(exception, now),
        "due_chip": due_chip(key.rotate_by, key.state, now, key.accepted_until),
        "demands": demands_of(exception.clause),
        "request_pk": exception.request.partition(":")[2],
    }


def _is_about(event: Any, exception: PolicyException) -> bool:  # noqa: ANN401 - a ReadEvent
    sides = [side for one in event.said.subjects for side in (one.before, one.after)] if event.said else []
    return any(
        side.get("exception") == exception.ref or exception.ref in (side.get("exceptions") or ()) for side in sides
    )


# Asking


@requires_step_up
def ask(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Take what somebody says of an exception, show what it would do, and ask for it."""
    key = key_for(request, pk, "ask_policyexception")
    now = timezone.now()
    if "draft" in request.POST:
        return _second_step(admin, request, key, now)
    form = _form(request.POST or None, key, now, {"clause": request.GET.get("clause")})
    if request.method == "POST" and form.is_valid():
        draft = _drafted(request, key, form)
        try:
            check_exception(key, form.clause_chosen, form.until_moment, now)
        except InventoryError as error:
            form.add_error("until", str(error))
        else:
            return _preview(admin, request, key, draft, form.clause_chosen, now)
    return _form_page(admin, request, key, form, now)


def _form(entered: Any, key: Key, now: datetime, initial: Mapping[str, Any]) -> ExceptionForm:  # noqa: ANN401 - a QueryDict
    decided = verdict(key)
    winning = decided.winning.clause_id if decided.winning else None
    bound = sorted(binding_clauses(key), key=lambda clause: clause.pk != winning)  # what decides comes first
    clauses = [(clause, binding_words(key, clause, decided)) for clause in bound]
    chosen = {**initial, "clause": initial.get("clause") or winning}
    return ExceptionForm(entered, clauses=clauses, limit=limit_of(key), today=now.date(), initial=chosen)


def _drafted(request: HttpRequest, key: Key, form: ExceptionForm) -> Draft:
    said = form.cleaned_data
    return Draft(
        user=request.user.pk or 0,
        key=key.pk,
        clause=form.clause_chosen.pk,
        revision=form.clause_chosen.revision,
        until=said["until"].isoformat(),
        compensating_control=said["compensating_control"].replace("\r\n", "\n"),
        residual_risk=said["residual_risk"].replace("\r\n", "\n"),
        reason=said["reason"],
    )


def _second_step(admin: ModelAdmin, request: HttpRequest, key: Key, now: datetime) -> HttpResponse:
    try:
        draft = Draft(**signing.loads(request.POST["draft"], salt=SALT, max_age=DRAFT_LIFETIME))
    except (signing.BadSignature, TypeError):
        draft = None
    if draft is None or (draft.user, draft.key) != (request.user.pk, key.pk):
        messages.error(request, "What was entered is too old, or not yours. Nothing was asked: enter it again.")
        return redirect(request.path)
    if "again" in request.POST:
        return _form_page(admin, request, key, _form(None, key, now, asdict(draft)), now)
    try:
        asked = asking.ask(OPERATION, draft.parameters, actor=actor_of(request), reason=draft.reason, now=now)
    except (InventoryError, ValidationError) as error:
        said = error.messages if isinstance(error, ValidationError) else [str(error)]
        messages.error(request, " ".join(said))
        return redirect(request.path)
    messages.success(request, "Asked. It holds once somebody of Management and somebody of Security have voted for it.")
    return redirect("admin:rotation_request_change", asked.pk)


def _form_page(admin: ModelAdmin, request: HttpRequest, key: Key, form: ExceptionForm, now: datetime) -> HttpResponse:
    chip = due_chip(key.rotate_by, key.state, now, key.accepted_until)
    context = {"title": f"Ask for an exception for {key}", "key": key, "form": form, "due_chip": chip}
    return _render(admin, request, "form", context)


def _preview(
    admin: ModelAdmin, request: HttpRequest, key: Key, draft: Draft, clause: PolicyClause, now: datetime
) -> HttpResponse:
    """Show what the exception would do, and what takes its place."""
    until = datetime.fromisoformat(f"{draft.until}T00:00:00+00:00")
    accepted, findings = effect_of_exception(key, clause, until, now)
    standing = next((one for one in exceptions_of(key) if one.clause_id == clause.pk), None)
    context = {
        "title": f"Ask for an exception for {key}",
        "key": key,
        "clause": clause,
        "draft": draft,
        "until": until,
        "standing": standing,
        "due_chip": due_chip(key.rotate_by, key.state, now, key.accepted_until),
        "becomes": _becomes(key, accepted, now),
        "accepted": accepted,
        "findings": findings,
        "changes_nothing": not findings and accepted == key.accepted_until,
    }
    return _render(admin, request, "preview", context)


def _becomes(key: Key, accepted: datetime | None, now: datetime) -> Chip:
    """Return the chip that the key will have: also before its date, when what is accepted lies ahead."""
    return accepted_chip(accepted) if accepted and accepted > now else due_chip(key.rotate_by, key.state, now)


# Ending


@requires_step_up
def end(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """End an exception before its day."""
    if not request.user.has_perm("inventory.end_policyexception"):
        raise PermissionDenied
    standing = PolicyException.objects.select_related("key__owner", "clause").filter(state=ExceptionState.STANDING)
    exception = get_object_or_404(standing, pk=pk)
    form, now = ReasonForm(request.POST or None), timezone.now()
    if request.method == "POST" and form.is_valid():
        try:
            services.end_exception(pk=pk, actor=actor_of(request), reason=form.cleaned_data["reason"], now=now)
        except InventoryError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"The exception for {exception.key} is ended: it counts by the clause again.")
            return redirect("admin:inventory_policyexception_change", pk)
    context = {"title": f"End the exception for {exception.key}", "form": form, **_told(exception, now)}
    return _render(admin, request, "end", context)


def _render(admin: ModelAdmin, request: HttpRequest, name: str, context: Mapping[str, Any]) -> HttpResponse:
    shared = {**admin.admin_site.each_context(request), "opts": admin.opts}
    return TemplateResponse(request, f"admin/inventory/policyexception/{name}.html", {**shared, **context})
