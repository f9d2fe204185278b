"""The outbox: notices are gathered into one digest for each recipient, and digests are sent.

Notices are written in rotation.overdue. Mail cannot be delivered exactly once: a sender that dies between the server's
"accepted" and the mark leaves a lease that runs out, and the digest goes out again under the same Message-ID.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from smtplib import SMTPException
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string
from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Outcome, Subject, record
from inventory.models import Key, lateness
from rotation.models import Digest, DigestState, Notice
from rotation.selectors import overdue_reviews, recipients_waiting, role_mails, roles_of, to_be_sent

logger = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)  # longer than a task may run (CELERY_TASK_TIME_LIMIT)
MAX_ATTEMPTS = 12
LISTED = 100  # keys named in one mail; the rest are counted and linked


def gather(*, now: datetime) -> int:
    """Gather the waiting notices into one digest for each recipient; return how many digests.

    A transaction for each recipient, which locks the notices: several gatherers at once share them out.
    """
    return sum(_gather_for(recipient, now) for recipient in recipients_waiting())


@transaction.atomic
def _gather_for(recipient: str, now: datetime) -> bool:
    waiting = Notice.objects.filter(digest__isnull=True, recipient=recipient)
    pks = list(waiting.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True))
    if not pks:
        return False
    notices = Notice.objects.filter(pk__in=pks).select_related("key__winning_clause", "key__service").order_by("pk")
    latest = {notice.key_id: notice for notice in notices}  # a key that crossed two thresholds is listed once
    digest = _compose(recipient, sorted(latest.values(), key=lambda notice: (notice.rotate_by, notice.pk)), now)
    digest.save(force_insert=True)
    Notice.objects.filter(pk__in=pks).update(digest=digest)
    return True


def _compose(recipient: str, notices: Sequence[Notice], now: datetime) -> Digest:
    """Write the mail that tells of these notices, which come in the order of their dates.

    A key that is accepted is told of as such, whatever the notice was for, and so is what else of its owners is.
    """
    late = [notice for notice in notices if notice.rotate_by <= now and not _is_accepted(notice.key, now)]
    soon = [notice for notice in notices if notice.rotate_by > now and not _is_accepted(notice.key, now)]
    accepted = _accepted(notices, now)
    listed = [_line(notice, now) for notice in (*late, *soon)[:LISTED]]
    context = {
        "late": listed[: len(late)],
        "soon": listed[len(late) :],
        "more": len(late) + len(soon) - len(listed),
        "accepted": [_accepted_line(key, now) for key in accepted[:LISTED]],
        "reviews": _late_reviews(recipient, now),
        "as_owner": any(notice.owner_id is not None for notice in notices),
        "as_security": any(notice.owner_id is None for notice in notices),
        "list_url": settings.SITE_URL + reverse("admin:inventory_key_changelist"),
    }
    return Digest(
        recipient=recipient,
        subject=_subject_line(len(late), len(soon), len(accepted)),
        text=render_to_string("emails/overdue/digest.txt", context),
        html=render_to_string("emails/overdue/digest.html", context),
        composed_at=now,
        next_attempt_at=now,
    )


def _is_accepted(key: Key, now: datetime) -> bool:
    return bool(key.rotate_by and key.rotate_by <= now and key.accepted_until and key.accepted_until > now)


def _accepted(notices: Sequence[Notice], now: datetime) -> list[Key]:
    """Return the accepted keys of these notices and of the owners who are told, the first to end first. Queries: 1."""
    owners = {notice.owner_id for notice in notices if notice.owner_id}
    told = {notice.key_id for notice in notices}
    keys = Key.objects.filter(lateness.accepted(now)).filter(Q(owner__in=owners) | Q(pk__in=told))
    return list(keys.select_related("winning_clause", "service").order_by("accepted_until", "pk")[: LISTED + 1])


@dataclass(frozen=True)
class _LateReview:
    title: str
    due: datetime
    url: str


def _late_reviews(recipient: str, now: datetime) -> list[_LateReview]:
    """Return the overdue reviews that this person could sign; two queries where there are any, else one."""
    return [
        _LateReview(
            title=f"{review}"[:1].upper() + f"{review}"[1:],
            due=review.due_at,
            url=settings.SITE_URL + reverse("admin:rotation_review_change", args=[review.pk]),
        )
        for review in overdue_reviews(now)
        if recipient in role_mails(roles_of(review))
    ]


@dataclass(frozen=True)
class _Line:
    name: str
    kind: str
    service: str
    due: datetime
    days: int
    clause: str
    is_unowned: bool
    url: str
    accepted_until: datetime | None = None  # where an exception moves the day from which it counts, or has moved it


def _line(notice: Notice, now: datetime) -> _Line:
    key = notice.key
    is_excepted = key.rotate_by is not None and notice.rotate_by > key.rotate_by
    return _Line(
        name=key.name,
        kind=key.get_kind_display(),
        service=key.service.name if key.service else "",
        due=notice.rotate_by,
        days=abs((notice.rotate_by.date() - now.date()).days),
        clause=str(key.winning_clause or ""),
        is_unowned=notice.owner_id is None,
        url=settings.SITE_URL + reverse("admin:inventory_key_change", args=[key.pk]),
        accepted_until=notice.rotate_by if is_excepted else None,
    )


def _accepted_line(key: Key, now: datetime) -> _Line:
    due, until = key.rotate_by or now, key.accepted_until or now
    return _Line(
        name=key.name,
        kind=key.get_kind_display(),
        service=key.service.name if key.service else "",
        due=due,
        days=abs((until.date() - now.date()).days),
        clause=str(key.winning_clause or ""),
        is_unowned=key.owner_id is None,
        url=settings.SITE_URL + reverse("admin:inventory_key_change", args=[key.pk]),
        accepted_until=until,
    )


def _subject_line(late: int, soon: int, accepted: int) -> str:
    parts = [f"{late} overdue"] if late else []
    parts += [f"{soon} due soon"] if soon else []
    if not parts:
        return f"Your {'key' if accepted == 1 else 'keys'}: {accepted} accepted for now"
    keys = "key" if late + soon == 1 else "keys"
    return f"Rotate your {keys}: {', '.join(parts)}"


def deliver(*, actor: Actor, now: datetime, limit: int = 200) -> int:
    """Send the digests that are due; return how many were accepted.

    Each is claimed by a lease, sent outside any transaction and on a connection of its own, then marked.
    Events: notice.delivered; notice.failed when a digest is given up.
    """
    sent = 0
    for _ in range(limit):
        digest = _claim(now)
        if digest is None:
            break
        sent += _send(digest, actor, now)
    return sent


@transaction.atomic
def _claim(now: datetime) -> Digest | None:
    digest = (
        Digest.objects.filter(to_be_sent(now))
        .order_by("next_attempt_at", "pk")
        .select_for_update(skip_locked=True)
        .first()
    )
    if digest is None:
        return None
    digest.state, digest.leased_until, digest.attempts = DigestState.SENDING, now + LEASE, digest.attempts + 1
    digest.save(update_fields=["state", "leased_until", "attempts"])
    return digest


def _send(digest: Digest, actor: Actor, now: datetime) -> bool:
    """Try once. What the mail server or the message brings about is a failed attempt; the rest is ours to mend."""
    if digest.attempts > MAX_ATTEMPTS:  # every attempt was begun, and no sender lived to tell
        _mark_failed(digest, "LeaseRanOut", actor, now)
        return False
    try:
        _message(digest).send()
    except (SMTPException, OSError, ValueError) as error:
        logger.warning("digest %s not accepted: %s", digest.pk, type(error).__name__)
        _mark_failed(digest, type(error).__name__, actor, now)
        return False
    _mark_sent(digest, actor, now)
    return True


def message_id(digest: Digest) -> str:
    return f"<{digest.pk}@{urlsplit(settings.SITE_URL).hostname}>"


def _message(digest: Digest) -> EmailMultiAlternatives:
    headers = {"Message-ID": message_id(digest), "Auto-Submitted": "auto-generated"}
    message = EmailMultiAlternatives(subject=digest.subject, body=digest.text, to=[digest.recipient], headers=headers)
    message.attach_alternative(digest.html, "text/html")
    return message


@transaction.atomic
def _mark_sent(digest: Digest, actor: Actor, now: datetime) -> None:
    ours = Digest.objects.filter(pk=digest.pk, state=DigestState.SENDING, leased_until=digest.leased_until)
    if ours.update(state=DigestState.SENT, sent_at=now, leased_until=None, last_error=""):
        _record(Action.NOTICE_DELIVERED, digest, actor, now)


@transaction.atomic
def _mark_failed(digest: Digest, problem: str, actor: Actor, now: datetime) -> None:
    given_up = digest.attempts >= MAX_ATTEMPTS
    pause = timedelta(minutes=min(2**digest.attempts, 360))
    ours = Digest.objects.filter(pk=digest.pk, state=DigestState.SENDING, leased_until=digest.leased_until)
    changed = ours.update(
        state=DigestState.FAILED if given_up else DigestState.PENDING,
        next_attempt_at=now + pause,
        leased_until=None,
        last_error=f"{problem} at attempt {digest.attempts}",
    )
    if changed and given_up:
        _record(Action.NOTICE_FAILED, digest, actor, now, outcome=Outcome.FAILED)


def _record(action: Action, digest: Digest, actor: Actor, now: datetime, *, outcome: Outcome = Outcome.DONE) -> None:
    """Write that the keys' people were told, or that a mail of its own went out; the address stays out of the log."""
    notices = list(digest.notices.select_related("key").order_by("pk"))
    told = sorted({f"owner:{notice.owner_id}" if notice.owner_id else "Security" for notice in notices})
    subjects = {notice.key_id: Subject(ref=notice.key.ref, label=notice.key.name) for notice in notices}
    facts: dict[str, JSON] = {"digest": str(digest.pk), "told": told, "attempts": digest.attempts}
    itself = Subject(ref=f"digest:{digest.pk}")  # a letter tells of no key; its subject may name people
    for batch in batches(subjects.values() or [itself]):
        record(action, actor=actor, now=now, subjects=batch, facts=facts, outcome=outcome)
