"""Signing in, signing out and being refused leave events."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.test import Client, RequestFactory

from audit import selectors
from audit.actor import Actor, Identity, path_of
from keyvault_admin.access.models import User
from tests.conftest import PASSWORD


def request(client: Client) -> HttpRequest:
    """Return a sign-in request of a stranger, as the middleware leaves it."""
    made = RequestFactory().post("/login/?next=/keys/")
    made.session, made.user = client.session, AnonymousUser()
    made.actor = Actor(  # type: ignore[attr-defined]
        kind="anonymous",
        id="anonymous",
        identity=Identity(name="", mail="", address="192.0.2.1", agent="Firefox"),
        path=path_of(made),
    )
    return made


@pytest.mark.django_db
def test_a_sign_in_and_a_sign_out_are_recorded(bob: User, client: Client, seal_events: Callable[[], None]) -> None:
    sent = request(client)
    login(sent, bob, backend="django.contrib.auth.backends.ModelBackend")
    logout(sent)
    seal_events()
    closed, opened = selectors.timeline(bob.ref)
    for event, action in ((opened, "session.opened"), (closed, "session.closed")):
        assert event.said is not None
        assert (event.said.action, event.said.outcome, event.said.actor_kind) == (action, "done", "person")
        assert (event.said.actor_id, event.said.actor_role, event.said.path) == (bob.ref, "DevOps", "POST /login/")
        expected = Identity(name="Bob Example", mail="bob@example.org", address="192.0.2.1", agent="Firefox")
        assert event.identity == expected


@pytest.mark.django_db
def test_a_refused_sign_in_names_a_known_person_only(
    bob: User, client: Client, seal_events: Callable[[], None]
) -> None:
    assert authenticate(request(client), username="Bob ", password="wrong") is None
    assert authenticate(request(client), username="my-secret-typed-too-early", password=PASSWORD) is None
    seal_events()
    unknown, known = selectors.events()
    assert known.said is not None
    assert unknown.said is not None
    assert [subject.ref for subject in known.said.subjects] == [bob.ref]
    assert unknown.said.subjects == ()
    for event in (known, unknown):
        assert event.said is not None
        assert (event.said.action, event.said.outcome) == ("session.refused", "refused")
        assert event.said.actor_kind == "anonymous"
        assert "too-early" not in event.text
        assert event.identity == Identity(name="", mail="", address="192.0.2.1", agent="Firefox")


@pytest.mark.django_db
def test_a_deactivated_person_is_not_named(
    bob: User, client: Client, seal_events: Callable[[], None], as_role: Callable[[str], AbstractContextManager[None]]
) -> None:
    with as_role("command"):
        User.objects.update(is_active=False)
    assert authenticate(request(client), username="bob", password=PASSWORD) is None
    seal_events()
    (event,) = selectors.events()
    assert event.said is not None
    assert event.said.subjects == ()


def test_path_of_keeps_neither_query_nor_tokens() -> None:
    made = RequestFactory().get("/enrol/Wx3rGQ9vY0aZbTn5kLpQ2sUdFhJc7MeR1oXiVyBwEqA/?code=123456")
    assert path_of(made) == "GET /enrol/*/"
    assert path_of(RequestFactory().get("/a%3Fb%0A/")) == "GET /a%3Fb%0A/"
    assert len(path_of(RequestFactory().get("/" + "a/" * 500))) == 300
    kept = "GET /event/11111111-1111-4111-8111-111111111111/"
    assert path_of(RequestFactory().get(kept[4:])) == kept
