"""What people do with DEKs: have one made, say that data was re-encrypted, confirm that a handed-out copy is gone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit.actor import actor_of
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from inventory.forms import ReasonForm
from inventory.models import DekVersion, HandOut, Key
from inventory.services import deks
from rotation import orders
from rotation.custody_pages.acts import askable
from rotation.custody_pages.dek_forms import NewDekForm, ReencryptedForm
from rotation.custody_selectors.rows import unread
from rotation.errors import RotationError
from rotation.models import Act
from rotation.tasks import nudge_order

LIST = "admin:inventory_dekversion_changelist"


@dataclass(frozen=True)
class Page:
    """What a form page says: title, what the act means, the words on its button, and where it leads back to."""

    title: str
    consequence: str
    verb: str
    back: str
    crumbs: tuple[tuple[str, str], ...]


def new_dek(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Have a DEK made."""
    if not request.user.has_perm("inventory.create_dek"):
        raise PermissionDenied
    form = NewDekForm(request.POST or None)
    page = Page(
        "New DEK",
        "The worker draws 256 bits, has the key store wrap them, and keeps the wrapped form alone. Nobody's vote is "
        "needed, and nobody sees the key.",
        "Have it made",
        reverse(LIST),
        (("Tenants and integrations", reverse(LIST)),),
    )

    def act() -> tuple[str, str, int]:
        now = timezone.now()
        with transaction.atomic():
            deks.check_new_dek(deks.facts_from(form.parameters, now=now), now)
            order = orders.open_order(
                act=Act.NEW_DEK,
                key=None,
                parameters=form.parameters,
                permit=None,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
                now=now,
            )
            transaction.on_commit(partial(nudge_order, order.pk), robust=True)
        return "It is ordered.", "admin:rotation_order_change", order.pk

    return _form_page(admin, request, form, page, act)


@requires_step_up
def confirm_reencrypted(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Say that nothing is encrypted under an old version any more, which asks to have its bytes cleared."""
    found = DekVersion.objects.select_related("key__owner", "version")
    version = get_object_or_404(found, pk=pk)
    if not may_clear(request, version.key):
        raise PermissionDenied
    form, key = ReencryptedForm(request.POST or None), version.key
    page = _page_of(
        key,
        f"Nothing is encrypted under version {version.number} any more",
        "Your word is kept with your name, and opens a request to clear the wrapped bytes of that version. Once others "
        "have approved it, whatever is still encrypted under it can never be read again.",
        "Confirm, and ask to clear it",
    )

    def act() -> tuple[str, str, int]:
        said = form.cleaned_data
        _, asked = deks.confirm_reencrypted(
            dek=key.pk,
            number=version.number,
            evidence=said["evidence"],
            actor=actor_of(request),
            reason=said["reason"],
            now=timezone.now(),
        )
        return "Noted. The request waits for votes.", "admin:rotation_request_change", asked.pk

    return _form_page(admin, request, form, page, act)


@requires_step_up
def confirm_hand_out(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Say that a service uses the copy no more that it was handed."""
    if not request.user.has_perm("inventory.hand_out_dek"):
        raise PermissionDenied
    rows = HandOut.objects.select_related("dek_version__key", "service", "kek_version__version")
    given = get_object_or_404(rows.defer(*unread("kek_version")), pk=pk)
    form, key = ReasonForm(request.POST or None), given.dek_version.key
    page = _page_of(
        key,
        f"{given.service} uses this copy no more",
        f"{given.service} was handed version {given.dek_version.number} of {key.name}, wrapped under version "
        f"{given.kek_version.version.number} of its KEK. Until this is confirmed that version of the KEK stays.",
        "Confirm it",
    )

    def act() -> tuple[str, str, int]:
        deks.confirm_hand_out(pk=pk, actor=actor_of(request), reason=form.cleaned_data["reason"], now=timezone.now())
        return "It is confirmed.", "admin:inventory_key_change", key.pk

    return _form_page(admin, request, form, page, act)


def may_clear(request: HttpRequest, key: Key) -> bool:
    """Whether somebody may ask that bytes of this DEK be cleared: by role, or as its owner."""
    roles = getattr(request.user, "role_names", ())
    owns = key.owner is not None and key.owner.is_active and key.owner.user_id == request.user.pk and bool(roles)
    return request.user.has_perm("inventory.view_key") and (deks.CLEAR in askable(roles) or owns)


def _page_of(key: Key, title: str, consequence: str, verb: str) -> Page:
    url = reverse("admin:inventory_key_change", args=[key.pk])
    crumbs = (("Inventory", reverse("admin:inventory_key_changelist")), (key.name, url))
    return Page(title, consequence, verb, url, crumbs)


def _form_page(
    admin: ModelAdmin,
    request: HttpRequest,
    form: Any,  # noqa: ANN401 - any form
    page: Page,
    act: Callable[[], tuple[str, str, int]],
) -> HttpResponse:
    """Show a form; when it is sent and the service agrees, lead on to what came of it, else say why not."""
    if request.method == "POST" and form.is_valid():
        try:
            said, view, pk = act()
        except (InventoryError, RotationError) as error:
            form.add_error(None, str(error))
        except ValidationError as error:
            form.add_error(None, error.messages)
        else:
            messages.success(request, said)
            return redirect(view, pk)
    return TemplateResponse(request, "admin/rotation/custody/form.html", {
        **admin.admin_site.each_context(request),
        "title": page.title,
        "opts": admin.opts,
        "form": form,
        "page": page,
    })  # fmt: skip
