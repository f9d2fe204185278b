"""The log's pages: who may read them, what they show, and what they cost."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse

from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.models import Event
from audit.services import Subject, record
from keyvault_admin.access.models import TotpDevice, User

Fill = Callable[[int], None]
pytestmark = pytest.mark.django_db


def page(user: User, name: str = "changelist", query: str = "", **where: int) -> HttpResponse:
    """Return the rendered page as this person, with their second factor, gets it."""
    request = RequestFactory().get(reverse(f"admin:audit_event_{name}", kwargs=where) + query)
    user.otp_device, user.is_verified = TotpDevice(pk=1), lambda: True
    request.user, request.session = user, {}
    request.actor = Actor(kind="person", id=user.ref, role=user.role)
    view = admin.site._registry[Event]
    response = view.event_view(request, **where) if where else view.changelist_view(request)
    return response.render() if hasattr(response, "render") else response


@pytest.mark.parametrize("name", ["alice", "bob", "dave"])
def test_the_list_shows_sentences_newest_first(fill: Fill, name: str, request: pytest.FixtureRequest) -> None:
    fill(3)
    text = page(request.getfixturevalue(name)).content.decode()
    assert text.index("Bob Builder edited key 2 and key:all") < text.index("Bob Builder edited key 0 and key:all")
    assert "DevOps+Security" in text


@pytest.mark.parametrize("name", ["carol", "erin", "mallory"])
def test_others_may_not_read(fill: Fill, name: str, request: pytest.FixtureRequest) -> None:
    fill(1)
    user = request.getfixturevalue(name)
    with pytest.raises(PermissionDenied):
        page(user)
    with pytest.raises(PermissionDenied):
        page(user, "change", number=1)


def test_nobody_is_asked_to_sign_in(client: Client) -> None:
    for address in (reverse("admin:audit_event_changelist"), reverse("admin:audit_event_change", args=[1])):
        response = client.get(address)
        assert response.status_code == 302
        assert response["Location"].startswith(reverse("admin:login"))


def test_an_event_shows_what_changed_and_its_proof(fill: Fill, dave: User) -> None:
    fill(1)
    text = page(dave, "change", number=1).content.decode()
    event = Event.objects.get()
    for shown in (
        "Bob Builder edited key 0 and key:all", "bob@example.org", "192.0.2.7", "why", "<del>a</del>", "<ins>b</ins>",
        bytes(event.digest).hex(), str(event.event_id), "keyvault_web", "POST /inventory/key/12/edit/", "totp:5",
    ):  # fmt: skip
        assert shown in text
    with pytest.raises(Http404):
        page(dave, "change", number=2)


def test_an_event_is_rendered_from_its_bytes(
    fill: Fill, dave: User, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    fill(1)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET action = 'key.destroyed', actor_id = 'user:99', outcome = 'refused'")
    text = page(dave, "change", number=1).content.decode() + page(dave).content.decode()
    assert "user:99" not in text
    assert "Bob Builder edited key 0" in text


def test_an_event_whose_bytes_cannot_be_read_is_shown_as_such(
    fill: Fill, dave: User, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    fill(1)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET body = 'nonsense', stamp = 'nonsense'")
    assert "cannot be read" in page(dave, "change", number=1).content.decode()
    assert "cannot be read" in page(dave).content.decode()


def test_hostile_text_is_shown_as_text(now: datetime, dave: User, seal_events: Callable[[], None]) -> None:
    subject = Subject(ref="key:<b>", label="<script>alert(1)</script>", before={"<i>": "<u>"}, after={})
    record(Action.KEY_EDITED, actor=Actor.system("<beat>"), now=now, subjects=[subject], reason="<img src=x>")
    seal_events()
    for text in (page(dave).content.decode(), page(dave, "change", number=1).content.decode()):
        for tag in ("<script>alert", "<beat>", "<img src=x", "<u>", "<i>", "<b>"):
            assert tag not in text


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("?q=2", [2]),
        ("?q=key:1", [2]),
        ("?q=key:all", [3, 2, 1]),
        ("?q=user:7", [3, 2, 1]),
        ("?q=beat", [4]),
        ("?q=key:12345", []),
        ("?q=9999999999999999999999", []),
        ("?action=key.flagged_overdue", [4]),
        ("?outcome=refused", [5]),
        ("?outcome=refused&q=beat", []),
    ],
)
def test_the_list_finds_by_number_reference_action_and_outcome(
    fill: Fill, now: datetime, dave: User, seal_events: Callable[[], None], query: str, numbers: list[int]
) -> None:
    fill(3)
    record(Action.KEY_FLAGGED_OVERDUE, actor=Actor.system("beat"), now=now)
    record(Action.SESSION_REFUSED, actor=Actor.system("web"), now=now, outcome=Outcome.REFUSED)
    seal_events()
    listed = page(dave, query=query).context_data["cl"].result_list  # type: ignore[attr-defined]
    assert [row.number for row in listed] == numbers


def test_the_list_costs_the_same_for_two_events_and_fifty(fill: Fill, dave: User) -> None:
    page(dave)  # roles and permissions are read once a person
    costs = []
    for more in (2, 58):
        fill(more)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(dave)
        costs.append(len(queries))
    assert costs[0] == costs[1] <= 10


def test_no_page_changes_the_log(fill: Fill, alice: User) -> None:
    for name in ("add", "delete", "history"):
        with pytest.raises(NoReverseMatch):
            reverse(f"admin:audit_event_{name}", args=[] if name == "add" else [1])
    view = admin.site._registry[Event]
    request = RequestFactory().get("/")
    request.user = alice
    assert not view.has_add_permission(request)
    assert not view.has_change_permission(request)
    assert not view.has_delete_permission(request)
    assert view.get_actions(request) == {}
    assert AnonymousUser().has_perm("audit.view_event") is False
