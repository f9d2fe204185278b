"""Nudges of the beat. Each calls one service and logs one line; running one twice does nothing more."""

import logging

from celery import shared_task
from django.utils import timezone

from audit.actor import Actor
from inventory import services

CHUNKS_AT_ONCE = 50  # some seconds each at worst, far below the time limit of a task
logger = logging.getLogger(__name__)


@shared_task
def apply_due_transitions() -> None:
    done = services.apply_due_transitions(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d keys came into use, %d stopped protecting", done.activated, done.deactivated)


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
