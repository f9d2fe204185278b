"""Nudges of the beat. Each selects, calls one service and logs one line; running one twice does nothing more."""

import logging
import os
from datetime import timedelta

from celery import shared_task
from django.utils import timezone
from kombu.exceptions import OperationalError

from audit.actor import Actor
from inventory.tasks import COMPARISON_SECONDS
from rotation import (
    approvals,
    differences,
    duties,
    notifications,
    orders,
    overdue,
    reviews,
    rewrap,
    sources,
)
from rotation.errors import NotHereError
from rotation.models import JobState, OrderState
from rotation.orders import LOOKS_APART

WORKERS = os.cpu_count() or 1  # at one re-wrap job: as many as the pool of a worker has children
SLICE_SECONDS = 20  # of a re-wrap job; then others have their turn
logger = logging.getLogger(__name__)
SOON_SECONDS = 40  # an order that waits no longer is not left to the next tick of the beat
SOON_ORDERS = 20


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


@shared_task
def tend_duties() -> None:
    actor, now = Actor.system("worker"), timezone.now()
    opened = duties.open_due(actor=actor, now=now)
    closed = duties.close_moot(actor=actor, now=now)
    reminded = duties.remind(actor=actor, now=now)
    logger.info("%d duties opened, %d closed by themselves, %d reminders written", len(opened), closed, reminded)


@shared_task(time_limit=COMPARISON_SECONDS, soft_time_limit=COMPARISON_SECONDS - 60)
def compare_with_log() -> None:
    """Compare the inventory with the log, and tell Security where they differ."""
    run = differences.compare_and_tell(actor=Actor.system("worker"), now=timezone.now())
    logger.info("inventory compared with the log: %d keys, %d differences", run.keys, run.differing)


# A change of the rules writes the dates of all keys in one transaction; it holds the request, so nobody does it twice.
@shared_task(time_limit=COMPARISON_SECONDS, soft_time_limit=COMPARISON_SECONDS - 60)
def carry_out_request(pk: int) -> None:
    """Carry out one request that was approved a moment ago."""
    try:
        request = approvals.carry_out(pk=pk, actor=Actor.system(approvals.WORKER), now=timezone.now())
    except NotHereError:
        logger.info("request:%d waits for a command on the machine", pk)
    else:
        logger.info("%s is %s", request.ref, request.state)
        for order in request.orders.values_list("pk", flat=True):
            nudge_order(order)


@shared_task(time_limit=COMPARISON_SECONDS, soft_time_limit=COMPARISON_SECONDS - 60)
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


@shared_task
def count_sources() -> None:
    """Count the DEKs that are kept elsewhere, for the pages; the interlock counts them afresh."""
    answered, failed = sources.refresh(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d sources counted", answered)
    if failed:
        logger.error("%d sources could not be counted; their pages say why", failed)


@shared_task
def tend_rewraps() -> None:
    """Bring workers to re-wrap jobs that have none: never nudged, waiting until now, or left by a worker that died."""
    lacking = rewrap.tend(actor=Actor.system(approvals.WORKER), now=timezone.now(), workers=WORKERS)
    for pk, count in lacking:
        nudge_rewrap(pk, count)
    logger.info("%d re-wrap jobs have work for somebody", len(lacking))


@shared_task
def work_rewrap(pk: int) -> None:
    """Bring over batches of a re-wrap job for a while, then let others have their turn."""
    if rewrap.busy_on(pk) >= WORKERS:
        return
    actor = Actor.system(approvals.WORKER)
    done = rewrap.work(pk=pk, actor=actor, clock=timezone.now, seconds=SLICE_SECONDS)
    if done.ended is rewrap.Ended.TIME:
        nudge_rewrap(pk)
    logger.info("rewrap:%d: %d batches, %d DEKs (%s)", pk, done.batches, done.rewrapped, done.ended.value)


def nudge_rewrap(pk: int, count: int = 1) -> None:
    """Bring workers to a re-wrap job. Without a broker it waits for the beat; what nobody takes up in time goes."""
    try:
        for _ in range(count):
            work_rewrap.apply_async(args=(pk,), retry=False, expires=60)
    except OperationalError as error:
        logger.warning("nobody was nudged to work on rewrap:%d: %s", pk, error)


@shared_task
def carry_out_order(pk: int) -> None:
    """Take one order a step further, and come back where it only waits for a second look."""
    order = orders.carry_out(pk=pk, actor=Actor.system(approvals.WORKER), now=timezone.now())
    logger.info("%s is %s", order.ref, order.state)
    if order.state == OrderState.DONE:
        for job in order.jobs.filter(state=JobState.RUNNING).values_list("pk", flat=True):
            nudge_rewrap(job)
    wait = (order.next_at - timezone.now()).total_seconds()
    if order.state == OrderState.WAITING and wait <= SOON_SECONDS:
        nudge_order(pk, after=max(wait, 0) + 1)


@shared_task
def carry_out_orders() -> None:
    """Find what was never nudged, what a dead worker left, and what is to be looked at again."""
    now = timezone.now()
    done = orders.carry_out_due(actor=Actor.system(approvals.WORKER), now=now)
    logger.info("%d orders done", done)
    soon = orders.due(now + timedelta(seconds=SOON_SECONDS)).filter(state=OrderState.WAITING)
    for pk in soon.values_list("pk", flat=True)[:SOON_ORDERS]:
        nudge_order(pk, after=LOOKS_APART.total_seconds() + 1)


@shared_task
def look_at_keks() -> None:
    """Look at every KEK in its store, whether or not anything was ordered."""
    seen = orders.look_around(actor=Actor.system(approvals.WORKER), now=timezone.now())
    logger.info("%d KEKs looked at, %d stores did not answer", seen.looked, seen.unanswered)
    if seen.rolled_back:
        logger.error("%d KEKs are older in their stores than they were before", seen.rolled_back)


def nudge_mail() -> None:
    """Hurry what was written a moment ago into the mail. Without a broker it waits for the beat."""
    try:
        deliver_mail.apply_async(retry=False)
    except OperationalError as error:
        logger.warning("nobody was nudged to deliver mail: %s", error)


def nudge_request(pk: int) -> None:
    """Hurry an approved request to a worker, once the vote is committed. Without a broker it waits for the beat."""
    try:
        carry_out_request.apply_async(args=(pk,), retry=False)
    except OperationalError as error:  # here, because Django cannot log an error of a functools.partial
        logger.warning("nobody was nudged to carry out request:%d: %s", pk, error)


def nudge_order(pk: int, *, after: float = 0) -> None:
    """Hurry an order to a worker, at once or so many seconds later. Without a broker it waits for the beat."""
    try:
        carry_out_order.apply_async(args=(pk,), countdown=after, retry=False)
    except OperationalError as error:
        logger.warning("nobody was nudged to carry out order:%d: %s", pk, error)
