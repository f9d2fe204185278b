"""Single sign-on against a real provider: who is let in, and every lie that is not believed."""

import html
import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from audit.actor import Actor
from keyvault_admin.access import alone, openid, selectors, services
from keyvault_admin.access.errors import LinkTakenError
from keyvault_admin.access.models import PersonSession, SingleSignOnLink, User
from rotation.models import Digest
from tests import provider as providers
from tests.conftest import PASSWORD, make_person
from tests.people import give_device, next_code, sign_in, verified_before
from tests.provider import CLIENT_ID, GONE, Lies, Provider, ec_key, rsa_jwk, rsa_key, running

AsRole = Callable[[str], AbstractContextManager[None]]
TEST = Actor.system("test")
SENTENCE = "Single sign-on did not let you in."
REFUSED = "/login/?why=single-sign-on"
RETURN = "/login/return/"
ONWARD = re.compile(r'http-equiv="refresh" content="0; url=([^"]+)"')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with running(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture
def provider(server: Provider, settings: Settings) -> Provider:
    """A provider that the site trusts, whose second factor counts for nothing yet."""
    server.subject, server.lies = "00u-alice", Lies()
    server.asked.clear()
    server.paths.clear()
    for name, said in server.settings().items():
        setattr(settings, name, said)
    return server


@pytest.fixture
def link(provider: Provider, alice: User) -> SingleSignOnLink:
    give_device(alice)
    return services.link_account(person=alice, subject="00u-alice", actor=TEST, now=timezone.now())


def onward(answer) -> str:
    """Return the address at the provider that a page leads to."""
    assert answer.status_code == 200
    found = ONWARD.search(answer.content.decode())
    assert found, answer.content.decode()
    return html.unescape(found[1])


def leave(client: Client, after: str = "/") -> str:
    return onward(client.post("/login/", {"single-sign-on": "1", "next": after}))


def come_back(client: Client, address: str):
    return client.get(address.removeprefix(settings.SITE_URL))


def go_through(client: Client, provider: Provider, after: str = "/"):
    return come_back(client, provider.visit(leave(client, after)))


def events() -> list[dict]:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SELECT convert_from(body, 'UTF8')::jsonb FROM audit_event ORDER BY number")
        return [json.loads(row[0]) if isinstance(row[0], str) else row[0] for row in cursor.fetchall()]


def actions() -> list[str]:
    return [event["action"] for event in events()]


def is_signed_in(client: Client) -> bool:
    return client.get("/account/sessions/").status_code == 200


def assert_refused(client: Client, answer, why: str) -> None:
    """Nobody is signed in, not even half; the answer says always the same, and the log says why."""
    assert answer.status_code == 302
    assert answer["Location"] == REFUSED
    assert not is_signed_in(client)
    assert not {"_auth_user_id", "half_signed_in"} & set(client.session.keys())
    page = client.get(REFUSED).content.decode()
    assert SENTENCE in page
    assert "One more step" not in page
    last = events()[-1]
    assert (last["action"], last["outcome"]) == ("session.refused", "refused")
    assert last["facts"] == {"door": "single-sign-on", "why": why}


# Without a provider there is nothing


def test_nothing_is_there_without_a_provider(client: Client, alice: User) -> None:
    assert client.get(RETURN).status_code == 404
    assert b"single-sign-on" not in client.get("/login/").content
    answer = client.post("/login/", {"single-sign-on": "1"})
    assert answer.status_code == 200
    assert answer.context["form"].errors
    sign_in(client, alice)
    assert client.get("/account/single-sign-on/").status_code == 404
    assert b"ingle sign-on" not in client.get("/account/factors/").content


# Whom it lets in


def test_without_the_providers_word_it_is_half_a_sign_in(
    client: Client, provider: Provider, alice: User, link: SingleSignOnLink
) -> None:
    answer = go_through(client, provider, "/inventory/key/")
    assert answer["Location"] == "/login/?next=/inventory/key/"
    assert "_auth_user_id" not in client.session
    for address in ("/", "/account/sessions/", "/account/factors/", "/account/step-up/", "/password_change/"):
        assert client.get(address)["Location"].startswith("/login/"), address
    page = client.get(answer["Location"]).content.decode()
    assert "Example did not say that it asked for a second factor" in page
    assert "Password" not in page
    before = client.session.session_key
    answer = client.post("/login/", {"code": next_code(alice.totp_devices.get()), "next": "/inventory/key/"})
    assert answer["Location"] == "/inventory/key/"
    assert client.session.session_key != before
    request = client.get("/password_change/").wsgi_request
    assert request.actor.verified_by == alice.totp_devices.get().ref
    assert request.has_stepped_up
    assert "half_signed_in" not in client.session
    assert actions()[-2:] == ["single_sign_on.used", "session.opened"]
    assert events()[-2]["facts"] == {"device": link.ref, "second_factor": ""}


@pytest.mark.parametrize(
    ("counts", "claims", "word"),
    [
        ({"OIDC_MFA_AMR": {"mfa", "hwk"}}, {"amr": ["pwd", "mfa"]}, "amr:mfa"),
        ({"OIDC_MFA_AMR": {"mfa", "hwk"}}, {"amr": ["hwk"]}, "amr:hwk"),
        ({"OIDC_MFA_ACR": {"urn:example:strong"}}, {"acr": "urn:example:strong"}, "acr:urn:example:strong"),
    ],
)
def test_where_the_provider_says_so_its_second_factor_counts(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings, counts, claims, word
) -> None:
    for name, said in counts.items():
        setattr(settings, name, frozenset(said))
    provider.lies.claims = claims
    client.get("/login/")
    answer = go_through(client, provider, "/inventory/key/")
    assert answer["Location"] == "/inventory/key/"
    page = client.get("/account/sessions/")
    assert "by single sign-on" in page.content.decode()
    assert page.wsgi_request.user.is_verified()
    assert page.wsgi_request.actor.verified_by == link.ref
    assert PersonSession.objects.get(person=link.user).verified_by == link.ref
    opened = events()[-1]
    assert (opened["action"], opened["actor"]["verified_by"]) == ("session.opened", link.ref)
    assert events()[-2]["facts"]["second_factor"] == word


def test_a_sensitive_door_asks_for_a_factor_of_ours(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings
) -> None:
    settings.OIDC_MFA_AMR = frozenset({"mfa"})
    provider.lies.claims = {"amr": ["mfa"]}
    go_through(client, provider)
    assert client.get("/password_change/")["Location"].startswith("/account/step-up/")
    code = next_code(link.user.totp_devices.get())
    assert client.post("/account/step-up/", {"code": code, "next": "/password_change/"}).status_code == 302
    assert client.get("/password_change/").status_code == 200


@pytest.mark.parametrize(
    "claims",
    [{}, {"amr": []}, {"amr": ["pwd"]}, {"amr": "mfa"}, {"amr": {"mfa": True}}, {"amr": [["mfa"]]}, {"acr": "mfa"},
     {"amr": ["MFA"]}, {"acr": ["strong"]}, {"acr": "strong "}],
)  # fmt: skip
def test_what_does_not_say_so_does_not_count(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings, claims
) -> None:
    settings.OIDC_MFA_AMR, settings.OIDC_MFA_ACR = frozenset({"mfa"}), frozenset({"strong"})
    provider.lies.claims = claims
    assert go_through(client, provider)["Location"] == "/login/?next=/"
    assert not is_signed_in(client)


def test_nothing_counts_by_default(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    provider.lies.claims = {"amr": ["pwd", "mfa", "otp", "hwk"], "acr": "1"}
    assert go_through(client, provider)["Location"] == "/login/?next=/"
    assert not is_signed_in(client)


def test_es256_is_understood_where_it_is_the_algorithm(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings
) -> None:
    provider.lies = Lies(header={"alg": "ES256", "kid": "ec"}, key=ec_key())
    assert_refused(client, go_through(client, provider), "the provider has no such key")
    settings.OIDC_RP_SIGN_ALGO = "ES256"
    assert go_through(client, provider)["Location"] == "/login/?next=/"
    provider.lies = Lies()
    assert_refused(client, go_through(client, provider), "the provider has no such key")


def test_clocks_may_differ_by_half_a_minute(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    now = int(timezone.now().timestamp())
    provider.lies.claims = {"iat": now + 20, "exp": now + 320}
    assert go_through(client, provider)["Location"] == "/login/?next=/"


# What is asked of the provider


def test_what_the_provider_is_asked(client: Client, provider: Provider, alice: User, settings: Settings) -> None:
    settings.OIDC_MAX_AGE, settings.OIDC_MFA_ACR = 300, frozenset({"b", "a"})
    go_through(client, provider)
    (asked,) = provider.asked
    assert asked["redirect_uri"] == f"{settings.SITE_URL}{RETURN}"
    assert (asked["scope"], asked["max_age"], asked["acr_values"]) == ("openid", "300", "a b")
    assert "prompt" not in asked
    secrets = [asked["state"], asked["nonce"], asked["code_challenge"]]
    assert len({*secrets}) == 3
    assert all(len(secret) == 43 for secret in secrets)
    go_through(client, provider)
    assert not {asked["state"], asked["nonce"]} & set(provider.asked[1].values())
    assert provider.paths == ["/authorize", "/token", "/jwks"] * 2


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "\\\\evil"])
def test_nobody_is_led_elsewhere(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings, wanted: str
) -> None:
    assert go_through(client, provider, wanted)["Location"] == "/login/?next=/"
    page = client.get("/login/", {"next": wanted}).context
    assert page["next"] == "/"
    code = next_code(link.user.totp_devices.get())
    assert client.post("/login/", {"code": code, "next": wanted})["Location"] == "/"


# Lies


def public_pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


MALFORMED = "the token is malformed"
NO_KEY = "the provider has no such key"
ALGORITHM = "the token is signed by another algorithm"
LIES: dict[str, tuple[Callable[[], Lies], str]] = {
    "wrong nonce": (lambda: Lies(claims={"nonce": "x" * 43}), "the nonce is another one"),
    "no nonce": (lambda: Lies(claims={"nonce": GONE}), "the token lacks a claim"),
    "wrong issuer": (lambda: Lies(claims={"iss": "https://evil.example"}), "the token is of another issuer"),
    "issuer with a slash": (lambda: Lies(claims={"iss": "https://localhost/"}), "the token is of another issuer"),
    "no issuer": (lambda: Lies(claims={"iss": GONE}), "the token lacks a claim"),
    "wrong audience": (lambda: Lies(claims={"aud": "another"}), "the token is for somebody else"),
    "two audiences": (
        lambda: Lies(claims={"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}), "the token is for somebody else",
    ),
    "no audience": (lambda: Lies(claims={"aud": GONE}), "the token lacks a claim"),
    "empty audience": (lambda: Lies(claims={"aud": []}), "the token is for somebody else"),
    "another party": (lambda: Lies(claims={"azp": "another"}), "the token is for somebody else"),
    "expired": (lambda: Lies(claims={"exp": 1_700_000_000}), "the token is too old"),
    "never expires": (lambda: Lies(claims={"exp": GONE}), "the token lacks a claim"),
    "expiry as text": (lambda: Lies(claims={"exp": "soon"}), MALFORMED),
    "of the future": (lambda: Lies(claims={"iat": 4_000_000_000}), "the token is of the future"),
    "not yet": (lambda: Lies(claims={"nbf": 4_000_000_000}), "the token is of the future"),
    "no time": (lambda: Lies(claims={"iat": GONE}), "the token lacks a claim"),
    "no subject": (lambda: Lies(claims={"sub": GONE}), "the token lacks a claim"),
    "empty subject": (lambda: Lies(claims={"sub": ""}), "the token names nobody"),
    "long subject": (lambda: Lies(claims={"sub": "a" * 256}), "the token names nobody"),
    "subject with a null": (lambda: Lies(claims={"sub": "00u-alice\0"}), "the token names nobody"),
    "another subject": (lambda: Lies(claims={"sub": "00u-mallory"}), "the account is linked to nobody"),
    "subject in capitals": (lambda: Lies(claims={"sub": "00U-ALICE"}), "the account is linked to nobody"),
    "algorithm none": (lambda: Lies(header={"alg": "none"}, key=None), ALGORITHM),
    "unsigned": (lambda: Lies(key=None), "the signature is wrong"),
    "HS256 with the public key": (lambda: Lies(header={"alg": "HS256"}, key=public_pem()), ALGORITHM),
    "HS256 with the client's id": (lambda: Lies(header={"alg": "HS256"}, key=CLIENT_ID.encode()), ALGORITHM),
    "signed by another key": (lambda: Lies(key=rsa_key("other")), "the signature is wrong"),
    "its own key in the header": (
        lambda: Lies(key=rsa_key("other"), header={"jwk": rsa_jwk(rsa_key("other"))}), "the signature is wrong",
    ),
    "unknown key": (lambda: Lies(header={"kid": "unknown"}, key=rsa_key("other")), NO_KEY),
    "no name of a key": (lambda: Lies(header={"kid": GONE}), MALFORMED),
    "two keys of a name": (lambda: Lies(keys=[rsa_jwk(rsa_key("other")), rsa_jwk(rsa_key())]), NO_KEY),
    "a key to encrypt": (lambda: Lies(keys=[{**rsa_jwk(rsa_key()), "use": "enc"}]), NO_KEY),
    "a key for another algorithm": (lambda: Lies(keys=[{**rsa_jwk(rsa_key()), "alg": "RS512"}]), NO_KEY),
    "a shared secret as a key": (
        lambda: Lies(keys=[{"kty": "oct", "kid": "rsa", "k": "AAAA"}], header={"alg": "HS256"}, key=b"\0\0\0"), NO_KEY,
    ),
    "a short key": (
        lambda: Lies(keys=[rsa_jwk(rsa_key("short", 1024))], key=rsa_key("short", 1024)),
        "the provider's key is too short",
    ),
    "no keys": (lambda: Lies(keys=[]), NO_KEY),
    "keys that are none": (lambda: Lies(keys=["rsa", 7]), MALFORMED),
    "keys that are no JSON": (lambda: Lies(jwks_body=b"<html>"), "the provider's answer is malformed"),
    "no token at all": (lambda: Lies(body=b"{}"), "the answer holds no token"),
    "a token of two parts": (lambda: Lies(token="e30.e30"), MALFORMED),
    "an encrypted token": (lambda: Lies(token="e30.e30.e30.e30.e30"), MALFORMED),
    "a list": (lambda: Lies(body=b"[1]"), "the provider's answer is malformed"),
    "no JSON": (lambda: Lies(body=b"\xff\xfe"), "the provider's answer is malformed"),
    "brackets without end": (lambda: Lies(body=b"[" * 100_000), "the provider's answer is malformed"),
    "a huge answer": (lambda: Lies(body=b" " * 300_000 + b"{}"), "the provider's answer is too long"),
    "a slow answer": (lambda: Lies(wait=1.5), "the provider's answer came too slowly"),
    "an answer by drops": (lambda: Lies(drip=0.02), "the provider's answer came too slowly"),
    "a redirect": (lambda: Lies(status=302), "the provider answered 302"),
    "a redirect that keeps the form": (lambda: Lies(status=307), "the provider answered 307"),
    "a fault": (lambda: Lies(status=500), "the provider answered 500"),
    "another issuer in the address": (lambda: Lies(answer={"iss": "https://evil"}), "another provider answered"),
    "an error in the address": (lambda: Lies(answer={"error": "access_denied"}), "the provider refused"),
    "no code": (lambda: Lies(answer={"code": ""}), "the answer holds no code"),
    "an invented code": (lambda: Lies(answer={"code": "invented"}), "the provider answered 400"),
    "another state": (lambda: Lies(answer={"state": "another"}), "the state is another one"),
    "no state": (lambda: Lies(answer={"state": ""}), "the state is another one"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_no_lie_is_believed(
    client: Client,
    provider: Provider,
    link: SingleSignOnLink,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    lie: str,
) -> None:
    """With a provider whose second factor counts, so that a lie believed would be a session."""
    settings.OIDC_MFA_AMR, settings.OIDC_TIMEOUT = frozenset({"mfa"}), 1
    make, why = LIES[lie]
    provider.lies = make()
    provider.lies.claims.setdefault("amr", ["mfa"])
    assert_refused(client, go_through(client, provider), why)
    assert "single_sign_on.used" not in actions()
    assert "/elsewhere" not in provider.paths
    assert "00u-" not in caplog.text
    assert client.post("/login/", {"code": next_code(link.user.totp_devices.get())}).status_code == 200  # no half-way
    provider.lies, settings.OIDC_TIMEOUT = Lies(claims={"amr": ["mfa"]}), 10
    assert go_through(client, provider)["Location"] == "/"  # and the truth is believed still


def test_a_question_ends_in_time_though_each_byte_comes_in_time(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings
) -> None:
    settings.OIDC_TIMEOUT, provider.lies = 1, Lies(drip_of_head=0.5)
    address = provider.visit(leave(client))
    began = time.monotonic()
    assert_refused(client, come_back(client, address), "the provider's answer came too slowly")
    assert time.monotonic() - began < 3


def test_a_provider_with_another_certificate_is_not_asked(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings, tmp_path: Path
) -> None:
    address = provider.visit(leave(client))
    settings.OIDC_VERIFY_SSL = str(providers.certify(tmp_path)[0])
    assert_refused(client, come_back(client, address), "the provider could not be asked")
    assert "/token" not in provider.paths


def test_a_code_is_bound_to_the_verifier_of_its_browser(
    client: Client, provider: Provider, link: SingleSignOnLink
) -> None:
    """Somebody who steals a code, and has a browser that waits for one, gets nowhere with it."""
    stolen = re.search(r"code=([^&]+)", provider.visit(leave(Client())))[1]
    mine = re.sub(r"code=[^&]+", f"code={stolen}", provider.visit(leave(client)))
    assert_refused(client, come_back(client, mine), "the provider answered 400")


def test_a_code_is_bound_to_the_nonce_where_the_provider_forgets_the_verifier(
    client: Client, provider: Provider, link: SingleSignOnLink
) -> None:
    provider.lies.forgets_pkce = True
    stolen = re.search(r"code=([^&]+)", provider.visit(leave(Client())))[1]
    mine = re.sub(r"code=[^&]+", f"code={stolen}", provider.visit(leave(client)))
    assert_refused(client, come_back(client, mine), "the nonce is another one")


GONE_AWAY = "nobody left from this browser, or too long ago"


def test_an_answer_works_once(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    address = provider.visit(leave(client))
    assert come_back(client, address)["Location"] == "/login/?next=/"
    client.post("/login/", {"start-again": "1"})
    assert_refused(client, come_back(client, address), GONE_AWAY)


def test_an_answer_works_in_the_browser_that_asked(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    """Nobody signs another into an account of theirs by giving them an address."""
    address = provider.visit(leave(client))
    other = Client()
    assert_refused(other, come_back(other, address), GONE_AWAY)
    leave(other)
    assert_refused(other, come_back(other, address), "the state is another one")
    assert come_back(client, address)["Location"] == "/login/?next=/"


def test_a_second_departure_voids_the_first(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    first = provider.visit(leave(client))
    leave(client)
    assert_refused(client, come_back(client, first), "the state is another one")


def test_leaving_leaves_no_row_however_often(client: Client, provider: Provider, alice: User) -> None:
    client.get("/login/")
    with CaptureQueriesContext(connection) as queries:
        for _ in range(3):
            leave(Client(), "/inventory/key/")
            leave(client)
    assert [query["sql"] for query in queries if not query["sql"].startswith("SELECT")] == []
    assert not Session.objects.exists()
    cookie = client.cookies[settings.DEPARTURE_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 300)


def test_a_departure_that_was_changed_is_none(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    address = provider.visit(leave(client))
    kept = client.cookies[settings.DEPARTURE_COOKIE_NAME].value
    for forged in (kept[:-1] + ("A" if kept[-1] != "A" else "B"), "x" + kept, kept.partition(":")[0], ""):
        client.cookies[settings.DEPARTURE_COOKIE_NAME] = forged
        assert_refused(client, come_back(client, address), GONE_AWAY)
    client.cookies[settings.DEPARTURE_COOKIE_NAME] = kept
    assert come_back(client, address)["Location"] == "/login/?next=/"


def test_a_way_back_that_no_cookie_holds_is_the_first_page(
    client: Client, provider: Provider, link: SingleSignOnLink
) -> None:
    for length, expected in ((1_400, 1_400), (1_600, 1)):
        after = "/inventory/key/?q=".ljust(length, "\u00e4" if length > 1_500 else "a")
        leave(client, after)
        cookie = client.cookies[settings.DEPARTURE_COOKIE_NAME]
        assert len(cookie.OutputString()) < 4_096
        departure = json.loads(urlsafe_b64decode(cookie.value.partition(":")[0]))
        assert len(departure["after"]) == expected


def test_an_answer_after_five_minutes_is_too_late(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    address = provider.visit(leave(client))
    with time_machine.travel(timezone.now() + settings.OIDC_LIFETIME, tick=False):
        assert_refused(client, come_back(client, address), GONE_AWAY)


def test_leaving_needs_a_form_and_its_token(provider: Provider, alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post("/login/", {"single-sign-on": "1"}).status_code == 403
    assert ONWARD.search(Client().get("/login/?single-sign-on=1").content.decode()) is None
    assert Client().post(RETURN).status_code == 405


def test_one_answer_again_and_again_is_turned_away(client: Client, provider: Provider, alice: User) -> None:
    answers = [client.get(RETURN, {"state": "x", "code": "y"}).status_code for _ in range(6)]
    assert answers == [302] * 5 + [429]
    assert client.get(RETURN, {"state": "z", "code": "y"}).status_code == 302


@pytest.mark.parametrize(
    ("auth_time", "why"),
    [
        (GONE, "the token does not say when the provider asked"),
        ("now", "the token does not say when the provider asked"),
        (True, "the token does not say when the provider asked"),
        (-400, "the provider asked too long ago"),
        (400, "the provider asked too long ago"),
    ],
)
def test_where_an_age_is_demanded_it_must_be_said(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings, auth_time, why: str
) -> None:
    settings.OIDC_MAX_AGE = 300
    now = int(timezone.now().timestamp())
    is_offset = isinstance(auth_time, int) and not isinstance(auth_time, bool)
    provider.lies.claims = {"auth_time": now + auth_time if is_offset else auth_time}
    assert_refused(client, go_through(client, provider), why)
    provider.lies.claims = {"auth_time": now - 200}
    assert go_through(client, provider)["Location"] == "/login/?next=/"


# Who is refused whatever the provider says


def test_somebody_deactivated_or_at_the_end_is_refused(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings, as_role: AsRole
) -> None:
    settings.OIDC_MFA_AMR = frozenset({"mfa"})
    provider.lies.claims = {"amr": ["mfa"]}
    people, yesterday = User.objects.filter(pk=link.user_id), timezone.now().date() - timedelta(days=1)
    for change in ({"is_active": False}, {"is_active": True, "ends_on": yesterday}):
        with as_role("command"):
            people.update(**change)
        assert_refused(client, go_through(client, provider), "the person may not sign in")
        assert events()[-1]["subjects"][0]["ref"] == link.user.ref
    with as_role("command"):
        people.update(ends_on=None)
    assert go_through(client, provider)["Location"] == "/"


def test_an_account_of_nobody_makes_nobody(client: Client, provider: Provider, alice: User) -> None:
    """Neither by its name nor by its mail, though both are somebody's."""
    provider.lies.claims = {"email": alice.email, "email_verified": True, "preferred_username": "alice"}
    before = User.objects.count()
    assert_refused(client, go_through(client, provider), "the account is linked to nobody")
    assert User.objects.count() == before
    assert not SingleSignOnLink.objects.exists()


def test_roles_never_come_from_the_provider(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings
) -> None:
    settings.OIDC_MFA_AMR = frozenset({"mfa"})
    provider.lies.claims = {"amr": ["mfa"], "roles": ["DevOps"], "groups": ["DevOps"], "is_superuser": True}
    go_through(client, provider)
    assert selectors.roles_of(link.user) == {"Security"}


def test_a_link_of_another_issuer_is_nobodys_here(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings, as_role: AsRole
) -> None:
    with as_role("migrator"):
        SingleSignOnLink.objects.update(issuer="https://before.example")
    assert_refused(client, go_through(client, provider), "the account is linked to nobody")


# Half-way


def half(client: Client, provider: Provider) -> None:
    assert go_through(client, provider)["Location"] == "/login/?next=/"


def test_half_a_sign_in_lasts_five_minutes(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    half(client, provider)
    with time_machine.travel(timezone.now() + settings.OIDC_LIFETIME, tick=False):
        assert b"One more step" not in client.get("/login/").content
        answer = client.post("/login/", {"code": next_code(link.user.totp_devices.get())})
        assert answer.status_code == 200
    assert "_auth_user_id" not in client.session


def test_half_a_sign_in_ends_with_the_link_or_the_person(
    client: Client, provider: Provider, link: SingleSignOnLink, as_role: AsRole
) -> None:
    half(client, provider)
    with as_role("command"):
        User.objects.filter(pk=link.user_id).update(is_active=False)
    assert b"One more step" not in client.get("/login/").content
    with as_role("command"):
        User.objects.filter(pk=link.user_id).update(is_active=True)
    assert b"One more step" in client.get("/login/").content
    services.unlink_account(person=link.user, actor=TEST, now=timezone.now())
    assert b"One more step" not in client.get("/login/").content


def test_a_factor_of_somebody_else_or_none_is_refused_and_counted(
    client: Client, provider: Provider, link: SingleSignOnLink, bob: User
) -> None:
    half(client, provider)
    other = give_device(bob)
    assert b"Type the code of your authenticator app" in client.post("/login/", {}).content
    codes = [next_code(other), "abcdef", "000000", "111111"]
    for code in codes:
        assert b"That does not fit" in client.post("/login/", {"code": code}).content
    assert client.post("/login/", {"recovery_code": "AAAA-BBBB"}).status_code == 429
    assert client.post("/login/", {"code": next_code(link.user.totp_devices.get())}).status_code == 429
    assert "_auth_user_id" not in client.session
    assert {"session.refused", "sign_in.locked"} <= set(actions())
    assert "session.opened" not in actions()


def test_a_password_and_the_name_do_nothing_half_way(
    client: Client, provider: Provider, link: SingleSignOnLink, bob: User
) -> None:
    half(client, provider)
    device = give_device(bob)
    answer = client.post("/login/", {"username": "bob", "password": PASSWORD, "code": next_code(device)})
    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session


def test_a_recovery_code_completes_it_too(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    code = services.make_recovery_codes(person=link.user, actor=TEST, now=timezone.now())[0]
    half(client, provider)
    assert client.post("/login/", {"recovery_code": code, "next": "/"})["Location"] == "/"
    assert b"You used a recovery code; 9 are left" in client.get("/").content


def test_whoever_is_somebody_else_starts_again(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    half(client, provider)
    assert client.post("/login/", {"start-again": "1", "next": "/roles/"})["Location"] == "/login/?next=/roles/"
    page = client.get("/login/").content
    assert b"One more step" not in page
    assert b"Password" in page


def test_who_was_signed_in_here_is_signed_out(
    client: Client, provider: Provider, link: SingleSignOnLink, bob: User
) -> None:
    sign_in(client, bob)
    address = provider.visit(onward(client.post("/login/", {"single-sign-on": "1"})))
    assert come_back(client, address)["Location"] == "/login/?next=/"
    assert not is_signed_in(client)
    assert not PersonSession.objects.filter(person=bob).exists()


# Linking


def begin_link(client: Client) -> str:
    return onward(client.post("/account/single-sign-on/", {"link": "1"}))


def test_a_person_links_and_unlinks_their_own_account(client: Client, provider: Provider, alice: User) -> None:
    other = Client()
    sign_in(other, alice)
    sign_in(client, alice)
    assert b"No account at Example signs you in" in client.get("/account/factors/").content
    before = client.session.session_key
    answer = come_back(client, provider.visit(begin_link(client)))
    assert provider.asked[0]["prompt"] == "login"
    assert answer["Location"] == "/account/factors/"
    assert b"Your account at Example signs you in from now on" in client.get("/account/factors/").content
    link = SingleSignOnLink.objects.get()
    assert (link.user, link.issuer, link.subject) == (alice, provider.issuer, "00u-alice")
    assert client.session.session_key != before
    assert not is_signed_in(other)
    assert b"00u-alice" in client.get("/account/single-sign-on/").content
    assert selectors.count_factors(alice) == 1
    assert client.post("/account/single-sign-on/", {"unlink": "1"})["Location"] == "/account/factors/"
    link.refresh_from_db()
    assert (link.confirmed, link.removed_at is not None) == (False, True)
    assert {"single_sign_on.linked", "single_sign_on.unlinked"} <= set(actions())
    assert Digest.objects.filter(subject__contains="Single sign-on").count() == 2
    fresh = Client()
    assert_refused(fresh, go_through(fresh, provider), "the account is linked to nobody")


def test_linking_needs_a_fresh_second_factor_before_and_after(client: Client, provider: Provider, alice: User) -> None:
    sign_in(client, alice)
    verified_before(client, timedelta(minutes=6))
    for answer in (client.get("/account/single-sign-on/"), client.post("/account/single-sign-on/", {"link": "1"})):
        assert answer["Location"].startswith("/account/step-up/")
    verified_before(client, timedelta(minutes=1))
    address = provider.visit(begin_link(client))
    verified_before(client, timedelta(minutes=6))
    assert come_back(client, address)["Location"] == "/account/factors/"
    assert b"Nothing was linked" in client.get("/account/factors/").content
    assert not SingleSignOnLink.objects.exists()


def test_an_answer_links_for_who_left_only(client: Client, provider: Provider, alice: User, bob: User) -> None:
    sign_in(client, alice)
    address = provider.visit(begin_link(client))
    kept = client.cookies[settings.DEPARTURE_COOKIE_NAME].value
    client.post("/logout/")
    client.cookies.clear()
    assert_refused(client, come_back(client, address), GONE_AWAY)
    sign_in(client, bob)
    client.cookies[settings.DEPARTURE_COOKIE_NAME] = kept
    assert come_back(client, address)["Location"] == "/account/factors/"
    assert not SingleSignOnLink.objects.exists()
    assert events()[-1]["facts"]["why"] == "somebody else left from this browser"


def test_an_answer_for_linking_signs_nobody_in(client: Client, provider: Provider, link: SingleSignOnLink) -> None:
    sign_in(client, link.user)
    address = provider.visit(begin_link(client))
    PersonSession.objects.all().delete()  # as ended from elsewhere: the session counts for nothing
    come_back(client, address)
    assert not is_signed_in(client)


def test_an_account_belongs_to_one_person(
    client: Client, provider: Provider, link: SingleSignOnLink, bob: User
) -> None:
    sign_in(client, bob)
    assert come_back(client, provider.visit(begin_link(client)))["Location"] == "/account/factors/"
    assert b"linked already: to you, or to somebody else here" in client.get("/account/factors/").content
    assert SingleSignOnLink.objects.get().user == link.user
    last = events()[-1]
    assert (last["action"], last["outcome"]) == ("single_sign_on.linked", "refused")
    with pytest.raises(LinkTakenError):
        services.link_account(person=link.user, subject="00u-second", actor=TEST, now=timezone.now())


def test_unlinking_ends_what_the_link_has_opened(
    client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings
) -> None:
    settings.OIDC_MFA_AMR = frozenset({"mfa"})
    provider.lies.claims = {"amr": ["mfa"]}
    go_through(client, provider)
    assert is_signed_in(client)
    desk = Client()
    sign_in(desk, link.user)
    desk.post("/account/single-sign-on/", {"unlink": "1"})
    assert not is_signed_in(client)
    assert is_signed_in(desk)
    assert b"No account was linked" in desk.post("/account/single-sign-on/", {"unlink": "1"}, follow=True).content


def test_a_reset_of_factors_unlinks_and_says_so(
    provider: Provider, link: SingleSignOnLink, bob: User, as_role: AsRole
) -> None:
    with as_role("command"):
        alone.reset_alone(person=link.user, actor=TEST, reason="phone stolen", now=timezone.now(), even_if_last=True)
    link.refresh_from_db()
    assert not link.confirmed
    reset = next(event for event in events() if event["action"] == "factor.reset")
    assert link.ref in reset["facts"]["removed"]
    told = Digest.objects.get(recipient=link.user.email, subject="Your second factors were reset")
    assert "Your account for single sign-on was unlinked" in told.text
    others = Digest.objects.get(subject="Somebody's second factors were reset")
    assert "their account for single sign-on was unlinked" in others.text


# What is kept


def test_no_token_is_kept(client: Client, provider: Provider, link: SingleSignOnLink, settings: Settings) -> None:
    settings.OIDC_MFA_AMR = frozenset({"mfa"})
    provider.lies.claims = {"amr": ["mfa"]}
    go_through(client, provider)
    assert {"_auth_user_id", "_auth_user_backend", "_auth_user_hash", "otp_device_id"} == set(client.session.keys())
    departure = openid.Departure(purpose="x", after="/")
    assert not {departure.state, departure.nonce, departure.verifier} & set(re.findall(r"[\w-]{43}", repr(departure)))


@pytest.mark.parametrize("column", ["subject", "issuer", "user_id"])
def test_no_role_changes_whose_account_it_is(link: SingleSignOnLink, as_role: AsRole, column: str) -> None:
    for role in ("web", "command", "worker", "beat"):
        with as_role(role), connection.cursor() as cursor:
            for statement in (f"UPDATE access_singlesignonlink SET {column} = {column}",
                              "DELETE FROM access_singlesignonlink"):  # fmt: skip
                with pytest.raises(ProgrammingError, match=r"permission denied|erasure alone"), transaction.atomic():
                    cursor.execute(statement)


def test_the_database_refuses_a_second_owner(link: SingleSignOnLink) -> None:
    bob = make_person("bob")
    with pytest.raises(IntegrityError), transaction.atomic():
        SingleSignOnLink.objects.create(user=bob, issuer=link.issuer, subject=link.subject)
    with pytest.raises(IntegrityError), transaction.atomic():
        SingleSignOnLink.objects.create(user=link.user, issuer=link.issuer, subject="another")
