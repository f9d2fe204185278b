"""The pages on which guarded operations are decided: one request, a listed batch of them, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import actor_of
from audit.services import Subject, record_refusal
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from rotation import approvals, requests
from rotation.approval_forms import DecisionForm, TogetherForm, VoteForm, WhyForm
from rotation.approval_wording import Shown, listed, shown
from rotation.approvals import Ballot, Proof, batch_digest
from rotation.errors import (
    ExcludedError,
    NoStepError,
    NotRequesterError,
    NotRetryingError,
    OwnRequestError,
    RotationError,
)
from rotation.models import Request, RequestState
from rotation.operations import operation_of
from rotation.tasks import nudge_request

MOST_TOGETHER = 50
_NUMBER_DIGITS = 18
# The page offered none of these, so whoever sends one is told no, and leaves a trace.
_NOT_THEIRS = (ExcludedError, NoStepError, NotRequesterError, NotRetryingError, OwnRequestError)


@dataclass(frozen=True)
class Sent:
    """A form that was refused, as it was filled."""

    vote: VoteForm | None = None
    why: WhyForm | None = None


def decision(admin: ModelAdmin, request: HttpRequest, pk: str, sent: Sent | None = None) -> HttpResponse:
    """Show what will happen and whose votes it has; to whom it belongs, what they may do now.

    Queries: 7 of its own, and those by which the operation looks at the records as they are.
    """
    if not admin.has_view_permission(request):
        raise PermissionDenied
    asked = get_object_or_404(_requests(), pk=pk if pk.isdecimal() else None)
    sent, page = sent or Sent(), _shown(request, asked)
    return TemplateResponse(request, "admin/rotation/request/decision.html", {
        **admin.admin_site.each_context(request),
        "title": page.description.title,
        "opts": admin.opts,
        "asked": asked,
        "shown": page,
        "digest": bytes(asked.digest).hex(),
        "text": bytes(asked.payload).decode(),
        "form": sent.vote or VoteForm(),
        "why": sent.why or WhyForm(),
        "has_passkey": page.mine and _has_passkey(request),
        "refresh_seconds": 5,
    })  # fmt: skip


def _requests() -> QuerySet[Request]:
    return Request.objects.select_related("requested_by", "key").prefetch_related("requested_by__groups")


def _shown(request: HttpRequest, asked: Request) -> Shown:
    return shown(asked, person=request.user.pk or 0, roles=_roles(request), now=timezone.now())


def _roles(request: HttpRequest) -> tuple[str, ...]:
    return tuple(getattr(request.user, "role_names", ())) if request.user.pk else ()


def to_vote_on(request: HttpRequest, now: datetime) -> QuerySet[Request]:
    """Return what waits for the vote of who looks, and can still be voted on. No query by itself."""
    return requests.waiting_for(request.user.pk or 0, _roles(request)).filter(expires_at__gt=now)


def _has_passkey(request: HttpRequest) -> bool:
    held: Any = request.user
    return bool(held.passkeys.filter(confirmed=True).exists())


@sensitive_variables()
def vote(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Approve or reject what the page showed. No step-up: the vote brings its own second factor."""
    asked = _sent_to(admin, request, pk)
    if isinstance(asked, HttpResponse):
        return asked
    form, now = VoteForm(request.POST), timezone.now()
    if form.is_valid():
        digest = form.cleaned_data["digest"]
        cast = partial(
            approvals.vote,
            pk=pk,
            digest=digest,
            approves=form.approves,
            comment=form.cleaned_data["comment"],
            proof=_proof(request, form, digest, now),
            actor=actor_of(request),
            now=now,
        )
        if _done(request, [asked], form, cast):
            _hurry([pk])
            messages.success(request, _said(asked, form))
            return redirect("admin:rotation_request_change", pk)
    _tell_of_hidden(form, "digest")
    return decision(admin, request, str(pk), Sent(vote=form))


def _said(asked: Request, form: DecisionForm) -> str:
    if not form.approves:
        return f"You have rejected it: {asked.title}. Nothing is changed, and whoever asked is told why."
    return f"You have approved it: {asked.title}."


def _hurry(pks: Sequence[int]) -> None:
    """Nudge the worker to what has all its votes now; a nudge that fails only makes it wait for the beat."""
    approved = Request.objects.filter(pk__in=pks, state=RequestState.APPROVED).values_list("pk", "operation")
    for pk, code in approved:
        if not operation_of(code).at_machine:
            transaction.on_commit(partial(nudge_request, pk), robust=True)


@sensitive_variables()
def _proof(request: HttpRequest, form: DecisionForm, digest: bytes, now: datetime) -> Proof:
    """Return the second factor that was shown for this digest; a passkey's answer with the challenge made for it."""
    answer = form.cleaned_data["answer"]
    take = import_string(settings.VOTE_CHALLENGE)
    challenge = take(request, digest=digest, now=now) if answer else None
    return Proof(code=form.cleaned_data["code"], answer=answer, challenge=challenge)


def _done(request: HttpRequest, asked: Sequence[Request], form: Form, act: Any) -> bool:  # noqa: ANN401 - a service
    """Ask a service; say whether it did it. What it refuses stands in the form and in the log.

    Raises: PermissionDenied for what the page had offered nobody like this person.
    """
    try:
        act()
    except ValidationError as error:
        form.add_error(None, error.messages)
        return False
    except (InventoryError, RotationError) as error:
        _refused(request, asked, error)
        if isinstance(error, _NOT_THEIRS):
            raise PermissionDenied(str(error)) from error
        form.add_error(None, str(error))
        return False
    return True


def _refused(request: HttpRequest, asked: Sequence[Request], error: Exception) -> None:
    record_refusal(
        Action.REQUEST_VOTED,
        actor=actor_of(request),
        now=timezone.now(),
        subjects=[Subject(ref=one.ref, label=one.title) for one in asked],
        facts={"refused": str(error)},
    )


def _tell_of_hidden(form: Form, *names: str) -> None:
    """Say above the form what is wrong with fields that nobody sees."""
    for name in (*names, "decision", "answer"):
        for sentence in form.errors.pop(name, []):
            form.add_error(None, sentence)


# A listed batch under one second factor


def together(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """List the requests that were ticked, all of them in words; one decision and one code is for all of them."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    if request.method == "POST":
        return _vote_together(admin, request)
    return _together_page(admin, request, _numbers(request.GET.get("requests", "")))


def _numbers(text: str) -> list[int]:
    found = [
        int(each) for each in text.split(",") if each.isascii() and each.isdecimal() and len(each) <= _NUMBER_DIGITS
    ]
    return list(dict.fromkeys(found))[:MOST_TOGETHER]


def _together_page(
    admin: ModelAdmin, request: HttpRequest, numbers: Sequence[int], form: TogetherForm | None = None
) -> HttpResponse:
    now = timezone.now()
    asked = list(_requests().filter(pk__in=numbers).order_by("expires_at", "pk"))
    votable = set(to_vote_on(request, now).filter(pk__in=numbers).values_list("pk", flat=True))
    chosen = [one for one in asked if one.pk in votable]
    ballots = [Ballot(pk=one.pk, digest=bytes(one.digest)) for one in chosen]
    return TemplateResponse(request, "admin/rotation/request/together.html", {
        **admin.admin_site.each_context(request),
        "title": "Decide together",
        "opts": admin.opts,
        "rows": [listed(one, now) for one in chosen],
        "left_out": [one for one in asked if one.pk not in votable],
        "ballots": ",".join(f"{ballot.pk}:{ballot.digest.hex()}" for ballot in ballots),
        "digest": batch_digest(ballots).hex() if ballots else "",
        "words": {"approve": f"Approve all {len(chosen)}", "reject": f"Reject all {len(chosen)}"},
        "form": form or TogetherForm(),
        "has_passkey": bool(chosen) and _has_passkey(request),
    })  # fmt: skip


@sensitive_variables()
def _vote_together(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]  # as Django's decorator does
    form, now = TogetherForm(request.POST), timezone.now()
    if not form.is_valid():
        _tell_of_hidden(form, "ballots")
        return _together_page(admin, request, _numbers_of(request), form)
    ballots = [Ballot(pk=pk, digest=digest) for pk, digest in form.cleaned_data["ballots"]]
    asked = list(Request.objects.filter(pk__in=[ballot.pk for ballot in ballots]).defer("payload"))
    cast = partial(
        approvals.vote_all,
        ballots=ballots,
        approves=form.approves,
        comment=form.cleaned_data["comment"],
        proof=_proof(request, form, batch_digest(ballots), now),
        actor=actor_of(request),
        now=now,
    )
    if not _done(request, asked, form, cast):
        return _together_page(admin, request, [ballot.pk for ballot in ballots], form)
    _hurry([ballot.pk for ballot in ballots])
    did = "approved" if form.approves else "rejected"
    messages.success(request, f"You have {did} {len(ballots)} request{'s' if len(ballots) != 1 else ''}.")
    return redirect("admin:rotation_request_changelist")


def _numbers_of(request: HttpRequest) -> list[int]:
    """Return the requests of a list that was sent, whatever else is wrong with it."""
    return _numbers(",".join(each.partition(":")[0] for each in request.POST.get("ballots", "").split(",")))


# After asking


def withdraw(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Take back what one has asked for."""
    return _with_reason(admin, request, pk, approvals.withdraw, "It is withdrawn. Nothing was changed.")


@requires_step_up
def retry(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Have a request carried out once more that was approved and failed."""
    return _with_reason(admin, request, pk, approvals.retry, "It is tried again.")


def _with_reason(admin: ModelAdmin, request: HttpRequest, pk: int, service: Any, done: str) -> HttpResponse:  # noqa: ANN401
    asked = _sent_to(admin, request, pk)
    if isinstance(asked, HttpResponse):
        return asked
    form = WhyForm(request.POST)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        act = partial(service, pk=pk, actor=actor_of(request), reason=reason, now=timezone.now())
        if _done(request, [asked], form, act):
            messages.success(request, done)
            return redirect("admin:rotation_request_change", pk)
    return decision(admin, request, str(pk), Sent(why=form))


def progress(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Say how far the worker is, for the page that waits for it."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    page = _shown(request, get_object_or_404(_requests(), pk=pk))
    return JsonResponse({"is_waiting": page.is_running, "done": 0, "of": 0, "step": page.outcome})


def _sent_to(admin: ModelAdmin, request: HttpRequest, pk: int) -> Request | HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not admin.has_view_permission(request):
        raise PermissionDenied
    request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]  # as Django's decorator does
    return get_object_or_404(_requests(), pk=pk)
