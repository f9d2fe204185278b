"""Pages of sign-in and of the change of one's own password."""

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth import logout, update_session_auth_hash
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.forms import BaseForm
from django.http import HttpResponse, HttpResponseRedirect
from django.utils import timezone

from audit.actor import actor_of
from keyvault_admin.access import selectors, services
from keyvault_admin.access.models import RecoverySheet, User

VERIFIED_KEY = "verified_at"  # session: when a second factor was last checked, ISO 8601


class SignInView(LoginView):
    """Opens a session with a new id, and writes down when the second factor was checked."""

    def form_valid(self, form: BaseForm) -> HttpResponse:
        if self.request.user.is_authenticated:
            logout(self.request)
        self.request.session[VERIFIED_KEY] = timezone.now().isoformat()
        answer = super().form_valid(form)  # type: ignore[arg-type]
        person = cast("User", self.request.user)
        if isinstance(person.otp_device, RecoverySheet):
            left = selectors.usable_codes(person).count()
            messages.warning(
                self.request,
                f"You used a recovery code; {left} are left. Is a device lost? Add another and remove the lost one "
                "under “Second factors”.",
            )
        return answer


class OwnPasswordView(PasswordChangeView):
    """Changes one's own password through the service; other sessions of the person end."""

    def form_valid(self, form: Any) -> HttpResponse:  # noqa: ANN401
        services.change_password(
            person=form.user,
            password=form.cleaned_data["new_password1"],
            actor=actor_of(self.request),
            now=timezone.now(),
        )
        update_session_auth_hash(self.request, form.user)
        return HttpResponseRedirect(str(self.get_success_url()))
