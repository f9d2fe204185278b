"""What the beat asks of the log."""

import logging

from celery import shared_task

from audit import services

logger = logging.getLogger(__name__)


@shared_task
def extend_log() -> None:
    """Make partitions ahead of need."""
    logger.info("Audit log: %d partitions made.", services.extend_log())
