"""Pages of sign-in and of the change of one's own password."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone

from audit.actor import actor_of, signed_in
from keyvault_admin.access import selectors, services, throttle
from keyvault_admin.access.errors import SingleSignOnError
from keyvault_admin.access.models import Ending, Passkey, RecoverySheet, User
from keyvault_admin.access.views.pieces import address_of, person_of
from keyvault_admin.access.views.too_many import too_many_tries

BACKEND = "keyvault_admin.access.backends.RoleBackend"
VERIFIED_KEY = "verified_at"  # session: when a second factor was last checked, ISO 8601
NOT_BY_SINGLE_SIGN_ON = "single-sign-on"  # in the address of the sign-in page, beside the words of Ending


class SignInView(LoginView):
    """Opens a session with a new id, and writes down where, and when the second factor was checked."""

    def form_valid(self, form: BaseForm) -> HttpResponse:
        enter(self.request, form.get_user(), is_fresh=True, now=timezone.now())  # type: ignore[attr-defined]
        return HttpResponseRedirect(self.get_success_url())


def enter(request: HttpRequest, person: User, *, is_fresh: bool, now: datetime) -> None:
    """Sign in a person whose `otp_device` has verified them, in place of whoever was signed in here.

    Without `is_fresh` a sensitive door asks for a second factor at once.
    """
    if request.user.is_authenticated:
        logout(request)
    request.session.pop(VERIFIED_KEY, None)
    if is_fresh:
        request.session[VERIFIED_KEY] = now.isoformat()
    login(request, person, backend=BACKEND)
    actor = signed_in(actor_of(request), person)
    services.open_session(
        person=person,
        session_key=request.session.session_key or "",
        verified_by=actor.verified_by,
        actor=actor,
        now=now,
    )
    if isinstance(person.otp_device, Passkey):
        services.forget_tries(services.DOOR_PASSKEY, address=address_of(request))
    if isinstance(person.otp_device, RecoverySheet):
        left = selectors.usable_codes(person).count()
        messages.warning(
            request,
            f"You used a recovery code; {left} are left. Is a device lost? Add another and remove the lost one "
            "under “Second factors”.",
        )


def why_signed_out(word: str | None) -> str:
    """Return the sentence for the word in the address of the sign-in page; "" for any word that is not ours."""
    minutes = int(settings.SESSION_IDLE.total_seconds() // 60)
    hours = int(settings.SESSION_ABSOLUTE.total_seconds() // 3600)
    sentences: dict[str | None, str] = {
        Ending.IDLE: f"You were signed out after {minutes} minutes without a click.",
        Ending.TOO_LONG: f"You were signed out because a session lasts {hours} hours at most.",
        Ending.CLOCK: "You were signed out because the clock of the server was set back.",
        Ending.CODES: "You were signed out after too many wrong codes.",
        Ending.ENDED: "Your session was ended: from another browser, or because your password, your second factor or "
        "your roles were changed.",
    }
    sentences[NOT_BY_SINGLE_SIGN_ON] = str(SingleSignOnError(""))
    return sentences.get(word, "")


class OwnPasswordView(PasswordChangeView):
    """Changes one's own password through the service; other sessions of the person end.

    The old password is a try like any other, so whoever sits at an open session guesses it five times at most.
    """

    def post(self, request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponse:  # noqa: ANN401 - Django's own signature
        if not throttle.begin_try(request, person_of(request).get_username()):
            return too_many_tries(request)
        return super().post(request, *arguments, **options)

    def form_invalid(self, form: Any) -> HttpResponse:  # noqa: ANN401 - Django's own signature
        name = person_of(self.request).get_username()
        if form.has_error("old_password", "password_incorrect"):
            user_login_failed.send(sender=__name__, credentials={"username": name}, request=self.request)
        elif not form.has_error("old_password"):
            throttle.end_try(self.request, name)
        return super().form_invalid(form)

    def form_valid(self, form: Any) -> HttpResponse:  # noqa: ANN401 - Django's own signature
        throttle.end_try(self.request, person_of(self.request).get_username())
        services.change_password(
            person=form.user,
            password=form.cleaned_data["new_password1"],
            actor=actor_of(self.request),
            now=timezone.now(),
            keep=self.request.session.session_key or "",
        )
        update_session_auth_hash(self.request, form.user)
        return HttpResponseRedirect(str(self.get_success_url()))
