"""Asking for a guarded operation on a key: a form, what will happen, and then the request itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from audit.actions import Action
from audit.actor import actor_of
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from inventory.models import Key
from rotation import approvals
from rotation.asking_forms import AskForm, DatesForm, DestroyForm, RevokeForm
from rotation.errors import NotAskingError, RotationError
from rotation.models import Request
from rotation.operations import operation_of
from rotation.rehearsals import Rehearsal, rehearse
from rotation.requests import live_about


@dataclass(frozen=True)
class Question:
    """One thing that can be asked of a key."""

    code: str
    verb: str  # "revoke", as in "Ask to revoke …"
    form: type[AskForm]
    means: str


@dataclass(frozen=True)
class About:
    """What a question is about: its name, its page, what that page stands under, and the records themselves."""

    name: str
    url: str
    crumbs: tuple[tuple[str, str], ...]  # words and address
    refs: tuple[str, ...] = ()


REVOKE = Question(
    "key.revoke",
    "revoke",
    RevokeForm,
    "A revoked key protects nothing new and never comes back into use. To take it out of use at once, suspend it too.",
)
DESTROY = Question(
    "key.destroy",
    "destroy",
    DestroyForm,
    "For a key whose material is gone, or goes for good. The inventory deletes nothing where the key is kept.",
)
REACTIVATE = Question(
    "key.reactivate",
    "re-activate",
    AskForm,
    "Takes a suspended key back into use. Whoever suspended it has no vote on that.",
)
DATES = Question(
    "key.dates",
    "change the dates of",
    DatesForm,
    "Each of these dates changes the state of the key by itself, or what it may do, when it comes.",
)


@requires_step_up
def ask_to_revoke(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a key be revoked."""
    return _ask(admin, request, pk, REVOKE)


@requires_step_up
def ask_to_destroy(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a key count as destroyed."""
    return _ask(admin, request, pk, DESTROY)


@requires_step_up
def ask_to_reactivate(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a suspended key come back into use."""
    return _ask(admin, request, pk, REACTIVATE)


@requires_step_up
def ask_for_dates(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for other dates of a key's period of use."""
    return _ask(admin, request, pk, DATES)


def patterns(page: Callable[[Any], Any]) -> list[URLPattern]:
    """Return the addresses of these pages, for the admin of requests."""
    return [
        path("ask/revoke/<int:pk>/", page(ask_to_revoke), name="rotation_request_ask_revoke"),
        path("ask/destroy/<int:pk>/", page(ask_to_destroy), name="rotation_request_ask_destroy"),
        path("ask/reactivate/<int:pk>/", page(ask_to_reactivate), name="rotation_request_ask_reactivate"),
        path("ask/dates/<int:pk>/", page(ask_for_dates), name="rotation_request_ask_dates"),
    ]


def _ask(admin: ModelAdmin, request: HttpRequest, pk: int, question: Question) -> HttpResponse:
    may_look(request)
    key = get_object_or_404(Key.objects.select_related("owner", "service"), pk=pk)
    return ask_about(admin, request, question, of_key(key), question.form(request.POST or None, key=key))


def of_key(key: Key) -> About:
    """Return what a question about a key is about."""
    crumb = ("Inventory", reverse("admin:inventory_key_changelist"))
    return About(key.name, reverse("admin:inventory_key_change", args=[key.pk]), (crumb,), (key.ref,))


def ask_about(admin: ModelAdmin, request: HttpRequest, question: Question, about: About, form: AskForm) -> HttpResponse:
    """Ask a question that anything can be about: first what will happen, then the request itself."""
    may_look(request)
    _must_be_theirs(request, question, about)
    rehearsed = None
    if request.method == "POST" and form.is_valid():
        try:
            rehearsed, made = _rehearse_or_ask(request, form, question)
        except (InventoryError, RotationError) as error:
            field = getattr(error, "field", "")
            form.add_error(field if field in form.fields else None, str(error))
        except ValidationError as error:
            form.add_error(None, error.messages)
        else:
            if made is not None:
                messages.success(request, f"Asked: {made.title}. Nothing happens before it is approved.")
                return redirect("admin:rotation_request_change", made.pk)
    return _page(admin, request, about, question, form, rehearsed)


def may_look(request: HttpRequest) -> None:
    """Raise what a person is to see who may see neither keys nor requests."""
    if not (request.user.has_perm("inventory.view_key") and request.user.has_perm("rotation.view_request")):
        raise PermissionDenied


def _must_be_theirs(request: HttpRequest, question: Question, about: About) -> None:
    """Raise what the person is to see instead; who sends the form of a question that is not theirs leaves a trace."""
    operation = operation_of(question.code)
    if approvals.may_ask(operation, about.refs, actor=actor_of(request)):
        return
    error = NotAskingError(operation.title, operation.askers, owner=operation.owner_may_ask)
    if request.method == "POST":
        record_refusal(
            Action.REQUEST_OPENED,
            actor=actor_of(request),
            now=timezone.now(),
            subjects=[Subject(ref=ref, label=about.name) for ref in about.refs],
            facts={"operation": question.code, "refused": str(error)},
        )
    raise PermissionDenied(str(error))


def _rehearse_or_ask(request: HttpRequest, form: AskForm, question: Question) -> tuple[Rehearsal, Request | None]:
    """Rehearse; and ask, if that is what the person was shown."""
    asked: dict[str, Any] = {
        "operation": question.code,
        "parameters": form.parameters,
        "actor": actor_of(request),
        "reason": form.cleaned_data["reason"],
        "now": timezone.now(),
    }
    rehearsed = rehearse(**asked)
    if form.cleaned_data["seen"] != rehearsed.seen:
        return rehearsed, None
    return rehearsed, approvals.ask(**asked)


def _page(
    admin: ModelAdmin,
    request: HttpRequest,
    about: About,
    question: Question,
    form: AskForm,
    rehearsed: Rehearsal | None,
) -> HttpResponse:
    operation = operation_of(question.code)
    return TemplateResponse(request, "admin/rotation/asking/ask.html", {
        **admin.admin_site.each_context(request),
        "title": f"Ask to {question.verb} {about.name}".rstrip(),
        "opts": admin.opts,
        "about": about,
        "question": question,
        "form": form,
        "rehearsed": rehearsed,
        "has_moved": bool(rehearsed and form.cleaned_data["seen"]),
        "steps": rehearsed.steps if rehearsed else operation.steps,
        "unfillable": rehearsed.unfillable if rehearsed else (),
        "waiting": live_about(about.refs).filter(operation=question.code).first(),
        "now": timezone.now(),
    })  # fmt: skip
