"""The page of a re-wrap job keeps itself fresh in a real browser, and every page of key stores fits a phone."""

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from rotation.models import JobState, RewrapJob
from tests.approving import as_worker
from tests.browser.test_every_page import come_in
from tests.rotation.custody_world import CustodyWorld

pytestmark = pytest.mark.browser


@pytest.mark.timeout(300)
def test_a_job_is_watched_and_paused(visitor, bob):
    world = CustodyWorld(now=timezone.now())
    job = world.job(total=100, rewrapped=40)
    come_in(visitor, bob)
    for address in (
        "/", "/inventory/kek/", f"/inventory/kek/{world.kek.pk}/change/", "/inventory/dekversion/",
        f"/inventory/key/{world.deks[0].key_id}/change/", "/rotation/rewrapjob/",
        f"/rotation/order/{world.order().pk}/change/",
    ):  # fmt: skip
        visitor.go(address)
    page = visitor.page
    visitor.go(f"/rotation/rewrapjob/{job.pk}/change/")
    expect(page.locator("[data-figure=percent]")).to_have_text("40 %")
    with as_worker():
        RewrapJob.objects.filter(pk=job.pk).update(rewrapped=80)
    expect(page.locator("[data-figure=percent]")).to_have_text("80 %", timeout=10_000)
    expect(page.locator("[data-told]")).to_contain_text("80 of 100 DEKs")
    page.get_by_text("Pause …").click()
    page.fill("#id_pause_reason", "the store is slow")
    page.get_by_role("button", name="Pause it").click()
    expect(page.get_by_text("Batches in hand are brought to their end")).to_be_visible()
    with as_worker():
        RewrapJob.objects.filter(pk=job.pk).update(state=JobState.RUNNING)
    expect(page.get_by_text("Pause …")).to_be_visible(timeout=10_000)  # loaded anew by itself
    assert visitor.complaints == []
