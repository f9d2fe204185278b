"""Nudges of the beat. Each calls one service and logs one line; running one twice does nothing more."""

import logging

from celery import shared_task
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import services

logger = logging.getLogger(__name__)


@shared_task
def clear_sessions() -> None:
    done = services.clear_sessions(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d sessions of people were over, %d of visitors", done.of_people, done.others)


@shared_task
def end_accounts() -> None:
    ended = services.end_due_accounts(actor=Actor.system("worker"), now=timezone.now())
    logger.info("%d accounts ended", ended)


@shared_task
def tell_locked() -> None:
    told = services.tell_locked(actor=Actor.system("worker"), now=timezone.now())
    if told:
        logger.info("%d people told that their sign-in was locked", told)


@shared_task
def forget_tries() -> None:
    logger.info("%d counters of tries forgotten", services.forget_old(now=timezone.now()))
