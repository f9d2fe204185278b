"""Second factors in a browser: a passkey from its making to its removal, one more app, recovery codes, enrolment.

The passkeys are those of Chromium's virtual authenticator (W3C Web Authentication Level 3, §11).
"""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import BrowserContext, CDPSession, expect

from audit.actor import Actor
from keyvault_admin.access import selectors, services, totp
from keyvault_admin.access.models import TotpDevice, User
from tests.browser.conftest import Visitor
from tests.conftest import PASSWORD
from tests.people import give_device, next_code

pytestmark = pytest.mark.browser

SECURITY_KEY = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
CODE = re.compile(r"(?:[A-Z2-7]{4}-){5}[A-Z2-7]{4}")
TEST = Actor.system("test")


@pytest.fixture
def authenticator(window: BrowserContext, visitor: Visitor) -> CDPSession:
    """Chromium with an authenticator of its own, which always says yes."""
    session = window.new_cdp_session(visitor.page)
    session.send("WebAuthn.enable")
    session.send("WebAuthn.addVirtualAuthenticator", {"options": SECURITY_KEY})
    return session


def type_name(visitor: Visitor, name: str) -> None:
    visitor.go("/login/")
    visitor.page.get_by_label("User name").fill(name)
    visitor.page.get_by_label("Password").fill(PASSWORD)


def sign_in_by_code(visitor: Visitor, name: str, device: TotpDevice) -> None:
    type_name(visitor, name)
    visitor.page.get_by_label("One-time code").fill(next_code(device))
    visitor.page.get_by_role("button", name="Sign in", exact=True).click()
    expect_first_page(visitor)


def sign_in_by_passkey(visitor: Visitor, name: str) -> None:
    type_name(visitor, name)
    visitor.page.get_by_role("button", name="Use a passkey").click()


def expect_first_page(visitor: Visitor) -> None:
    """Signing in hashes a password on purpose slowly, and the machine may be busy."""
    expect(visitor.page.get_by_role("heading", name="Posture")).to_be_visible(timeout=30_000)


def add_passkey(visitor: Visitor, name: str) -> None:
    visitor.go("/account/factors/")
    visitor.page.get_by_role("link", name="Add a passkey").click()
    visitor.look()
    visitor.page.get_by_label("Name").fill(name)
    visitor.page.get_by_role("button", name="Make a passkey").click()
    expect(visitor.page.locator(".messagelist")).to_contain_text(f"The passkey “{name}” is added")


def sign_out(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Sign out").click()
    expect(visitor.page).to_have_url(re.compile("/logout/"))


def expect_refused(visitor: Visitor) -> None:
    expect(visitor.page.get_by_role("alert")).to_contain_text("do not go together", timeout=30_000)
    visitor.look()


def test_a_passkey_from_its_making_to_its_removal(
    visitor: Visitor, authenticator: CDPSession, alice: User, bob: User
) -> None:
    device = give_device(alice)
    give_device(bob)
    sign_in_by_code(visitor, "alice", device)
    add_passkey(visitor, "Laptop")
    sign_out(visitor)

    sign_in_by_passkey(visitor, "alice")
    expect_first_page(visitor)
    expect(visitor.page.locator("#user-tools")).to_contain_text("signed in with a passkey")
    visitor.look()
    sign_out(visitor)

    sign_in_by_passkey(visitor, "bob")  # whose password is right, and whose passkey this is not
    expect_refused(visitor)

    services.remove_factor(person=alice, ref=alice.passkeys.get().ref, actor=TEST, now=timezone.now())
    sign_in_by_passkey(visitor, "alice")
    expect_refused(visitor)
    assert not visitor.complaints


def test_a_passkey_is_made_once_and_refusing_it_says_what_to_do(
    visitor: Visitor, authenticator: CDPSession, alice: User
) -> None:
    sign_in_by_code(visitor, "alice", give_device(alice))
    add_passkey(visitor, "Laptop")
    visitor.go("/account/factors/passkey/")
    visitor.page.get_by_label("Name").fill("Laptop again")
    visitor.page.get_by_role("button", name="Make a passkey").click()
    expect(visitor.page.get_by_role("status")).to_contain_text("holds a passkey of yours already")
    visitor.go("/account/factors/")
    visitor.page.get_by_role("link", name="Remove Laptop").click()
    visitor.look()
    visitor.page.get_by_role("button", name="Remove it").click()
    expect(visitor.page.locator(".messagelist")).to_contain_text("It is removed")
    visitor.look()
    assert not visitor.complaints


def test_one_more_app_and_recovery_codes(visitor: Visitor, alice: User) -> None:
    page = visitor.page
    sign_in_by_code(visitor, "alice", give_device(alice))
    page.get_by_role("link", name="Second factors").click()
    visitor.look()
    page.get_by_role("button", name="Add an app").click()
    expect(page.get_by_role("heading", name="Add an authenticator app")).to_be_visible()
    visitor.look()
    waiting = selectors.pending_device(alice)
    assert waiting is not None
    page.get_by_label("Name").fill("Second phone")
    page.get_by_label("One-time code").fill(totp.code_at(waiting.seed(), totp.step_at(timezone.now())))
    page.get_by_role("button", name="Add the app").click()
    expect(page.get_by_role("row").filter(has_text="Second phone")).to_be_visible()
    page.get_by_role("link", name="Make new ones").click()
    visitor.look()
    page.get_by_role("button", name="Make new codes").click()
    expect(page.get_by_role("button", name="Print")).to_be_visible()
    codes = page.get_by_label("Recovery codes of alice").locator("code").all_text_contents()
    assert len(set(codes)) == 10
    assert all(CODE.fullmatch(code) for code in codes)
    assert not CODE.search(page.url)
    visitor.look()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_role("region", name="Recovery codes")).to_contain_text("10 left")
    sign_out(visitor)
    use_recovery_code(visitor, codes[0].lower())
    assert not visitor.complaints


def use_recovery_code(visitor: Visitor, code: str) -> None:
    page = visitor.page
    type_name(visitor, "alice")
    page.get_by_text("Lost your device? Use a recovery code").click()
    visitor.look()
    page.get_by_label("Recovery code").fill(code)
    page.get_by_role("button", name="Sign in with it").click()
    expect(page.locator(".messagelist")).to_contain_text("You used a recovery code; 9 are left")
    visitor.look()


def test_enrolling_ends_with_recovery_codes(visitor: Visitor, alice: User, as_role) -> None:
    with as_role("command"):
        link = services.issue_enrolment_link(person=alice, actor=TEST, now=timezone.now())
    page = visitor.page
    page.goto(f"{visitor.site}/enrol/#{link.rpartition('#')[2]}")
    page.get_by_role("button", name="Continue").click()
    visitor.look()
    waiting = selectors.pending_device(alice)
    assert waiting is not None
    page.get_by_label("One-time code").fill(totp.code_at(waiting.seed(), totp.step_at(timezone.now())))
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    assert len(page.locator(".recovery-codes code").all_text_contents()) == 10
    visitor.look()
    page.get_by_role("link", name="I have kept them: sign in").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not visitor.complaints
