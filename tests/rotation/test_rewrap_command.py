"""`manage.py rewrap`: opens, steers, works and says how far it is; its exit code says how it ended."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from audit.actor import Actor
from rotation import rewrap, tasks
from rotation.models import JobState, RewrapJob
from tests.rotation.rewrap_world import census, forget_stores, house, make_kek, rotate, spoil

WORKER = Actor.system("worker")


@pytest.fixture
def world(db, settings, tmp_path, as_role):
    """The login of a person's command; the KEK was made by the worker."""
    house(settings, tmp_path)
    settings.ROLE = "command"
    with as_role("worker"):
        kek = make_kek("payments", deks=5)
        rotate(kek)
    with as_role("command"):
        yield kek
    forget_stores()


def run(*arguments):
    """Run the command; return what it said, and its exit code."""
    said = StringIO()
    try:
        call_command("rewrap", *arguments, stdout=said, stderr=StringIO())
    except SystemExit as left:
        return said.getvalue(), left.code
    return said.getvalue(), 0


def test_without_the_workers_role_it_opens_the_job_and_the_workers_do_it(world, as_role):
    said, code = run("payments", "--batch-size", "2", "--per-second", "1000")
    job = RewrapJob.objects.get()
    assert (code, said) == (
        0,
        f"{job.ref} is open: 5 DEKs. The workers do it; --status says how far it is.\n",
    )
    assert (job.batch_size, job.per_second, job.opened_by_ref) == (2, 1000, "command:rewrap")
    assert run("payments", "--status")[1] == 3
    with as_role("worker"):
        rewrap.work(pk=job.pk, actor=WORKER, clock=timezone.now, seconds=20)
    said, code = run(world.uri, "--status")
    assert (said.splitlines()[0], code) == (
        f"{job.ref} done: 5 of 5 DEKs (100 %). All of it is under the new version.",
        0,
    )


def test_as_the_worker_it_does_it_itself_and_says_what_is_in_quarantine(world, settings, as_role, as_owner):
    with as_owner():
        spoil(world)
    settings.ROLE = "worker"
    with as_role("worker"):
        said, code = run("payments")
    assert code == 2
    assert "4 of 5 DEKs" in said
    assert "1 in quarantine" in said
    assert "certificate:" in said
    assert census(world) == {"1": 1, "2": 4}


def test_it_steers(world, as_role):
    run("payments")
    for option, state in (("--pause", JobState.PAUSED), ("--resume", JobState.RUNNING), ("--stop", JobState.STOPPED)):
        assert run("payments", option, "--reason", "because")[1] == 0
        assert RewrapJob.objects.get().state == state
    assert run("payments", "--status")[1] == 3
    with pytest.raises(CommandError, match="nothing of it changes any more"):
        run("payments", "--pause")


def test_it_changes_the_speed_of_what_runs(world):
    run("payments")
    run("payments", "--per-second", "7", "--batch-size", "3")
    assert RewrapJob.objects.values_list("per_second", "batch_size").get() == (7, 3)
    run("payments", "--per-second", "0")
    assert RewrapJob.objects.values_list("per_second", "batch_size").get() == (None, 3)


def test_a_dry_run_counts_and_as_the_worker_opens_a_sample(world, settings, as_role, as_owner):
    said, code = run("payments", "--dry-run")
    assert code == 0
    assert said.splitlines() == [
        "version 1: 5 DEKs",
        "5 DEKs would come under version 2 of payments, in 1 batch. Nothing was written (--dry-run).",
        "Only the worker opens a sample of them: run this with KEYVAULT_ROLE=worker.",
    ]
    settings.ROLE = "worker"
    with as_role("worker"):
        assert run("payments", "--dry-run")[0].splitlines()[-1].endswith("opened, all in order")
    assert not RewrapJob.objects.exists()
    assert census(world) == {"1": 5}


def test_what_cannot_be_begun_is_said(world):
    with pytest.raises(CommandError, match="The inventory has no KEK nobody"):
        run("nobody")
    with pytest.raises(CommandError, match="was never re-wrapped"):
        run("payments", "--status")


def test_several_processes_share_a_job(committed_db, settings, tmp_path, as_role):
    house(settings, tmp_path)
    settings.ROLE = "worker"
    with as_role("worker"):
        kek = make_kek("payments", deks=300)
        rotate(kek)
        _said, code = run("payments", "--processes", "2", "--batch-size", "20")
        assert code == 0
        assert census(kek) == {"2": 300}
    forget_stores()


def test_the_tasks_bring_a_job_to_its_end(world, as_role, monkeypatch):
    run("payments", "--batch-size", "2")
    nudged = []
    monkeypatch.setattr(tasks.work_rewrap, "apply_async", lambda args, **_how: nudged.append(args))
    with as_role("worker"):
        tasks.tend_rewraps()
        (job,) = RewrapJob.objects.all()
        assert nudged == [(job.pk,)] * tasks.WORKERS
        tasks.work_rewrap(job.pk)
        tasks.work_rewrap(job.pk)
        assert RewrapJob.objects.get().state == JobState.DONE
        tasks.tend_rewraps()
    assert len(nudged) == tasks.WORKERS
