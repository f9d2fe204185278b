"""What the pages of a signed-in person share."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from audit.actor import actor_of
from keyvault_admin.access.models import User


def address_of(request: HttpRequest) -> str:
    """Return the address that the request came from, "" where it is not known."""
    identity = actor_of(request).identity
    return identity.address if identity else ""


def person_of(request: HttpRequest) -> User:
    """Return who is signed in.

    Raises: PermissionDenied for nobody; the guard in front lets no such request through.
    """
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
