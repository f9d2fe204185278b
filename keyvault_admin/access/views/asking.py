"""Pages that ask for what people vote on about a person: a role, lost factors, coming back, being erased."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.canonical import JSON
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from keyvault_admin.access.errors import AccessError, LastOfRoleError
from keyvault_admin.access.models import User
from keyvault_admin.access.people_forms import AskReturnForm, AskRoleForm, WhyForm
from rotation import approvals
from rotation.approvals.mails import INBOX
from rotation.errors import NotAskingError, RotationError
from rotation.operations import operation_of, steps_of
from rotation.requests import roles_now

_RECORDED = (LastOfRoleError, NotAskingError)


@dataclass(frozen=True)
class Page:
    """What a page that asks says of itself."""

    title: str
    consequence: str
    operation: str
    verb: str = "Ask for it"
    is_grave: bool = False


@requires_step_up
def ask_role(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask for a role for somebody."""
    person = _asked_about(request, pk, "role.grant")
    form = AskRoleForm(request.POST or None, person=person)
    page = Page(
        f"Ask for a role for {person}",
        f"The role is given once {_votes('role.grant')} have voted for it. Nobody votes on their own role.",
        "role.grant",
    )
    return _ask_page(
        admin, request, form, page, person, lambda said: {"role": said["role"], "ends_on": said["ends_on"]}
    )


@requires_step_up
def ask_reset(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that somebody's second factors are reset, who has lost them all."""
    person = _asked_about(request, pk, "factors.reset")
    page = Page(
        f"Ask to reset the second factors of {person}",
        f"Once {_votes('factors.reset')} have voted for it, all second factors and recovery codes are removed and they "
        "are signed out. Then hand them a link from their page. Make sure by voice or in person that it is them who "
        "ask, and write below how you did.",
        "factors.reset",
        is_grave=True,
    )
    return _ask_page(admin, request, WhyForm(request.POST or None), page, person, lambda _: {})


@requires_step_up
def ask_return(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that somebody comes back."""
    person = _asked_about(request, pk, "person.reactivate")
    page = Page(
        f"Ask to let {person} back in",
        f"Once {_votes('person.reactivate')} have voted for it, they may sign in again, with the roles and second "
        "factors they had.",
        "person.reactivate",
    )
    form = AskReturnForm(request.POST or None)
    return _ask_page(admin, request, form, page, person, lambda said: {"ends_on": said["ends_on"]})


@requires_step_up
def ask_erasure(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that somebody's personal data are erased."""
    person = _asked_about(request, pk, "person.erase")
    page = Page(
        f"Ask to erase the personal data of {person}",
        f"Once {_votes('person.erase')} have voted for it, somebody carries it out on the machine, with manage.py "
        f"erase_person {person.username} --request and the number. It cannot be taken back. Write no name below: the "
        "log keeps what you write.",
        "person.erase",
        is_grave=True,
    )
    return _ask_page(admin, request, WhyForm(request.POST or None), page, person, lambda _: {})


def _votes(code: str) -> str:
    return " and ".join(f"{step.count} of {step.role}" for step in steps_of(operation_of(code)))


def _asked_about(request: HttpRequest, pk: int, code: str) -> User:
    """Return the person for somebody who may ask. The engine asks once more."""
    asker = request.user.pk or 0
    if not roles_now(asker) & set(operation_of(code).askers) or not request.user.has_perm("access.manage_people"):
        raise PermissionDenied
    return get_object_or_404(User.objects.defer("password").prefetch_related("groups"), pk=pk)


def _ask_page(
    admin: ModelAdmin,
    request: HttpRequest,
    form: Form,
    page: Page,
    person: User,
    more: Callable[[dict[str, Any]], Mapping[str, JSON]],
) -> HttpResponse:
    """Show the form; when it is sent and can be asked, lead to the request that now waits for votes."""
    if request.method == "POST" and form.is_valid():
        try:
            asked = approvals.ask(
                operation=page.operation,
                parameters={"person": person.pk, **more(form.cleaned_data)},
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
                now=timezone.now(),
            )
        except (AccessError, RotationError, InventoryError) as error:
            _record_refusal(request, page, person, error)
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, "Asked. Nothing is done before people have voted; they are told by mail.")
            return redirect(f"{INBOX}{asked.pk}/change/")
    context = {"title": page.title, "form": form, "page": page, "person": person, "nothing": "Nothing was asked."}
    context = {**admin.admin_site.each_context(request), "opts": admin.opts, **context}
    return TemplateResponse(request, "admin/access/user/form.html", context)


def _record_refusal(request: HttpRequest, page: Page, person: User, error: Exception) -> None:
    if isinstance(error, _RECORDED):
        record_refusal(
            operation_of(page.operation).action,
            actor=actor_of(request),
            now=timezone.now(),
            subjects=[Subject(ref=person.ref)],
            facts={"refused": str(error)},
        )
