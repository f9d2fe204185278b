"""Imports that a worker does: claimed once, confirmed once, taken up again after a death, and never by halves."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.utils import timezone

from audit.actor import Actor
from audit.models import Event
from inventory import services
from inventory.errors import ImportLostError
from inventory.import_previews import DRAW
from inventory.models import HeaderMapping, ImportDraft, Key, Owner
from inventory.services import ImportOptions
from inventory.services import jobs as job
from tests.engines import ROOT
from tests.inventory.test_imports import bring, file_of, row
from tests.inventory.test_services import at_once
from tests.inventory.working import work_off
from tests.inventory.world import NOW, actions_since, events_of, make_key, seal
from tests.people import sign_in

db = pytest.mark.django_db
SMALL = file_of(row("a", Owner="ann"), row("b"))


def take(person, content=SMALL, now=None):
    return services.take_file(
        content=content, file_name="keys.csv", reason="moving in", person=person.pk, now=now or timezone.now()
    )


def confirm(draft, person, digest=None):
    draft.refresh_from_db()
    return services.confirm_import(
        draft=draft,
        plan_digest=draft.plan_digest if digest is None else digest,
        actor=Actor(kind="person", id=person.ref),
        now=timezone.now(),
    )


def work(draft):
    return services.work_off_import(pk=draft.pk, draw=DRAW, now=timezone.now())


def state_of(draft):
    draft.refresh_from_db()
    return draft.state


# The way through


@db
def test_a_file_is_read_confirmed_and_imported_on_behalf_of_who_brought_it(alice, as_role):
    draft = take(alice, file_of(row("a", Owner="ann"), header="Name,Type,Owner"))
    services.read_again(draft=draft, options=ImportOptions())
    assert work_off(as_role) == ["ready"]
    assert not Key.objects.exists()
    assert confirm(draft, alice)
    assert work_off(as_role) == ["done"]
    draft.refresh_from_db()
    assert draft.note == "1 new, 0 changed, 0 unchanged, 0 refused"
    assert (bytes(draft.content), draft.preview, draft.leased_until) == (b"", {}, None)
    seal()
    assert actions_since(0) == [
        "inventory.import_confirmed", "owner.registered", "key.imported", "inventory.imported",
    ]  # fmt: skip
    (confirmed,) = events_of("inventory.import_confirmed")
    (imported,) = events_of("key.imported")
    assert (confirmed.said.actor_kind, confirmed.said.actor_id) == ("person", alice.ref)
    assert (imported.said.actor_id, imported.said.on_behalf_of) == ("worker", alice.ref)


@db
def test_what_waits_in_the_database_is_sealed(alice):
    draft = take(alice, b"Name,Type\nverysecretname,KEK\n" * 1)
    assert b"verysecretname" not in bytes(draft.content)
    with pytest.raises(IntegrityError), transaction.atomic():
        ImportDraft.objects.filter(pk=draft.pk).update(state="refused")


@db
def test_answers_are_remembered_for_the_person_when_the_worker_has_done_it(alice, as_role):
    draft = take(alice, b"Geheimname,Art\na,KEK\n")
    work_off(as_role)
    draft.refresh_from_db()
    assert (draft.state, draft.plan_digest) == ("ready", "")
    assert not confirm(draft, alice)
    assert services.read_again(draft=draft, options=ImportOptions(mapping={"Geheimname": "name"}))
    assert not services.read_again(draft=draft, options=ImportOptions())
    work_off(as_role)
    assert confirm(draft, alice)
    work_off(as_role)
    assert HeaderMapping.objects.get().used_by == alice.ref


@db
def test_an_inventory_that_changed_meanwhile_is_shown_again_and_not_imported(alice, as_role):
    draft = take(alice)
    work_off(as_role)
    make_key(name="a", kind="kek")
    assert confirm(draft, alice)
    assert work_off(as_role) == ["reading", "ready"]
    draft.refresh_from_db()
    assert "The inventory has changed since this preview" in draft.note
    assert not Key.objects.filter(name="b").exists()
    assert confirm(draft, alice)
    assert work_off(as_role) == ["done"]


@db
def test_only_the_plan_that_was_seen_is_confirmed(alice, as_role):
    draft = take(alice)
    work_off(as_role)
    assert not confirm(draft, alice, digest="")
    assert not confirm(draft, alice, digest="0" * 64)
    assert state_of(draft) == "ready"
    seal()
    assert actions_since(0) == []


@db
def test_old_files_are_forgotten_but_not_what_is_being_imported(alice, as_role):
    old = timezone.now() - job.LIFETIME - timedelta(minutes=1)
    kept, gone = take(alice, now=old), take(alice, now=old)
    work_off(as_role)
    assert confirm(kept, alice)
    with as_role("worker"):
        assert services.clear_imports(now=timezone.now()) == 1
    assert list(ImportDraft.objects.values_list("pk", flat=True)) == [kept.pk]
    assert gone.pk


@db
def test_a_file_that_kills_its_workers_is_given_up(alice, as_role):
    draft = take(alice)
    with as_role("worker"):
        ImportDraft.objects.update(claims=job.MOST_CLAIMS)
        assert work(draft) == "refused"
    draft.refresh_from_db()
    assert "could not be worked off" in draft.note


@db
@pytest.mark.parametrize("column", ["content", "plan_digest", "claims", "preview"])
def test_the_web_process_cannot_write_what_the_worker_says(column, alice):
    take(alice)
    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE inventory_importdraft SET {column} = {column}")


# At once, and after a death


def test_of_two_confirmations_at_once_one_counts(committed_db, as_role, alice):
    draft = take(alice)
    work_off(as_role)
    draft.refresh_from_db()
    assert sorted(at_once(lambda: confirm(draft, alice), lambda: confirm(draft, alice))) == [False, True]
    with as_role("worker"):
        assert sorted(map(str, at_once(lambda: work(draft), lambda: work(draft)))) == ["", "done"]
    assert Key.objects.count() == 2
    assert Event.objects.filter(action="inventory.imported").count() == 1
    assert Event.objects.filter(action="inventory.import_confirmed").count() == 1


def test_a_worker_that_was_taken_for_dead_writes_nothing(committed_db, as_role, alice):
    """Its lease has run out while it worked, and another one has claimed the file."""
    draft = take(alice)
    work_off(as_role)
    assert confirm(draft, alice)
    draft.refresh_from_db()
    with as_role("worker"):
        ImportDraft.objects.update(claims=draft.claims + 1)
        with job._Progress(draft) as progress, pytest.raises(ImportLostError):
            job._apply(draft, DRAW, timezone.now(), progress)
        assert (Key.objects.exists(), Event.objects.filter(action="key.imported").exists()) == (False, False)
        assert state_of(draft) == "applying"
        assert work(draft) == "done"


def test_an_import_that_another_one_keeps_out_waits(committed_db, as_role, alice):
    draft = take(alice)
    work_off(as_role)
    assert confirm(draft, alice)
    with as_role("worker"):
        with transaction.atomic():
            bring(file_of(row("z")))
            assert at_once(lambda: work(draft)) == ["applying"]
        assert services.waiting_imports() == [draft.pk]
        assert work(draft) == "done"


WORKER = "import django; django.setup(); from inventory.tasks import work_off_import; work_off_import({pk})"


def test_a_worker_that_is_killed_leaves_nothing_and_another_one_does_it(committed_db, as_role, alice):
    """Killed in the middle of its transaction, a process of its own with the worker's login."""
    draft = take(alice, file_of(*[row(f"key {number}", Owner=f"p{number % 50}") for number in range(6_000)]))
    work_off(as_role)
    assert confirm(draft, alice)
    environ = committed_db.environ(KEYVAULT_ROLE="worker", DJANGO_SETTINGS_MODULE="keyvault_admin.settings")
    process = subprocess.Popen([sys.executable, "-c", WORKER.format(pk=draft.pk)], cwd=ROOT, env=environ)
    try:
        ends = time.monotonic() + 60
        while time.monotonic() < ends and not (state_of(draft) == "applying" and draft.doing == "registered"):
            time.sleep(0.01)
        assert draft.doing == "registered"  # its keys stand in the open transaction
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait(timeout=30)
    assert (Key.objects.count(), Owner.objects.count(), Event.objects.filter(action="key.imported").count()) == (
        0,
        0,
        0,
    )
    assert services.waiting_imports() == []  # the lease still runs
    with as_role("worker"):
        ImportDraft.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert work_off(as_role) == ["done"]
    assert Key.objects.count() == 6_000


def test_how_far_it_is_is_seen_while_the_transaction_is_open(committed_db, as_role, alice, client):
    draft = take(alice)
    with as_role("worker"), job._Progress(draft) as progress, transaction.atomic():
        bring(SMALL)
        progress.tell("registered", 1_000, 1_200)
        assert at_once(lambda: ImportDraft.objects.values_list("doing", "rows_done", "rows_total").get()) == [
            ("registered", 1_000, 1_200)
        ]
        assert at_once(Key.objects.count) == [0]
        assert at_once(services.waiting_imports) == [[]]  # its lease was prolonged


# Pages


@db
def test_without_a_broker_a_file_only_waits(client, alice, as_role, settings):
    from keyvault_admin.celery import app

    sign_in(client, alice)
    before = app.conf.broker_url
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    try:
        began = time.monotonic()
        file = SimpleUploadedFile("keys.csv", SMALL)
        answer = client.post("/inventory/key/import/", {"file": file, "reason": "x"}, follow=True)
        assert time.monotonic() - began < 5
    finally:
        app.conf.broker_url = before
    assert "The file is being read." in answer.content.decode()
    assert work_off(as_role) == ["ready"]


@db
def test_progress_is_told_to_who_brought_the_file_alone(client, alice, bob, as_role):
    draft = take(alice)
    address = f"/inventory/key/import/{draft.pk}/progress/"
    sign_in(client, alice)
    assert client.get(address).json() == {
        "is_waiting": True, "step": "Waiting for a free worker", "done": 0, "of": 0,
    }  # fmt: skip
    work_off(as_role)
    assert client.get(address).json()["is_waiting"] is False
    assert client.post(address).status_code == 404
    client.logout()
    sign_in(client, bob)
    assert client.get(address).status_code == 404


@db
def test_a_second_click_leads_to_what_is_under_way(client, alice, as_role):
    draft = take(alice)
    work_off(as_role)
    sign_in(client, alice)
    draft.refresh_from_db()
    address = f"/inventory/key/import/{draft.pk}/"
    for _ in range(2):
        answer = client.post(address, {"plan_digest": draft.plan_digest}, follow=True)
        assert "The file is being imported, all at once or not at all." in " ".join(answer.content.decode().split())
    assert work_off(as_role) == ["done"]
    assert NOW
