"""Pages of an enrolment."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.auth import logout
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import FormView

from audit.actor import Actor, actor_of, signed_in
from keyvault_admin.access import selectors, services
from keyvault_admin.access.errors import LinkRefusedError
from keyvault_admin.access.forms import EnrolmentForm, TokenForm
from keyvault_admin.access.models import EnrolmentLink
from keyvault_admin.access.services import Enrolment
from keyvault_admin.access.views.pieces import address_of
from keyvault_admin.access.views.seed import seed_context
from keyvault_admin.access.views.too_many import too_many_tries

LINK_KEY = "enrolment_link"  # session: the link that this visitor has shown


@method_decorator(sensitive_post_parameters("token"), name="dispatch")
class ShowLinkView(FormView):
    """First page of an enrolment: the visitor shows the link, whose token never stood in an address we receive."""

    form_class = TokenForm
    template_name = "access/show_link.html"

    @sensitive_variables()
    def form_valid(self, form: TokenForm) -> HttpResponse:
        address, now = address_of(self.request), timezone.now()
        if services.count_try(services.DOOR_ENROLMENT, address=address, now=now) is None:
            return too_many_tries(self.request)
        try:
            link = services.begin_enrolment(token=form.cleaned_data["token"], now=now)
        except LinkRefusedError as error:
            form.add_error("token", str(error))
            return self.form_invalid(form)
        services.forget_tries(services.DOOR_ENROLMENT, address=address)
        logout(self.request)  # whoever was signed in here, the link's person goes on in a session of their own
        self.request.session[LINK_KEY] = link.pk
        return redirect("enrol-factor")

    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401
        return super().get_context_data(**_bare_page(self.request), **context)


@sensitive_post_parameters("code", "password", "repeated")
@sensitive_variables()
def set_up_factor(request: HttpRequest) -> HttpResponse:
    """Second page: the seed to scan, the first code, and a password for who has none; then the recovery codes, once.

    The codes stand in the answer to the form, so no address leads to them and no session holds them.
    """
    now = timezone.now()
    link = selectors.open_link(request.session.get(LINK_KEY, 0), now)
    device = selectors.pending_device(link.user) if link else None
    if link is None or device is None:
        return redirect("enrol")
    form = EnrolmentForm(request.POST or None, asks_password=not link.user.has_usable_password())
    enrolment = _completed(request, link, form, now) if form.is_valid() else None
    if enrolment is not None:
        request.session.flush()
        page = {**_bare_page(request), "title": "Your recovery codes", "is_new": True, "person": link.user}
        return render(request, "access/recovery_codes.html", {**page, "codes": enrolment.recovery_codes})
    page = {**_bare_page(request), "person": link.user, "form": form, **seed_context(link.user, device)}
    return render(request, "access/set_up_factor.html", page)


@sensitive_variables()
def _completed(request: HttpRequest, link: EnrolmentLink, form: EnrolmentForm, now: datetime) -> Enrolment | None:
    try:
        enrolment = services.complete_enrolment(
            link_id=link.pk,
            code=form.cleaned_data["code"],
            password=form.cleaned_data.get("password", ""),
            actor=_bearer(request, link, now),
            now=now,
        )
    except LinkRefusedError as error:
        form.add_error(None, str(error))
        return None
    except ValidationError as error:
        form.add_error("password", error)
        return None
    if enrolment is None:
        form.add_error("code", "That is not the code of now. Check the clock of your device and type the next one.")
    return enrolment


def _bearer(request: HttpRequest, link: EnrolmentLink, now: datetime) -> Actor:
    return replace(signed_in(actor_of(request), link.user), verified_by=link.ref, verified_at=now)


def _bare_page(request: HttpRequest) -> dict[str, Any]:
    """Return what the theme needs for a page without navigation, whoever looks at it."""
    return {**admin.site.each_context(request), "has_permission": False, "title": "Set up your sign-in"}
