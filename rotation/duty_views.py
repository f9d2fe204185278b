"""The page of a duty: what one person did alone, and the signatures of those who have looked at it."""

from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actions import Action
from audit.actor import actor_of
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory.chips import state_chip
from inventory.errors import InventoryError
from rotation import duties
from rotation.duty_forms import SignatureForm
from rotation.duty_wording import WHAT, doer, due_chip, open_roles, places
from rotation.errors import DutyRoleTakenError, NotSigningError, OwnActError, RotationError, SignedTwiceError
from rotation.models import Duty, DutyKind, DutyState, Verdict
from rotation.selectors import voting_roles

# The page offered none of these, so whoever sends one leaves a trace.
_NOT_THEIRS = (NotSigningError, OwnActError, SignedTwiceError, DutyRoleTakenError)


def page(admin: ModelAdmin, request: HttpRequest, pk: str, form: SignatureForm | None = None) -> HttpResponse:
    """Show a duty, and to whom may sign it the form. Queries: 3 of its own."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    found = Duty.objects.select_related("key__owner", "key__service", "done_by", "request")
    duty = get_object_or_404(found, pk=pk if pk.isdecimal() else None)
    return TemplateResponse(request, "admin/rotation/duty/duty.html", {
        **admin.admin_site.each_context(request),
        "title": duty.title,
        "opts": admin.opts,
        "duty": duty,
        **_context(request, duty, form),
    })  # fmt: skip


def _context(request: HttpRequest, duty: Duty, form: SignatureForm | None) -> dict[str, Any]:
    now, person = timezone.now(), request.user.pk or 0
    signatures = list(duty.signatures.select_related("person"))
    roles = open_roles(duty, signatures, person=person, own_roles=voting_roles(person))
    if form is None and roles:
        form = SignatureForm(roles=roles)
    return {
        "now": now,
        "due_chip": due_chip(duty, now),
        "state_chip": state_chip(duty.key.state),
        "what": WHAT[DutyKind(duty.kind)],
        "doer": doer(duty),
        "is_own": person == duty.done_by_id,
        "has_signed": any(one.person_id == person for one in signatures),
        "is_open": duty.state == DutyState.OPEN,
        "places": places(duty, signatures),
        "findings": sum(one.verdict == Verdict.FINDING for one in signatures),
        "form": form if roles else None,
    }


@requires_step_up
def sign(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Sign that one has looked, and what one found."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not admin.has_view_permission(request):
        raise PermissionDenied
    duty = get_object_or_404(Duty.objects.select_related("key"), pk=pk)
    form = SignatureForm(request.POST, roles=duties.SIGNING)
    if not form.is_valid():
        return page(admin, request, str(pk), form)
    said = form.cleaned_data
    try:
        done = duties.sign_duty(
            pk=pk,
            role=said["role"],
            verdict=Verdict(said["verdict"]),
            words=said["words"],
            actor=actor_of(request),
            now=timezone.now(),
        )
    except _NOT_THEIRS as error:
        _refused(request, duty, error)
        raise PermissionDenied(str(error)) from error
    except (RotationError, InventoryError) as error:
        form.add_error(None, str(error))
        return page(admin, request, str(pk), form)
    more = "It is closed." if done.state == DutyState.CLOSED else "It waits for the other signature."
    messages.success(request, f"You have signed for {said['role']}. {more}")
    return redirect("admin:rotation_duty_change", pk)


def _refused(request: HttpRequest, duty: Duty, error: RotationError) -> None:
    record_refusal(
        Action.DUTY_SIGNED,
        actor=actor_of(request),
        now=timezone.now(),
        subjects=[Subject(ref=duty.key.ref, label=duty.key.name)],
        facts={"duty": duty.ref, "refused": str(error)},
    )
