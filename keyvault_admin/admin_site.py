"""The admin site: a verified second factor and a role before anything else."""

from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminPasswordChangeForm
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django_otp.admin import OTPAdminSite

from audit.step_up import requires_step_up
from keyvault_admin.access.forms import SignInForm
from keyvault_admin.access.views import OwnPasswordView, SignInView, at_sign_in, why_signed_out
from keyvault_admin.dashboard import nav_counts, posture_context


class KeyvaultAdminSite(OTPAdminSite):  # type: ignore[misc]
    """The default site, mounted at the root. Being superuser opens no page."""

    site_header = site_title = "Keyvault Admin"
    index_title = "Today"
    login_form = SignInForm
    login_template = "admin/login.html"
    site_url = None

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        self.disable_action("delete_selected")

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether this is an active person, verified by a device of theirs, who has a role."""
        user: Any = request.user
        return bool(user.is_active and user.is_verified() and user.role_names)

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return what every page shows, with the figures of the navigation for whoever may see it."""
        counts = nav_counts(request) if self.has_permission(request) else {}
        return {**super().each_context(request), "nav_counts": counts}

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Show the sign-in page; as the admin's own, with our view behind it."""
        index = reverse("admin:index", current_app=self.name)
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(index)
        if (answer := at_sign_in(request)) is not None:
            return answer
        context = {**self.each_context(request), "title": "Sign in", "subtitle": None, "app_path": request.path}
        context["provider"] = settings.OIDC_NAME if settings.OIDC_ISSUER else ""
        context["why"] = why_signed_out(request.GET.get("why"))
        if REDIRECT_FIELD_NAME not in request.GET and REDIRECT_FIELD_NAME not in request.POST:
            context[REDIRECT_FIELD_NAME] = index
        view = SignInView.as_view(
            extra_context=context | (extra_context or {}),
            authentication_form=self.login_form,
            template_name=self.login_template,
        )
        return view(request)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the posture of the inventory."""
        page: TemplateResponse = super().index(request, {**posture_context(request), **(extra_context or {})})
        return page

    @requires_step_up
    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        """Let a verified person change their own password."""
        view = OwnPasswordView.as_view(
            form_class=AdminPasswordChangeForm,
            success_url=reverse("admin:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
            template_name="registration/password_change_form.html",
        )
        return view(request)
