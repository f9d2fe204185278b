"""Bring the DEKs of a KEK under its newest version, steer the job that does, or say how far it is."""

import multiprocessing
import time
from argparse import ArgumentParser
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from audit.actor import Actor
from inventory import custody
from inventory.errors import InventoryError
from inventory.models import Kek
from rotation import rewrap
from rotation.errors import RotationError
from rotation.models import LIVE_JOBS, JobState, RewrapJob, RewrapSource
from rotation.rewrap.progress import Progress, progress_of, sample

ACTOR = Actor.system("command:rewrap")
QUARANTINED, NOT_FINISHED = 2, 3
SAMPLE = 25
LOOK_EVERY = 0.5  # seconds
STEERING: dict[str, Callable[..., object]] = {
    "pause": rewrap.pause,
    "resume": rewrap.resume,
    "stop": rewrap.stop,
    "retry_quarantined": rewrap.retry_quarantined,
}


class Command(BaseCommand):
    help = (
        "Bring every DEK under an old version of a KEK under its newest one. Run as the worker (KEYVAULT_ROLE=worker) "
        "it does so itself, in as many processes as --processes says; else it opens the job, and the workers do it. "
        "A job that is there already is joined, or steered by one of the options. Stopping the command loses nothing. "
        "Exit code: 0 when all of it is done, or what was asked for is; 2 when it is done but for what is in "
        "quarantine; 3 when the job is not finished (paused, stopped, or still running after --status); 1 when it "
        "could not be begun."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kek", help="the KEK's name in the inventory, or its address (openbao:main/payments)")
        parser.add_argument("--source", metavar="NAME", help="what it wraps in this source elsewhere, not in our table")
        act = parser.add_mutually_exclusive_group()
        act.add_argument("--dry-run", action="store_true", help="say what would be done; the worker opens a sample too")
        act.add_argument("--status", action="store_true", help="say how far the latest job is")
        act.add_argument("--pause", action="store_true", help="begin no further batch until --resume")
        act.add_argument("--resume", action="store_true", help="let a paused job go on")
        act.add_argument("--stop", action="store_true", help="end the job for good; what it has done stays")
        act.add_argument(
            "--retry-quarantined", action="store_true", help="let it try again what it could not bring over"
        )
        parser.add_argument(
            "--per-second", type=int, metavar="N", help="at most N DEKs a second, all workers together; 0: no limit"
        )
        parser.add_argument("--batch-size", type=int, metavar="N", help="at most N DEKs in a batch")
        parser.add_argument("--processes", type=int, default=1, metavar="N", help="as the worker: how many do it")
        parser.add_argument("--wait", action="store_true", help="stay until the job is over, and show how far it is")
        parser.add_argument("--reason", default="asked for on the command line", help="why, for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        kek = self._kek(options["kek"])
        self._source = self._source_of(kek, options)
        try:
            self._handle(kek, options)
        except (RotationError, InventoryError, custody.BackendError) as error:
            raise CommandError(str(error)) from error

    def _handle(self, kek: Kek, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            self._dry_run(kek, options)
            return
        asked = next((name for name in STEERING if options[name]), None)
        if options["status"] or asked:
            job = self._latest(kek)
            if asked:
                STEERING[asked](pk=job.pk, actor=ACTOR, reason=options["reason"], now=timezone.now())
        else:
            job = self._opened(kek, options)
        if options["status"] or (asked and not options["wait"]):
            self._end(job, said=bool(asked))
            return
        if settings.ROLE == "worker":
            self._work(job, options["processes"])
        elif options["wait"]:
            self._watch(job, lambda: True)
        else:
            self.stdout.write(f"{job.ref} is open: {job.total:,} DEKs. The workers do it; --status says how far it is.")
            return
        self._end(job, said=False)

    # What there is

    def _kek(self, name: str) -> Kek:
        keks = Kek.objects.select_related("key", "primary").defer("primary__canary")
        found = keks.filter(Q(key__name=name) | Q(uri=name)).first()
        if found is None:
            raise CommandError(f"The inventory has no KEK {name} that is linked to a key store.")
        return found

    def _source_of(self, kek: Kek, options: dict[str, Any]) -> RewrapSource | None:
        name = options["source"]
        if name is None:
            return None
        if options["dry_run"]:
            raise CommandError("What is in a source elsewhere is counted on its page; --dry-run is for our own table.")
        source = RewrapSource.objects.filter(kek=kek, name=name, retired_at__isnull=True).first()
        if source is None:
            raise CommandError(f"{kek.key.name} wraps no DEKs of a source elsewhere named {name}.")
        return source

    def _latest(self, kek: Kek) -> RewrapJob:
        jobs = RewrapJob.objects.filter(kek=kek, source=self._source).order_by("-pk")
        job = jobs.filter(state__in=LIVE_JOBS).first() or jobs.first()
        if job is None:
            raise CommandError(f"{self._source or kek.key.name} was never re-wrapped.")
        return job

    def _opened(self, kek: Kek, options: dict[str, Any]) -> RewrapJob:
        """Return the live job, at the speed that was asked for, or open one."""
        size, limit, now = options["batch_size"], options["per_second"], timezone.now()
        job = RewrapJob.objects.filter(kek=kek, source=self._source, state__in=LIVE_JOBS).first()
        if job is None:
            pace = rewrap.Pace(batch_size=size, per_second=limit or None)
            return rewrap.open_job(
                kek=kek, source=self._source, actor=ACTOR, reason=options["reason"], now=now, pace=pace
            )
        if size is not None or limit is not None:
            kept = job.per_second if limit is None else limit or None
            rewrap.change_speed(
                pk=job.pk, actor=ACTOR, reason=options["reason"], now=now, batch_size=size, per_second=kept
            )
        return job

    def _dry_run(self, kek: Kek, options: dict[str, Any]) -> None:
        planned = rewrap.plan(kek=kek, batch_size=options["batch_size"])
        for one in planned.old:
            self.stdout.write(f"version {one.version.store_id}: {one.deks:,} DEKs")
        self.stdout.write(
            f"{planned.total:,} DEKs would come under version {planned.target.store_id} of {kek.key.name}, in "
            f"{planned.batches:,} batch{'es' if planned.batches != 1 else ''}. Nothing was written (--dry-run)."
        )
        if settings.ROLE != "worker":
            self.stdout.write("Only the worker opens a sample of them: run this with KEYVAULT_ROLE=worker.")
            return
        for seen in sample(planned, size=SAMPLE):
            why = ", ".join(sorted(set(seen.refused)))
            found = f"{len(seen.refused)} do not open as what belongs there: {why}" if why else "all in order"
            self.stdout.write(f"version {seen.version.store_id}: {seen.looked_at} opened, {found}")

    # Doing it

    def _work(self, job: RewrapJob, processes: int) -> None:
        if processes == 1:
            ends = self._clock()
            work_until_over(job.pk, lambda: self._tell(job.pk) if ends() else None)
            return
        connection.close()  # each process has its own
        fork = multiprocessing.get_context("fork")
        children: list[BaseProcess] = [fork.Process(target=work_until_over, args=(job.pk,)) for _ in range(processes)]
        for child in children:
            child.start()
        self._watch(job, lambda: any(child.is_alive() for child in children))
        for child in children:
            child.join()

    def _watch(self, job: RewrapJob, goes_on: Callable[[], bool]) -> None:
        while self._tell(job.pk).job.state == JobState.RUNNING and goes_on():
            time.sleep(LOOK_EVERY)

    def _clock(self) -> Callable[[], bool]:
        """Return a function that says whether it is time for another line."""
        told = time.monotonic()

        def is_time() -> bool:
            nonlocal told
            if time.monotonic() - told < LOOK_EVERY:
                return False
            told = time.monotonic()
            return True

        return is_time

    # What is said

    def _tell(self, pk: int) -> Progress:
        progress = progress_of(pk, now=timezone.now())
        self.stderr.write(line_of(progress))
        return progress

    def _end(self, job: RewrapJob, *, said: bool) -> None:
        """Say what became of it; leave with the exit code."""
        progress = progress_of(job.pk, now=timezone.now())
        job = progress.job
        why = job.closed_because or job.paused_because
        self.stdout.write(line_of(progress) + (f". {why}" if why else ""))
        if job.certificate_id:
            self.stdout.write(f"certificate:{job.certificate_id}")
        if said:
            return
        if job.state != JobState.DONE:
            raise SystemExit(NOT_FINISHED)
        if progress.quarantined:
            raise SystemExit(QUARANTINED)


def work_until_over(pk: int, told: Callable[[], object] = lambda: None) -> None:
    """Bring over batches until the job is over; after trouble with the store it waits as long as the job does."""

    def tell(*_batch: object) -> None:
        told()

    while True:
        done = rewrap.work(pk=pk, actor=ACTOR, clock=timezone.now, seconds=20, tell=tell)
        if done.ended is rewrap.Ended.OVER:
            return
        if done.ended is rewrap.Ended.WAITS:
            time.sleep(LOOK_EVERY)


def line_of(progress: Progress) -> str:
    """Say in one line how far a job is."""
    job, words = progress.job, ""
    if job.state == JobState.RUNNING and progress.per_second >= 1:
        words = f", {progress.per_second:,.0f} a second"
        words += f", {_span(progress.time_left)} left" if progress.time_left else ""
    apart = f", {progress.quarantined:,} in quarantine" if progress.quarantined else ""
    return (
        f"{job.ref} {job.get_state_display()}: {progress.rewrapped:,} of {progress.total:,} DEKs "
        f"({progress.percent} %){words}{apart}"
    )


def _span(span: timedelta) -> str:
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
