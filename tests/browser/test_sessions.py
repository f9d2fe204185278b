"""What people see of their sessions: another browser that they end, a code once more, and a session that was idle."""

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from playwright.sync_api import Browser, expect

from keyvault_admin.access.models import PersonSession, TotpDevice, User
from keyvault_admin.access.session_store import SessionStore
from keyvault_admin.access.views import VERIFIED_KEY
from tests.browser.conftest import Visitor
from tests.browser.test_journey import sign_in
from tests.people import give_device, next_code

pytestmark = pytest.mark.browser
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 Version/18.0 Mobile Safari/604.1"


def grow_old() -> None:
    """Let the second factors of all sessions be as old as if nobody had been asked for nine minutes."""
    store = SessionStore()
    for session in Session.objects.all():
        kept = store.decode(session.session_data)
        kept[VERIFIED_KEY] = (timezone.now() - timedelta(minutes=9)).isoformat()
        session.session_data = store.encode(kept)
        session.save()


def confirm(visitor: Visitor, device: TotpDevice) -> None:
    visitor.page.get_by_label("One-time code").fill(next_code(device))
    visitor.page.get_by_role("button", name="Confirm").click()


def arrive(visitor: Visitor, device: TotpDevice) -> None:
    visitor.go("/")
    sign_in(visitor, "alice", next_code(device))
    expect(visitor.page.get_by_role("heading", name="Posture")).to_be_visible()


def test_ending_the_session_of_another_browser(visitor: Visitor, browser: Browser, alice: User) -> None:
    device, page = give_device(alice), visitor.page
    elsewhere = Visitor(browser.new_context(user_agent=PHONE).new_page(), visitor.site)
    arrive(elsewhere, device)
    arrive(visitor, device)
    page.get_by_role("link", name="Your sessions").click()
    expect(page.get_by_role("row").filter(has_text="Safari on an iPhone")).to_be_visible()
    visitor.look()
    grow_old()
    visitor.go("/account/sessions/")
    expect(page.get_by_role("button", name="End the session")).to_have_count(0)
    page.get_by_role("link", name="Confirm that it is you").click()
    confirm(visitor, device)
    page.get_by_role("button", name="End the session of Safari on an iPhone from 127.0.0.1").click()
    expect(page.locator(".messagelist")).to_contain_text("That browser is signed out.")
    expect(page.get_by_text("You are signed in nowhere else.")).to_be_visible()
    visitor.look()
    elsewhere.go("/inventory/key/")
    expect(elsewhere.page.get_by_text("Your session was ended: from another browser")).to_be_visible()
    assert not [*visitor.complaints, *elsewhere.complaints]


def test_a_code_once_more_before_what_is_sensitive(visitor: Visitor, alice: User) -> None:
    device, page = give_device(alice), visitor.page
    arrive(visitor, device)
    grow_old()
    visitor.go("/inventory/key/token/")
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_label("One-time code").fill("000000")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("After 4 more wrong codes you are signed out")).to_be_visible()
    visitor.look()
    time.sleep(1)  # as long as one wrong code slows the device down
    confirm(visitor, device)
    expect(page.get_by_role("heading", name="Somebody found a token")).to_be_visible()
    grow_old()
    page.locator("textarea, input[type=password]").first.fill("a token that somebody found, 0123456789abcdef")
    page.get_by_role("button", name="Look it up").click()
    expect(page.get_by_text("was not sent, and nothing was changed")).to_be_visible()
    visitor.look()
    confirm(visitor, device)
    expect(page).to_have_url(f"{visitor.site}/inventory/key/token/")
    expect(page.locator(".messagelist")).to_contain_text("please do it once more")
    assert not visitor.complaints


def test_who_did_not_click_reads_why_and_comes_back(
    visitor: Visitor, alice: User, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    device, page = give_device(alice), visitor.page
    arrive(visitor, device)
    with as_owner():
        PersonSession.objects.update(
            opened_at=timezone.now() - timedelta(hours=1), last_seen_at=timezone.now() - timedelta(minutes=15)
        )
    visitor.go("/inventory/key/?due=overdue")
    expect(page).to_have_url(re.compile("/login/"))
    expect(page.get_by_text("You were signed out after 15 minutes without a click.")).to_be_visible()
    visitor.look()
    sign_in(visitor, "alice", next_code(device))
    expect(page).to_have_url(f"{visitor.site}/inventory/key/?due=overdue")
    assert not visitor.complaints
