"""A closed sign-in: its event, the mail to the person, opening it again, and forgetting."""

import logging
from datetime import datetime, timedelta
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string

from audit.actions import Action
from audit.actor import Actor
from audit.services import record
from keyvault_admin.access import names
from keyvault_admin.access.models import Lockout, User
from keyvault_admin.access.services import tries
from keyvault_admin.access.services.pieces import subject_of

logger = logging.getLogger(__name__)

MAIL_PAUSE = timedelta(days=1)  # a person is told once a day: whoever types wrong codes must not fill a mailbox
KEPT = timedelta(days=2)


@transaction.atomic
def record_lockout(*, person: User | None, door: str, actor: Actor, now: datetime) -> None:
    """Write down that the last allowed try failed; the same work whether the name is anybody's. Event: sign_in.locked.

    The event names the person if there is one, and never what was typed.
    """
    Lockout.objects.create(person=person, locked_at=now)
    subjects = [subject_of(person)] if person else []
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds()) // 60
    record(Action.SIGN_IN_LOCKED, actor=actor, now=now, subjects=subjects, facts={"door": door, "minutes": minutes})


@transaction.atomic
def unlock(*, name: str | None, address: str | None, actor: Actor, now: datetime) -> int:
    """Open the doors again for a name, an address, a name from an address, or for all; return how many counters were
    forgotten. Event: sign_in.unlocked.
    """
    forgotten = tries.open_doors(name=name, address=address)
    person = User.objects.filter(username=names.normalise(name)).first() if name else None
    facts = {"counters": forgotten, "one_name": name is not None, "one_address": address is not None}
    record(Action.SIGN_IN_UNLOCKED, actor=actor, now=now, subjects=[subject_of(person)] if person else [], facts=facts)
    return forgotten


def tell_locked(*, actor: Actor, now: datetime) -> int:
    """Mail the people whose sign-in was locked, each once a day; return how many mails were accepted.

    Event: notice.delivered. What a mail server refuses is tried again by the next tick.
    """
    told = 0
    try:
        while _tell_one(actor=actor, now=now):
            told += 1
    except (SMTPException, OSError, ValueError) as error:
        logger.warning("a mail about a locked sign-in was not accepted: %s", type(error).__name__)
    return told


@transaction.atomic
def _tell_one(*, actor: Actor, now: datetime) -> bool:
    """Tell one person; the row stays locked until the mail server has answered, so that nobody is told twice."""
    recently = Lockout.objects.filter(told_at__gt=now - MAIL_PAUSE).values("person")
    waiting = Lockout.objects.filter(person__is_active=True, told_at__isnull=True).exclude(person__in=recently)
    lockout = (
        waiting.select_for_update(of=("self",), skip_locked=True)
        .select_related("person")
        .only("locked_at", *(f"person__{column}" for column in ("username", "email", "full_name")))
        .order_by("pk")
        .first()
    )
    if lockout is None or lockout.person is None:
        return False
    lockout.told_at = now
    lockout.save(update_fields=["told_at"])
    record(Action.NOTICE_DELIVERED, actor=actor, now=now, subjects=[subject_of(lockout.person)])
    _message(lockout.person, lockout.locked_at).send()
    return True


def _message(person: User, locked_at: datetime) -> EmailMessage:
    context = {
        "person": person,
        "locked_at": locked_at,
        "tries": settings.AXES_FAILURE_LIMIT,
        "minutes": int(settings.AXES_COOLOFF_TIME.total_seconds()) // 60,
        "site": settings.SITE_URL,
    }
    return EmailMessage(
        subject="Sign-in under your name was locked for a while",
        body=render_to_string("emails/lockout/locked.txt", context),
        to=[person.email],
        headers={"Auto-Submitted": "auto-generated"},
    )


def forget_old(*, now: datetime) -> int:
    """Delete counters that count no more, and lockouts that everybody was told of; return how many counters."""
    Lockout.objects.filter(locked_at__lte=now - KEPT).delete()
    return tries.open_doors(name=None, address=None, before=now - settings.AXES_COOLOFF_TIME)
