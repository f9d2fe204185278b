"""How long a session lives and what ends it: AUT-05, limits, the page of one's own sessions, what the tables hold."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import agents, selectors, services
from keyvault_admin.access.models import PersonSession, User
from keyvault_admin.access.models.sessions import stored_key
from keyvault_admin.access.tasks import clear_sessions
from tests.conftest import PASSWORD
from tests.keyvault_admin.access.test_sign_in import actions
from tests.keyvault_admin.test_admin_site import addresses
from tests.people import next_code, sign_in, sign_in_with_password_only, verified_before

GOOD = "correct horse battery staple"
PAGE = "/account/sessions/"
ACTOR = Actor.system("test")
IDLE, ABSOLUTE = settings.SESSION_IDLE, settings.SESSION_ABSOLUTE
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def start() -> datetime:
    return timezone.now()


def key_of(client: Client) -> str:
    return client.session.session_key


def answers(client: Client, path: str = PAGE) -> Any:
    return client.get(path)


def is_alive(client: Client) -> bool:
    return answers(client).status_code == 200


def holding(key: str) -> Client:
    """Return the browser of a thief who has kept the id."""
    thief = Client()
    thief.cookies[settings.SESSION_COOKIE_NAME] = key
    return thief


def assert_dead(key: str) -> None:
    assert answers(holding(key)).status_code == 302
    assert not Session.objects.filter(pk=stored_key(key)).exists()
    assert not PersonSession.objects.filter(session_id=stored_key(key)).exists()


# AUT-05: events after each of which the old id is dead


@dataclass
class World:
    client: Client
    alice: User
    bob: User
    as_role: Any
    start: datetime


def signs_in(world: World) -> str:
    session = world.client.session
    session["planted"] = True
    session.save()
    planted = session.session_key
    sign_in(world.client, world.alice)
    return planted


def signs_in_as_somebody_else(world: World) -> str:
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    sign_in(world.client, world.bob)
    return old


def steps_up(world: World) -> str:
    device = sign_in(world.client, world.alice)
    old = key_of(world.client)
    verified_before(world.client, timedelta(minutes=6))
    assert world.client.post("/account/step-up/", {"code": next_code(device)}).status_code == 302
    assert key_of(world.client) != old
    assert is_alive(world.client)
    return old


def signs_out(world: World) -> str:
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    world.client.post("/logout/")
    return old


def changes_the_password(world: World) -> str:
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    form = {"old_password": PASSWORD, "new_password1": GOOD, "new_password2": GOOD}
    assert world.client.post("/password_change/", form)["Location"] == "/password_change/done/"
    assert is_alive(world.client)
    return old


def changes_the_password_elsewhere(world: World) -> str:
    other = Client()
    sign_in(other, world.alice)
    changes_the_password(world)
    return key_of_cookie(other)


def is_deactivated(world: World) -> str:
    sign_in(world.client, world.alice)
    sign_in(Client(), world.bob)
    User.objects.get(pk=world.alice.pk)
    with world.as_role("command"):
        world.alice.groups.clear()  # the last of Security is not deactivated
        services.deactivate_person(person=world.alice, actor=ACTOR, reason="has left", now=timezone.now())
    return key_of_cookie(world.client)


def loses_a_role(world: World) -> str:
    sign_in(world.client, world.alice)
    with world.as_role("command"):
        services.end_sessions(person=world.alice, reason="role taken away", actor=ACTOR, now=timezone.now())
    return key_of_cookie(world.client)


def changes_a_second_factor(world: World) -> str:
    sign_in(world.client, world.alice)
    other = Client()
    sign_in(other, world.alice)
    services.end_sessions(
        person=world.alice,
        reason="second factor changed",
        actor=ACTOR,
        now=timezone.now(),
        keep=key_of(world.client),
    )
    assert is_alive(world.client)
    return key_of_cookie(other)


def sits_idle(world: World) -> str:
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    with time_machine.travel(world.start + IDLE + timedelta(seconds=1), tick=False):
        assert not is_alive(holding(old))
    return old


def works_too_long(world: World) -> str:
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    with time_machine.travel(world.start + ABSOLUTE + timedelta(seconds=1), tick=False):
        PersonSession.objects.update(last_seen_at=timezone.now())
        assert not is_alive(holding(old))
    return old


def is_ended_by_hand(world: World) -> str:
    other = Client()
    sign_in(other, world.alice)
    sign_in(world.client, world.alice)
    session = selectors.session_of(key_of(other))
    world.client.post(f"{PAGE}{session.pk}/end/")
    return key_of_cookie(other)


def is_ended_with_all_others(world: World) -> str:
    other = Client()
    sign_in(other, world.alice)
    sign_in(world.client, world.alice)
    world.client.post(f"{PAGE}end-others/")
    assert is_alive(world.client)
    return key_of_cookie(other)


def types_wrong_codes(world: World) -> str:
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    for _ in range(settings.STEP_UP_TRIES):
        assert Session.objects.filter(pk=stored_key(old)).exists()
        last = world.client.post("/account/step-up/", {"code": "abcdef", "next": PAGE})
    assert last["Location"] == "/login/?next=%2Faccount%2Fsessions%2F&why=codes"
    return old


def sees_the_clock_set_back(world: World) -> str:
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    with time_machine.travel(world.start - timedelta(hours=1), tick=False):
        assert not is_alive(holding(old))
    return old


def is_swept(world: World) -> str:
    sign_in(world.client, world.alice)
    with time_machine.travel(world.start + IDLE, tick=False), world.as_role("worker"):
        clear_sessions()
    return key_of_cookie(world.client)


def shows_an_enrolment_link(world: World) -> str:
    with world.as_role("command"):
        person = services.register_person(
            username="frances", mail="frances@example.org", full_name="", actor=ACTOR, now=world.start
        )
        link = services.issue_enrolment_link(person=person, actor=ACTOR, now=world.start)
    sign_in(world.client, world.alice)
    old = key_of(world.client)
    assert world.client.post("/enrol/", {"token": link})["Location"] == "/enrol/factor/"
    return old


def key_of_cookie(client: Client) -> str:
    return client.cookies[settings.SESSION_COOKIE_NAME].value


EVENTS: list[Callable[[World], str]] = [
    signs_in,
    signs_in_as_somebody_else,
    steps_up,
    signs_out,
    changes_the_password,
    changes_the_password_elsewhere,
    changes_a_second_factor,
    is_deactivated,
    loses_a_role,
    sits_idle,
    works_too_long,
    is_ended_by_hand,
    is_ended_with_all_others,
    types_wrong_codes,
    sees_the_clock_set_back,
    is_swept,
    shows_an_enrolment_link,
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_the_old_id_is_dead_after(
    client: Client, alice: User, bob: User, as_role: Any, start: datetime, event: Callable[[World], str]
) -> None:
    with time_machine.travel(start, tick=False):
        assert_dead(event(World(client, alice, bob, as_role, start)))


# Limits


@pytest.mark.parametrize(
    ("passed", "why"),
    [
        (IDLE - MOMENT, None),
        (IDLE, "idle"),
        (timedelta(hours=30), "ended"),
        (-settings.CLOCK_SKEW, None),
        (-settings.CLOCK_SKEW - MOMENT, "clock"),
    ],
)
def test_idle_limit_to_the_moment(
    client: Client, alice: User, start: datetime, passed: timedelta, why: str | None
) -> None:
    with time_machine.travel(start, tick=False):
        sign_in(client, alice)
    with time_machine.travel(start + passed, tick=False):
        answer = answers(client)
        assert answer.status_code == (302 if why else 200)
        if why:
            assert answer["Location"] == f"/login/?next=/account/sessions/&why={why}"


@pytest.mark.parametrize(("passed", "why"), [(ABSOLUTE - MOMENT, None), (ABSOLUTE, "too-long")])
def test_absolute_limit_holds_however_busy_somebody_is(
    client: Client, alice: User, start: datetime, passed: timedelta, why: str | None
) -> None:
    with time_machine.travel(start, tick=False) as clock:
        device = sign_in(client, alice)
        while timezone.now() + timedelta(minutes=10) < start + passed:
            clock.shift(timedelta(minutes=10))
            assert is_alive(client)
        client.post("/account/step-up/", {"code": next_code(device)})  # a new id is no new beginning
        clock.move_to(start + passed)
        answer = answers(client)
        assert answer.get("Location") == (f"/login/?next=/account/sessions/&why={why}" if why else None)


def test_a_clock_that_goes_back_revives_nothing(client: Client, alice: User, start: datetime, as_role: Any) -> None:
    for unnoticed, back in ((50, 60), (65, 60), (75, 60), (20, 10), (20, 120)):
        with time_machine.travel(start, tick=False) as clock:
            sign_in(client, alice)
            clock.shift(timedelta(minutes=unnoticed))
            with as_role("worker"):
                clear_sessions()  # as the beat does every five minutes
            clock.shift(-timedelta(minutes=back))
            assert not is_alive(client), (unnoticed, back)


def test_a_click_is_written_down_once_a_minute_and_never_turned_back(
    client: Client, alice: User, start: datetime
) -> None:
    with time_machine.travel(start, tick=False):
        sign_in(client, alice)
    session = PersonSession.objects.get()
    minute = settings.SESSION_SEEN_EVERY
    assert not services.see_session(pk=session.pk, now=start + minute - MOMENT)
    assert services.see_session(pk=session.pk, now=start + minute)
    assert not services.see_session(pk=session.pk, now=start + minute)
    assert not services.see_session(pk=session.pk, now=start)
    session.refresh_from_db()
    assert session.last_seen_at == start + minute


def test_a_page_costs_one_query_more_and_another_once_a_minute(client: Client, alice: User, start: datetime) -> None:
    counts = []
    with time_machine.travel(start, tick=False) as clock:
        sign_in(client, alice)
        for _ in range(3):
            with CaptureQueriesContext(connection) as queries:
                client.get("/password_change/")
            counts.append([query["sql"][:6] for query in queries if '"access_session"' in query["sql"]])
            clock.shift(timedelta(seconds=40))
    assert counts == [["SELECT"], ["SELECT"], ["SELECT", "UPDATE"]]


def test_a_session_without_its_row_counts_for_nothing(client: Client, alice: User) -> None:
    sign_in(client, alice)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM access_session")
    assert not is_alive(client)
    client.force_login(alice)
    assert not is_alive(client)


def test_a_session_of_somebody_else_s_row_counts_for_nothing(client: Client, alice: User, bob: User) -> None:
    sign_in(client, alice)
    PersonSession.objects.all().delete()
    services.open_session(person=bob, session_key=key_of(client), verified_by="", actor=ACTOR, now=timezone.now())
    assert not is_alive(client)


# What is told


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("idle", "You were signed out after 15 minutes without a click. Sign in again to go on where you were."),
        ("too-long", "a session lasts 8 hours at most"),
        ("clock", "the clock of the server was set back"),
        ("codes", "after too many wrong codes"),
        ("ended", "Your session was ended: from another browser"),
    ],
)
def test_the_sign_in_page_says_why(client: Client, db: None, why: str, said: str) -> None:
    assert said in client.get(f"/login/?next=/&why={why}").content.decode()


@pytest.mark.parametrize("why", ["", "x", "<script>alert(1)</script>"])
def test_no_other_word_is_said(client: Client, db: None, why: str) -> None:
    page = client.get("/login/", {"why": why})
    assert page.context["why"] == ""
    assert "alert(1)" not in page.content.decode()


def test_who_was_signed_out_comes_back_to_where_they_were(client: Client, alice: User, start: datetime) -> None:
    there = "/inventory/key/?due=overdue&q=a%20b"
    with time_machine.travel(start, tick=False):
        device = sign_in(client, alice)
    with time_machine.travel(start + IDLE, tick=False):
        page = client.get(there, follow=True)
        assert "15 minutes without a click" in page.content.decode()
        form = {"username": "alice", "password": PASSWORD, "code": next_code(device), "next": page.context["next"]}
        assert client.post("/login/", form)["Location"] == there


def test_a_form_sent_too_late_leads_back_to_its_page_and_not_to_its_address(
    client: Client, alice: User, start: datetime
) -> None:
    with time_machine.travel(start, tick=False):
        sign_in(client, alice)
        others = f"{PAGE}end-others/"
    with time_machine.travel(start + IDLE, tick=False):
        answer = client.post(others, headers={"referer": f"http://testserver{PAGE}"})
    assert answer["Location"] == f"/login/?next={PAGE}&why=idle"


def test_an_open_page_stays_open_to_who_was_signed_out(client: Client, alice: User, start: datetime) -> None:
    with time_machine.travel(start, tick=False):
        sign_in(client, alice)
    with time_machine.travel(start + IDLE, tick=False):
        assert client.get("/-/live").status_code == 200
        assert client.get("/login/").status_code == 200


def test_what_ends_a_session_leaves_an_event(client: Client, alice: User, start: datetime, as_role: Any) -> None:
    with time_machine.travel(start, tick=False) as clock:
        sign_in(client, alice)
        sign_in(Client(), alice)
        clock.shift(IDLE)
        answers(client)
        with as_role("worker"):
            clear_sessions()
            clear_sessions()
    assert actions() == ["session.opened", "session.opened", "session.ended", "session.ended"]


# The service


def test_end_sessions_ends_those_of_one_person_and_counts_them(client: Client, alice: User, bob: User) -> None:
    other = Client()
    sign_in(client, alice)
    sign_in(Client(), alice)
    sign_in(other, bob)
    how = {"reason": "test", "actor": ACTOR, "now": timezone.now()}
    assert services.end_sessions(person=alice, keep=key_of(client), **how) == 1
    assert services.end_sessions(person=alice, **how) == 1
    assert services.end_sessions(person=alice, **how) == 0
    assert is_alive(other)
    assert actions()[-2:] == ["session.ended", "session.ended"]


def test_a_kept_session_survives_under_another_id(client: Client, alice: User) -> None:
    sign_in(client, alice)
    opened = PersonSession.objects.get()
    changes = {"old_password": PASSWORD, "new_password1": GOOD, "new_password2": GOOD}
    client.post("/password_change/", changes)
    kept = PersonSession.objects.get()
    assert (kept.pk, kept.opened_at) == (opened.pk, opened.opened_at)
    assert kept.session_id != opened.session_id


def test_a_sweep_leaves_who_is_there_and_takes_visitors_too(
    client: Client, alice: User, bob: User, start: datetime, as_role: Any
) -> None:
    visitor = Client()
    with time_machine.travel(start, tick=False):
        sign_in(client, alice)
        session = visitor.session
        session["enrolment_link"] = 1
        session.save()
    later = start + ABSOLUTE + IDLE
    with time_machine.travel(later, tick=False):
        other = Client()
        sign_in(other, bob)
        with as_role("worker"):
            done = services.clear_sessions(actor=ACTOR, now=later)
        assert (done.of_people, done.others) == (1, 1)
        assert is_alive(other)
        assert Session.objects.count() == PersonSession.objects.count() == 1


# What the tables hold


def test_no_table_holds_the_key_of_a_session(client: Client, alice: User) -> None:
    sign_in(client, alice)
    key = key_of(client)
    with connection.cursor() as cursor:
        for table in ("django_session", "access_session"):
            cursor.execute(f"SELECT {table}::text FROM {table}")
            rows = [row[0] for row in cursor.fetchall()]
            assert len(rows) == 1
            assert key not in rows[0]
            assert key.encode().hex() not in rows[0]
            assert stored_key(key) in rows[0]
            assert "127.0.0.1" not in rows[0]
    assert not is_alive(holding(stored_key(key))), "what a dump shows opens nothing"


def test_address_and_agent_open_for_their_person_only(client: Client, alice: User, bob: User) -> None:
    client.defaults["HTTP_USER_AGENT"] = "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/140.0"
    sign_in(client, alice)
    session = PersonSession.objects.get()
    assert session.origin() == ("127.0.0.1", client.defaults["HTTP_USER_AGENT"])
    session.person = bob
    with pytest.raises(Exception, match="do not open here"):
        session.origin()


@pytest.mark.parametrize("role", ["worker", "beat", "signer"])
def test_other_processes_see_no_session(client: Client, alice: User, as_role: Any, role: str) -> None:
    sign_in(client, alice)
    for statement in (
        "SELECT session_data FROM django_session",
        "SELECT sealed_origin FROM access_session",
        "UPDATE access_session SET last_seen_at = now()",
        "DELETE FROM access_session",
        "INSERT INTO django_session VALUES ('x', 'x', now())",
    ):
        with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic(), as_role(role):
            connection.cursor().execute(statement)


# The page


def test_the_page_shows_where_one_is_signed_in_and_marks_this_one(client: Client, alice: User, bob: User) -> None:
    other = Client(headers={"user-agent": "Mozilla/5.0 (iPhone) AppleWebKit Version/18.0 Mobile Safari/604.1"})
    sign_in(other, alice)
    sign_in(Client(), bob)
    sign_in(client, alice)
    page = answers(client)
    lines = page.context["lines"]
    assert [(line.browser, line.is_this) for line in lines] == [
        ("An unknown browser", True),
        ("Safari on an iPhone", False),
    ]
    html = page.content.decode()
    assert "this browser" in html
    assert "from 127.0.0.1 · confirmed by authenticator app" in html
    assert f'action="{PAGE}{lines[1].pk}/end/"' in html
    assert f'action="{PAGE}{lines[0].pk}/end/"' not in html


def test_nobody_ends_the_session_of_somebody_else(client: Client, alice: User, bob: User) -> None:
    other = Client()
    sign_in(other, bob)
    sign_in(client, alice)
    session = selectors.session_of(key_of(other))
    client.post(f"{PAGE}{session.pk}/end/")
    assert is_alive(other)


def test_this_session_ends_by_signing_out(client: Client, alice: User) -> None:
    sign_in(client, alice)
    answer = client.post(f"{PAGE}{PersonSession.objects.get().pk}/end/", follow=True)
    assert "sign out to end it" in answer.content.decode()
    assert is_alive(client)


@pytest.mark.parametrize("path", ["1/end/", "end-others/"])
def test_looking_ends_nothing(client: Client, alice: User, path: str) -> None:
    sign_in(client, alice)
    assert client.get(PAGE + path).status_code == 405
    assert client.post(PAGE).status_code == 405


def test_the_page_asks_first_when_the_second_factor_is_old(client: Client, alice: User) -> None:
    sign_in(Client(), alice)
    sign_in(client, alice)
    verified_before(client, timedelta(minutes=6))
    html = answers(client).content.decode()
    assert "/account/step-up/?next=/account/sessions/" in html
    assert "End it</button>" not in html


def test_the_page_costs_the_same_however_many_there_are(client: Client, alice: User) -> None:
    sign_in(client, alice)
    with CaptureQueriesContext(connection) as few:
        answers(client)
    for _ in range(3):
        sign_in(Client(), alice)
    with CaptureQueriesContext(connection) as many:
        answers(client)
    assert len(many) == len(few)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64) AppleWebKit Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) Version/18.0 Safari/605.1", "Safari on a Mac"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Something (Windows)", "A browser on Windows"),
        ("curl/8.5.0", "curl"),
        ("<script>", "An unknown browser"),
        ("", "An unknown browser"),
    ],
)
def test_a_browser_in_plain_words(agent: str, words: str) -> None:
    assert agents.in_words(agent) == words


# Headers and cookies


@pytest.mark.parametrize("visitor", ["nobody", "password only", "alice"] if "tests.full" in sys.modules else ["alice"])
def test_no_answer_may_be_stored(client: Client, alice: User, visitor: str) -> None:
    if visitor == "alice":
        sign_in(client, alice)
    elif visitor == "password only":
        sign_in_with_password_only(client, alice)
    every = 1 if "tests.full" in sys.modules else 4
    for number, address in enumerate(sorted(set(addresses()) - {"/logout/"})):
        for method in ("get", "post", "put")[number % every :: every]:
            answer = getattr(client, method)(address)
            assert answer["Cache-Control"] == "no-store", (method, address, answer.status_code)


def test_settings_of_sessions_are_the_safe_ones() -> None:
    assert settings.SESSION_SAVE_EVERY_REQUEST is False
    assert settings.SIGNED_COOKIE_LEGACY_SALT_FALLBACK is False
    assert settings.SESSION_EXPIRE_AT_BROWSER_CLOSE is True
    assert settings.SESSION_ENGINE == "keyvault_admin.access.session_store"
    assert timedelta(seconds=settings.SESSION_COOKIE_AGE) > ABSOLUTE
