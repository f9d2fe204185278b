"""Who sends a request, and the headers that every answer carries."""

import ipaddress
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseFileResponse

from audit.actor import Actor, Identity, path_of
from keyvault_admin.access.views import VERIFIED_KEY

GetResponse = Callable[[HttpRequest], HttpResponse]
AGENT_CHARACTERS = 300
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in ("accelerometer", "camera", "geolocation", "gyroscope", "microphone", "payment", "usb")
)

BARE_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"  # of what is no page


class ActorMiddleware:
    """Sets `request.actor`, once the session and the second factor are known."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = _actor(request)  # type: ignore[attr-defined]
        return self.get_response(request)


def client_address(request: HttpRequest) -> str:
    """Return the address of the client, as the outermost of our own proxies saw it; "" when there is none.

    With n trusted proxies it is the n-th entry of X-Forwarded-For from the right: what stands further left was written
    by the client. A list shorter than that did not come through our proxies, so it counts for nothing.
    """
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
    trusted: int = settings.TRUSTED_PROXIES
    claimed = hops[-trusted] if 0 < trusted <= len(hops) else ""
    return _valid_address(claimed) or _valid_address(str(request.META.get("REMOTE_ADDR", "")))


def _valid_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def _actor(request: HttpRequest) -> Actor:
    user: Any = request.user
    known = user.is_authenticated
    identity = Identity(
        name=user.get_full_name() if known else "",
        mail=user.email if known else "",
        address=client_address(request),
        agent=request.headers.get("User-Agent", "")[:AGENT_CHARACTERS],
    )
    if not known:
        return Actor(kind="anonymous", id="anonymous", identity=identity, path=path_of(request))
    return Actor(
        kind="person",
        id=user.ref,
        role=user.role,
        verified_by=user.otp_device.ref if user.is_verified() else "",
        verified_at=_verified_at(request) if user.is_verified() else None,
        identity=identity,
        path=path_of(request),
    )


def _verified_at(request: HttpRequest) -> datetime | None:
    stamp = request.session.get(VERIFIED_KEY)
    return datetime.fromisoformat(stamp) if stamp else None


class HeadersMiddleware:
    """What every answer carries, static files and refusals too: nobody embeds it, and it uses nothing of the device.

    Nothing but a static file may be kept by a browser or a proxy. Stands before whatever may answer by itself, such as
    SecurityMiddleware, which has headers of its own for what comes from behind it and none where it refuses a host.
    Pages bring the policy of their own.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["Permissions-Policy"] = PERMISSIONS_POLICY
        response["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault("Content-Security-Policy", BARE_POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", settings.SECURE_REFERRER_POLICY)
        response.headers.setdefault("Cross-Origin-Opener-Policy", settings.SECURE_CROSS_ORIGIN_OPENER_POLICY)
        if not isinstance(response, WhiteNoiseFileResponse):
            response["Cache-Control"] = "no-store"
        return response
