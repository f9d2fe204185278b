"""A rotation done elsewhere, as two people see it: one reports, the other looks at the evidence and approves."""

from datetime import date

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from audit.actor import Actor
from inventory import services
from inventory.models import Key
from rotation.models import Request
from tests.browser.test_journey import code_of, sign_in
from tests.deciding import carry_out
from tests.inventory.test_imports import file_of, row
from tests.inventory.working import work_off
from tests.inventory.world import facts
from tests.people import give_device, next_code

pytestmark = pytest.mark.browser
SYSTEM = Actor.system("test")


@pytest.fixture
def key(carol):
    now = timezone.now()
    owner = services.register_owner(handle="carol", mail=carol.email, user_id=carol.pk, actor=SYSTEM, now=now)
    said = facts(owner=owner, created_on=date(2022, 1, 10), last_rotated_on=date(2023, 7, 13))
    return services.register_key(facts=said, actor=SYSTEM, reason="found by an audit", now=now)


def come_in(visitor, person):
    seed = give_device(person).seed()
    visitor.go("/")
    sign_in(visitor, person.username, code_of(seed, timezone.now()))
    expect(visitor.page.get_by_role("heading", name="Posture")).to_be_visible()


def test_the_owner_reports_a_rotation(visitor, key, carol):
    come_in(visitor, carol)
    page = visitor.page
    visitor.go(f"/inventory/key/{key.pk}/change/")
    page.get_by_role("link", name="Report a rotation").click()
    visitor.look()
    page.get_by_label("Rotated on").fill("2024-02-01")
    page.get_by_label("Evidence").fill("New value since change 4711; the store shows version 2.")
    page.get_by_role("button", name="Report the rotation").click()
    expect(page.get_by_role("heading", name="Waiting for votes")).to_be_visible()
    visitor.look()
    page.get_by_role("link", name=f"Count {key.name} as rotated").click()
    expect(page.get_by_role("button", name="Withdraw")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    visitor.look()
    assert visitor.complaints == []


def test_somebody_of_devops_approves_it(visitor, key, carol, bob):
    services.report_rotation(
        pk=key.pk,
        rotated_on=date(2024, 2, 1),
        evidence="New value since change 4711; the store shows version 2.",
        url="https://ci.example.org/changes/4711",
        actor=Actor(kind="person", id=carol.ref, role="Engineering"),
        now=timezone.now(),
    )
    come_in(visitor, bob)
    page = visitor.page
    visitor.look()
    page.locator("main").get_by_role("link", name=f"Count {key.name} as rotated").first.click()
    expect(page.get_by_text("New value since change 4711; the store shows version 2.", exact=True)).to_be_visible()
    visitor.look()
    page.get_by_label("Code").fill(next_code(bob.totp_devices.get()))
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    carry_out(Request.objects.get())
    expect(page.locator("[data-waiting]")).to_have_count(0)  # the page has looked again by itself
    visitor.go(f"/inventory/key/{key.pk}/change/")
    expect(page.get_by_role("row", name="2 current Active")).to_be_visible()
    visitor.look()
    assert Key.objects.get().current_number == 2
    visitor.go(f"/rotation/request/{Request.objects.get().pk}/change/")
    visitor.look()
    assert visitor.complaints == []


def test_the_preview_of_an_import_shows_what_is_held(visitor, key, bob, as_role):
    come_in(visitor, bob)
    page = visitor.page
    visitor.go("/inventory/key/import/")
    content = file_of(row(key.name, Last_rotated="2024-03-01", Notes="from the quarterly list"), row("new"))
    page.set_input_files("input[type=file]", {"name": "keys.csv", "mimeType": "text/csv", "buffer": content})
    page.get_by_role("textbox", name="Why").fill("quarterly list")
    page.locator("main form:has(input[type=file]) button[type=submit]").click()
    expect(page.locator("[data-step]")).to_be_visible()
    work_off(as_role)
    expect(page.get_by_role("heading", name="Held: these would give a key more time")).to_be_visible()
    visitor.look()
    page.get_by_role("button", name="Import 1 new and 0 changed keys, ask for 1").first.click()
    expect(page.locator("[data-step]")).to_be_visible()
    work_off(as_role)
    expect(page.get_by_text("1 request waits for somebody of DevOps")).to_be_visible()
    visitor.look()
    page.get_by_role("link", name=f"Give {key.name} more time").click()
    expect(page.get_by_text("an imported file says something else of")).to_be_visible()
    visitor.look()
    assert visitor.complaints == []
