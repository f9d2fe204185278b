"""The page of an order to a key store: what was decided, and how far the worker is."""

from collections.abc import Callable
from functools import partial

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import capfirst

from audit.actor import actor_of
from audit.step_up import requires_step_up
from inventory.errors import InventoryError
from inventory.forms import ReasonForm
from rotation import orders
from rotation.custody_pages.orders import order_name, order_steps, parameters_in_words
from rotation.custody_pages.wording import order_chip
from rotation.custody_selectors.rows import order_of
from rotation.errors import RotationError
from rotation.models import Act, Order, OrderState
from rotation.operations.showing import visible
from rotation.tasks import nudge_order

WAITED_FOR = (OrderState.WAITING, OrderState.DOING)
REFRESH_SECONDS = 5  # without a script
_KEKS = (Act.CREATE, Act.LINK, Act.ROTATE, Act.DISABLE, Act.SCHEDULE, Act.PURGE, Act.RECOVER)
_LONGEST_NUMBER = 18


def page(admin: ModelAdmin, request: HttpRequest, pk: str, form: ReasonForm | None = None) -> HttpResponse:
    """Show an order step by step. Queries: 1 of its own, and those by which records are named."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    order = _order(pk)
    decides = may_decide(request)
    return TemplateResponse(request, "admin/rotation/order/order.html", {
        **admin.admin_site.each_context(request),
        "title": capfirst(order.get_act_display()),
        "opts": admin.opts,
        "order": order,
        "name": visible(order_name(order)),
        "is_of_kek": order.act in _KEKS,
        "chip": order_chip(order),
        "steps": order_steps(order),
        "parameters": [(name, visible(text)) for name, text in parameters_in_words(order.parameters)],
        "is_waiting": order.state in WAITED_FOR,
        "may_retry": decides and order.state == OrderState.FAILED,
        "may_cancel": decides and order.state in {OrderState.FAILED, OrderState.WAITING},
        "form": form or ReasonForm(),
        "refresh_seconds": REFRESH_SECONDS,
    })  # fmt: skip


def may_decide(request: HttpRequest) -> bool:
    """Whether it is theirs to have an order tried again or cancelled: the service asks for a role once more."""
    return request.user.has_perm("rotation.run_rewrapjob")


def _order(pk: str | int) -> Order:
    text = str(pk)
    found = order_of(int(text)) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else None
    if found is None:
        raise Http404("There is no such order.")
    return found


def progress(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Say how far the worker is, for the page that waits for it."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    order = _order(pk)
    current = [step.words for step in order_steps(order) if step.mark == "run"]
    step = current[-1] if current else order_chip(order).words
    return JsonResponse({"is_waiting": order.state in WAITED_FOR, "done": 0, "of": 0, "step": step})


@requires_step_up
def retry(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Have an order tried again that failed."""
    return _decide(admin, request, pk, orders.retry, "It is tried again. The worker looks at the store first.")


@requires_step_up
def cancel(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Give an order up."""
    return _decide(admin, request, pk, orders.cancel, "It is cancelled. What was done in the store stays there.")


def _decide(admin: ModelAdmin, request: HttpRequest, pk: int, service: Callable[..., Order], done: str) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not admin.has_view_permission(request):
        raise PermissionDenied
    if not may_decide(request):
        raise PermissionDenied
    _order(pk)
    form = ReasonForm(request.POST)
    if form.is_valid():
        try:
            order = service(pk=pk, actor=actor_of(request), reason=form.cleaned_data["reason"], now=timezone.now())
        except (RotationError, InventoryError) as error:
            form.add_error(None, str(error))
        else:
            if order.state == OrderState.WAITING:
                transaction.on_commit(partial(nudge_order, pk), robust=True)
            messages.success(request, done)
            return redirect("admin:rotation_order_change", pk)
    return page(admin, request, str(pk), form)
