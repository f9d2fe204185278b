"""Passkeys: registered by a verified person, shown at sign-in, refused whenever anything about them is wrong."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from threading import Barrier, Thread

import pytest
import time_machine
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import passkeys, selectors, services, tasks
from keyvault_admin.access.challenges import STEP_UP, keep_challenge, take_challenge, take_visitor_challenge
from keyvault_admin.access.errors import PasskeyRefusedError
from keyvault_admin.access.models import Passkey, User
from rotation.models import Digest
from tests.authenticator import PRESENT, Authenticator, b64
from tests.conftest import PASSWORD
from tests.people import give_device, next_code, sign_in

ACTOR = Actor.system("test")
CHALLENGE = bytes(range(32))


def give_passkey(person: User, **facts: object) -> tuple[Passkey, Authenticator]:
    """Let the person register a passkey, as their browser and the page together do."""
    authenticator = Authenticator(**facts)
    options = services.passkey_options(person=person, challenge=CHALLENGE)
    passkey = services.register_passkey(
        person=person,
        name="Laptop",
        answer=authenticator.create(options),
        challenge=CHALLENGE,
        actor=ACTOR,
        now=timezone.now(),
    )
    return passkey, authenticator


def verified(person: User, answer: str, challenge: bytes | None = CHALLENGE) -> Passkey | None:
    return services.verify_assertion(person=person, answer=answer, challenge=challenge, actor=ACTOR, now=timezone.now())


def asked(challenge: bytes = CHALLENGE) -> dict[str, object]:
    return passkeys.request_options(challenge=challenge)


def events() -> list[dict]:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SELECT convert_from(body, 'UTF8') FROM audit_event ORDER BY number")
        return [json.loads(row[0]) for row in cursor.fetchall()]


def actions() -> list[str]:
    return [event["action"] for event in events()]


# Registering


def test_registering_leaves_a_passkey_an_event_and_a_mail(alice: User) -> None:
    passkey, authenticator = give_passkey(alice)
    assert bytes(passkey.credential_id) == authenticator.credential_id
    assert passkey.ref == f"passkey:{passkey.pk}"
    assert actions() == ["factor.added"]
    assert events()[0]["facts"] == {"device": passkey.ref}
    mail = Digest.objects.get()
    assert (mail.recipient, mail.subject) == (alice.email, "A passkey was added to your sign-in")
    assert "If it was not, tell Security at once" in mail.text


def test_options_name_nobody_to_the_authenticator_and_exclude_what_is_there(alice: User, bob: User) -> None:
    first, authenticator = give_passkey(alice)
    options = services.passkey_options(person=alice, challenge=CHALLENGE)
    assert [entry["id"] for entry in options["excludeCredentials"]] == [b64(bytes(first.credential_id))]
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert authenticator.user_handle == bytes(first.user_handle)
    other = services.passkey_options(person=bob, challenge=CHALLENGE)
    assert other["user"]["id"] != options["user"]["id"]


def test_signing_in_asks_everybody_the_same(alice: User) -> None:
    give_passkey(alice)
    assert set(asked()) == {"challenge", "timeout", "rpId", "allowCredentials", "userVerification"}
    assert asked()["allowCredentials"] == []


@pytest.mark.parametrize(
    "wrong",
    [{"origin": "https://evil.example"}, {"rp_id": "evil.example"}, {"flags": 0}],
    ids=["origin", "rp", "absent"],
)
def test_registering_refuses_what_was_not_made_here(alice: User, wrong: dict[str, object]) -> None:
    with pytest.raises(PasskeyRefusedError):
        give_passkey(alice, **wrong)
    assert not Passkey.objects.exists()
    assert actions() == []


def test_registering_refuses_another_challenge_and_none(alice: User) -> None:
    answer = Authenticator().create(services.passkey_options(person=alice, challenge=CHALLENGE))
    for challenge in (bytes(32), None):
        with pytest.raises(PasskeyRefusedError):
            services.register_passkey(
                person=alice, name="x", answer=answer, challenge=challenge, actor=ACTOR, now=timezone.now()
            )


def test_one_credential_belongs_to_one_person(alice: User, bob: User) -> None:
    _, authenticator = give_passkey(alice)
    answer = authenticator.create(services.passkey_options(person=bob, challenge=CHALLENGE))
    with pytest.raises(PasskeyRefusedError):
        services.register_passkey(
            person=bob, name="x", answer=answer, challenge=CHALLENGE, actor=ACTOR, now=timezone.now()
        )


# Showing


def test_an_assertion_verifies_its_person_and_moves_the_counter(alice: User) -> None:
    passkey, authenticator = give_passkey(alice)
    assert verified(alice, authenticator.get(asked())) == passkey
    passkey.refresh_from_db()
    assert passkey.sign_count == authenticator.sign_count
    assert passkey.last_used_at is not None


def test_an_authenticator_that_counts_nothing_is_taken(alice: User) -> None:
    passkey, authenticator = give_passkey(alice, sign_count=0)
    for _ in range(2):
        authenticator.sign_count = -1
        assert verified(alice, authenticator.get(asked())) == passkey


def test_the_password_is_the_other_factor_so_a_key_without_pin_will_do(alice: User) -> None:
    passkey, authenticator = give_passkey(alice, flags=PRESENT)
    assert verified(alice, authenticator.get(asked())) == passkey


def test_somebody_elses_passkey_verifies_nobody(alice: User, bob: User) -> None:
    give_passkey(alice)
    _, of_bob = give_passkey(bob)
    assert verified(alice, of_bob.get(asked())) is None


def test_a_passkey_that_claims_to_be_somebody_else_is_refused(alice: User, bob: User) -> None:
    _, authenticator = give_passkey(alice)
    authenticator.user_handle = b64(b"bob").encode()
    assert verified(alice, authenticator.get(asked())) is None


@pytest.mark.parametrize(
    "lie",
    [
        lambda authenticator: setattr(authenticator, "origin", "https://evil.example"),
        lambda authenticator: setattr(authenticator, "origin", authenticator.origin + "/"),
        lambda authenticator: setattr(authenticator, "rp_id", "evil.example"),
        lambda authenticator: setattr(authenticator, "flags", 0),
        lambda authenticator: setattr(authenticator, "key", Authenticator().key),
        lambda authenticator: setattr(authenticator, "credential_id", bytes(32)),
    ],
    ids=["origin", "nearly the origin", "relying party", "nobody present", "another key", "unknown credential"],
)
def test_an_assertion_with_one_lie_is_refused(alice: User, lie: Callable[[Authenticator], None]) -> None:
    _, authenticator = give_passkey(alice)
    lie(authenticator)
    assert verified(alice, authenticator.get(asked())) is None


@pytest.mark.parametrize("challenge", [bytes(32), None, CHALLENGE[:31]])
def test_another_challenge_is_refused(alice: User, challenge: bytes | None) -> None:
    _, authenticator = give_passkey(alice)
    assert verified(alice, authenticator.get(asked()), challenge) is None


def _broken(answer: str, name: str, content: object) -> str:
    said = json.loads(answer)
    said["response"][name] = content
    return json.dumps(said)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: "",
        lambda _: "null",
        lambda _: "[]",
        lambda _: "{}",
        lambda _: "{" * 5_000,
        lambda answer: answer[:-1],
        lambda answer: _broken(answer, "signature", ""),
        lambda answer: _broken(answer, "signature", "AAAA"),
        lambda answer: _broken(answer, "signature", 7),
        lambda answer: _broken(answer, "userHandle", "€"),
        lambda answer: _broken(answer, "userHandle", {}),
        lambda answer: _broken(answer, "authenticatorData", "AAAA"),
        lambda answer: _broken(answer, "clientDataJSON", "AAAA"),
        lambda answer: _broken(answer, "clientDataJSON", b64(b'{"type":[],"challenge":"","origin":""}')),
        lambda answer: _broken(answer, "clientDataJSON", b64(b'{"type":"webauthn.get","challenge":1,"origin":[]}')),
        lambda answer: _broken(answer, "clientDataJSON", b64(b"\xff\xfe")),
        lambda answer: answer.replace('"public-key"', '"password"'),
    ],
)
def test_what_is_no_assertion_is_refused_without_breaking(alice: User, spoil: Callable[[str], str]) -> None:
    _, authenticator = give_passkey(alice)
    assert verified(alice, spoil(authenticator.get(asked()))) is None


def test_a_creation_is_no_assertion(alice: User) -> None:
    _, authenticator = give_passkey(alice)
    answer = authenticator.create(services.passkey_options(person=alice, challenge=CHALLENGE))
    assert verified(alice, answer) is None


@pytest.mark.parametrize("step_back", [1, 5])
def test_a_counter_that_goes_back_is_refused_recorded_and_told(alice: User, step_back: int) -> None:
    passkey, authenticator = give_passkey(alice, sign_count=10)
    assert verified(alice, authenticator.get(asked()))
    authenticator.sign_count -= step_back
    assert verified(alice, authenticator.get(asked())) is None
    passkey.refresh_from_db()
    assert passkey.sign_count == 11
    refused = events()[-1]
    assert (refused["action"], refused["outcome"]) == ("passkey.asserted", "refused")
    assert refused["facts"] == {"device": passkey.ref, "stored": 11, "shown": 12 - step_back}
    assert Digest.objects.filter(subject="A passkey of yours may have been copied", recipient=alice.email).exists()


def test_a_removed_passkey_verifies_nobody(alice: User) -> None:
    give_device(alice)
    passkey, authenticator = give_passkey(alice)
    services.remove_factor(person=alice, ref=passkey.ref, actor=ACTOR, now=timezone.now())
    assert verified(alice, authenticator.get(asked())) is None


# Challenges of who is signed in


def _request(client: Client) -> object:
    """Return a request of this browser."""
    return client.get("/login/").wsgi_request


def test_a_challenge_is_good_once_for_its_purpose_and_five_minutes(client: Client, alice: User) -> None:
    now = timezone.now()
    sign_in(client, alice)
    client.post("/account/passkey/")
    request = _request(client)
    assert take_challenge(request, purpose=STEP_UP, now=now) is not None
    assert take_challenge(_request(client), purpose=STEP_UP, now=now) is None, "once"
    for purpose, at in (("vote:abc", now), (STEP_UP, now + timedelta(minutes=5, seconds=1))):
        client.post("/account/passkey/")
        assert take_challenge(_request(client), purpose=purpose, now=at) is None
        assert take_challenge(_request(client), purpose=STEP_UP, now=now) is None, "and it is gone"


def test_a_new_challenge_voids_the_one_before(client: Client, alice: User) -> None:
    sign_in(client, alice)
    first = client.post("/account/passkey/").json()["challenge"]
    second = client.post("/account/passkey/").json()["challenge"]
    taken = take_challenge(_request(client), purpose=STEP_UP, now=timezone.now())
    assert taken is not None
    assert urlsafe_b64encode(taken).decode().rstrip("=") == second != first


@pytest.mark.parametrize("whose", ["session", "visitor"])
def test_taking_a_challenge_under_race_gives_it_once(
    committed_db: object, client: Client, alice: User, whose: str
) -> None:
    if whose == "session":
        sign_in(client, alice)
        client.post("/account/passkey/")
    else:
        client.post("/login/passkey/")
    requests, barrier, taken = [_request(client) for _ in range(8)], Barrier(8), []
    for request in requests:  # each has read the session before any of them takes
        assert (whose == "visitor") != ("passkey_challenge" in request.session)

    def take(request: object) -> None:
        barrier.wait()
        now = timezone.now()
        if whose == "session":
            taken.append(take_challenge(request, purpose=STEP_UP, now=now) is not None)
        else:
            taken.append(take_visitor_challenge(request, now=now) is not None)
        connection.close()

    threads = [Thread(target=take, args=[request]) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False] * 7 + [True]


def test_keep_challenge_draws_another_each_time(client: Client, db: None) -> None:
    request = _request(client)
    drawn = {keep_challenge(request, purpose=STEP_UP, now=timezone.now()) for _ in range(20)}
    assert len(drawn) == 20
    assert {len(challenge) for challenge in drawn} == {32}


# Challenges of visitors


def rows() -> dict[str, int]:
    """Count what asking for a challenge could leave behind."""
    counts = {}
    with connection.cursor() as cursor:
        for table in ("django_session", "axes_accessattempt", "access_session", "access_lockout"):
            cursor.execute(f"SELECT count(*) FROM {table}")
            counts[table] = cursor.fetchone()[0]
    return counts


def test_a_thousand_challenges_leave_one_row_and_are_refused_after_a_hundred(client: Client, alice: User) -> None:
    before, said = rows(), actions()
    answers = [client.post("/login/passkey/", REMOTE_ADDR="192.0.2.1") for _ in range(1_000)]
    assert [answer.status_code for answer in answers] == [200] * 100 + [429] * 900
    assert len({answer.json()["challenge"] for answer in answers[:100]}) == 100
    assert rows() == {**before, "axes_accessattempt": before["axes_accessattempt"] + 1}
    assert actions() == said
    refused = answers[-1]
    assert refused["Retry-After"] == "900"
    assert refused["Cache-Control"] == "no-store"
    assert b"Too many tries" in refused.content
    assert client.post("/login/passkey/", REMOTE_ADDR="192.0.2.2").status_code == 200, "another address"
    device = give_device(alice)
    form = {"username": "alice", "password": PASSWORD, "code": next_code(device)}
    assert client.post("/login/", form, REMOTE_ADDR="192.0.2.1").status_code == 302, "who types a code is let in"


def test_the_door_of_challenges_opens_after_a_quarter_of_an_hour(client: Client, db: None) -> None:
    for _ in range(101):
        last = client.post("/login/passkey/").status_code
    assert last == 429
    with time_machine.travel(timezone.now() + timedelta(minutes=15, seconds=1)):
        assert client.post("/login/passkey/").status_code == 200


def test_signing_in_with_a_passkey_begins_the_count_again(client: Client, alice: User) -> None:
    _, authenticator = give_passkey(alice)
    for _ in range(99):
        client.post("/login/passkey/")
    assert attempt(client, authenticator)
    assert client.post("/login/passkey/").status_code == 200


def test_a_visitor_s_challenge_is_a_cookie_that_scripts_and_other_sites_do_not_get(client: Client, db: None) -> None:
    client.post("/login/passkey/")
    cookie = client.cookies[settings.PASSKEY_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"], cookie["path"]) == (True, "Strict", 300, "/")
    assert bool(cookie["secure"]) == settings.SESSION_COOKIE_SECURE
    assert settings.SESSION_COOKIE_NAME not in client.cookies


@pytest.mark.parametrize("forge", [lambda _: "", lambda text: text[1:], lambda text: "00" * 32 + text[64:],
                                   lambda text: text[:64], lambda _: "00" * 32, lambda _: "\u00e9:x:y"])  # fmt: skip
def test_a_forged_challenge_is_none(client: Client, alice: User, forge: Callable[[str], str]) -> None:
    client.post("/login/passkey/")
    request = _request(client)
    request.COOKIES[settings.PASSKEY_COOKIE_NAME] = forge(request.COOKIES[settings.PASSKEY_COOKIE_NAME])
    assert take_visitor_challenge(request, now=timezone.now()) is None


def test_a_visitor_s_challenge_is_spent_with_its_answer_however_the_door_is_opened(
    client: Client, alice: User, as_role
) -> None:
    """Who has copied name, password, cookie and answer comes too late, and resetting the counters helps nobody."""
    _, authenticator = give_passkey(alice, sign_count=0)
    authenticator.sign_count = -1
    answer = authenticator.get(client.post("/login/passkey/").json())
    thief = Client()
    thief.cookies[settings.PASSKEY_COOKIE_NAME] = client.cookies[settings.PASSKEY_COOKIE_NAME].value
    assert send(client, answer)
    assert not send(thief, answer)
    with as_role("command"):
        call_command("axes_reset", stdout=StringIO())
    assert not send(thief, answer)
    with as_role("worker"), time_machine.travel(timezone.now() + timedelta(minutes=14)):
        tasks.forget_tries()
    assert rows()["axes_accessattempt"] > 0
    with as_role("worker"), time_machine.travel(timezone.now() + timedelta(minutes=16)):
        tasks.forget_tries()
    assert rows()["axes_accessattempt"] == 0
    assert settings.AXES_COOLOFF_TIME > passkeys.LIFETIME, "what is spent is remembered for longer than it could work"


# Signing in


def attempt(client: Client, authenticator: Authenticator, *, name: str = "alice", password: str = PASSWORD) -> bool:
    options = client.post("/login/passkey/").json()
    return send(client, authenticator.get(options), name=name, password=password)


def send(client: Client, answer: str, *, name: str = "alice", password: str = PASSWORD) -> bool:
    form = {"username": name, "password": password, "code": "", "recovery_code": "", "assertion": answer}
    page = client.post("/login/", form)
    if page.status_code == 302:
        return True
    assert page.context["form"].non_field_errors() == [
        "That name, password and code do not go together. A code works once: wait for the next one."
    ]
    assert "_auth_user_id" not in client.session
    return False


def test_name_password_and_passkey_open_a_verified_session(client: Client, alice: User) -> None:
    passkey, authenticator = give_passkey(alice)
    assert attempt(client, authenticator)
    request = client.get("/account/factors/").wsgi_request
    assert request.user.is_verified()
    assert request.actor.verified_by == passkey.ref
    assert actions()[-1] == "session.opened"
    assert events()[-1]["actor"]["verified_by"] == passkey.ref
    assert "signed in with a passkey" in client.get("/").content.decode()


def test_whatever_is_wrong_with_a_passkey_the_answer_is_the_same(client: Client, alice: User, bob: User) -> None:
    _, of_alice = give_passkey(alice)
    _, of_bob = give_passkey(bob)
    assert not attempt(client, of_alice, password="wrong")
    assert not attempt(client, of_bob)
    assert not attempt(client, of_alice, name="bob")
    assert not attempt(client, of_alice, name="nobody")
    assert not attempt(client, Authenticator())
    assert not send(client, "{}")
    assert attempt(client, of_alice)


def test_a_passkey_alone_signs_nobody_in(client: Client, alice: User) -> None:
    _, authenticator = give_passkey(alice)
    options = client.post("/login/passkey/").json()
    page = client.post("/login/", {"username": "alice", "password": "", "assertion": authenticator.get(options)})
    assert page.status_code == 200
    assert "_auth_user_id" not in client.session


def test_an_assertion_is_good_once_even_after_a_wrong_password(client: Client, alice: User) -> None:
    _, authenticator = give_passkey(alice, sign_count=0)
    authenticator.sign_count = -1
    answer = authenticator.get(client.post("/login/passkey/").json())
    assert not send(client, answer, password="wrong")
    assert not send(client, answer)
    assert attempt(client, authenticator)
    assert not send(Client(), answer), "nor in another browser"


def test_an_assertion_of_another_session_is_refused(client: Client, alice: User) -> None:
    _, authenticator = give_passkey(alice)
    answer = authenticator.get(client.post("/login/passkey/").json())
    other = Client()
    other.post("/login/passkey/")
    assert not send(other, answer)


def test_an_assertion_is_too_old_after_five_minutes(client: Client, alice: User) -> None:
    _, authenticator = give_passkey(alice)
    answer = authenticator.get(client.post("/login/passkey/").json())
    with time_machine.travel(timezone.now() + timedelta(minutes=5, seconds=1)):
        assert not send(client, answer)


def test_a_challenge_to_step_up_signs_nobody_in(client: Client, alice: User) -> None:
    _, authenticator = give_passkey(alice)
    sign_in(client, alice)
    answer = authenticator.get(client.post("/account/passkey/").json())
    form = {"username": "alice", "password": PASSWORD, "assertion": answer}
    assert client.post("/login/", form).status_code == 200


def test_getting_a_challenge_needs_the_token_of_the_form(alice: User) -> None:
    assert Client(enforce_csrf_checks=True).post("/login/passkey/").status_code == 403
    assert Client().get("/login/passkey/").status_code == 405


def test_a_session_of_a_removed_passkey_is_worth_nothing(client: Client, alice: User) -> None:
    give_device(alice)
    passkey, authenticator = give_passkey(alice)
    assert attempt(client, authenticator)
    services.remove_factor(person=alice, ref=passkey.ref, actor=ACTOR, now=timezone.now())
    assert client.get("/account/factors/").status_code == 302
    assert not attempt(Client(), authenticator)


# Pages


def test_adding_a_passkey_on_the_page(client: Client, alice: User) -> None:
    sign_in(client, alice)
    options = client.post("/account/factors/passkey/options/").json()
    authenticator = Authenticator()
    form = {"name": "Desk", "creation": authenticator.create(options)}
    assert client.post("/account/factors/passkey/", form)["Location"] == "/account/factors/"
    assert "Desk" in client.get("/account/factors/").content.decode()
    assert attempt(Client(), authenticator)
    answer = client.post("/account/factors/passkey/", form)
    assert "The passkey could not be used" in answer.content.decode(), "the challenge is used up"


def test_a_person_with_a_passkey_alone_is_enrolled(alice: User) -> None:
    assert not selectors.is_enrolled(alice)
    give_passkey(alice)
    assert selectors.is_enrolled(alice)
    assert alice in selectors.enrolled(User.objects.all())


def test_passkeys_need_a_name(client: Client, alice: User, settings: object) -> None:
    for address, possible in (("http://127.0.0.1:8000", False), ("https://[::1]", False), ("https://a.example", True)):
        settings.SITE_URL = address
        assert passkeys.are_possible() is possible
    settings.SITE_URL = "http://127.0.0.1:8000"
    assert client.post("/login/passkey/").status_code == 404
    sign_in(client, alice)
    assert "reached by an address" in client.get("/account/factors/").content.decode()
    assert client.post("/account/factors/passkey/options/").status_code == 404


def test_nothing_about_a_key_is_in_repr(alice: User) -> None:
    passkey, authenticator = give_passkey(alice)
    made = passkeys.parsed_assertion(authenticator.get(asked()))
    assert "signature" not in repr(made)
    assert repr(passkey) == f"<Passkey: {passkey.ref}>"
