"""The page where people see in which browsers they are signed in, and end what they do not know."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from audit.actor import actor_of
from audit.step_up import requires_step_up
from keyvault_admin.access import agents, selectors, services
from keyvault_admin.access.models import PersonSession
from keyvault_admin.access.models.sessions import stored_key
from keyvault_admin.access.views.pieces import person_of

FACTORS = {
    "totp": "authenticator app",
    "passkey": "passkey",
    "recovery": "recovery code",
    "sso": "single sign-on",
}  # by the kind in the reference of the device


@dataclass(frozen=True)
class Line:
    """One session, in words."""

    pk: int
    browser: str
    address: str
    verified_by: str
    opened_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    is_this: bool


@require_safe
def own_sessions(request: HttpRequest) -> HttpResponse:
    """Show where the person is signed in, this browser first. Queries: 1, and those of every page."""
    this = stored_key(request.session.session_key or "")
    lines = [_line(session, this) for session in selectors.open_sessions(person_of(request), timezone.now())]
    return render(request, "access/sessions.html", {
        **admin.site.each_context(request),
        "title": "Your sessions",
        "lines": sorted(lines, key=lambda line: not line.is_this),
        "has_others": any(not line.is_this for line in lines),
        "idle_minutes": int(settings.SESSION_IDLE.total_seconds() // 60),
        "hours": int(settings.SESSION_ABSOLUTE.total_seconds() // 3600),
    })  # fmt: skip


def _line(session: PersonSession, this: str) -> Line:
    address, agent = session.origin()
    kind = session.verified_by.partition(":")[0]
    return Line(
        pk=session.pk,
        browser=agents.in_words(agent),
        address=address or "unknown",
        verified_by=FACTORS.get(kind, kind) or "nothing",
        opened_at=session.opened_at,
        last_seen_at=session.last_seen_at,
        ends_at=session.opened_at + settings.SESSION_ABSOLUTE,
        is_this=session.session_id == this,
    )


@requires_step_up
@require_POST
def end_own_session(request: HttpRequest, pk: int) -> HttpResponse:
    """End one session of the person. This one ends by signing out."""
    this = selectors.session_of(request.session.session_key or "")
    if this is not None and this.pk == pk:
        messages.info(request, "This is the session that you are in: sign out to end it.")
        return redirect("account-sessions")
    was_there = services.end_session(
        person=person_of(request), pk=pk, reason="by hand", actor=actor_of(request), now=timezone.now()
    )
    if was_there:
        messages.success(request, "That browser is signed out.")
    else:
        messages.info(request, "That session is over already.")
    return redirect("account-sessions")


@requires_step_up
@require_POST
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """End every session of the person but this one."""
    count = services.end_sessions(
        person=person_of(request),
        reason="by hand",
        actor=actor_of(request),
        now=timezone.now(),
        keep=request.session.session_key or "",
    )
    messages.success(request, f"{count} other session{pluralize(count)} ended. You stay signed in here.")
    return redirect("account-sessions")
