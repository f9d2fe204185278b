"""Nudges of the beat. Each calls one service and logs one line; running one twice does nothing more."""

import logging

from celery import shared_task
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from audit.actor import Actor
from inventory import services
from inventory.errors import ImportLostError
from inventory.import_previews import DRAW
from inventory.models.draft import ImportState
from inventory.replay import recording

CHUNKS_AT_ONCE = 50  # some seconds each at worst, far below the time limit of a task
COMPARISON_SECONDS = 50 * 60  # less than the hour after which the broker hands a task out again
logger = logging.getLogger(__name__)


@shared_task
def apply_due_transitions() -> None:
    done = services.apply_due_transitions(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d keys came into use, %d stopped protecting", done.activated, done.deactivated)


@shared_task
def expire_exceptions() -> None:
    done = services.expire_exceptions(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d exceptions of %d keys expired", done.exceptions, done.keys)


@shared_task
def note_master_key() -> None:
    if settings.MASTER_KEY is None:
        return
    kept_in = settings.SECRET_SOURCES["KEYVAULT_MASTER_KEY"]
    actor, now = Actor.system("worker"), timezone.now()
    if services.note_master_key(master_key=settings.MASTER_KEY, kept_in=kept_in, actor=actor, now=now):
        logger.info("The log knows the master key of this worker now")


@shared_task
def review_findings(after: int | None = None) -> None:
    """Review the keys after an id, and hand the rest on: a worker that dies repeats its own stretch and no other."""
    now, last, opened, closed = timezone.now(), after or 0, 0, 0
    for _chunk in range(CHUNKS_AT_ONCE):
        done = services.review_findings(after=last, actor=Actor.system("worker"), now=now)
        opened, closed = opened + done.opened.total(), closed + done.closed.total()
        if done.last is None:
            break
        last = done.last
    else:
        review_findings.delay(after=last)
    logger.info("%d findings opened and %d closed up to key %d", opened, closed, last)


@shared_task(time_limit=COMPARISON_SECONDS, soft_time_limit=COMPARISON_SECONDS - 60)
def compare_if_asked() -> None:
    """Compare tables and log if a person asked for it and nobody has done it yet."""
    run = recording.compare_if_asked(actor=Actor.system("worker"), now=timezone.now())
    if run is not None:
        logger.info("inventory compared with the log: %d keys, %d differences", run.keys, run.differing)


@shared_task
def work_off_import(pk: int) -> None:
    """Do the next step with an uploaded file; one that must be looked at again is read again at once."""
    state = ImportState.READING.value
    try:
        while state == ImportState.READING:
            state = services.work_off_import(pk=pk, draw=DRAW, now=timezone.now())
            logger.info("import %d is %s", pk, state or "with another worker, or done")
    except ImportLostError:
        logger.warning("import %d was taken over by another worker; nothing of this one stands", pk)


@shared_task
def work_off_imports() -> None:
    """Find what was never nudged and what a dead worker left, and forget what nobody came back for."""
    for pk in services.waiting_imports():
        work_off_import(pk)
    logger.info("%d files of imports forgotten", services.clear_imports(now=timezone.now()))


def nudge_import(pk: int) -> None:
    """Hurry a file to a worker. Without a broker it waits for the beat."""
    try:
        work_off_import.apply_async(args=(pk,), retry=False)
    except OperationalError as error:  # here, because Django cannot log an error of a functools.partial
        logger.warning("nobody was nudged to work off import %d: %s", pk, error)


def nudge_comparison() -> None:
    """Hurry a comparison to a worker. Without a broker it waits for the beat."""
    compare_if_asked.apply_async(retry=False)
