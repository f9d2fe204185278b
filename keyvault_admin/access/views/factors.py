"""Pages of one's own second factors."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import FormView, TemplateView

from audit.actor import actor_of
from audit.step_up import StepUpMixin
from keyvault_admin.access import openid, passkeys, selectors, services
from keyvault_admin.access.challenges import REGISTER, take_challenge
from keyvault_admin.access.errors import FactorGoneError, LastFactorError, PasskeyRefusedError
from keyvault_admin.access.forms import AppForm, PasskeyForm
from keyvault_admin.access.models import Passkey, TotpDevice
from keyvault_admin.access.views.own import OwnPageMixin
from keyvault_admin.access.views.seed import seed_context

APP_KEY = "app_to_confirm"  # session: the app that this session has begun to add; no other session sees its seed
KINDS = {"totp": "authenticator app", "passkey": "passkey"}


class FactorsView(OwnPageMixin, TemplateView):
    """What one can sign in with, when each was used last, and what one can do about it."""

    title = "Second factors"
    template_name = "access/factors.html"

    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401
        verified_by = self.person.otp_device
        return super().get_context_data(
            factors=selectors.factors_of(self.person),
            here=verified_by.ref if verified_by else "",
            passkeys_possible=passkeys.are_possible(),
            provider=settings.OIDC_NAME if openid.is_configured() else "",
            link=selectors.links_of(self.person).first() if openid.is_configured() else None,
            **context,
        )


class NewAppView(OwnPageMixin, StepUpMixin):
    """Begins to add an authenticator app: draws a seed that this session alone is shown."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        request.session[APP_KEY] = services.begin_app(person=self.person).pk
        return redirect("factor-app")


@method_decorator(sensitive_post_parameters("code"), name="dispatch")
class AddAppView(OwnPageMixin, StepUpMixin, FormView):
    """Shows the seed to scan, and takes the first code."""

    title = "Add an authenticator app"
    form_class = AppForm
    template_name = "access/add_app.html"

    def instead(self) -> HttpResponseBase | None:
        return redirect("factors") if self._waiting() is None else None

    def _waiting(self) -> TotpDevice | None:
        device = selectors.pending_device(self.person)
        return device if device and device.pk == self.request.session.get(APP_KEY) else None

    @sensitive_variables()
    def form_valid(self, form: AppForm) -> HttpResponse:
        try:
            device = services.confirm_app(
                person=self.person,
                device_id=self.request.session[APP_KEY],
                name=form.cleaned_data["name"],
                code=form.cleaned_data["code"],
                keep=self.session_key,
                actor=actor_of(self.request),
                now=timezone.now(),
            )
        except FactorGoneError as error:
            messages.error(self.request, str(error))
            return redirect("factors")
        if device is None:
            form.add_error("code", "That is not the code of now. Check the clock of your device and type the next one.")
            return self.form_invalid(form)
        del self.request.session[APP_KEY]
        self.request.session.cycle_key()
        messages.success(self.request, f"“{device.name}” is added. The code you have just typed is used.")
        return redirect("factors")

    @sensitive_variables()
    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401
        device = self._waiting()
        shown = seed_context(self.person, device) if device else {}
        return super().get_context_data(**shown, **context)


@method_decorator(sensitive_post_parameters("creation"), name="dispatch")
class AddPasskeyView(OwnPageMixin, StepUpMixin, FormView):
    """Takes the passkey that a script has let the browser make."""

    title = "Add a passkey"
    form_class = PasskeyForm
    template_name = "access/add_passkey.html"
    success_url = reverse_lazy("factors")

    def form_valid(self, form: PasskeyForm) -> HttpResponse:
        now = timezone.now()
        try:
            passkey = services.register_passkey(
                person=self.person,
                name=form.cleaned_data["name"],
                answer=form.cleaned_data["creation"],
                challenge=take_challenge(self.request, purpose=REGISTER, now=now),
                keep=self.session_key,
                actor=actor_of(self.request),
                now=now,
            )
        except PasskeyRefusedError as error:
            form.add_error(None, str(error))
            return self.form_invalid(form)
        self.request.session.cycle_key()
        messages.success(self.request, f"The passkey “{passkey.name}” is added.")
        return super().form_valid(form)

    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401
        return super().get_context_data(passkeys_possible=passkeys.are_possible(), **context)


class RemoveFactorView(OwnPageMixin, StepUpMixin, TemplateView):
    """Says what a removal means, and removes."""

    template_name = "access/remove_factor.html"

    def instead(self) -> HttpResponseBase | None:
        if self._factor() is not None:
            return None
        messages.error(self.request, str(FactorGoneError()))
        return redirect("factors")

    def _factor(self) -> TotpDevice | Passkey | None:
        mine = selectors.factors_of(self.person)
        factors: list[TotpDevice | Passkey] = [*mine.apps, *mine.passkeys]
        return next((factor for factor in factors if factor.ref == self._ref), None)

    @property
    def _ref(self) -> str:
        return f"{self.kwargs['kind']}:{self.kwargs['pk']}"

    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401
        factor = self._factor()
        verified_by = self.person.otp_device
        shown = {
            "title": f"Remove “{factor.name}”" if factor else "",
            "factor": factor,
            "kind": KINDS[self.kwargs["kind"]],
            "is_last": selectors.factors_of(self.person).is_one,
            "is_here": bool(verified_by and verified_by.ref == self._ref),
        }
        return super().get_context_data(**{**context, **shown})

    def post(self, request: HttpRequest, **_: Any) -> HttpResponseBase:  # noqa: ANN401
        try:
            services.remove_factor(
                person=self.person, ref=self._ref, keep=self.session_key, actor=actor_of(request), now=timezone.now()
            )
        except (FactorGoneError, LastFactorError) as error:
            messages.error(request, str(error))
        else:
            request.session.cycle_key()
            messages.success(request, "It is removed and opens nothing any more.")
        return redirect("factors")


class RecoveryCodesView(OwnPageMixin, StepUpMixin, TemplateView):
    """Makes new recovery codes and shows them in the answer itself: no address leads to them."""

    title = "New recovery codes"
    template_name = "access/new_recovery_codes.html"

    @sensitive_variables()
    def post(self, request: HttpRequest) -> HttpResponseBase:
        codes = services.make_recovery_codes(
            person=self.person, keep=self.session_key, actor=actor_of(request), now=timezone.now()
        )
        request.session.cycle_key()
        self.template_name, self.title = "access/recovery_codes.html", "Your recovery codes"
        return self.render_to_response(self.get_context_data(codes=codes, person=self.person))
