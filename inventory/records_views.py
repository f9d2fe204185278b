"""The pages that find a key by its material, and the report of services without one."""

from collections import Counter
from dataclasses import dataclass

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import actor_of
from audit.services import record_refusal
from audit.step_up import requires_step_up
from inventory import services
from inventory.chips import Chip, state_chip
from inventory.errors import TooManyLookupsError
from inventory.forms import DigestForm, TokenForm
from inventory.models import Key, Service
from inventory.models.service import TIERS
from inventory.selectors import uncovered_services
from inventory.terms import Classification
from inventory.views import Page, form_page, key_for


@requires_step_up
@sensitive_variables()
def find_token(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Find the record of a token that somebody found. The token comes by POST alone and is given back nowhere."""
    if not request.user.has_perm("inventory.find_token"):
        raise PermissionDenied
    request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]  # as Django's decorator does
    form = TokenForm(request.POST if request.method == "POST" else None)
    found: list[tuple[Key, Chip]] | None = None
    if request.method == "POST" and form.is_valid():
        actor, now = actor_of(request), timezone.now()
        try:
            keys = services.find_token(material=form.material, actor=actor, now=now)
        except TooManyLookupsError as error:
            record_refusal(Action.TOKEN_LOOKED_UP, actor=actor, now=now)
            form.add_error(None, str(error))
        else:
            found = [(key, state_chip(key.state)) for key in keys]
    context = {**admin.admin_site.each_context(request), "title": "Somebody found a token", "opts": admin.opts}
    context |= {"errors": form.errors, "is_asked": form.is_bound, "form": TokenForm(), "found": found}
    return TemplateResponse(request, "admin/inventory/key/find_token.html", context)


@requires_step_up
@sensitive_variables()
def register_digest(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Make a key findable by its material."""
    key = key_for(request, pk, "change_key")
    request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]
    form = DigestForm(request.POST if request.method == "POST" else None)
    page = Page(
        f"Make {key.name} findable",
        "Whoever finds the token later can then look up whose it is. What you enter is made into a keyed digest and "
        "dropped at once. Only what has at least 128 bits that nobody chose is accepted; passwords never are.",
        "Keep the digest",
    )

    @sensitive_variables()
    def act() -> Key:
        return services.register_material_digest(
            pk=pk,
            material=form.material,
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
            now=timezone.now(),
        )

    return form_page(admin, request, form, page, act, "can be found by its material", key)


@dataclass(frozen=True)
class Tier:
    """The services of one tier that no key is recorded for, and how many hold data of each class."""

    words: str
    services: list[Service]
    classes: list[tuple[str, int]]


def uncovered(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Report the services without a key record, by tier and class of data. Queries: 1, and those of every page."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    found = uncovered_services()
    tiers = [_tier(words, [service for service in found if service.tier == tier]) for tier, words in _TIERS]
    context = {**admin.admin_site.each_context(request), "title": "Services without a key record", "opts": admin.opts}
    context |= {"found_count": len(found), "tiers": [tier for tier in tiers if tier.services]}
    return TemplateResponse(request, "admin/inventory/service/uncovered.html", context)


_TIERS: list[tuple[int | None, str]] = [*((tier, f"Tier {words}") for tier, words in TIERS), (None, "No tier recorded")]


def _tier(words: str, found: list[Service]) -> Tier:
    held = Counter(name for service in found for name in service.data_classes)
    classes = [(str(choice.label), held[choice]) for choice in reversed(Classification) if held[choice]]
    unknown = sum(not service.data_classes for service in found)
    return Tier(words, found, classes + ([("of no recorded class", unknown)] if unknown else []))
