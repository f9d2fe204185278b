"""The pages of key stores: what they say, to whom, at what price in queries."""

import sys

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from rotation.models import JobState, RewrapJob
from tests.inventory.world import NOW, seal
from tests.keyvault_admin.test_pages import page_of
from tests.people import sign_in
from tests.rotation.custody_world import CustodyWorld

LISTS = (
    "inventory/kek",
    "inventory/dekversion",
    "rotation/rewrapjob",
    "rotation/order",
    "rotation/rewrapsource",
    "audit/certificate",
)


@pytest.fixture(autouse=True)
def _clock():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture(autouse=True)
def _stores(settings):
    settings.KMS_STORES = {"house": "local:///nowhere#house"}


@pytest.fixture
def world(db):
    return CustodyWorld()


def kek_page(client, world):
    seal()
    return page_of(client, f"/inventory/kek/{world.kek.pk}/change/")


def queries(client, address):
    with CaptureQueriesContext(connection) as found:
        answer = client.get(address)
    assert answer.status_code == 200
    return [query["sql"] for query in found]


# KEKs


def test_the_list_shows_where_the_deks_of_a_kek_are(client, bob, world):
    world.job()
    sign_in(client, bob)
    page = page_of(client, "/inventory/kek/")
    assert "5 under v4 · 7 under v3" in page
    assert "running 33 %" in page
    assert "Ask for a KEK" in page


def test_a_kek_says_of_each_version_what_needs_it(client, bob, world):
    world.hold(), world.hand_out()
    sign_in(client, bob)
    page = kek_page(client, world)
    assert "7 DEKs are still under version 3." in page
    assert "A retained backup needs it: the dump of March is kept" in page
    assert "1 DEK handed out under it is not confirmed." in page
    assert "Version 4 takes the new wraps. Rotate first" in page
    assert "the store refuses to unwrap under it" in page
    assert "Re-wrap what is left" in page


def test_what_can_be_asked_is_offered_to_who_may_ask_it(client, bob, carol, world):
    ask = f'href="/rotation/request/ask/kek/rotate/{world.kek.pk}/"'
    for person, is_offered in ((bob, True), (carol, False)):
        sign_in(client, person)
        body = client.get(f"/inventory/kek/{world.kek.pk}/change/").content.decode()
        assert (ask in body) is is_offered
        assert ("/ask/kek/disable/" in body) is False  # the one that is open has DEKs under it


def test_the_picture_says_the_same_in_words(client, bob, world):
    world.job()
    sign_in(client, bob)
    body = client.get(f"/inventory/kek/{world.kek.pk}/change/").content.decode()
    assert "Version 3: 7 DEKs, enabled." in body
    assert "A re-wrap job takes them to version 4 and is 33 % done." in body
    assert 'class="arrow"' in body


def test_no_page_reads_a_wrapped_byte(client, alice, world):
    job = world.job()
    world.quarantine(job), world.hand_out()
    sign_in(client, alice)
    dek = world.deks[0].key_id
    for address in (
        "/inventory/kek/", f"/inventory/kek/{world.kek.pk}/change/",
        "/inventory/dekversion/", f"/inventory/key/{dek}/change/",
        f"/rotation/rewrapjob/{job.pk}/change/", "/rotation/rewrapjob/", "/rotation/order/",
    ):  # fmt: skip
        assert not [sql for sql in queries(client, address) if '"wrapped"' in sql or '"canary"' in sql], address


def test_the_rest_is_rewrapped_by_who_may_run_jobs(client, bob, carol, world):
    address = f"/inventory/kek/{world.kek.pk}/rewrap/"
    sign_in(client, carol)
    assert client.post(address, {"reason": "what is left"}).status_code == 403
    sign_in(client, bob)
    assert "This field is required" in client.post(address, {}).content.decode()
    answer = client.post(address, {"reason": "what is left"})
    job = RewrapJob.objects.get()
    assert answer["Location"] == f"/rotation/rewrapjob/{job.pk}/change/"
    assert (job.total, job.target) == (7, world.versions[3])


# Jobs


def test_a_job_says_how_far_and_how_fast_it_is(client, bob, world):
    job = world.job()
    world.quarantine(job)
    sign_in(client, bob)
    page = page_of(client, f"/rotation/rewrapjob/{job.pk}/change/")
    assert "4 of 12 DEKs · 2.0 a second · about 4 s left · 1 quarantined" in page
    assert "Left under v3 7" in page
    assert "It opens, and is another DEK than this row's" in page
    assert "Pause it" in page


def test_the_figures_are_there_for_the_script(client, bob, carol, world):
    job = world.job()
    sign_in(client, carol)
    told = client.get(f"/rotation/rewrapjob/{job.pk}/progress/").json()
    assert (told["state"], told["done"], told["of"], told["percent"]) == ("running", 4, 12, 33)
    assert told["figures"][f"version-{world.versions[2].pk}"] == "7"


@pytest.mark.parametrize(
    ("state", "act", "then"),
    [
        ("running", "pause", JobState.PAUSED),
        ("paused", "resume", JobState.RUNNING),
        ("running", "stop", JobState.STOPPED),
    ],
)
def test_a_job_is_steered_with_a_reason(client, bob, carol, world, state, act, then):
    job = world.job(state=state)
    address = f"/rotation/rewrapjob/{job.pk}/{act}/"
    sign_in(client, carol)
    assert client.post(address, {"reason": "the store is slow"}).status_code == 403
    sign_in(client, bob)
    assert client.get(address).status_code == 405
    assert client.post(address, {"reason": ""}).status_code == 200
    assert client.post(address, {"reason": "the store is slow"}).status_code == 302
    job.refresh_from_db(fields=["state"])
    assert job.state == then


def test_a_refused_decision_says_why_where_it_was_taken(client, bob, world):
    job = world.job(state="paused", paused_because="the store is slow")
    sign_in(client, bob)
    page = client.post(f"/rotation/rewrapjob/{job.pk}/pause/", {"reason": "again"}).content.decode()
    assert "so there is nothing to pause" in page
    assert "the store is slow" in page


def test_an_order_that_is_not_there_is_told_so(client, bob):
    sign_in(client, bob)
    for act in ("retry", "cancel"):
        assert client.post(f"/rotation/order/12345/{act}/", {"reason": "x"}).status_code == 404


def test_the_speed_and_the_quarantine_of_a_job(client, bob, world):
    job = world.job()
    one = world.quarantine(job)
    sign_in(client, bob)
    said = {"per_second": "100", "batch_size": "50", "reason": "office hours"}
    assert client.post(f"/rotation/rewrapjob/{job.pk}/speed/", {**said, "batch_size": "0"}).status_code == 200
    assert client.post(f"/rotation/rewrapjob/{job.pk}/speed/", said).status_code == 302
    assert client.post(f"/rotation/rewrapjob/{job.pk}/retry/", {"reason": "restored"}).status_code == 302
    job.refresh_from_db(fields=["per_second", "batch_size"])
    one.refresh_from_db(fields=["resolved_at"])
    assert (job.per_second, job.batch_size, one.resolved_at) == (100, 50, NOW)


# DEKs


@pytest.mark.parametrize("count", [100, 10_000] if "tests.full" in sys.modules else [100, 1_000])
def test_the_health_of_tenants_costs_the_same_however_many_there_are(client, bob, count):
    CustodyWorld(old=count // 2, new=count // 2)
    sign_in(client, bob)
    found = queries(client, "/inventory/dekversion/")
    assert len(found) <= 10, found
    assert len(queries(client, "/inventory/dekversion/?health=behind")) <= 10


def test_the_list_of_tenants_says_who_is_behind(client, bob, world):
    world.quarantine(world.job())
    world.hand_out()
    sign_in(client, bob)
    page = page_of(client, "/inventory/dekversion/")
    assert "12 DEKs, one for each tenant" in page
    assert "Behind the primary 7" in page
    assert "In quarantine 1" in page
    assert "Handed out, not confirmed 1" in page
    assert client.get("/inventory/dekversion/?health=behind").context["cl"].result_count == 7
    tenant = world.deks[0].key.tenant_id
    assert client.get(f"/inventory/dekversion/?tenant={tenant}").context["cl"].result_count == 1


def test_the_page_of_a_dek_says_under_what_it_is_and_who_has_it(client, bob, world):
    world.hand_out()
    sign_in(client, bob)
    seal()
    page = page_of(client, f"/inventory/key/{world.deks[0].key_id}/change/")
    assert "payments/kek v3" in page
    assert "billing" in page
    assert "it uses this copy no more" in page
    assert "hand_out_dek" in page


def test_a_handed_out_copy_is_confirmed(client, bob, carol, world):
    given = world.hand_out()
    address = f"/inventory/dekversion/hand-out/{given.pk}/"
    sign_in(client, carol)
    assert client.get(address).status_code == 403
    sign_in(client, bob)
    assert "stays" in client.get(address).content.decode()
    assert client.post(address, {"reason": "it runs with version 4"}).status_code == 302
    given.refresh_from_db(fields=["confirmed_at"])
    assert given.confirmed_at == NOW


def test_a_dek_is_ordered_for_a_secret(client, carol, bob, world):
    sign_in(client, carol)
    page = client.post("/inventory/dekversion/add/", {"kek": world.kek.pk, "reason": "mail"}).content.decode()
    assert "A DEK is for one integration of one tenant" in page
    answer = client.post("/inventory/dekversion/add/", {"kek": world.kek.pk, "secret_name": "smtp", "reason": "mail"})
    assert answer.status_code == 302, answer.content.decode()
    page = page_of(client, answer["Location"])
    assert "A worker looks at the store, and then acts" in page
    assert "Cancel the order" not in page
    told = client.get(answer["Location"].replace("change", "progress")).json()
    assert told["is_waiting"] is True
    sign_in(client, bob)
    assert "Cancel the order" in page_of(client, answer["Location"])
    done = client.post(answer["Location"].replace("change", "cancel"), {"reason": "not needed"})
    assert done.status_code == 302
    assert "Cancelled" in page_of(client, answer["Location"])


@pytest.mark.parametrize("name", LISTS)
def test_an_empty_list_says_what_to_do(client, alice, name):
    sign_in(client, alice)
    answer = client.get(f"/{name}/")
    assert 'class="empty"' in answer.content.decode()


# The first page


def test_the_first_page_shows_what_runs_and_what_failed(client, bob, world):
    sign_in(client, bob)
    without = len(queries(client, "/"))
    world.job()
    assert "Re-wrap of payments/kek to v4 4 of 12 DEKs · running" in page_of(client, "/")
    assert len(queries(client, "/")) == without + 1
    world.order(state="failed", closed_because="the store is sealed")
    assert "Look at an order that failed" in page_of(client, "/")
