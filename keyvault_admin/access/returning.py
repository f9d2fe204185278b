"""Where a person goes back to after a detour by sign-in or step-up: a page of this site, or the first one."""

from urllib.parse import urlsplit

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

ELSEWHERE = ("//", "/\\")  # a path that a browser takes for an address of another site once its own host is gone
SAFE_METHODS = frozenset({"GET", "HEAD"})


def safe_path(request: HttpRequest, wanted: str) -> str:
    """Return path and query of the address when it is one of this site, else the first page."""
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    parts = urlsplit(wanted)
    if not is_ours or not parts.path.startswith("/") or parts.path.startswith(ELSEWHERE):
        return reverse("admin:index")
    return parts._replace(scheme="", netloc="", fragment="").geturl()


def page_behind(request: HttpRequest) -> str:
    """Return the page to come back to: this one, or the one whose form was sent here.

    Some doors take forms only, and none of them is to be sent again by itself.
    """
    if request.method in SAFE_METHODS:
        return safe_path(request, request.get_full_path())
    return safe_path(request, request.headers.get("Referer", ""))
