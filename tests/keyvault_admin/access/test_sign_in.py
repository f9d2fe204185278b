"""The page where people sign in, and the pages of an enrolment, as a browser without scripts sees them."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import selectors, services
from keyvault_admin.access.models import EnrolmentLink, TotpDevice, User
from keyvault_admin.access.models.sessions import stored_key
from tests.conftest import PASSWORD
from tests.people import give_device, next_code, sign_in, sign_in_with_password_only

AsRole = Callable[[str], AbstractContextManager[None]]
GENERIC = "That name, password and code do not go together."
GOOD = "correct horse battery staple"


def attempt(client: Client, *, code: str, name: str = "alice", password: str = PASSWORD, to: str = "/login/") -> bool:
    """Try to sign in; return whether it worked. A failure must say the same whatever was wrong."""
    answer = client.post(to, {"username": name, "password": password, "code": code})
    if answer.status_code == 302:
        return True
    assert answer.status_code == 200
    assert answer.context["form"].non_field_errors() == [
        "That name, password and code do not go together. A code works once: wait for the next one."
    ]
    return False


def actions() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SELECT convert_from(body, 'UTF8')::jsonb ->> 'action' FROM audit_event ORDER BY number")
        return [row[0] for row in cursor.fetchall()]


# Signing in


@pytest.mark.parametrize("typed", ["alice", "ALICE", " alice ", "\uff21lice"])
def test_name_password_and_code_open_a_verified_session(client: Client, alice: User, typed: str) -> None:
    device = give_device(alice)
    assert attempt(client, name=typed, code=next_code(device))
    request = client.get("/password_change/").wsgi_request
    assert request.user.is_verified()
    assert (request.actor.id, request.actor.role, request.actor.verified_by) == (alice.ref, "Security", device.ref)
    assert abs(timezone.now() - request.actor.verified_at) < timedelta(minutes=1)
    assert actions() == ["session.opened"]


def test_whatever_is_wrong_the_answer_is_the_same(client: Client, alice: User, bob: User) -> None:
    device, other = give_device(alice), give_device(bob)
    assert not attempt(client, code=next_code(device), password="wrong")
    assert not attempt(client, code=next_code(device), name="nobody")
    assert not attempt(client, code=next_code(device), name="alice\u200b")
    assert not attempt(client, code=next_code(device), name="bob")
    assert not attempt(client, code=next_code(other))
    assert not attempt(client, code="abcdef")
    assert "_auth_user_id" not in client.session


def test_password_alone_is_refused_and_tells_nothing(client: Client, alice: User) -> None:
    give_device(alice)
    pages = []
    for password in (PASSWORD, "wrong"):
        answer = client.post("/login/", {"username": "alice", "password": password, "code": ""})
        assert answer.status_code == 200
        pages.append(answer.context["form"].errors.as_json())
    assert pages[0] == pages[1]
    assert "_auth_user_id" not in client.session


def test_somebody_without_a_device_cannot_sign_in(client: Client, alice: User) -> None:
    assert not attempt(client, code="123456")


def test_somebody_deactivated_cannot_sign_in_and_open_sessions_end(
    client: Client, alice: User, as_role: AsRole
) -> None:
    device = sign_in(client, alice)
    with as_role("command"):
        User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get("/password_change/").status_code == 302
    assert not attempt(Client(), code=next_code(device))


def test_a_code_is_accepted_once(client: Client, alice: User) -> None:
    code = next_code(give_device(alice))
    assert attempt(client, code=code)
    assert not attempt(Client(), code=code)


@pytest.mark.parametrize("variant", [" {}", "{} ", "{}\n", "\u200b{}", "+{}", "0{}"])
def test_a_code_is_taken_exactly_as_typed(client: Client, alice: User, variant: str) -> None:
    code = next_code(give_device(alice))
    assert not attempt(client, code=variant.format(code))


def test_digits_of_another_script_are_no_code(client: Client, alice: User) -> None:
    code = next_code(give_device(alice))
    assert not attempt(client, code=code.translate({ord(str(n)): 0xFF10 + n for n in range(10)}))


def test_refusals_are_counted_against_the_device_and_in_the_log(committed_db: object, alice: User) -> None:
    device = give_device(alice)
    with time_machine.travel(timezone.now(), tick=False):
        assert not attempt(Client(), code="abcdef")
        assert not attempt(Client(), code=next_code(device)), "the right code too, while the wait lasts"
    device.refresh_from_db()
    assert device.throttling_failure_count == 1
    assert actions() == ["session.refused", "session.refused"]


def test_signing_in_gives_the_session_another_id(client: Client, alice: User) -> None:
    session = client.session
    session["planted"] = True
    session.save()
    planted = session.session_key
    sign_in(client, alice)
    assert client.session.session_key != planted
    assert not Session.objects.filter(pk=stored_key(planted)).exists()


def test_signing_in_over_another_session_leaves_nothing_of_it(client: Client, alice: User, bob: User) -> None:
    sign_in(client, alice)
    session = client.session
    session["of alice"] = True
    session.save()
    sign_in(client, bob)
    assert "of alice" not in client.session
    assert actions() == ["session.opened", "session.closed", "session.opened"]


def test_signing_out_ends_the_session(client: Client, alice: User) -> None:
    sign_in(client, alice)
    old = client.session.session_key
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").status_code in {200, 302}
    assert not Session.objects.filter(pk=stored_key(old)).exists()


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\\\evil"])
def test_signing_in_leads_to_pages_of_ours_only(client: Client, alice: User, target: str) -> None:
    device = give_device(alice)
    form = {"username": "alice", "password": PASSWORD, "code": next_code(device), "next": target}
    assert client.post("/login/", form)["Location"] == "/"


def test_a_session_of_a_stolen_password_shows_the_sign_in_page(client: Client, alice: User) -> None:
    give_device(alice)
    sign_in_with_password_only(client, alice)
    answer = client.get("/password_change/")
    assert (answer.status_code, answer["Location"]) == (302, "/login/?next=/password_change/")


def test_the_device_of_somebody_else_verifies_nobody(client: Client, alice: User, bob: User) -> None:
    sign_in_with_password_only(client, alice)
    session = client.session
    session["otp_device_id"] = give_device(bob).persistent_id
    session.save()
    assert client.get("/password_change/").status_code == 302


def test_somebody_without_a_role_is_told_so(client: Client, mallory: User) -> None:
    sign_in(client, mallory)
    answer = client.get("/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/login/")
    assert "nobody has given you a role yet" in answer.content.decode()


def test_being_superuser_does_not_replace_the_second_factor(client: Client, mallory: User, as_role: AsRole) -> None:
    with as_role("command"):
        User.objects.filter(pk=mallory.pk).update(is_superuser=True)
    sign_in_with_password_only(client, mallory)
    assert client.get("/password_change/").status_code == 302


# One's own password


def test_changing_the_password_ends_the_other_sessions(client: Client, alice: User) -> None:
    device, other = sign_in(client, alice), Client()
    sign_in(other, alice)
    form = {"old_password": PASSWORD, "new_password1": GOOD, "new_password2": GOOD}
    assert client.post("/password_change/", form)["Location"] == "/password_change/done/"
    assert client.get("/password_change/").status_code == 200
    assert other.get("/password_change/").status_code == 302
    assert "person.password_changed" in actions()
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        assert not attempt(Client(), code=next_code(device))
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        assert attempt(Client(), code=next_code(device), password=GOOD)


# Enrolling


@pytest.fixture
def link(db: None, as_role: AsRole) -> str:
    """The link of frances, who is new."""
    actor, now = Actor.system("command:bootstrap_admin"), timezone.now()
    with as_role("command"):
        person = services.register_person(
            username="frances", mail="frances@example.org", full_name="Frances Doe", actor=actor, now=now
        )
        return services.issue_enrolment_link(person=person, actor=actor, now=now)


def pending() -> TotpDevice:
    device = selectors.pending_device(User.objects.get(username="frances"))
    assert device is not None
    return device


def show(client: Client, link: str) -> None:
    answer = client.post("/enrol/", {"token": link})
    assert (answer.status_code, answer["Location"]) == (302, "/enrol/factor/")


def finish(client: Client, code: str, password: str = GOOD) -> int:
    form = {"code": code, "password": password, "repeated": password}
    return client.post("/enrol/factor/", form).status_code


def test_a_link_carries_its_token_where_no_server_sees_it(link: str) -> None:
    assert re.fullmatch(r"[^?#]+/enrol/#[A-Za-z0-9_-]{43}", link)


def test_enrolling_by_link_ends_with_a_person_who_can_sign_in(client: Client, link: str) -> None:
    page = client.get("/enrol/").content.decode()
    assert "enrol.js" in page
    assert not TotpDevice.objects.exists(), "looking changes nothing"
    show(client, link)
    page = client.get("/enrol/factor/").content.decode()
    device = pending()
    from keyvault_admin.access.totp import base32

    assert base32(device.seed()) in page
    assert 'src="data:image/svg+xml' in page
    answer = client.post("/enrol/factor/", {"code": next_code(device), "password": GOOD, "repeated": GOOD})
    assert len(set(re.findall(r"<code>((?:[A-Z2-7]{4}-){5}[A-Z2-7]{4})</code>", answer.content.decode()))) == 10
    assert answer["Cache-Control"] == "no-store"
    assert client.session.is_empty(), "nothing of the codes is kept"
    assert client.get("/enrol/factor/").status_code == 302, "the page of the seed is gone"
    assert attempt(client, name="frances", password=GOOD, code=next_code(device))
    assert actions() == [
        "person.registered",
        "enrolment.issued",
        "person.enrolled",
        "session.opened",
    ]


def test_a_token_alone_opens_like_the_whole_link(client: Client, link: str) -> None:
    show(client, link.rpartition("#")[2])


def test_a_link_works_once(client: Client, link: str) -> None:
    late = Client()
    show(late, link)
    show(client, link)
    assert finish(client, next_code(pending())) == 200
    assert late.get("/enrol/factor/")["Location"] == "/enrol/"
    assert finish(late, "123456") == 302
    answer = Client().post("/enrol/", {"token": link})
    assert "This link is not valid" in answer.content.decode()
    assert TotpDevice.objects.count() == 1


def test_a_link_dies_after_a_day(client: Client, link: str) -> None:
    show(client, link)
    with time_machine.travel(timezone.now() + timedelta(hours=24, seconds=1)):
        assert client.get("/enrol/factor/").status_code == 302
        assert "This link is not valid" in Client().post("/enrol/", {"token": link}).content.decode()


def test_nobody_enrols_with_a_password_alone(client: Client, alice: User) -> None:
    sign_in_with_password_only(client, alice)
    answer = client.get("/enrol/factor/")
    assert (answer.status_code, answer["Location"]) == (302, "/enrol/")
    client.post("/enrol/factor/", {"code": "123456", "password": GOOD, "repeated": GOOD})
    assert not TotpDevice.objects.exists()


def test_a_refused_enrolment_says_why_and_shows_no_password(client: Client, link: str) -> None:
    show(client, link)
    device = pending()
    answer = client.post("/enrol/factor/", {"code": next_code(device), "password": "short", "repeated": "short"})
    assert "at least 12 characters" in str(answer.context["form"].errors)
    answer = client.post("/enrol/factor/", {"code": next_code(device), "password": GOOD, "repeated": "other"})
    assert "The two passwords differ" in str(answer.context["form"].errors)
    answer = client.post("/enrol/factor/", {"code": "12345x", "password": GOOD, "repeated": GOOD})
    assert "That is not the code of now" in str(answer.context["form"].errors)
    assert GOOD not in answer.content.decode()
    assert "12345x" not in answer.content.decode()
    assert EnrolmentLink.objects.get().used_at is None


def test_showing_a_link_signs_the_browser_out(client: Client, alice: User, link: str) -> None:
    sign_in(client, alice)
    show(client, link)
    assert "_auth_user_id" not in client.session


def test_neither_token_nor_seed_is_in_a_session(client: Client, link: str) -> None:
    show(client, link)
    assert set(client.session.keys()) == {"enrolment_link"}
    assert set(client.session["enrolment_link"]) == {"link", "draw"}


def test_who_has_the_link_too_sees_another_seed_and_is_noticed(client: Client, link: str) -> None:
    """Otherwise somebody who has read the link in a chat could copy the seed and let its person finish."""
    show(client, link)
    first, thief = pending().draw, Client()
    assert client.get("/enrol/factor/").status_code == 200
    show(thief, link)
    assert pending().draw != first
    for answer in (
        client.get("/enrol/factor/", follow=True),
        client.post("/enrol/factor/", {"code": "123456", "password": GOOD, "repeated": GOOD}, follow=True),
    ):
        assert answer.redirect_chain == [("/enrol/", 302)]
        assert "somebody else has your link: tell Security at once" in answer.content.decode()
        assert 'src="data:image' not in answer.content.decode()
    show(client, link)
    assert thief.get("/enrol/factor/").status_code == 302, "whoever opened it last goes on alone"
    assert finish(client, next_code(pending())) == 200


def test_a_link_opens_nothing_for_who_is_enrolled_meanwhile(client: Client, link: str) -> None:
    show(client, link)
    code = next_code(pending())
    give_device(User.objects.get(username="frances"))
    assert "This link is not valid" in str(
        client.post("/enrol/factor/", {"code": code, "password": GOOD, "repeated": GOOD}).context["form"].errors
    )
    assert "This link is not valid" in Client().post("/enrol/", {"token": link}).content.decode()
    assert not User.objects.get(username="frances").has_usable_password()


def test_signing_out_says_so_and_leads_back(client: Client, alice: User) -> None:
    sign_in(client, alice)
    page = client.post("/logout/").content.decode()
    assert "You are signed out" in page
    assert 'href="/login/"' in page
