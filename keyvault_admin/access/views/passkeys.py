"""What scripts ask for before the browser uses or makes a passkey. By POST, because a challenge is kept each time."""

from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.views.generic import View

from audit.step_up import StepUpMixin
from keyvault_admin.access import passkeys, services
from keyvault_admin.access.challenges import REGISTER, SIGN_IN, STEP_UP, keep_challenge
from keyvault_admin.access.views.own import OwnPageMixin


class PasskeyChallengeView(View):
    """Gives anybody a challenge to sign in with; the answer is the same for everybody and names no credential."""

    http_method_names = ["post"]
    purpose = SIGN_IN

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if not passkeys.are_possible():
            raise Http404
        challenge = keep_challenge(request, purpose=self.purpose, now=timezone.now())
        return JsonResponse(passkeys.request_options(challenge=challenge))


class OwnPasskeyChallengeView(OwnPageMixin, PasskeyChallengeView):
    """The same for somebody who is signed in and shows once more who they are."""

    purpose = STEP_UP


class PasskeyOptionsView(OwnPageMixin, StepUpMixin):
    """Gives what the browser needs to make a passkey for the person who is signed in."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if not passkeys.are_possible():
            raise Http404
        challenge = keep_challenge(request, purpose=REGISTER, now=timezone.now())
        return JsonResponse(services.passkey_options(person=self.person, challenge=challenge))
