"""The page that asks for the second factor once more, before something sensitive."""

from datetime import datetime

import django_otp
from django.conf import settings
from django.contrib import admin, auth, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods

from audit.actions import Action
from audit.actor import actor_of
from audit.services import Subject, record_refusal
from keyvault_admin.access import selectors, services
from keyvault_admin.access.challenges import STEP_UP, take_challenge
from keyvault_admin.access.forms import StepUpForm
from keyvault_admin.access.models import Ending, Passkey, TotpDevice
from keyvault_admin.access.returning import safe_path
from keyvault_admin.access.views.pieces import person_of
from keyvault_admin.access.views.sign_in import VERIFIED_KEY


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters("code")
@sensitive_variables()
def step_up(request: HttpRequest) -> HttpResponse:
    """Ask for a code, then go on to where the person wanted to go. Too many wrong ones end the session."""
    now = timezone.now()
    form = StepUpForm(request.POST or None)
    after = safe_path(request, request.POST.get("next") or request.GET.get("next", ""))
    was_unsent = "unsent" in request.GET or "unsent" in request.POST
    if request.method != "POST" and request.has_stepped_up:  # type: ignore[attr-defined]
        return redirect(after)  # who has signed in on the way here is not asked twice
    if form.is_valid():
        device = _device(request, form, now)
        if device is not None:
            remember_verification(request, device, now)
            if was_unsent:
                messages.success(request, "It is you. What you had entered was not sent: please do it once more.")
            return redirect(after)
        left = _tries_left(request)
        if left <= 0:
            return _end(request, after, now)
        form.add_error("code", _refusal(left))
    return render(request, "access/step_up.html", {
        **admin.site.each_context(request),
        "title": "Confirm that it is you",
        "form": form,
        "next": after,
        "is_unsent": was_unsent,
        "has_passkey": person_of(request).passkeys.filter(confirmed=True).exists(),
        "minutes": int(settings.STEP_UP_LIFETIME.total_seconds() // 60),
    })  # fmt: skip


@sensitive_variables()
def _device(request: HttpRequest, form: StepUpForm, now: datetime) -> TotpDevice | Passkey | None:
    """Return the device that accepts what was shown; leave an event either way."""
    actor = actor_of(request)
    answer = form.cleaned_data["assertion"]
    challenge = take_challenge(request, purpose=STEP_UP, now=now) if answer else None
    device = services.verify_session(
        person=person_of(request),
        session_key=request.session.session_key or "",
        code=form.cleaned_data["code"],
        answer=answer,
        challenge=challenge,
        actor=actor,
        now=now,
    )
    if device is None:
        record_refusal(Action.SESSION_VERIFIED, actor=actor, now=now, subjects=[Subject(ref=actor.id)])
    return device


def remember_verification(request: HttpRequest, device: TotpDevice | Passkey, now: datetime) -> None:
    """Let the session count as verified by this device from now on, under a new id."""
    request.session[VERIFIED_KEY] = now.isoformat()
    django_otp.login(request, device)
    request.session.cycle_key()


def _tries_left(request: HttpRequest) -> int:
    """Return how many wrong codes the session stands; none when it was ended meanwhile."""
    session = selectors.session_of(request.session.session_key or "")
    return settings.STEP_UP_TRIES - session.wrong_codes if session else 0


def _refusal(left: int) -> str:
    tries = "one more wrong code" if left == 1 else f"{left} more wrong codes"
    return f"This code does not fit. Each works once: wait for the next one. After {tries} you are signed out."


def _end(request: HttpRequest, after: str, now: datetime) -> HttpResponse:
    """End the session whose owner cannot show the second factor."""
    session = selectors.session_of(request.session.session_key or "")
    if session is not None:
        services.end_finished(session=session, ending=Ending.CODES, actor=actor_of(request), now=now)
    request.session.flush()
    query = {auth.REDIRECT_FIELD_NAME: after, "why": Ending.CODES.value}
    return redirect(reverse("admin:login", query=query))
