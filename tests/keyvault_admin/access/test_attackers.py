"""What an attacker can still do with (a) a stolen password, (b) a stolen session, (c) a dump of the database: tried.

docs/security.md, "What is left", says the same in words; whoever makes a test here say something else changes it too.
"""

import hashlib
import hmac
import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from audit.actor import Actor
from audit.sealing import keyed_digest
from inventory.models import Key
from inventory.states import State
from keyvault_admin import settings as written
from keyvault_admin.access import services
from keyvault_admin.access.models import EnrolmentLink, Lockout, Passkey, RecoveryCode, TotpDevice, User
from rotation.models import Digest
from tests import canaries
from tests.authenticator import Authenticator
from tests.canaries import forms
from tests.conftest import PASSWORD, CommittedDatabase, RoleSwitch, make_person
from tests.inventory.world import make_key, make_owner
from tests.keyvault_admin.access.test_passkeys import ACTOR, events, give_passkey
from tests.people import give_device, next_code, sign_in, verified_before
from tests.routes import routes

HOME, ELSEWHERE = "192.0.2.10", "203.0.113.66"
STEP_UP = "/account/step-up/"


def without_token(page: bytes) -> bytes:
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]+"', b"", page)


# (a) A password, and nothing else


def wrong_factors(client: Client) -> list[dict[str, str]]:
    return [
        {"code": ""},
        {"code": "999999"},
        {"code": "", "recovery_code": "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF"},
        {"code": "", "assertion": Authenticator().get(client.post("/login/passkey/").json())},
    ]


def test_a_password_opens_nothing_and_is_not_even_confirmed(alice: User) -> None:
    """The page is the same, byte for byte, for the right password and a wrong one, whatever is shown beside it."""
    give_device(alice)
    give_passkey(alice)
    services.make_recovery_codes(person=alice, actor=ACTOR, now=timezone.now())
    pages: dict[str, list[bytes]] = {PASSWORD: [], "not the pass phrase": []}
    for password, seen in pages.items():
        client = Client(REMOTE_ADDR=ELSEWHERE if password == PASSWORD else HOME)
        for factor in wrong_factors(client):
            answer = client.post("/login/", {"username": "alice", "password": password, **factor})
            assert answer.status_code == 200
            seen.append(without_token(answer.content))
        assert settings.SESSION_COOKIE_NAME not in client.cookies
    right, wrong = pages.values()
    assert right == wrong
    assert not Session.objects.exists()


def test_a_password_gives_five_tries_an_address_and_its_person_is_told(alice: User) -> None:
    give_device(alice)
    thief = Client(REMOTE_ADDR=ELSEWHERE)
    form = {"username": "alice", "password": PASSWORD}
    found = [thief.post("/login/", {**form, "code": f"{number:06d}"}).status_code for number in range(20)]
    assert found == [200] * 4 + [429] * 16
    assert Lockout.objects.filter(person=alice, told_at=None).count() == 1, "waits for the beat, which mails"
    assert [body["action"] for body in events()].count("session.refused") == 5, "a shut door fills no log"


def test_a_password_reaches_no_page_no_reset_and_no_enrolment(alice: User) -> None:
    thief = Client()
    names = {route.name for route in routes()}
    resets = {name for name in names if "reset" in name}
    assert resets == {"admin:access_user_ask_reset"}, "no page resets a password or a factor; one asks others to"
    assert thief.get("/enrol/factor/").status_code == 302
    answer = thief.post("/enrol/", {"token": PASSWORD})
    assert "This link is not valid" in answer.content.decode()
    for address in (STEP_UP, "/account/factors/", "/account/passkey/", "/password_change/", "/"):
        assert thief.get(address)["Location"].startswith("/login/"), address


def test_asking_tells_nobody_who_there_is_nor_who_has_a_passkey(alice: User, bob: User) -> None:
    """No address takes a name but sign-in, whose answer is the same for all; a challenge is one of nobody."""
    give_passkey(alice)
    said = [Client().post("/login/passkey/").json() | {"challenge": ""} for _ in range(2)]
    assert said[0] == said[1]
    assert said[0]["allowCredentials"] == []
    pages = {
        without_token(Client().post("/login/", {"username": name, "password": "x", "code": "1"}).content).replace(
            f'value="{name}"'.encode(), b""
        )
        for name in ("alice", "bob", "nobody")
    }
    assert len(pages) == 1


# (b) The session of somebody of Security, in another browser at another place


@pytest.fixture
def thief(client: Client, alice: User, bob: User) -> Client:
    """A browser that holds alice's cookie; she confirmed herself six minutes ago."""
    for person in (bob, make_person("second", "Security")):
        give_device(person)
    client.defaults["REMOTE_ADDR"] = HOME
    sign_in(client, alice)
    verified_before(client, timedelta(minutes=6))
    stolen = Client(headers={"user-agent": "curl/8.0"}, REMOTE_ADDR=ELSEWHERE)
    stolen.cookies[settings.SESSION_COOKIE_NAME] = client.cookies[settings.SESSION_COOKIE_NAME].value
    return stolen


def test_a_session_reads_what_its_person_reads_and_nobody_notices_from_where(thief: Client, carol: User) -> None:
    key, before = make_key(owner=make_owner("carol", carol.email)), len(events())
    for page in ("/", "/inventory/key/", f"/inventory/key/{key.pk}/change/", "/access/user/", "/audit/event/",
                 f"/access/user/{carol.pk}/change/", "/account/sessions/", "/account/factors/"):  # fmt: skip
        assert thief.get(page).status_code == 200, page
    assert len([body for body in events() if body["action"] != "audit.read"]) == before  # reading the log is an event


def test_a_session_does_the_free_acts_and_each_leaves_an_event(thief: Client, alice: User) -> None:
    key = make_key(state=State.PRE_ACTIVATION)
    assert thief.post(f"/inventory/key/{key.pk}/activate/", {"reason": "x"}).status_code == 302
    key.refresh_from_db()
    assert key.state == State.ACTIVE
    (event,) = [body for body in events() if body["action"] == "key.activated"]
    assert event["actor"]["id"] == alice.ref


def test_a_session_opens_no_sensitive_door(thief: Client, alice: User, bob: User) -> None:
    """Every act that declares it, by GET and by POST; what they would change is unchanged."""
    from audit.step_up import declares_step_up

    key = make_key()
    doors = [route for route in routes() if declares_step_up(route.view)]
    assert len(doors) >= 24
    before = [list(model.objects.order_by("pk").values()) for model in (User, TotpDevice, Passkey, RecoveryCode, Key)]
    for door in doors:
        path = door.path(
            {"pk": bob.pk if "user" in door.pattern else key.pk, "kind": "totp", "number": 1, "code": "key.destroy"}
        )
        for answer in (thief.get(path), thief.post(path, {"reason": "x", "format": "csv", "role": "DevOps"})):
            assert answer.status_code == 302, path
            assert answer["Location"].startswith(STEP_UP), path
    after = [list(model.objects.order_by("pk").values()) for model in (User, TotpDevice, Passkey, RecoveryCode, Key)]
    assert after == before


def test_a_session_guesses_five_codes_and_is_over(thief: Client, client: Client) -> None:
    """Guesses come too early for one another as well: most are not even looked at."""
    places = [thief.post(STEP_UP, {"code": f"{number:06d}"}).get("Location", "") for number in range(5)]
    assert places[-1].endswith("why=codes")
    assert client.get("/").status_code == 302, "the owner is out too, and reads why"


def test_a_session_is_dead_after_a_quarter_of_an_hour_without_a_click_and_after_eight_hours(thief: Client) -> None:
    start = timezone.now()
    for minute in range(10, 8 * 60, 10):
        with time_machine.travel(start + timedelta(minutes=minute)):
            assert thief.get("/account/sessions/").status_code == 200, "who goes on clicking stays"
    with time_machine.travel(start + settings.SESSION_ABSOLUTE + timedelta(seconds=1)):
        assert thief.get("/account/sessions/").status_code == 302


@pytest.mark.parametrize("how", ["signs out", "ends all others", "changes the password", "is deactivated"])
def test_the_owner_ends_a_stolen_session(thief: Client, client: Client, alice: User, how: str) -> None:
    device = alice.totp_devices.get()
    if how == "signs out":
        client.post("/logout/")
    elif how == "is deactivated":
        services.deactivate_person(person=alice, actor=Actor.system("test"), reason="x", now=timezone.now())
    else:
        home = Client(REMOTE_ADDR=HOME)
        form = {"username": "alice", "password": PASSWORD, "code": next_code(device)}
        assert home.post("/login/", form).status_code == 302
        if how == "ends all others":
            home.post("/account/sessions/end-others/")
        else:
            good = "correct horse battery staple"
            home.post("/password_change/", {"old_password": PASSWORD, "new_password1": good, "new_password2": good})
        assert home.get("/account/sessions/").status_code == 200
    assert thief.get("/account/sessions/").status_code == 302


def test_a_session_stolen_within_five_minutes_of_a_code_can_add_a_factor_which_is_told(
    thief: Client, client: Client, alice: User
) -> None:
    """The gap that step-up leaves, and what closes it: the owner is signed out and mailed; the password stays shut."""
    verified_before(client, timedelta(minutes=1))
    thief.post("/account/factors/app/new/")
    app = TotpDevice.objects.get(user=alice, confirmed=False)
    assert thief.post("/account/factors/app/", {"name": "x", "code": next_code(app)}).status_code == 302
    assert alice.totp_devices.filter(confirmed=True).count() == 2
    assert client.get("/account/sessions/").status_code == 302, "the owner is out and wonders why"
    assert Digest.objects.filter(recipient=alice.email, subject="An authenticator app was added to your sign-in")
    wrong = {"old_password": "a guess", "new_password1": "correct horse battery", "new_password2": "x"}
    assert [thief.post("/password_change/", wrong).status_code for _ in range(6)] == [200] * 4 + [429] * 2


# (c) A dump of the database, without the keys


def dump(database: str) -> bytes:
    return b"\n".join(content for _, content in canaries.tables(database))


def is_in(seen: bytes, secret: str | bytes) -> list[str]:
    raw = secret.encode() if isinstance(secret, str) else secret
    return [shape for shape, text in forms(raw).items() if text in seen]


@pytest.fixture
def told(committed_db: CommittedDatabase, as_role: RoleSwitch, alice: User, bob: User) -> dict[str, Any]:
    """A day of alice, and every secret that came up in it."""
    actor, now = Actor.system("command:test"), timezone.now()
    client = Client(headers={"user-agent": "Visitor-Agent/7"}, REMOTE_ADDR="198.51.100.77")
    device = sign_in(client, alice)
    codes = services.make_recovery_codes(person=alice, actor=ACTOR, now=now, keep=client.session.session_key)
    _, authenticator = give_passkey(bob)
    with as_role("command"):
        new = services.register_person(
            username="newcomer", mail="newcomer@example.org", full_name="New Comer", actor=actor, now=now
        )
        link = services.issue_enrolment_link(person=new, actor=actor, now=now)
    Client(REMOTE_ADDR="198.51.100.78").post(
        "/login/", {"username": "typed-by-mistake", "password": "typed-too", "code": "271828"}
    )
    make_key(name="payments-signing", owner=make_owner("alice", alice.email, user_id=alice.pk), notes="rack 12")
    return {
        "session": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "codes": codes,
        "link": link.rpartition("#")[2],
        "seed": device.seed(),
        "private": authenticator.key.private_numbers().private_value.to_bytes(32),
        "dump": dump(committed_db.name),
    }


def test_a_dump_shows_the_inventory_people_and_mails_in_clear(told: dict[str, Any]) -> None:
    for text in ("payments-signing", "rack 12", "alice@example.org", "Alice Example", "newcomer",
                 "Your recovery codes were made again"):  # fmt: skip
        assert is_in(told["dump"], text), text


def test_a_dump_holds_nothing_that_signs_anybody_in(told: dict[str, Any]) -> None:
    for name in ("session", "link", "seed", "private"):
        assert is_in(told["dump"], told[name]) == [], name
    for code in told["codes"]:
        assert is_in(told["dump"], code) == []
        assert is_in(told["dump"], code.replace("-", "")) == []
    assert is_in(told["dump"], PASSWORD) == []


def test_a_dump_tells_neither_addresses_nor_agents_nor_what_was_typed(told: dict[str, Any]) -> None:
    for text in ("198.51.100.77", "198.51.100.78", "Visitor-Agent", "typed-by-mistake", "typed-too", "271828"):
        assert is_in(told["dump"], text) == [], text


def test_no_digest_of_a_session_is_a_cookie(told: dict[str, Any], committed_db: CommittedDatabase) -> None:
    stored = list(Session.objects.values_list("session_key", flat=True))
    assert stored
    for key in (*stored, *(key[:32] for key in stored), *(bytes.fromhex(key).decode("latin-1") for key in stored)):
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = key
        assert thief.get("/account/sessions/").status_code == 302
    owner = Client()
    owner.cookies[settings.SESSION_COOKIE_NAME] = told["session"]
    assert owner.get("/account/sessions/").status_code == 200, "the key itself would have opened it"


def test_passwords_in_a_dump_are_argon2id_that_is_slow_to_guess() -> None:
    """What can be guessed offline, at the price of 100 MiB and two passes a guess; who signs in needs a factor too."""
    with override_settings(PASSWORD_HASHERS=written.PASSWORD_HASHERS):  # not those of the tests
        assert make_password(PASSWORD).startswith("argon2$argon2id$v=19$m=102400,t=2,p=8$")


def test_what_is_easily_guessed_is_found_with_the_digest_key_only(told: dict[str, Any]) -> None:
    """Addresses and names are few, so a plain digest of them would be as good as the text itself."""
    guesses = ("198.51.100.78", "typed-by-mistake", "alice", told["codes"][0], told["link"], told["session"])
    for guess in guesses:
        raw = guess.encode()
        for kind in ("sha256", "sha1", "md5"):
            assert is_in(told["dump"], hashlib.new(kind, raw).digest()) == [], (guess, kind)
            for key in (b"", b"keyvault-admin", settings.SECRET_KEY.encode()):
                assert is_in(told["dump"], hmac.digest(key, raw, kind)) == [], (guess, kind)
    digest = keyed_digest(told["link"].encode(), label="enrolment-link")
    assert EnrolmentLink.objects.filter(token_digest=digest).exists(), "with the key it is found at once"


def test_the_first_factor_of_a_dump_opens_under_the_sealing_key_alone(told: dict[str, Any]) -> None:
    from audit.errors import SealError
    from audit.sealing import Sealer

    with connection.cursor() as cursor:
        cursor.execute("SELECT sealed_seed, user_id FROM access_totpdevice ORDER BY id LIMIT 1")
        sealed, person = cursor.fetchone()
    context = f"totp:user:{person}"
    for key in (bytes(32), settings.DIGEST_KEY, hashlib.sha256(settings.SECRET_KEY.encode()).digest()):
        with pytest.raises(SealError):
            Sealer(key).unseal(bytes(sealed), context=context)
    assert Sealer(settings.SEALING_KEY).unseal(bytes(sealed), context=context) == told["seed"]
