"""Nudges of the beat. Each selects, calls one service and logs one line; running one twice does nothing more."""

import logging

from celery import shared_task
from django.utils import timezone

from audit.actor import Actor
from inventory.tasks import COMPARISON_SECONDS
from rotation import approvals, differences, notifications, overdue, reviews

logger = logging.getLogger(__name__)


@shared_task
def flag_overdue() -> None:
    done = overdue.flag_overdue(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d newly late, %d due soon, %d notices written", done.newly_late, done.soon_due, done.notices)
    if done.unaddressed:
        logger.error(
            "%d keys have nobody who could be told: no owner with an address, nobody in Security", done.unaddressed
        )


@shared_task
def deliver_mail() -> None:
    now = timezone.now()
    gathered = notifications.gather(now=now)
    sent = notifications.deliver(actor=Actor.system("worker"), now=now)
    logger.info("%d digests composed, %d sent", gathered, sent)


@shared_task
def tend_reviews() -> None:
    actor, now = Actor.system("worker"), timezone.now()
    opened = reviews.open_reviews(actor=actor, now=now)
    reminded = reviews.remind(actor=actor, now=now)
    logger.info("%d reviews opened, %d reminders written", len(opened), reminded)
    if any(one.told == 0 for one in opened):
        logger.error("A review was opened and nobody could be told: no person of its roles has an address")


@shared_task(time_limit=COMPARISON_SECONDS, soft_time_limit=COMPARISON_SECONDS - 60)
def compare_with_log() -> None:
    """Compare the inventory with the log, and tell Security where they differ."""
    run = differences.compare_and_tell(actor=Actor.system("worker"), now=timezone.now())
    logger.info("inventory compared with the log: %d keys, %d differences", run.keys, run.differing)


@shared_task
def carry_out_request(pk: int) -> None:
    """Carry out one request that was approved a moment ago."""
    request = approvals.carry_out(pk=pk, actor=Actor.system(approvals.WORKER), now=timezone.now())
    logger.info("%s is %s", request.ref, request.state)


@shared_task
def carry_out_requests() -> None:
    """Find what was never nudged, and what a dead worker left."""
    done = approvals.carry_out_due(actor=Actor.system(approvals.WORKER), now=timezone.now())
    logger.info("%d requests carried out", done)


@shared_task
def tend_requests() -> None:
    actor, now = Actor.system(approvals.WORKER), timezone.now()
    expired = approvals.expire_due(actor=actor, now=now)
    reminded = approvals.remind_due(actor=actor, now=now)
    logger.info("%d requests expired, of %d somebody was reminded", expired, reminded)


def nudge_request(pk: int) -> None:
    """Hurry an approved request to a worker, once the vote is committed. Without a broker it waits for the beat."""
    carry_out_request.apply_async(args=(pk,), retry=False)
