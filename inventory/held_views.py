"""The pages of a change that waits for a second person: asking for a rotation to count, and deciding."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actions import Action
from audit.actor import actor_of
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory import services
from inventory.chips import state_chip
from inventory.errors import InventoryError, NotDecidingError, NotRequesterError, OwnChangeError
from inventory.forms import ReasonForm, RotationForm
from inventory.models import HeldChange
from inventory.models.held import HeldKind, HeldState
from inventory.views import Page, form_page, key_for
from inventory.wording import held_chip, held_lines, held_sentence, requester

# Who presses a button that is not theirs leaves a trace: the page did not show it to them.
_NOT_THEIRS = (NotDecidingError, NotRequesterError, OwnChangeError)


def report(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Take the report of a rotation that was done where the key is kept."""
    key = key_for(request, pk, "report_rotation")
    form = RotationForm(request.POST or None)
    page = Page(
        f"Report a rotation of {key.name}",
        "For a key that has been replaced where it is kept. It counts, and the key gets its next version, once "
        "somebody of DevOps has looked at the evidence and confirmed it.",
        "Report the rotation",
    )

    def act() -> HeldChange:
        said = form.cleaned_data
        return services.report_rotation(
            pk=pk,
            rotated_on=said["rotated_on"],
            evidence=said["evidence"],
            url=said["url"],
            actor=actor_of(request),
            now=timezone.now(),
        )

    return form_page(admin, request, form, page, act, "", key)


def decision(admin: ModelAdmin, request: HttpRequest, pk: str, form: ReasonForm | None = None) -> HttpResponse:
    """Show what will happen, because of what and who asks, and the buttons that this person has."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    changes = HeldChange.objects.select_related("key__owner", "key__service", "requested_by", "decided_by", "evidence")
    held = get_object_or_404(changes, pk=pk if pk.isdecimal() else None)
    is_open = held.state == HeldState.PENDING
    is_own = held.requested_by_id == request.user.pk
    context = {
        **admin.admin_site.each_context(request),
        "title": f"{held.get_kind_display().capitalize()} of {held.key}",
        "opts": admin.opts,
        "held": held,
        "who": requester(held),
        "chip": held_chip(held.state),
        "key_chip": state_chip(held.key.state),
        "sentence": held_sentence(held),
        "lines": held_lines(held),
        "form": form or ReasonForm(),
        "is_rotation": held.kind == HeldKind.ROTATION,
        "next_number": held.key.current_number + 1,
        "is_overtaken": is_open and held.key.revision != held.expected_revision,
        "may_withdraw": is_open and is_own,
        "may_decide": is_open and not is_own and request.user.has_perm("inventory.confirm_heldchange"),
    }
    return TemplateResponse(request, "admin/inventory/heldchange/decision.html", context)


@requires_step_up
def confirm(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Confirm a change, which does it."""
    return _decide(admin, request, pk, services.confirm_held, "The change of {} is confirmed and done.")


@requires_step_up
def reject(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Reject a change."""
    return _decide(admin, request, pk, services.reject_held, "The change of {} is rejected. The key stays as it is.")


def withdraw(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Take back what one has asked for."""
    return _decide(admin, request, pk, services.withdraw_held, "The change of {} is withdrawn.")


def _decide(
    admin: ModelAdmin, request: HttpRequest, pk: int, service: Callable[..., HeldChange], done: str
) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not admin.has_view_permission(request):
        raise PermissionDenied
    held = get_object_or_404(HeldChange.objects.select_related("key"), pk=pk)
    form = ReasonForm(request.POST)
    if form.is_valid():
        try:
            service(pk=pk, actor=actor_of(request), reason=form.cleaned_data["reason"], now=timezone.now())
        except _NOT_THEIRS as error:
            _refused(request, held, str(error))
            raise PermissionDenied(str(error)) from error
        except InventoryError as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error(None, error.messages)
        else:
            messages.success(request, done.format(held.key.name))
            return redirect("admin:inventory_heldchange_changelist")
    return decision(admin, request, str(pk), form)


def _refused(request: HttpRequest, held: HeldChange, why: str) -> None:
    """Record that somebody tried to decide on what is not theirs to decide on."""
    facts: dict[str, Any] = {"held_change": held.ref, "refused": why}
    action = Action.KEY_ROTATED if held.kind == HeldKind.ROTATION else Action.KEY_EDITED
    subjects = [Subject(ref=held.key.ref, label=held.key.name)]
    record_refusal(action, actor=actor_of(request), now=timezone.now(), subjects=subjects, facts=facts)
