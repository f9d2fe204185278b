"""Nudges of the beat. Each calls one service and logs one line; running one twice does nothing more."""

import logging

from celery import shared_task
from django.utils import timezone

from audit.actor import Actor
from inventory import services
from inventory.errors import ImportLostError
from inventory.import_previews import DRAW
from inventory.models.draft import ImportState

logger = logging.getLogger(__name__)


@shared_task
def apply_due_transitions() -> None:
    done = services.apply_due_transitions(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d keys came into use, %d stopped protecting", done.activated, done.deactivated)


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
    work_off_import.apply_async(args=(pk,), retry=False)
