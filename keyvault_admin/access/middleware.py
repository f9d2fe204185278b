"""How long a session lives, and the doors that ask for a second factor of the last minutes."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from audit.actor import Actor, actor_of
from audit.step_up import StepUpNeededError, declares_step_up
from keyvault_admin.access import selectors, services
from keyvault_admin.access.models import Ending
from keyvault_admin.access.returning import SAFE_METHODS, page_behind

GetResponse = Callable[[HttpRequest], HttpResponse]


class SessionLimitsMiddleware:
    """Ends a session that is over, by the row of the server and whatever the cookie says; stands before who is asked.

    Queries for somebody signed in: one, and once a minute another. Where the answer then is "sign in", it says why.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        ending = _ending(request, timezone.now())
        response = self.get_response(request)
        return response if ending is None else _with_reason(request, response, ending)


def _ending(request: HttpRequest, now: datetime) -> Ending | None:
    """Return why the session of this request is over; None while it lives, and for who never had one."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None
    claimed = request.session.get(auth.SESSION_KEY)
    if request.session.session_key is None:  # reading it found nothing
        return Ending.ENDED
    if claimed is None:  # with an enrolment link, or half signed in by single sign-on
        return None
    session = selectors.session_of(request.session.session_key)
    if session is None or str(session.person_id) != claimed:  # signed in past our door
        request.session.flush()
        return Ending.ENDED
    ending = session.over(now)
    if ending is not None:
        services.end_finished(session=session, ending=ending, actor=Actor.system("web"), now=now)
        request.session.flush()
    elif session.is_to_be_seen(now):
        services.see_session(pk=session.pk, now=now)
    return ending


def _with_reason(request: HttpRequest, response: HttpResponse, ending: Ending) -> HttpResponse:
    """Tell the sign-in page why, and lead back to a page, never to a form that was sent."""
    target = urlsplit(response.get("Location", ""))
    if target.path != reverse("admin:login"):
        return response
    query = QueryDict(target.query, mutable=True)
    query["why"] = ending.value
    if request.method not in SAFE_METHODS:
        query[auth.REDIRECT_FIELD_NAME] = page_behind(request)
    response["Location"] = f"{target.path}?{query.urlencode(safe='/')}"
    return response


class StepUpMiddleware:
    """Sends whoever comes to a sensitive door without a fresh second factor to the page that asks for one.

    A door that declares it is recognised before it is entered; one whose declaration is hidden refuses by itself, and
    is recognised by that. What was sent to such a door is neither kept nor sent again.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.has_stepped_up = is_fresh(actor_of(request).verified_at, timezone.now())  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> HttpResponse | None:  # noqa: ANN401 - Django's signature
        if request.has_stepped_up or not declares_step_up(view):  # type: ignore[attr-defined]
            return None
        return _ask(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return _ask(request) if isinstance(error, StepUpNeededError) else None


def is_fresh(verified_at: datetime | None, now: datetime) -> bool:
    """Whether a check of the second factor is five minutes old at most, and not of the future."""
    if verified_at is None:
        return False
    return -settings.CLOCK_SKEW <= now - verified_at <= settings.STEP_UP_LIFETIME


def _ask(request: HttpRequest) -> HttpResponse:
    """Lead to sign-in who is not signed in with a second factor at all, everybody else to the step-up page."""
    user: Any = request.user
    page = page_behind(request)
    if not (user.is_authenticated and user.is_verified()):
        return redirect_to_login(page)
    query = {auth.REDIRECT_FIELD_NAME: page}
    if request.method not in SAFE_METHODS:
        query["unsent"] = "1"
    return redirect(f"{reverse('account-step-up')}?{urlencode(query, safe='/')}")
