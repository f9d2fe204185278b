"""Sign-in events become events of the log: the only signal receivers of the project."""

from dataclasses import replace
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from audit import services
from audit.actions import Action
from audit.actor import Actor, signed_in
from audit.services import Subject


@receiver(user_logged_in)
def record_session_opened(request: HttpRequest | None, user: Any, **_: Any) -> None:  # noqa: ANN401 - Django's signature
    """Record a sign-in in the person's own name; without its event there is no session."""
    now = timezone.now()
    actor = signed_in(_sender(request), user)
    with transaction.atomic():
        services.record(
            Action.SESSION_OPENED,
            actor=replace(actor, verified_at=now) if actor.verified_by else actor,
            now=now,
            subjects=[Subject(ref=user.ref)],
        )


@receiver(user_logged_out)
def record_session_closed(request: HttpRequest | None, user: Any, **_: Any) -> None:  # noqa: ANN401 - Django's signature
    """Record a sign-out; the sign-out of somebody who was not signed in is none."""
    if user is None or not user.is_authenticated:
        return
    sender = _sender(request)
    with transaction.atomic():
        services.record(
            Action.SESSION_CLOSED,
            actor=sender if sender.kind == "person" else signed_in(sender, user),
            now=timezone.now(),
            subjects=[Subject(ref=user.ref)],
        )


@receiver(user_login_failed)
def record_session_refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:  # noqa: ANN401 - Django's signature
    """Record a refused sign-in; what was typed is kept only by the reference of the person it names.

    A try at a door that was shut already (`request.try_number` is None) leaves none: that it was shut is recorded once,
    and nobody fills a log from outside that can never be emptied.
    """
    if getattr(request, "try_number", 0) is None:
        return
    person = _person_named(credentials)
    services.record_refusal(
        Action.SESSION_REFUSED,
        actor=_sender(request),
        now=timezone.now(),
        subjects=[Subject(ref=person.ref)] if person else [],
    )


def _sender(request: HttpRequest | None) -> Actor:
    """Return the request's actor; nobody in particular where a command or test signs somebody in without a request."""
    actor = getattr(request, "actor", None)
    return actor if isinstance(actor, Actor) else Actor(kind="anonymous", id="anonymous")


def _person_named(credentials: dict[str, Any]) -> Any:  # noqa: ANN401 - access owns the model; audit must not import it
    model = get_user_model()
    typed = credentials.get(model.USERNAME_FIELD) or credentials.get("username") or ""
    try:
        person = model._default_manager.get_by_natural_key(typed)
    except model.DoesNotExist:
        return None
    return person if person.is_active else None
