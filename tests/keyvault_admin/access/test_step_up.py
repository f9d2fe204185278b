"""Doors that ask for a second factor of the last minutes: AUT-06, which doors they are, and the page that asks."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, path
from django.utils import timezone
from django.views.generic import View

from audit.step_up import StepUpMixin, StepUpNeededError, declares_step_up, requires_step_up
from keyvault_admin.access.middleware import is_fresh
from keyvault_admin.access.models import PersonSession, User
from keyvault_admin.access.returning import page_behind, safe_path
from keyvault_admin.urls import urlpatterns as real_patterns
from tests.engines import PACKAGES, ROOT
from tests.inventory.world import make_key
from tests.keyvault_admin.access.test_sign_in import actions
from tests.keyvault_admin.test_admin_site import sample
from tests.people import next_code, sign_in, verified_before

ASK = "/account/step-up/"
LIFETIME = settings.STEP_UP_LIFETIME
MOMENT = timedelta(microseconds=1)
FULL = "tests.full" in sys.modules
EXPECTED = ROOT / "tests" / "data" / "step_up.txt"


# AUT-06: what is sensitive, by method and address

SENSITIVE = {
    "export what is held about somebody": ("get", "/access/user/1/personal-data/"),
    "export what is held about oneself": ("get", "/account/personal-data/"),
    "export the inventory": ("post", "/inventory/key/export/"),
    "export the audit log": ("post", "/audit/exportcursor/download/"),
    "register a clause": ("get", "/inventory/policyclause/add/"),
    "edit a clause": ("get", "/inventory/policyclause/1/edit/"),
    "retire a clause": ("get", "/inventory/policyclause/1/retire/"),
    "set the threat level": ("get", "/inventory/policyclause/threat-level/"),
    "report a rotation": ("get", "/inventory/key/{key}/report-rotation/"),
    "ask for a KEK": ("get", "/rotation/request/ask/kek/"),
    "ask to link a KEK": ("get", "/rotation/request/ask/kek/link/1/"),
    "ask to rotate a KEK": ("get", "/rotation/request/ask/kek/rotate/1/"),
    "ask to disable a KEK version": ("get", "/rotation/request/ask/kek/disable/1/"),
    "ask to schedule a KEK version": ("get", "/rotation/request/ask/kek/schedule/1/"),
    "ask to destroy a KEK version": ("get", "/rotation/request/ask/kek/purge/1/"),
    "ask to recover a KEK version": ("get", "/rotation/request/ask/kek/recover/1/"),
    "ask to rotate a DEK": ("get", "/rotation/request/ask/dek/rotate/1/"),
    "ask to clear a DEK version": ("get", "/inventory/dekversion/1/reencrypted/"),
    "confirm a handed-out copy": ("get", "/inventory/dekversion/hand-out/1/"),
    "stop a re-wrap job": ("post", "/rotation/rewrapjob/1/stop/"),
    "have an order tried again": ("post", "/rotation/order/1/retry/"),
    "cancel an order": ("post", "/rotation/order/1/cancel/"),
    "ask to register a source": ("get", "/rotation/rewrapsource/ask/"),
    "ask to retire a source": ("get", "/rotation/rewrapsource/1/retire/"),
    "ask to revoke a key": ("get", "/rotation/request/ask/revoke/{key}/"),
    "ask to destroy a key": ("get", "/rotation/request/ask/destroy/{key}/"),
    "ask to re-activate a key": ("get", "/rotation/request/ask/reactivate/{key}/"),
    "ask for other dates of a key": ("get", "/rotation/request/ask/dates/{key}/"),
    "suspend a key": ("get", "/inventory/key/{key}/suspend/"),
    "report a compromise": ("get", "/inventory/key/{key}/report-compromise/"),
    "revoke a key alone": ("get", "/inventory/key/{key}/break-glass/revoke/"),
    "count a rotation alone": ("get", "/inventory/key/{key}/break-glass/rotation/"),
    "rotate a KEK alone": ("get", "/inventory/key/{key}/break-glass/kek/"),
    "look at what was done alone": ("post", "/rotation/duty/1/sign/"),
    "ask for an exception": ("get", "/inventory/policyexception/ask/{key}/"),
    "end an exception": ("get", "/inventory/policyexception/1/end/"),
    "ask for a rule": ("get", "/rotation/approvalrule/rule/key.destroy/"),
    "ask for a route of alerts": ("get", "/rotation/approvalrule/alert/log_differs/"),
    "ask for a retention": ("get", "/rotation/approvalrule/retention/"),
    "ask to drop a period": ("get", "/rotation/approvalrule/period/1/"),
    "ask for a role": ("get", "/access/user/1/ask-role/"),
    "ask to reset second factors": ("get", "/access/user/1/ask-reset/"),
    "ask to let somebody back in": ("get", "/access/user/1/ask-return/"),
    "ask to erase somebody": ("get", "/access/user/1/ask-erasure/"),
    "have a request tried again": ("post", "/rotation/request/1/retry/"),
    "sign a review": ("post", "/rotation/review/1/sign/"),
    "look up a token": ("get", "/inventory/key/token/"),
    "make a key findable": ("get", "/inventory/key/{key}/digest/"),
    "change one's password": ("get", "/password_change/"),
    "end a session": ("post", "/account/sessions/1/end/"),
    "end all other sessions": ("post", "/account/sessions/end-others/"),
    "begin an authenticator app": ("post", "/account/factors/app/new/"),
    "add an authenticator app": ("get", "/account/factors/app/"),
    "add a passkey": ("get", "/account/factors/passkey/"),
    "ask what a passkey is made of": ("post", "/account/factors/passkey/options/"),
    "remove a second factor": ("get", "/account/factors/totp/1/remove/"),
    "link an account for single sign-on": ("get", "/account/single-sign-on/"),
    "make recovery codes": ("get", "/account/factors/recovery/"),
    "add a person": ("get", "/access/user/add/"),
    "edit a person": ("get", "/access/user/1/edit/"),
    "issue an enrolment link": ("get", "/access/user/1/link/"),
    "set a last day": ("get", "/access/user/1/last-day/"),
    "take a role away": ("get", "/access/user/1/take-role/"),
    "deactivate a person": ("get", "/access/user/1/deactivate/"),
    "acknowledge a restored quorum": ("get", "/access/user/quorum-review/1/"),
}


def asks(answer: HttpResponse) -> bool:
    return answer.status_code == 302 and answer["Location"].startswith(ASK)


AGES = {
    LIFETIME: False,
    LIFETIME + MOMENT: True,
    timedelta(0): False,
    timedelta(hours=7): True,
    -settings.CLOCK_SKEW - MOMENT: True,
}


@pytest.mark.parametrize("what", SENSITIVE)
def test_a_sensitive_act_demands_a_fresh_second_factor(client: Client, alice: User, what: str) -> None:
    """At the two ages between which it changes; some of them, and all in `make test-full`, at other ages too."""
    method, address = SENSITIVE[what]
    address = address.format(key=make_key().pk)
    ages = AGES if FULL or list(SENSITIVE).index(what) % 8 == 0 else dict(islice(AGES.items(), 2))
    with time_machine.travel(timezone.now(), tick=False):
        sign_in(client, alice)
        for age, is_asked in ages.items():
            verified_before(client, age)
            for each in {method, "post"}:
                answer = getattr(client, each)(address)
                assert asks(answer) == is_asked, (each, age, answer.status_code)


def test_these_acts_are_sensitive_and_no_other_address_asks() -> None:
    declared = {
        sample(
            "/"
            + line.partition(" ")[0]
            .replace("<slug:kind>", "totp")
            .replace("<str:kind>", "log_differs")
            .replace("<str:code>", "key.destroy")
        )
        for line in EXPECTED.read_text(encoding="utf-8").splitlines()
    }
    assert {address.format(key=1) for _, address in SENSITIVE.values()} == declared


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), True),
        (LIFETIME, True),
        (LIFETIME + MOMENT, False),
        (-settings.CLOCK_SKEW, True),
        (-settings.CLOCK_SKEW - MOMENT, False),
        (timedelta(hours=-1), False),
    ],
)
def test_fresh_is_five_minutes_and_not_of_the_future(age: timedelta, expected: object) -> None:
    now = timezone.now()
    assert is_fresh(now - age, now) is expected


def test_a_session_that_was_never_verified_is_not_fresh() -> None:
    assert not is_fresh(None, timezone.now())


# Which doors they are


def doors(resolver: URLResolver | None = None, before: str = "") -> Iterator[str]:
    """Give each declared door of the resolver as "its route, module.name"."""
    for entry in (resolver or get_resolver()).url_patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from doors(entry, route)
        elif declares_step_up(entry.callback):
            view = getattr(entry.callback, "view_class", entry.callback)
            yield f"{route} {view.__module__}.{view.__qualname__}"


def declared_actions() -> Iterator[str]:
    """Give each declared action of the lists of the admin site."""
    request = RequestFactory().get("/")
    request.user = User(is_superuser=True, is_active=True)
    for model, page in admin.site._registry.items():
        for name, (action, _, _) in (page.get_actions(request) if page.actions is not None else {}).items():
            if declares_step_up(action):
                yield f"action:{model._meta.label}.{name} {action.__module__}.{action.__qualname__}"


def written() -> set[str]:
    """Return the names of all functions and classes that declare it in our code."""
    found = set()
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            marks = [*getattr(node, "decorator_list", ()), *getattr(node, "bases", ())]
            if any(re.search(r"\b(requires_step_up|StepUpMixin)\b", ast.unparse(mark)) for mark in marks):
                found.add(node.name)
            if isinstance(node, ast.Assign) and "requires_step_up" in ast.unparse(node.targets[0]):
                found.add(ast.unparse(node))
    return found - {"checked.requires_step_up = True", "requires_step_up = True"}  # audit/step_up.py itself


def test_the_doors_with_step_up_are_those_that_were_agreed() -> None:
    assert sorted([*doors(), *declared_actions()]) == EXPECTED.read_text(encoding="utf-8").splitlines()


def test_no_declaration_is_hidden_by_what_is_wrapped_around_it() -> None:
    seen = {line.rpartition(".")[2] for line in [*doors(), *declared_actions()]}
    assert written() == seen


# However a door is wrapped


@requires_step_up
def secret(request: HttpRequest, *_: Any) -> HttpResponse:
    return HttpResponse("secret")


class Secret(StepUpMixin, View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("secret")

    post = get


class Page:
    @requires_step_up
    def secret(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("secret")

    def list_with_action(self, request: HttpRequest) -> HttpResponse:
        return secret(self, request, [])


def breaks(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a fault of ours")


def hidden(view: Callable[..., HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Wrap a view so that nothing of its declaration can be read from outside."""

    def nothing_to_read(request: HttpRequest) -> HttpResponse:
        return view(request)

    return nothing_to_read


class Attribute(View):
    requires_step_up = True

    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("secret")


DOORS: dict[str, Callable[..., HttpResponse]] = {
    "function": secret,
    "partial": partial(secret),
    "hidden": hidden(secret),
    "hidden-behind-admin": admin.site.admin_view(hidden(secret)),
    "admin": admin.site.admin_view(secret),
    "class": Secret.as_view(),
    "hidden-class": hidden(Secret.as_view()),
    "class-with-attribute": Attribute.as_view(),
    "method": Page().secret,
    "action": Page().list_with_action,
}
urlpatterns: list[URLPattern | URLResolver] = [
    *(path(f"doors/{name}/", door) for name, door in DOORS.items()),
    path("doors/breaks", breaks),
    *real_patterns,
]


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("name", DOORS)
def test_no_wrapping_opens_a_door(client: Client, alice: User, name: str) -> None:
    address = f"/doors/{name}/"
    assert client.get(address)["Location"] == f"/login/?next={address}"
    sign_in(client, alice)
    assert client.get(address).content == b"secret"
    verified_before(client, LIFETIME + timedelta(seconds=1))
    assert client.get(address)["Location"] == f"{ASK}?next={address}"
    answer = client.post(address, headers={"referer": "http://testserver/inventory/key/?q=a"})
    assert answer["Location"] == f"{ASK}?next=/inventory/key/%3Fq%3Da&unsent=1"


@pytest.mark.parametrize("name", ["function", "partial", "hidden", "class", "hidden-class", "method", "action"])
def test_a_door_without_the_middleware_stays_shut(name: str) -> None:
    request = RequestFactory().get("/")
    request.user = User(is_active=True)
    with pytest.raises(StepUpNeededError):
        DOORS[name](request)


@pytest.mark.urls(__name__)
def test_an_answer_to_a_fault_may_not_be_stored(client: Client, db: None) -> None:
    client.raise_request_exception = False
    answer = client.get("/doors/breaks")
    assert (answer.status_code, answer["Cache-Control"]) == (500, "no-store")


# The page


def stale(client: Client, person: User) -> Any:
    device = sign_in(client, person)
    verified_before(client, timedelta(minutes=6))
    return device


def test_from_a_door_through_the_page_and_in(client: Client, alice: User) -> None:
    device = stale(client, alice)
    page = client.get("/password_change/", follow=True)
    assert page.redirect_chain == [(f"{ASK}?next=/password_change/", 302)]
    html = page.content.decode()
    assert "Confirm that it is you" in html
    assert "was not sent" not in html
    before = client.session.session_key
    answer = client.post(ASK, {"code": next_code(device), "next": page.context["next"]})
    assert answer["Location"] == "/password_change/"
    assert client.get("/password_change/").status_code == 200
    assert client.session.session_key != before
    assert actions() == ["session.opened", "session.verified"]


def test_the_actor_follows_the_step_up(client: Client, alice: User) -> None:
    first = stale(client, alice)
    second = type(first)(user=alice, confirmed=True, name="Another app")
    second.draw_seed()
    second.save()
    client.post(ASK, {"code": next_code(second)})
    actor = client.get("/password_change/").wsgi_request.actor
    assert actor.verified_by == second.ref
    assert timezone.now() - actor.verified_at < timedelta(minutes=1)
    assert PersonSession.objects.get().verified_by == second.ref


def test_what_was_sent_is_neither_kept_nor_sent_again(client: Client, alice: User) -> None:
    device = stale(client, alice)
    typed = "a-token-that-somebody-found-0123456789abcdef"
    page = client.post(
        "/inventory/key/token/",
        {"token": typed},
        headers={"referer": "http://testserver/inventory/key/token/"},
        follow=True,
    )
    html = page.content.decode()
    assert "What you have just entered was not sent, and nothing was changed." in html
    assert typed not in html
    assert typed not in str(dict(client.session))
    form = {"code": next_code(device), "next": page.context["next"], "unsent": "1"}
    back = client.post(ASK, form, follow=True)
    assert back.redirect_chain == [("/inventory/key/token/", 302)]
    assert "please do it once more" in back.content.decode()


def test_wrong_codes_are_counted_said_and_end_the_session(committed_db: object, client: Client, alice: User) -> None:
    device = stale(client, alice)
    with time_machine.travel(timezone.now(), tick=False):
        for left in (4, 3, 2):
            page = client.post(ASK, {"code": "abcdef", "next": "/password_change/"}).content.decode()
            assert f"After {left} more wrong codes you are signed out." in page
            assert "abcdef" not in page
        assert "After one more wrong code" in client.post(ASK, {"code": "abcdef"}).content.decode()
    device.refresh_from_db()
    assert device.throttling_failure_count == 1, "while it waits, further tries count for nothing but the session"
    assert client.post(ASK, {"code": "abcdef"})["Location"] == "/login/?next=%2F&why=codes"
    assert not PersonSession.objects.exists()
    assert actions() == ["session.opened", *["session.verified"] * 5, "session.ended"]


def test_a_right_code_starts_the_count_again(client: Client, alice: User) -> None:
    device = stale(client, alice)
    client.post(ASK, {"code": "abcdef"})
    device.refresh_from_db()
    device.throttle_reset()
    client.post(ASK, {"code": next_code(device)})
    assert PersonSession.objects.get().wrong_codes == 0


def test_the_code_of_somebody_else_confirms_nobody(client: Client, alice: User, bob: User) -> None:
    stale(client, alice)
    other = sign_in(Client(), bob)
    assert client.post(ASK, {"code": next_code(other)}).status_code == 200
    assert asks(client.get("/password_change/"))


def test_a_code_confirms_once(client: Client, alice: User) -> None:
    device = stale(client, alice)
    code = next_code(device)
    assert client.post(ASK, {"code": code}).status_code == 302
    verified_before(client, timedelta(minutes=6))
    assert client.post(ASK, {"code": code}).status_code == 200


def test_who_is_fresh_is_not_asked(client: Client, alice: User) -> None:
    sign_in(client, alice)
    assert client.get(f"{ASK}?next=/account/sessions/")["Location"] == "/account/sessions/"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example",
        "javascript:alert(1)",
        "\\\\evil.example",
        "/\\evil.example",
        "evil.example",
        "http://testserver:pw@evil.example/",
        "http://testserver//evil.example/",
        "http://testserver/\\evil.example/",
        "http://testserver/\t/evil.example/",
        "http://testserver////evil.example",
        "",
    ],
)
def test_it_leads_to_pages_of_ours_only(client: Client, alice: User, target: str) -> None:
    device = stale(client, alice)
    assert client.get(ASK, {"next": target}).context["next"] == "/"
    assert client.post(ASK, {"code": next_code(device), "next": target})["Location"] == "/"


def test_a_path_of_ours_keeps_its_query_and_loses_the_rest() -> None:
    request = RequestFactory().get("/")
    assert safe_path(request, "http://testserver/inventory/key/?q=a%20b#c") == "/inventory/key/?q=a%20b"
    assert page_behind(RequestFactory().get("/a/?b=c")) == "/a/?b=c"
    assert page_behind(RequestFactory().post("/a/", headers={"referer": "https://evil.example/x"})) == "/"
    assert page_behind(RequestFactory().post("/a/")) == "/"
