"""Single sign-on: the way to the provider and back, the second factor after it, and the page that links an account.

The sign-in page itself sends people off and asks for their second factor, so that there is one door more and not three.
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin, auth, messages
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.encoding import iri_to_uri
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.generic import FormView, TemplateView, View

from audit.actions import Action
from audit.actor import actor_of
from audit.services import Subject, record_refusal
from audit.step_up import StepUpMixin
from keyvault_admin.access import openid, selectors, services, throttle
from keyvault_admin.access.challenges import SIGN_IN, hand_departure, keep, take_departure, take_visitor_challenge
from keyvault_admin.access.errors import FactorGoneError, LinkTakenError, SingleSignOnError
from keyvault_admin.access.forms import SecondFactorForm, checked_factor, shown_in
from keyvault_admin.access.models import SingleSignOnLink, User
from keyvault_admin.access.returning import safe_path
from keyvault_admin.access.views.own import OwnPageMixin
from keyvault_admin.access.views.pieces import address_of, person_of
from keyvault_admin.access.views.sign_in import NOT_BY_SINGLE_SIGN_ON, enter
from keyvault_admin.access.views.too_many import too_many_tries

HALF_KEY = "half_signed_in"  # session: who has shown no second factor yet; it opens the page that asks for one
LINK = "link"  # the other purpose is SIGN_IN
LONGEST_WAY_BACK = 1_500  # characters of the page to come back to: browsers keep cookies of 4,096 bytes at most
REFUSED = "That does not fit. A code works once: wait for the next one."


def at_sign_in(request: HttpRequest) -> HttpResponseBase | None:
    """Answer at the sign-in page where single sign-on is concerned: about to begin, or half-way through; else None."""
    if not openid.is_configured():
        return None
    after = request.POST.get(auth.REDIRECT_FIELD_NAME) or request.GET.get(auth.REDIRECT_FIELD_NAME, "")
    if "single-sign-on" in request.POST:
        return _send_away(request, openid.Departure(purpose=SIGN_IN, after=_way_back(request, after)))
    if "start-again" in request.POST:
        request.session.pop(HALF_KEY, None)
        return redirect_to_login(safe_path(request, after), reverse("admin:login"))
    link = _half_way(request, timezone.now())
    return SecondFactorView.as_view(link=link, after=safe_path(request, after))(request) if link else None


def _way_back(request: HttpRequest, after: str) -> str:
    path = iri_to_uri(safe_path(request, after))
    return path if len(path) <= LONGEST_WAY_BACK else reverse("admin:index")


def _send_away(request: HttpRequest, departure: openid.Departure) -> HttpResponse:
    """Lead to the provider by a page that goes on by itself; a visitor may do so ever so often and nothing is written.

    Chromium lets no form lead to another site, by however many redirects, unless the policy of its page names each of
    them; a page of our own in between leaves the policy as it is.
    """
    request.session.pop(HALF_KEY, None)
    page = {**admin.site.each_context(request), "has_permission": False, "title": f"On to {settings.OIDC_NAME}"}
    address = openid.address_to_ask(departure, asks_afresh=departure.purpose == LINK)
    response = render(request, "access/to_provider.html", {**page, "provider": settings.OIDC_NAME, "address": address})
    hand_departure(response, departure.record())
    return response


class ReturnView(View):
    """Where the provider sends people back to. Whatever is wrong, the answer is the same, and the log says what."""

    http_method_names = ["get"]

    @method_decorator(sensitive_variables())
    def get(self, request: HttpRequest) -> HttpResponse:
        if not openid.is_configured():
            raise Http404
        now, address, state = timezone.now(), address_of(request), request.GET.get("state", "")
        # By state: nobody is kept out by others of their office but by a hundred tries of them all.
        if services.count_try(services.DOOR_SINGLE_SIGN_ON, name=state, address=address, now=now) is None:
            return too_many_tries(request)
        try:
            answer = self._arrive(request, now)
        except SingleSignOnError as error:
            self._record(request, error, now)
            return _refused(request)
        services.forget_tries(services.DOOR_SINGLE_SIGN_ON, name=state, address=address)
        return answer

    @method_decorator(sensitive_variables())
    def _arrive(self, request: HttpRequest, now: datetime) -> HttpResponse:
        kept = take_departure(request, now=now)
        if kept is None:
            raise SingleSignOnError("nobody left from this browser, or too long ago")
        departure = openid.Departure(**kept)
        identified = openid.identify(request.GET.dict(), departure, now=now)
        if departure.purpose == LINK:
            return _link(request, departure, identified, now)
        link = services.know_by_link(
            subject=identified.subject, second_factor=identified.second_factor, actor=actor_of(request), now=now
        )
        if identified.second_factor:
            person = link.user
            person.otp_device = link
            enter(request, person, is_fresh=False, now=now)
            return HttpResponseRedirect(safe_path(request, departure.after))
        return _half_sign_in(request, link, departure.after, now)

    def _record(self, request: HttpRequest, error: SingleSignOnError, now: datetime) -> None:
        record_refusal(
            Action.SESSION_REFUSED,
            actor=actor_of(request),
            now=now,
            subjects=[Subject(ref=error.ref)] if error.ref else [],
            facts={"door": services.DOOR_SINGLE_SIGN_ON, "why": error.why},
        )


def _refused(request: HttpRequest) -> HttpResponse:
    """Say it on the page where the person was: their own one, or the sign-in page, which is only led to by this."""
    if admin.site.has_permission(request):
        messages.error(request, "Nothing was linked. Try again; if it stays so, ask Security.")
        return redirect("factors")
    return redirect(reverse("admin:login", query={"why": NOT_BY_SINGLE_SIGN_ON}))


# Half-way


def _half_sign_in(request: HttpRequest, link: SingleSignOnLink, after: str, now: datetime) -> HttpResponse:
    """Remember who it is until they have shown a second factor, in a session with a new id; nobody is signed in."""
    auth.logout(request)
    keep(request, HALF_KEY, {"link": str(link.pk)}, until=now + settings.OIDC_LIFETIME)
    return redirect_to_login(safe_path(request, after), reverse("admin:login"))


def _half_way(request: HttpRequest, now: datetime) -> SingleSignOnLink | None:
    """Return the link of whoever is half signed in, while all of it still holds; one query where somebody is."""
    kept = request.session.get(HALF_KEY)
    if kept is None or now >= datetime.fromisoformat(kept["until"]):
        return None
    links = SingleSignOnLink.objects.select_related("user").filter(issuer=settings.OIDC_ISSUER, removed_at__isnull=True)
    link: SingleSignOnLink | None = links.filter(pk=int(kept["link"])).first()
    if link is None or not link.user.is_active or link.user.has_ended(now.date()):
        return None
    return link


@method_decorator(sensitive_post_parameters("code", "recovery_code", "assertion"), name="dispatch")
class SecondFactorView(FormView):
    """Asks whom the provider has identified for a second factor of ours, and signs them in by it."""

    form_class = SecondFactorForm
    template_name = "access/second_factor.html"
    link: SingleSignOnLink | None = None
    after = ""

    @property
    def person(self) -> User:
        assert self.link is not None  # noqa: S101 - given by `at_sign_in`
        person: User = self.link.user
        return person

    @sensitive_variables()
    def form_valid(self, form: SecondFactorForm) -> HttpResponse:
        now, name, shown = timezone.now(), self.person.get_username(), shown_in(form.cleaned_data)
        if not throttle.begin_try(self.request, name):
            return too_many_tries(self.request)
        challenge = take_visitor_challenge(self.request, now=now) if shown["assertion"] else None
        person = self.person
        person.otp_device = checked_factor(self.request, person, shown, challenge)
        if person.otp_device is None:
            user_login_failed.send(sender=__name__, credentials={"username": name}, request=self.request)
            form.add_error(None, REFUSED)
            return self.form_invalid(form)
        self.request.session.pop(HALF_KEY, None)
        enter(self.request, person, is_fresh=True, now=now)
        return HttpResponseRedirect(self.after)

    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401 - Django's own signature
        shown = {
            "title": "One more step",
            "has_permission": False,
            "provider": settings.OIDC_NAME,
            "person": self.person,
            "next": self.after,
            "app_path": reverse("admin:login"),
            "minutes": int(settings.OIDC_LIFETIME.total_seconds() // 60),
        }
        return super().get_context_data(**{**admin.site.each_context(self.request), **shown, **context})


# One's own account there


def _link(
    request: HttpRequest, departure: openid.Departure, identified: openid.Identified, now: datetime
) -> HttpResponse:
    """Link the account to the person who left from this browser, while they are signed in and their factor is fresh."""
    if not (admin.site.has_permission(request) and request.has_stepped_up):  # type: ignore[attr-defined]
        raise SingleSignOnError("nobody is signed in with a fresh second factor")
    person = person_of(request)
    if departure.person != person.ref:
        raise SingleSignOnError("somebody else left from this browser", ref=person.ref)
    try:
        services.link_account(
            person=person,
            subject=identified.subject,
            keep=request.session.session_key or "",
            actor=actor_of(request),
            now=now,
        )
    except LinkTakenError as error:
        facts = {"why": "the account or the person is linked already"}
        refused, subjects = Action.SINGLE_SIGN_ON_LINKED, [Subject(ref=person.ref)]
        record_refusal(refused, actor=actor_of(request), now=now, subjects=subjects, facts=facts)
        messages.error(request, str(error))
        return redirect("factors")
    request.session.cycle_key()
    messages.success(request, f"Your account at {settings.OIDC_NAME} signs you in from now on.")
    return redirect("factors")


class LinkView(OwnPageMixin, StepUpMixin, TemplateView):
    """Says what single sign-on means, and begins to link an account or unlinks it."""

    title = "Single sign-on"
    template_name = "access/link_account.html"

    def instead(self) -> HttpResponseBase | None:
        if not openid.is_configured():
            raise Http404
        return None

    def get_context_data(self, **context: Any) -> dict[str, Any]:  # noqa: ANN401 - Django's own signature
        shown = {"provider": settings.OIDC_NAME, "link": selectors.links_of(self.person).first()}
        return super().get_context_data(**shown, **context)

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if "unlink" in request.POST:
            return self._unlink(request)
        return _send_away(request, openid.Departure(purpose=LINK, after=reverse("factors"), person=self.person.ref))

    def _unlink(self, request: HttpRequest) -> HttpResponseBase:
        try:
            services.unlink_account(
                person=self.person, keep=self.session_key, actor=actor_of(request), now=timezone.now()
            )
        except FactorGoneError:
            messages.info(request, "No account was linked.")
        else:
            request.session.cycle_key()
            messages.success(request, f"Your account at {settings.OIDC_NAME} does not sign you in any more.")
        return redirect("factors")
