"""The nudges of the beat: the same thing again does nothing more."""

import pytest
import time_machine
from django.conf import settings
from django.core import mail

from keyvault_admin.celery import app
from rotation import tasks
from rotation.models import Notice
from tests.inventory.world import NOW, events_of, make_key, make_owner, seal

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker(as_role):
    with as_role("worker"):
        yield


def test_three_ticks_of_the_beat_tell_once(as_role):
    make_key(owner=make_owner("ann", "ann@example.org"))
    with as_role("worker"), time_machine.travel(NOW, tick=False):
        for _ in range(3):
            tasks.flag_overdue()
            tasks.deliver_mail()
        seal()
    assert len(mail.outbox) == Notice.objects.count() == 1
    (event,) = events_of("key.flagged_overdue")
    assert (event.said.actor_kind, event.said.actor_id, event.said.at) == ("system", "worker", NOW)


def test_what_nobody_can_be_told_of_is_an_error_in_the_log(worker, caplog):
    make_key()
    tasks.flag_overdue()
    assert "1 keys have nobody who could be told" in caplog.text


def test_the_beat_names_tasks_that_exist():
    app.loader.import_default_modules()
    for name, entry in settings.CELERY_BEAT_SCHEDULE.items():
        assert entry["task"] in app.tasks, name
