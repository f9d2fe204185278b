"""Nudges of the beat about locked sign-ins. Running one twice does nothing more."""

import logging

from celery import shared_task
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import services

logger = logging.getLogger(__name__)


@shared_task
def tell_locked() -> None:
    told = services.tell_locked(actor=Actor.system("worker"), now=timezone.now())
    if told:
        logger.info("%d people told that their sign-in was locked", told)


@shared_task
def forget_tries() -> None:
    logger.info("%d counters of tries forgotten", services.forget_old(now=timezone.now()))
