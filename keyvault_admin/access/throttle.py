"""What django-axes asks of us: whether a try may be made, and what to do after it.

Every door that takes a password, a code or a passkey makes its tries like this:

    if not throttle.begin_try(request, name): …     # counted before it is made
    …                                              # wrong: send user_login_failed, which answers 429 after the last try
    throttle.end_try(request, name)                 # right; Django's user_logged_in does the same

Sign-in gets the first step from AxesStandaloneBackend, which stands before the backend that looks at passwords.
"""

from typing import Any

from axes.handlers.base import AxesHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_credentials
from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import services
from keyvault_admin.access.models import User

Credentials = dict[str, Any]


def begin_try(request: HttpRequest, name: str) -> bool:
    """Count a try under this name from the address of the request; return whether it may be made."""
    return bool(AxesProxyHandler.is_allowed(request, get_credentials(name)))


def end_try(request: HttpRequest, name: str) -> None:
    """Forget the tries under this name from this address, because one was right."""
    services.forget_tries(services.DOOR_SIGN_IN, name=name, address=_address(request))


def was_tried(request: HttpRequest) -> bool:
    """Whether the door was open to the try of this request, even if it is closed by now."""
    return getattr(request, "try_number", None) is not None


class LockoutHandler(AxesHandler):  # type: ignore[misc]
    """Counts by name and address together, five tries in fifteen minutes; see settings."""

    def is_allowed(self, request: HttpRequest, credentials: Credentials | None = None) -> bool:
        """Count the try; once a request, whichever doors it goes through."""
        if not hasattr(request, "try_number"):
            request.try_number = services.count_try(  # type: ignore[attr-defined]
                services.DOOR_SIGN_IN,
                name=_typed(credentials),
                address=_address(request),
                now=timezone.now(),
            )
        return request.try_number is not None  # type: ignore[attr-defined]

    def is_locked(self, request: HttpRequest, credentials: Credentials | None = None) -> bool:
        return not self.is_allowed(request, credentials)

    def user_login_failed(
        self,
        sender: object,
        credentials: Credentials,
        request: HttpRequest | None = None,
        **_signal: object,
    ) -> None:
        """Close the door after the last allowed try; a door that did not count before it tried is counted now."""
        if request is None:  # a command or a test that looks at a password; nobody reaches that from outside
            return
        is_open = self.is_allowed(request, credentials)
        number: int | None = request.try_number  # type: ignore[attr-defined]
        request.axes_locked_out = not is_open or number == settings.AXES_FAILURE_LIMIT  # type: ignore[attr-defined]
        if number == settings.AXES_FAILURE_LIMIT:
            services.record_lockout(
                person=_person(_typed(credentials)),
                door=services.DOOR_SIGN_IN,
                actor=_actor(request),
                now=timezone.now(),
            )

    def user_logged_in(self, sender: object, request: HttpRequest, user: User, **_signal: object) -> None:
        end_try(request, user.get_username())

    def reset_attempts(
        self, *, ip_address: str | None = None, username: str | None = None, ip_or_username: bool = False
    ) -> int:
        """Open doors for the commands axes_reset, axes_reset_username, axes_reset_ip and axes_reset_ip_username."""
        actor, now = Actor.system("command:axes_reset"), timezone.now()
        if not ip_or_username:
            return services.unlock(name=username, address=ip_address, actor=actor, now=now)
        return sum(
            services.unlock(name=name, address=address, actor=actor, now=now)
            for name, address in ((username, None), (None, ip_address))
            if name or address
        )


def _typed(credentials: Credentials | None) -> str:
    return str((credentials or {}).get(User.USERNAME_FIELD) or "")


def _address(request: HttpRequest) -> str:
    """Return what AXES_CLIENT_IP_CALLABLE found; the one reader of X-Forwarded-For is `client_address`."""
    AxesProxyHandler.update_request(request)
    return str(request.axes_ip_address or "")  # type: ignore[attr-defined]


def _actor(request: HttpRequest) -> Actor:
    actor = getattr(request, "actor", None)
    return actor if isinstance(actor, Actor) else Actor(kind="anonymous", id="anonymous")


def _person(typed: str) -> User | None:
    try:
        person = User.objects.get_by_natural_key(typed)
    except User.DoesNotExist:
        return None
    return person if person.is_active else None
