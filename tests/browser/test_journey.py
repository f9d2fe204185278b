"""The way through, as people go it: sign in, import, see what is late and why, act, and find it in the log."""

import re
from datetime import date, datetime

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from audit.actor import Actor
from inventory import services
from inventory.models import Key
from keyvault_admin.access import totp
from keyvault_admin.access.models import User
from rotation import notifications, overdue
from rotation.models import Digest
from tests.browser.conftest import Visitor
from tests.conftest import PASSWORD, RoleSwitch
from tests.engines import ROOT
from tests.inventory.working import work_off
from tests.people import give_device

pytestmark = pytest.mark.browser

SAMPLE = ROOT / "tests" / "data" / "notion-inventory.csv"
LATE = "billing/stripe-live"
TEST = Actor.system("test")


@pytest.fixture
def seed(alice: User) -> bytes:
    """The secret that alice's authenticator app holds."""
    return give_device(alice).seed()


@pytest.fixture
def mail(carol: User, as_role) -> Digest:
    """A late key of carol's, and the mail that tells her."""
    now = timezone.now()
    owner = services.register_owner(handle="carol", mail=carol.email, user_id=carol.pk, actor=TEST, now=now)
    facts = {"name": LATE, "kind": "api_token", "environment": "production", "owner": owner}
    facts |= {"created_on": date(2021, 1, 10), "last_rotated_on": date(2022, 2, 1)}
    services.register_key(facts=facts, actor=TEST, reason="found by an audit", now=now)
    with as_role("worker"):
        overdue.flag_overdue(actor=TEST, now=now)
        notifications.gather(now=now)
    return Digest.objects.get()


def sign_in(visitor: Visitor, name: str, code: str) -> None:
    visitor.page.get_by_label("User name").fill(name)
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_label("One-time code").fill(code)
    visitor.page.get_by_role("button", name="Sign in").click()


def code_of(seed: bytes, now: datetime) -> str:
    return totp.code_at(seed, totp.step_at(now))


def test_a_wrong_code_does_not_sign_in(visitor: Visitor, seed: bytes) -> None:
    visitor.go("/")
    expect(visitor.page).to_have_url(re.compile("/login/"))
    wrong = f"{(int(code_of(seed, timezone.now())) + 1) % 1_000_000:06}"
    sign_in(visitor, "alice", wrong)
    expect(visitor.page.get_by_role("alert")).to_be_visible()
    visitor.look()
    visitor.page.goto(f"{visitor.site}/inventory/key/")
    expect(visitor.page).to_have_url(re.compile("/login/"))
    assert not visitor.complaints


def test_from_sign_in_to_the_timeline(visitor: Visitor, seed: bytes, mail: Digest, as_role: RoleSwitch) -> None:
    visitor.go("/")
    sign_in(visitor, "alice", code_of(seed, timezone.now()))
    expect(visitor.page.get_by_role("heading", name="Posture")).to_be_visible()
    visitor.look()
    import_sample(visitor, as_role)
    find_what_is_late(visitor)
    suspend(visitor)
    see_the_rest(visitor, mail)
    assert not visitor.complaints


def import_sample(visitor: Visitor, as_role: RoleSwitch) -> None:
    """A file, its preview, and only then the import."""
    page = visitor.page
    visitor.go("/inventory/key/import/")
    page.get_by_label("File").set_input_files(SAMPLE)
    page.get_by_label("Why").fill("the spreadsheet moves in")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("[data-step]")).to_be_visible()
    work_off(as_role)
    expect(page.get_by_role("heading", name="Registered with them")).to_be_visible()
    visitor.look()
    assert names_of_keys() == {LATE}
    page.get_by_role("button", name=re.compile("^Import [1-9]")).first.click()
    expect(page.locator("[data-step]")).to_be_visible()
    work_off(as_role)
    expect(page.get_by_role("region", name="Imported")).to_contain_text(
        re.compile(r"\d+ new, 0 changed, \d+ unchanged, \d+ refused")
    )
    assert len(names_of_keys()) > 200


def find_what_is_late(visitor: Visitor) -> None:
    """From the figure to the list, and from the list to the key, each of which says why."""
    page = visitor.page
    page.get_by_role("link", name="Posture").click()
    page.get_by_role("link", name=re.compile("^Overdue")).click()
    visitor.look()
    row = page.get_by_role("row").filter(has_text=LATE)
    expect(row).to_contain_text(re.compile(r"\d+ days late"))
    expect(row).to_contain_text("S4 Key Management: 90 days")
    row.get_by_role("link", name=LATE).click()
    expect(page.locator(".because")).to_contain_text("Was due 2 May 2022 because S4 Key Management demands 90 days")
    expect(page.get_by_role("region", name="Mail about it")).to_contain_text("carol@example.org")
    visitor.look()


def suspend(visitor: Visitor) -> None:
    """Decide with a reason, and find it in the key's timeline and in the log."""
    page = visitor.page
    page.get_by_role("link", name="Suspend now").click()
    expect(page.get_by_role("region", name="What will happen")).to_contain_text(f"{LATE}, version 1, becomes Suspended")
    visitor.look()
    page.get_by_label("Why").fill("seen in a build log, ticket 4411")
    page.get_by_role("button", name="Suspend it now").click()
    told = page.get_by_role("region", name="Timeline").get_by_role("listitem")
    expect(told.first).to_contain_text("Alice Example (Security) asked others to look at what was done to it")
    expect(told.nth(1)).to_contain_text("Alice Example (Security) suspended it: “seen in a build log, ticket 4411”")
    expect(page.get_by_role("link", name="Suspend now")).to_have_count(0)
    visitor.look()
    told.nth(1).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("suspended")
    visitor.look()


def see_the_rest(visitor: Visitor, mail: Digest) -> None:
    """Every other kind of page."""
    told = mail.notices.get()
    for path in (
        f"/inventory/key/{told.key_id}/edit/",
        "/inventory/key/add/",
        "/inventory/key/?due=overdue&environment__exact=production&q=token",
        "/inventory/key/?q=nothing-of-this-name",
        "/inventory/owner/",
        f"/inventory/owner/{told.owner_id}/change/",
        "/inventory/owner/add/",
        "/inventory/service/",
        "/inventory/service/add/",
        "/inventory/policyclause/",
        "/rotation/digest/",
        f"/rotation/digest/{mail.pk}/change/",
        "/audit/event/",
        "/access/user/",
        "/password_change/",
    ):
        visitor.go(path)


def test_a_form_says_what_is_wrong_beside_the_field(visitor: Visitor, seed: bytes, as_role: RoleSwitch) -> None:
    page = visitor.page
    visitor.go("/")
    sign_in(visitor, "alice", code_of(seed, timezone.now()))
    visitor.go("/inventory/key/add/")
    page.get_by_label("Name", exact=True).fill("ci/deploy")
    page.get_by_label("Creation date").fill("2026-03-01")
    page.get_by_label("Last rotated").fill("2026-02-01")
    page.get_by_role("button", name="Register").click()
    rotated = page.get_by_label("Last rotated")
    expect(rotated).to_have_attribute("aria-invalid", "true")
    said = page.locator(f"#{(rotated.get_attribute('aria-describedby') or '').split()[0]}")
    expect(said).to_contain_text("before the creation")
    expect(page).to_have_title(re.compile("^Error: "))
    visitor.look()
    visitor.go("/inventory/key/import/")
    page.get_by_label("File").set_input_files({"name": "keys.csv", "mimeType": "text/csv", "buffer": b"%PDF-1.7"})
    page.get_by_label("Why").fill("a try")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("[data-step]")).to_be_visible()
    work_off(as_role)
    expect(page.get_by_role("alert")).to_contain_text("PDF")
    visitor.look()
    assert not visitor.complaints
    assert not names_of_keys()


def names_of_keys() -> set[str]:
    return set(Key.objects.values_list("name", flat=True))
