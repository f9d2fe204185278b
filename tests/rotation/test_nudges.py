"""What people decide on the pages of key stores reaches a worker at once, through the broker; without one it waits."""

import json
import os
import time

import pytest
import redis
import time_machine

from keyvault_admin.celery import app
from rotation.models import JobState, Order, OrderState, RewrapJob
from tests.engines import run_values
from tests.inventory.world import NOW
from tests.people import sign_in
from tests.rotation.custody_world import CustodyWorld

NOBODY = "redis://:nobody@127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _clock():
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def world(db, settings):
    settings.KMS_STORES = {"house": "local:///nowhere#house"}
    return CustodyWorld()


@pytest.fixture
def queued():
    """Return a function that takes what this process has put into the queue of the workers out of it again."""
    with redis.Redis.from_url(run_values()["CELERY_BROKER_URL"]) as broker:

        def take():
            found = []
            for raw in broker.lrange("celery", 0, -1):
                head = json.loads(raw)["headers"]
                if head["origin"].startswith(f"gen{os.getpid()}@"):
                    broker.lrem("celery", 1, raw)
                    found.append((head["task"].rpartition(".")[2], head["argsrepr"]))
            return found

        take()
        yield take
        take()


@pytest.fixture
def post(client, bob, django_capture_on_commit_callbacks):
    """Return a function that sends a form as bob, and commits."""
    sign_in(client, bob)

    def send(address, **said):
        with django_capture_on_commit_callbacks(execute=True):
            return client.post(address, {"reason": "now", **said})

    return send


def order_dek(post, world):
    return post("/inventory/dekversion/add/", kek=world.kek.pk, secret_name="smtp")


def test_a_dek_that_is_asked_for_is_made_at_once(post, queued, world):
    assert order_dek(post, world).status_code == 302
    assert queued() == [("carry_out_order", f"({Order.objects.get().pk},)")]
    assert post("/inventory/dekversion/add/", kek=world.kek.pk).status_code == 200  # refused
    assert queued() == []


def test_an_order_that_is_tried_again_goes_to_a_worker_and_a_cancelled_one_does_not(post, queued, world):
    order = world.order(state=OrderState.FAILED, closed_because="the store said no")
    assert post(f"/rotation/order/{order.pk}/retry/").status_code == 302
    assert queued() == [("carry_out_order", f"({order.pk},)")]
    assert post(f"/rotation/order/{order.pk}/cancel/").status_code == 302
    assert queued() == []


def test_a_job_that_is_opened_finds_a_worker(post, queued, world):
    assert post(f"/inventory/kek/{world.kek.pk}/rewrap/").status_code == 302
    assert queued() == [("work_rewrap", f"({RewrapJob.objects.get().pk},)")]


@pytest.mark.parametrize(
    ("act", "state", "is_nudged"),
    [
        ("resume", JobState.PAUSED, True),
        ("retry", JobState.RUNNING, True),
        ("pause", JobState.RUNNING, False),
        ("stop", JobState.RUNNING, False),
    ],
)
def test_a_job_that_may_go_on_finds_a_worker(post, queued, world, act, state, is_nudged):
    job = world.job(state=state)
    world.quarantine(job)
    assert post(f"/rotation/rewrapjob/{job.pk}/{act}/").status_code == 302
    assert queued() == ([("work_rewrap", f"({job.pk},)")] if is_nudged else [])


@pytest.fixture
def _no_broker():
    """Let nobody answer at the broker's address."""
    before = {name: app.conf[name] for name in ("broker_url", "broker_write_url")}
    app.conf.update(broker_url=NOBODY, broker_write_url=NOBODY)
    app._after_fork()  # the connections that are open would still be used
    yield
    app.conf.update(before)
    app._after_fork()


@pytest.mark.usefixtures("_no_broker")
def test_without_a_broker_it_is_ordered_all_the_same(post, world, caplog):
    began = time.monotonic()
    assert order_dek(post, world).status_code == 302
    assert post(f"/inventory/kek/{world.kek.pk}/rewrap/").status_code == 302
    assert time.monotonic() - began < 5, "a page would keep people waiting"
    assert (Order.objects.get().state, RewrapJob.objects.get().state) == (OrderState.WAITING, JobState.RUNNING)
    assert "nobody was nudged to carry out order" in caplog.text
    assert "nobody was nudged to work on rewrap" in caplog.text
