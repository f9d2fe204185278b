"""Every address of the resolver, asked by nobody, by a stolen password, and by verified people."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from audit.admin_base import AuditedAdmin
from keyvault_admin.access.models import User
from keyvault_admin.admin_site import KeyvaultAdminSite
from tests.people import give_device, sign_in, sign_in_with_password_only

AsRole = Callable[[str], AbstractContextManager[None]]

# What answers without a second factor, and with which status; everything else leads to the sign-in page.
OPEN = {
    "/-/live": 200,
    "/-/ready": 200,
    "/enrol/": 200,
    "/enrol/factor/": 302,  # to /enrol/, for who has shown no link
    "/login/": 200,
    "/login/return/": 404,  # from the provider of single sign-on, and there is none
    "/login/passkey/": 200,  # a challenge, the same for everybody, by POST
}


def addresses(resolver: URLResolver | None = None, before: str = "/") -> Iterator[str]:
    """Give one address for each pattern of the resolver."""
    for entry in (resolver or get_resolver()).url_patterns:
        address = before + sample(str(entry.pattern))
        if isinstance(entry, URLPattern):
            yield address
        else:
            yield from addresses(entry, address)


def sample(route: str) -> str:
    """Fill a route: "<path:object_id>/change/" becomes "1/change/"."""
    route = re.sub(r"<(?:uuid:)[^>]+>", "00000000-0000-0000-0000-000000000000", route)
    route = re.sub(r"<(?:\w+:)?[^>]+>", "1", re.sub(r"\(\?P<app_label>\(?(\w+)[^)]*\)+", r"\1", route))
    return route.replace("(?P1.*)$", "nowhere").replace("(?P<url>.*)$", "nowhere").strip("^$")


def test_addresses_finds_the_pages_it_should() -> None:
    found = set(addresses())
    assert {"/", "/login/", "/enrol/", "/access/user/", "/access/user/1/change/", "/nowhere"} <= found
    assert not [address for address in found if re.search(r"[<>()?\\^$]", address)]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("visitor", ["nobody", "password only"])
def test_no_page_but_a_few_answers_without_second_factor(
    client: Client, alice: User, visitor: str, method: str
) -> None:
    give_device(alice)
    if visitor == "password only":
        sign_in_with_password_only(client, alice)
    session = client.session.session_key
    for address in sorted(set(addresses())):
        answer = getattr(client, method)(address)
        leads_to_sign_in = answer.status_code == 302 and re.match(r"/login/|/$", answer["Location"])
        is_open = address in OPEN and answer.status_code in {OPEN[address], 405}
        assert leads_to_sign_in or is_open, (address, answer.status_code)
        if session and client.session.session_key != session:  # signing out worked, as it may
            sign_in_with_password_only(client, alice)
            session = client.session.session_key


def test_no_page_but_a_few_answers_to_somebody_without_role(client: Client, mallory: User) -> None:
    sign_in(client, mallory)
    for address in sorted(set(addresses()) - set(OPEN) - {"/logout/"}):
        answer = client.get(address)
        assert (answer.status_code, answer["Location"][:7]) == (302, "/login/"), address


def test_the_default_site_is_ours() -> None:
    assert isinstance(admin.site._wrapped if hasattr(admin.site, "_wrapped") else admin.site, KeyvaultAdminSite)
    assert admin.site.name == "admin"


def test_every_page_of_the_admin_deletes_nothing_and_leaves_the_record_to_services() -> None:
    for model, page in admin.site._registry.items():
        assert isinstance(page, AuditedAdmin), model
    assert "delete_selected" not in dict(admin.site.actions)


def test_neither_roles_nor_the_admins_own_log_have_a_page() -> None:
    assert not admin.site.is_registered(Group)
    assert not admin.site.is_registered(LogEntry)


def test_superuser_with_second_factor_deletes_nothing(client: Client, alice: User, as_role: AsRole) -> None:
    with as_role("command"):
        User.objects.filter(pk=alice.pk).update(is_superuser=True)
    sign_in(client, alice)
    for address in sorted(address for address in set(addresses()) if address.endswith("/delete/")):
        assert client.post(address, {"post": "yes"}).status_code in {302, 403, 404}, address
    assert client.post(
        "/access/user/", {"action": "delete_selected", "_selected_action": [alice.pk], "post": "yes"}
    ).status_code in {200, 302, 403}
    assert User.objects.filter(pk=alice.pk).exists()
