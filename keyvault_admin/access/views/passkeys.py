"""What scripts ask for before the browser uses or makes a passkey. By POST, because each time something is written."""

from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.views.generic import View

from audit.step_up import StepUpMixin
from keyvault_admin.access import passkeys, services
from keyvault_admin.access.challenges import (
    REGISTER,
    STEP_UP,
    draw_challenge,
    hand_visitor_challenge,
    keep_challenge,
    keep_vote_challenge,
)
from keyvault_admin.access.views.own import OwnPageMixin
from keyvault_admin.access.views.pieces import address_of
from keyvault_admin.access.views.too_many import too_many_tries


class PasskeyChallengeView(View):
    """Gives anybody a challenge to sign in with; the answer is the same for everybody and names no credential.

    Counted by address, so however often somebody asks, one row is all that is left of it.
    """

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if not passkeys.are_possible():
            raise Http404
        address, limit = address_of(request), services.TRIES_OF_ADDRESS
        if services.count_try(services.DOOR_PASSKEY, address=address, now=timezone.now(), limit=limit) is None:
            return too_many_tries(request)
        challenge = draw_challenge()
        response = JsonResponse(passkeys.request_options(challenge=challenge))
        hand_visitor_challenge(response, challenge)
        return response


class OwnPasskeyChallengeView(OwnPageMixin):
    """The same for somebody who is signed in and shows once more who they are."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if not passkeys.are_possible():
            raise Http404
        challenge = keep_challenge(request, purpose=STEP_UP, now=timezone.now())
        return JsonResponse(passkeys.request_options(challenge=challenge))


class VoteChallengeView(OwnPageMixin):
    """The same for a vote: what the passkey answers is good for what was shown, by its digest, and for nothing else."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, digest: str) -> HttpResponseBase:
        if not passkeys.are_possible():
            raise Http404
        challenge = keep_vote_challenge(request, digest=bytes.fromhex(digest), now=timezone.now())
        return JsonResponse(passkeys.request_options(challenge=challenge))


class PasskeyOptionsView(OwnPageMixin, StepUpMixin):
    """Gives what the browser needs to make a passkey for the person who is signed in."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponseBase:
        if not passkeys.are_possible():
            raise Http404
        challenge = keep_challenge(request, purpose=REGISTER, now=timezone.now())
        return JsonResponse(services.passkey_options(person=self.person, challenge=challenge))
