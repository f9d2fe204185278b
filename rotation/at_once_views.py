"""The pages by which one person acts at once. Each says first what will happen, and asks for a second factor."""

from collections.abc import Callable

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.step_up import requires_step_up
from inventory.chips import state_chip
from inventory.forms import ReasonForm
from inventory.models import Key
from inventory.states import State
from inventory.views import Page, form_page, key_for
from rotation import at_once


@requires_step_up
def suspend(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Suspend a key at once."""
    key = key_for(request, pk, "suspend_key")
    page = Page(
        f"Suspend {key.name}",
        "From now on the key must not protect anything new. Nothing is switched off where it is kept: tell the "
        "services that use it. Somebody else looks at it within 24 hours; taking it back into use needs two people.",
        "Suspend it now",
        state_chip(State.SUSPENDED),
    )
    return _at_once(admin, request, key, page, at_once.suspend, "is suspended")


def _at_once(
    admin: ModelAdmin, request: HttpRequest, key: Key, page: Page, service: Callable[..., Key], done: str
) -> HttpResponse:
    form = ReasonForm(request.POST or None)

    def act() -> Key:
        reason = form.cleaned_data["reason"]
        return service(pk=key.pk, actor=actor_of(request), reason=reason, now=timezone.now())

    return form_page(admin, request, form, page, act, done, key)
