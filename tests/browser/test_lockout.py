"""Locked out, as a person meets it: the page that says how long, and what it leaves open."""

import pytest
from playwright.sync_api import expect

from keyvault_admin.access.models import User
from tests.browser.conftest import Visitor
from tests.browser.test_import import shoot
from tests.browser.test_journey import sign_in
from tests.people import give_device

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_fifth_wrong_code_shows_how_long_to_wait(visitor: Visitor, alice: User) -> None:
    give_device(alice)
    visitor.go("/login/")
    for _ in range(4):
        sign_in(visitor, "alice", "000000")
        expect(visitor.page.get_by_role("alert")).to_contain_text("do not go together")
    sign_in(visitor, "alice", "000000")
    expect(visitor.page.get_by_role("heading", name="Too many tries")).to_be_visible()
    expect(visitor.page.get_by_text("Wait 15 minutes")).to_be_visible()
    visitor.look()
    shoot(visitor, "lockout")
    visitor.page.get_by_role("link", name="Back to the sign-in").click()
    expect(visitor.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert [line for line in visitor.complaints if "429" not in line] == []
