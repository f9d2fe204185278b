"""Checkpoints on their way to the anchors: each delivery is a row that is claimed, tried, and tried again later."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.anchors import Anchor, AnchorError, AnchorWaitsError, SentCheckpoint, configured_anchors
from audit.canonical import JSON
from audit.models import Anchoring
from audit.services import Subject, record

logger = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)  # longer than the signer's task may run
LONGEST_PAUSE = timedelta(hours=1)
ASKED_AGAIN = timedelta(minutes=1)  # where the anchor only passes it on
GIVEN_UP_AFTER = timedelta(days=7)  # later checkpoints cover the same events
AT_ONCE = 100  # deliveries of one anchor in one run
MOST_CHARACTERS = 500  # of an error
MOST_RECEIPT = 16 * 1024  # characters: a time stamp is kept whole, so that others can check it


@dataclass(frozen=True)
class Delivered:
    """How a run ended."""

    delivered: int = 0
    failed: int = 0


def deliver(*, actor: Actor, now: datetime) -> Delivered:
    """Try what is due, the oldest first, outside any transaction; an anchor that fails is left alone for this run.

    Events: checkpoint.anchored for each that has arrived; with the outcome "failed" for each that is given up.
    """
    anchors = configured_anchors()
    runs = [_deliver_to(anchor, actor=actor, now=now) for anchor in anchors.values()]
    _give_up_unknown(set(anchors), actor=actor, now=now)
    return Delivered(sum(run.delivered for run in runs), sum(run.failed for run in runs))


def _deliver_to(anchor: Anchor, *, actor: Actor, now: datetime) -> Delivered:
    due = Anchoring.objects.filter(anchor=anchor.name, state=Anchoring.State.WAITING, next_at__lte=now)
    delivered = 0
    for row in due.select_related("checkpoint").order_by("checkpoint_id")[:AT_ONCE]:
        if not _claim(row, now):
            continue
        try:
            receipt = anchor.deliver(_sent(row), now=now)
        except AnchorWaitsError as error:
            _mark(row, next_at=now + ASKED_AGAIN, error=_cut(error))
        except AnchorError as error:
            _mark_failed(row, error, actor=actor, now=now)
            return Delivered(delivered, 1)
        else:
            delivered += _mark_delivered(row, receipt, actor=actor, now=now)
    return Delivered(delivered)


def _sent(row: Anchoring) -> SentCheckpoint:
    checkpoint = row.checkpoint
    return SentCheckpoint(
        size=checkpoint.size, made_at=checkpoint.made_at, note=checkpoint.note, digest=bytes(checkpoint.digest)
    )


def _claim(row: Anchoring, now: datetime) -> bool:
    """Take the row for this run, unless another signer did; it comes back by itself if we die."""
    ours = Anchoring.objects.filter(pk=row.pk, state=Anchoring.State.WAITING, tries=row.tries)
    row.tries += 1
    return bool(ours.update(tries=row.tries, next_at=now + LEASE))


def _mark(row: Anchoring, **changes: object) -> bool:
    """Write what became of it, unless the lease ran out and somebody else has it."""
    ours = Anchoring.objects.filter(pk=row.pk, state=Anchoring.State.WAITING, tries=row.tries)
    return bool(ours.update(**changes))


@transaction.atomic
def _mark_delivered(row: Anchoring, receipt: str, *, actor: Actor, now: datetime) -> int:
    changed = _mark(row, state=Anchoring.State.DELIVERED, delivered_at=now, receipt=receipt[:MOST_RECEIPT], error="")
    if changed:
        _record(row, actor=actor, now=now, outcome=Outcome.DONE)
    return int(changed)


@transaction.atomic
def _mark_failed(row: Anchoring, error: AnchorError, *, actor: Actor, now: datetime) -> None:
    logger.warning("checkpoint %d: try %d at an anchor failed: %s", row.checkpoint_id, row.tries, error)
    if now - row.checkpoint.made_at < GIVEN_UP_AFTER:
        pause = min(timedelta(minutes=2 ** min(row.tries - 1, 10)), LONGEST_PAUSE)
        _mark(row, next_at=now + pause, error=_cut(error))
    elif _mark(row, state=Anchoring.State.GIVEN_UP, error=_cut(error)):
        _record(row, actor=actor, now=now, outcome=Outcome.FAILED)


@transaction.atomic
def _give_up_unknown(known: set[str], *, actor: Actor, now: datetime) -> None:
    """Close deliveries to anchors that were taken out of the settings."""
    gone = Anchoring.objects.filter(state=Anchoring.State.WAITING).exclude(anchor__in=known).order_by("pk")
    for row in gone[:AT_ONCE]:
        if _mark(row, state=Anchoring.State.GIVEN_UP, error="This anchor is no longer in KEYVAULT_ANCHORS."):
            _record(row, actor=actor, now=now, outcome=Outcome.FAILED)


def _record(row: Anchoring, *, actor: Actor, now: datetime, outcome: Outcome) -> None:
    size = row.checkpoint_id
    subject = Subject(ref=f"checkpoint:{size}", label=f"checkpoint of {size:,} events")
    kind = row.anchor.partition(":")[0]  # an address may be a person's, which the log does not keep
    facts: dict[str, JSON] = {"anchoring": row.pk, "kind": kind, "tries": row.tries}
    record(Action.CHECKPOINT_ANCHORED, actor=actor, now=now, subjects=[subject], facts=facts, outcome=outcome)


def _cut(error: AnchorError) -> str:
    return str(error)[:MOST_CHARACTERS]
