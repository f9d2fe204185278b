"""Every address of the resolver, at three levels of trust: who is answered, what changes, and the headers on it all.

A new address is in these tests by itself. Only one that is to answer without a second factor must be added to OPEN.
"""

import pytest
from django.apps import apps
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test import Client

from keyvault_admin.access.models import User
from tests.inventory.world import make_key, make_owner, seal
from tests.keyvault_admin.test_headers import assert_strict
from tests.people import sign_in, sign_in_with_password_only
from tests.routes import Route, routes

# What answers without a verified second factor. At most eight: each is a door to guard.
OPEN = {
    "live",  # one word, for whoever watches the process
    "ready",
    "enrol",  # takes a one-time link
    "enrol-factor",  # needs the session in which such a link was shown
    "admin:login",
    "passkey-sign-in",  # a challenge for whoever signs in; it names nobody
    "sign-in-return",  # where the provider of single sign-on sends people back to; 404 where there is none
    "admin:logout",  # sends to the first page, whoever asks
}
# Sends to the page of enrolment instead of the sign-in, where no link was shown in the session.
SENDS_TO_ENROLMENT = {"enrol-factor"}
METHODS = ("get", "post", "put", "delete")
# What stands in an address where it names no record.
SAMPLES = {
    **dict.fromkeys(("pk", "number", "object_id", "content_type_id"), "1"),
    "code": "role.grant",
    "kind": "x",
    "digest": "00" * 32,
    "app_label": "inventory",
    "url": "nowhere/at-all/",
}


@pytest.fixture
def world(alice: User) -> User:
    """A key, an owner and alice, so that pages of records have a record."""
    make_key(owner=make_owner("carol", "carol@example.org"))
    seal()
    return alice


def path_of(route: Route) -> str:
    """Return an address of the route: of the first record of the model whose pages these are, where there is one."""
    arguments: dict[str, object] = {name: SAMPLES[name] for name in route.parameters}
    if arguments and route.model in {model._meta.label_lower for model in apps.get_models()}:
        first = apps.get_model(route.model)._default_manager.order_by("pk").values_list("pk", flat=True).first()
        arguments |= dict.fromkeys(arguments, first) if first is not None else {}
    return route.path(arguments)


def ask(client: Client, method: str, route: Route):
    client.raise_request_exception = False
    return getattr(client, method)(path_of(route))


def is_turned_away(answer) -> bool:
    return answer.status_code in {403, 405} or (answer.status_code == 302 and answer["Location"].startswith("/login/"))


def changed() -> dict[str, tuple[int, int, int]]:
    """Return what this transaction has written so far, by table; what was undone is counted too."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_xact_user_tables"
            " WHERE n_tup_ins + n_tup_upd + n_tup_del > 0"
        )
        return {row[0]: tuple(row[1:]) for row in cursor.fetchall()}


def test_the_resolver_is_walked(db: None) -> None:
    names = [route.name for route in routes()]
    assert len(names) > 60
    assert {"admin:inventory_key_change", "admin:login", "enrol"} <= set(names)
    assert len(OPEN) <= 8
    assert set(names) >= OPEN


@pytest.mark.parametrize("level", ["anonymous", "password only"])
def test_nothing_but_the_open_doors_answers_without_a_second_factor(world: User, level: str) -> None:
    """AUT-04: reading and writing, with every header, and without a trace in the database."""
    client, answered = Client(), set()
    if level == "password only":
        sign_in_with_password_only(client, world)
    before = changed()
    for route in routes():
        for method in METHODS:
            answer = ask(client, method, route)
            assert_strict(answer)
            assert answer.status_code < 500 or route.name == "ready", (method, route)
            if not is_turned_away(answer):
                answered.add(route.name)
    assert answered == OPEN
    found = {table for table, counts in changed().items() if before.get(table) != counts}
    assert found == {"axes_accessattempt"}  # that somebody asked for the challenge of a passkey is counted


def test_a_verified_person_without_a_role_is_answered_no_more(mallory: User) -> None:
    client = Client()
    sign_in(client, mallory)
    own = {"admin:logout", "admin:password_change", "admin:password_change_done"}
    for route in routes():
        answer = ask(client, "get", route)
        assert is_turned_away(answer) or route.name in OPEN | own, route


def test_reading_changes_nothing(world: User) -> None:
    """WEB-01: as somebody who may do nearly everything; every table of the database is looked at after each page."""
    client = Client()
    sign_in(client, world)
    known, seen = changed(), {}
    for route in routes():
        answer = ask(client, "get", route)
        assert_strict(answer)
        assert answer.status_code in {200, 301, 302, 403, 404, 405} or route.name == "ready", route
        if (now := changed()) != known:
            seen[route.name] = {table for table in now if now[table] != known.get(table)}
            known = now
    read = {"audit_pending", "django_session"}  # reading the log is an event, and the session knows what was read
    assert seen == {"admin:audit_event_changelist": read, "admin:audit_event_change": read}


def test_every_form_needs_its_token(world: User) -> None:
    """WEB-01: a page of another site can make a browser post anything, but not with our token."""
    client = Client(enforce_csrf_checks=True)
    open_window = Client()
    sign_in(open_window, world)
    client.cookies = open_window.cookies
    before = changed()
    for route in routes():
        for method in ("post", "put", "patch", "delete"):
            answer = ask(client, method, route)
            assert answer.status_code in {403, 405}, (method, route)
            assert_strict(answer)
    assert changed() == before
    assert not isinstance(open_window.get("/").wsgi_request.user, AnonymousUser)
