"""Single sign-on in a browser: an account is linked, and signs in with and without the provider's second factor."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from keyvault_admin.access.models import SingleSignOnLink, TotpDevice, User
from tests.browser.conftest import Visitor, serving
from tests.browser.test_factors import expect_first_page, sign_in_by_code, sign_out
from tests.conftest import CommittedDatabase
from tests.people import give_device, next_code
from tests.provider import Provider, running

pytestmark = pytest.mark.browser
BUTTON = "Sign in with Example"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def site(committed_db: CommittedDatabase, static_root: Path, tmp_path: Path, provider: Provider) -> Iterator[str]:
    """A web process that trusts the provider, and takes its word "mfa"."""
    with serving(committed_db, static_root, tmp_path, **provider.environ(KEYVAULT_OIDC_MFA_AMR="mfa")) as address:
        yield address


@pytest.fixture
def visitor(browser: Browser, site: str, provider: Provider) -> Iterator[Visitor]:
    """Somebody whose browser knows the provider's certificate, which signs itself."""
    context = browser.new_context(locale="en-GB", timezone_id="UTC", ignore_https_errors=True)
    context.set_default_timeout(10_000)
    page = context.new_page()
    yield Visitor(page, site, elsewhere=provider.issuer)
    context.close()


def go_to_provider(page: Page, button: str) -> None:
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("heading", name="Example", exact=True)).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Sign in at Example").click()


def link_account(visitor: Visitor, device: TotpDevice) -> None:
    page = visitor.page
    sign_in_by_code(visitor, "alice", device)
    visitor.go("/account/factors/")
    page.get_by_role("link", name="Link an account").click()
    visitor.look()
    go_to_provider(page, "Link my account")
    expect(page.locator(".messagelist")).to_contain_text("Your account at Example signs you in from now on")
    visitor.look()
    sign_out(visitor)


def test_from_linking_to_signing_in_both_ways(visitor: Visitor, provider: Provider, alice: User) -> None:
    page, device = visitor.page, give_device(alice)
    link_account(visitor, device)
    assert SingleSignOnLink.objects.get().subject == provider.subject

    visitor.go("/inventory/key/")
    go_to_provider(page, BUTTON)
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    visitor.look()
    page.get_by_label("One-time code").fill(next_code(device))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page).to_have_url(re.compile("/inventory/key/"))
    expect(page.locator("#user-tools")).to_contain_text("signed in with a code")
    sign_out(visitor)

    provider.lies.claims = {"amr": ["pwd", "mfa"]}
    visitor.go("/login/")
    go_to_provider(page, BUTTON)
    expect_first_page(visitor)
    expect(page.locator("#user-tools")).to_contain_text("signed in by single sign-on")
    page.goto(f"{visitor.site}/account/single-sign-on/")
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_label("One-time code").fill(next_code(device))
    page.get_by_role("button", name="Confirm").click()
    visitor.look()
    page.get_by_role("button", name="Unlink it").click()
    expect(page.locator(".messagelist")).to_contain_text("does not sign you in any more")
    sign_out(visitor)

    visitor.go("/login/")
    go_to_provider(page, BUTTON)
    expect(page.get_by_role("status").first).to_contain_text("Single sign-on did not let you in")
    visitor.look()
    assert not visitor.complaints
