"""Nudges of the beat. Each calls one service and logs one line; running one twice does nothing more."""

import logging

from celery import shared_task
from django.utils import timezone

from audit.actor import Actor
from inventory import services

logger = logging.getLogger(__name__)


@shared_task
def apply_due_transitions() -> None:
    done = services.apply_due_transitions(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d keys came into use, %d stopped protecting", done.activated, done.deactivated)
