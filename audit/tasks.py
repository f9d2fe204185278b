"""What the beat asks of the log."""

import logging
import os

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from audit import anchoring, certificates, checkpoints, services, verification
from audit.actor import Actor
from audit.exports import shipping

logger = logging.getLogger(__name__)
SIGNER = Actor.system("signer")
BEAT = Actor.system("beat")
VERIFY_SECONDS = 540  # the broker gives a task to another worker after 600


@shared_task
def extend_log() -> None:
    """Make partitions ahead of need."""
    logger.info("Audit log: %d partitions made.", services.extend_log())


@shared_task(soft_time_limit=VERIFY_SECONDS, time_limit=VERIFY_SECONDS + 30)
def verify_log() -> None:
    """Check the whole log on all cores, and leave the result in it; what is found is an alert (audit.alerts)."""
    verdict = verification.verify(jobs=os.cpu_count() or 1)
    with transaction.atomic():
        verification.results.keep(verdict, actor=BEAT, now=timezone.now())
    tell = logger.info if verdict.is_whole else logger.error
    tell("Audit log: %d events verified, %d findings.", verdict.events, len(verdict.findings))


@shared_task
def tend_checkpoints() -> None:
    """Make a checkpoint if one is due, then take what waits to the anchors. For the signer (CELERY_TASK_ROUTES)."""
    try:
        made = checkpoints.make_due_checkpoint(actor=SIGNER, now=timezone.now())
    finally:  # earlier checkpoints leave, whatever keeps us from signing the next
        done = anchoring.deliver(actor=SIGNER, now=timezone.now())
    _tell(made.size if made else None, done)


@shared_task
def make_checkpoint() -> None:
    """Make a checkpoint now, because a person asked for it. For the signer (CELERY_TASK_ROUTES)."""
    made = checkpoints.make_checkpoint(actor=SIGNER, now=timezone.now())
    done = anchoring.deliver(actor=SIGNER, now=timezone.now())
    _tell(made.size if made else None, done)


@shared_task
def sign_certificates() -> None:
    """Sign the certificates that wait. For the signer (CELERY_TASK_ROUTES)."""
    logger.info("Certificates: %d signed.", certificates.sign_due(actor=SIGNER, now=timezone.now()))


@shared_task
def ship_log() -> None:
    """Ship what is new in the log to the sinks of the settings."""
    for shipped in shipping.ship(actor=Actor.system("worker"), now=timezone.now()):
        if shipped.events:
            logger.info("Audit log: %d events shipped to %s.", shipped.events, shipped.name)


def _tell(size: int | None, done: anchoring.Delivered) -> None:
    made = f"made at {size}" if size is not None else "not due"
    logger.info("Checkpoint: %s; %d taken to anchors, %d anchors failed.", made, done.delivered, done.failed)
