"""A source elsewhere as people register it: asked for with mistakes, mended, voted on, carried out, re-wrapped."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from inventory.models import Kek
from rotation.models import JobState, Request, RewrapSource
from rotation.rewrap import open_job
from rotation.rewrap.working import Ended, work
from tests.approving import as_worker, voters
from tests.browser.test_every_page import come_in
from tests.browser.test_import import shoot
from tests.conftest import make_person
from tests.people import next_code
from tests.rotation.approval_world import carry_out
from tests.rotation.sources.conftest import other, ring, their_database  # noqa: F401 - fixtures
from tests.rotation.sources.elsewhere import WORKER, fill, make_kek, registered, rotate

pytestmark = pytest.mark.browser
LABELS = {
    "name": "Name", "host": "Host", "port": "Port", "database": "Database", "login": "Login",
    "password_file": "File of the password", "table": "Table", "id_column": "Column of the id",
    "wrapped_column": "Column of the wrapped DEK", "version_column": "Column of the KEK version",
    "binding_column": "Column of the binding digest",
}  # fmt: skip


@pytest.mark.timeout(300)
def _afterwards():
    """Tell the time, after the request was carried out."""
    return timezone.now() + timedelta(minutes=1)


def test_a_source_is_asked_for_voted_on_and_rewrapped(visitor, alice, bob, other, ring):  # noqa: F811
    with as_worker():
        kek = make_kek("payments")
    fill(other, kek, "1", range(40))
    grace = make_person("grace", "Security")
    failed = registered(other, kek, voters(), table="public.data_kays")
    come_in(visitor, alice)
    visitor.go(f"/rotation/request/{failed.pk}/change/")  # only the worker can look: what it found stands there
    expect(visitor.page.locator("main")).to_contain_text("public.data_kays is no table that this login can see")
    shoot(visitor, "source-0-failed")
    assert not RewrapSource.objects.exists()
    ask(visitor, other, kek)
    request = Request.objects.latest("pk")
    vote(visitor, grace, request)
    vote(visitor, bob, request)
    with as_worker():
        assert carry_out(request).state == "executed"
    expect(visitor.page.locator("[data-step]")).to_have_count(0, timeout=30_000)  # the page has noticed by itself
    visitor.page.wait_for_load_state()
    source = RewrapSource.objects.get()
    see_counts(visitor, source, {"1": 40})
    with as_worker():
        rewrap(kek, source)
    see_counts(visitor, source, {"2": 40})
    expect(visitor.page.get_by_role("region", name="Its latest job")).to_contain_text("100 %")
    shoot(visitor, "source-4-after")
    assert visitor.complaints == []


def ask(visitor, other, kek):  # noqa: F811
    """Fill in the form with a host that no setting names, then with a table without its schema; then mend both."""
    page = visitor.page
    visitor.go("/rotation/rewrapsource/ask/")
    for name, label in LABELS.items():
        page.get_by_label(label, exact=name != "binding_column").fill(str(other.said[name]))
    page.get_by_label("KEK", exact=True).select_option(str(kek.pk))
    page.get_by_label("Why").fill("its DEKs stay with payments")
    look = page.get_by_role("button", name="Show what will happen")
    wrong(visitor, "Host", "db.elsewhere.example", "KEYVAULT_SOURCE_HOSTS does not name db.elsewhere.example")
    shoot(visitor, "source-1-wrong-host")
    page.get_by_label("Host", exact=True).fill(other.said["host"])
    wrong(visitor, "Table", "data_keys", "Name the table with its schema: public.data_keys")
    shoot(visitor, "source-2-wrong-table")
    page.get_by_label("Table", exact=True).fill("public.data_keys")
    look.click()
    expect(page.get_by_role("region", name="What will happen")).to_contain_text("public.data_keys")
    visitor.look()
    shoot(visitor, "source-3-preview")
    page.get_by_role("button", name="Ask for it").click()
    expect(page.get_by_role("status").or_(page.locator(".messagelist")).first).to_contain_text(
        "Asked: Register payments"
    )
    visitor.look()


def wrong(visitor, label, entered, because):
    """Enter something wrong: the field is marked, and beside it stands what to do."""
    page, field = visitor.page, visitor.page.get_by_label(label, exact=True)
    field.fill(entered)
    page.get_by_role("button", name="Show what will happen").click()
    expect(page).to_have_title(re.compile("^Error: "))
    expect(field).to_have_attribute("aria-invalid", "true")
    beside = (field.get_attribute("aria-describedby") or "").split()
    assert because in " ".join(page.locator(f"#{one}").inner_text() for one in beside)
    expect(page.get_by_role("alert")).to_contain_text("Mend what is marked below")
    assert Request.objects.count() == 1
    visitor.look()


def vote(visitor, person, request):
    visitor.page.context.clear_cookies()
    come_in(visitor, person)
    visitor.go(f"/rotation/request/{request.pk}/change/")
    visitor.page.get_by_label("Code").fill(next_code(person.totp_devices.get()))
    visitor.page.get_by_role("button", name="Approve").click()
    expect(visitor.page.get_by_role("button", name="Approve")).to_have_count(0)
    visitor.look()


def see_counts(visitor, source, counts):
    visitor.go("/rotation/rewrapsource/")
    visitor.page.get_by_role("link", name=re.compile("payments")).first.click()
    expect(visitor.page).to_have_url(re.compile(f"rewrapsource/{source.pk}/change/"))
    panel = visitor.page.get_by_role("region", name="DEKs by version")
    for version, deks in counts.items():
        expect(panel).to_contain_text(re.compile(rf"Under\s+{version}\s+{deks}"))
    expect(panel.locator("dt")).to_have_count(len(counts))
    visitor.look()


def rewrap(kek, source):
    """Rotate the KEK, and let a worker do the job."""
    rotate(kek)
    job = open_job(kek=Kek.objects.get(pk=kek.pk), source=source, actor=WORKER, reason="rotated", now=_afterwards())
    assert work(pk=job.pk, actor=WORKER, clock=_afterwards, seconds=30).ended is Ended.OVER
    job.refresh_from_db()
    assert (job.state, job.rewrapped) == (JobState.DONE, 40)
