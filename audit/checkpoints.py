"""Checkpoints: what the log was at one size, signed, so that nobody can change it later without being found.

Made by the signer alone, in one transaction: the events since the last checkpoint are read in order and must follow on
it, the tree grows by them, the note is signed, its deliveries are written down. A kill at any point leaves nothing.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction

from audit import chain, notes, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.anchors import configured_anchors
from audit.canonical import JSON
from audit.errors import AuditError
from audit.models import Anchoring, Event, SignedCheckpoint, SigningEpoch
from audit.notes import Checkpoint, Signer
from audit.services import Subject, record
from audit.signing import signer_named
from audit.tiles import GrowingTree
from audit.tree import leaf_digest

logger = logging.getLogger(__name__)

ONE_AT_A_TIME = "audit.checkpoint"
FETCHED_ROWS = 500
MOST_EVENTS = 1_000_000  # read for one checkpoint; whoever is further behind makes several
HEARTBEAT = timedelta(days=1)  # an idle log is signed too: that nothing happened is a fact


class CheckpointError(AuditError):
    """The signer does not sign: the log is not a continuation of what was signed, or the key is not the log's."""


@dataclass(frozen=True, kw_only=True)
class _Epoch:
    """Under which key, and under which number of it, the next checkpoint is signed."""

    number: int
    signer: Signer
    is_new: bool


class _Link(NamedTuple):
    """What of an event is hashed."""

    number: int
    stamp: bytes
    body: bytes
    digest: bytes


def make_due_checkpoint(*, actor: Actor, now: datetime) -> Checkpoint | None:
    """Make a checkpoint when enough has happened or waited since the last one; return it, or None.

    Bookkeeping (selectors.BOOKKEEPING) is no reason for one, or each would bring about the next.
    """
    return make_checkpoint(actor=actor, now=now) if _is_due(now) else None


def make_checkpoint(*, actor: Actor, now: datetime) -> Checkpoint | None:
    """Make a checkpoint over all events that are committed now; None when there is nothing new, or another signer is
    at it. Events: checkpoint.made; signing_key.epoch_begun with the first of all.

    On the way it makes one where each partition ends, and returns the last: a period that is closed one day has a
    checkpoint of exactly its size (audit.periods).

    Raises: CheckpointError.
    """
    made = _make(actor=actor, now=now, reason="", begins_epoch=False)
    while made is not None and selectors.partition_end(made.size) == made.size:
        further = _make(actor=actor, now=now, reason="", begins_epoch=False)
        if further is None:
            break
        made = further
    return made


def begin_epoch(*, actor: Actor, reason: str, now: datetime) -> Checkpoint:
    """Sign under another key from now on: the key of this process, which must be new. Earlier checkpoints stay valid.

    Events: signing_key.epoch_begun, checkpoint.made. Raises: CheckpointError.
    """
    made = _make(actor=actor, now=now, reason=reason, begins_epoch=True)
    if made is None:
        raise CheckpointError("There is nothing new to sign, or another signer is at it: try again.")
    return made


def _is_due(now: datetime) -> bool:
    last = selectors.latest_checkpoint()
    waiting = selectors.events_to_sign(last.size if last else 0)
    signing = selectors.latest_signing()
    if last is None or signing is None or signing.said is None:
        return waiting > 0
    elapsed = now - signing.said.at
    if waiting <= 0:
        return elapsed >= HEARTBEAT
    is_late = elapsed >= settings.CHECKPOINT_EVERY or elapsed < timedelta(0)  # the clock was set back
    return is_late or waiting >= settings.CHECKPOINT_EVENTS


@transaction.atomic
def _make(*, actor: Actor, now: datetime, reason: str, begins_epoch: bool) -> Checkpoint | None:
    if not _is_alone():
        return None
    last = _last_signed()
    if _ahead_of(last) == 0:
        return None
    epoch = _epoch_for(last, begins_epoch=begins_epoch)
    checkpoint = _grown(last, epoch, now)
    if epoch.is_new:
        _begin(epoch, actor=actor, reason=reason, now=now)
    _save(checkpoint, epoch.signer, now)
    subject = Subject(ref=f"checkpoint:{checkpoint.size}", label=f"checkpoint of {checkpoint.size:,} events")
    facts: dict[str, JSON] = {
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "head": checkpoint.head.hex(),
        "epoch": checkpoint.epoch,
        "digest": checkpoint.digest.hex(),
    }
    record(Action.CHECKPOINT_MADE, actor=actor, now=now, subjects=[subject], facts=facts)
    return checkpoint


def _is_alone() -> bool:
    """Take the lock of the signers until the transaction ends, or say that somebody has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext(%s))", [ONE_AT_A_TIME])
        return bool(cursor.fetchone()[0])


def _last_signed() -> Checkpoint | None:
    """Return the last checkpoint as its note says it, not as the columns beside it do."""
    row = selectors.latest_checkpoint()
    if row is None:
        return None
    text, _ = notes.open_note(row.note, selectors.signing_epochs().values())
    said = notes.parse_checkpoint(text)
    if said.size != row.size or said.digest != bytes(row.digest):
        raise CheckpointError(f"The note of the checkpoint at {row.size} says something else than its row.")
    return said


def _ahead_of(last: Checkpoint | None) -> int:
    head, size = selectors.head().number, last.size if last else 0
    if head < size:
        raise CheckpointError(f"The log has {head} events; a checkpoint over {size} was signed. Run verify_audit.")
    return head - size


def _epoch_for(last: Checkpoint | None, *, begins_epoch: bool) -> _Epoch:
    """Return the epoch of the key that this process holds. The name of the log never changes once it has signed."""
    epochs = selectors.signing_epochs()
    signer = signer_named(epochs[min(epochs)].name if epochs else settings.LOG_ORIGIN)
    public = signer.verifier.public_bytes
    number = next((epoch for epoch, verifier in epochs.items() if verifier.public_bytes == public), None)
    present = max(epochs, default=0)
    if number is not None and number != present:
        raise CheckpointError(f"The signing key is that of epoch {number}, which has ended; it never signs again.")
    if number is None and present and not begins_epoch:
        raise CheckpointError(
            f"The signing key is another one than that of epoch {present}. If it was changed on purpose, run "
            "manage.py begin_signing_epoch as the signer; if not, give the signer the key that it had."
        )
    if number is not None and begins_epoch:
        raise CheckpointError(f"The signing key is already that of epoch {number}. Make a new one first.")
    if last and last.epoch != present:
        raise CheckpointError(f"The last checkpoint is of epoch {last.epoch}, but epoch {present} has begun.")
    return _Epoch(number=number or present + 1, signer=signer, is_new=number is None)


def _grown(last: Checkpoint | None, epoch: _Epoch, now: datetime) -> Checkpoint:
    """Read the events after the last checkpoint, let the tree grow by them, and return the next checkpoint.

    Its time is that of the signer's clock, but never earlier than that of the last one.
    """
    tree = GrowingTree(last.size if last else 0)
    if last and tree.root() != last.root:
        raise CheckpointError(f"The tiles are not those of the checkpoint at {last.size}.")
    if last and now < last.time:
        logger.warning("checkpoint: the clock is %s behind the last checkpoint", last.time - now)
    head = last.head if last else chain.GENESIS
    for link in _links_after(tree.size):
        head = _followed(head, tree.size, link)
        tree.add(leaf_digest(chain.entry(link.number, link.stamp, link.body)))
    tree.save()
    return Checkpoint(
        origin=epoch.signer.name,
        size=tree.size,
        root=tree.root(),
        time=max(now, last.time) if last else now,
        head=head,
        previous=last.digest if last else notes.FIRST,
        epoch=epoch.number,
    )


def _links_after(size: int) -> Iterator[_Link]:
    """Yield the events up to the present head in order, by a server's cursor: a few hundred at once in memory."""
    border = selectors.partition_end(size + 1) or size + MOST_EVENTS
    end = min(selectors.head().number, size + MOST_EVENTS, border)
    rows = Event.objects.filter(number__gt=size, number__lte=end).order_by("number")
    read = 0
    for number, stamp, body, digest in rows.values_list("number", "stamp", "body", "digest").iterator(FETCHED_ROWS):
        read += 1
        yield _Link(number, bytes(stamp), bytes(body), bytes(digest))
    if size + read != end:
        raise CheckpointError(f"The log has {end} events by its head, but {size + read} are there. Run verify_audit.")


def _followed(head: bytes, size: int, link: _Link) -> bytes:
    """Return the digest of an event that follows on the one before. Raises: CheckpointError when it does not."""
    digest = chain.chain_digest(head, link.number, link.stamp, link.body)
    if link.number != size + 1 or digest != link.digest:
        raise CheckpointError(f"Event {size + 1} does not follow on what was signed. Run verify_audit.")
    return digest


def _begin(epoch: _Epoch, *, actor: Actor, reason: str, now: datetime) -> None:
    verifier = str(epoch.signer.verifier)
    SigningEpoch(epoch=epoch.number, verifier=verifier, begun_at=now).save(force_insert=True)
    subject = Subject(ref=f"signing_epoch:{epoch.number}", label=f"epoch {epoch.number}")
    facts = {"verifier": verifier, "kept_in": settings.SECRET_SOURCES.get("KEYVAULT_SIGNING_KEY", "")}
    record(Action.SIGNING_KEY_EPOCH_BEGUN, actor=actor, now=now, subjects=[subject], reason=reason, facts=facts)


def _save(checkpoint: Checkpoint, signer: Signer, now: datetime) -> None:
    row = SignedCheckpoint(
        size=checkpoint.size,
        epoch_id=checkpoint.epoch,
        root=checkpoint.root,
        head=checkpoint.head,
        made_at=checkpoint.time,
        note=notes.sign(checkpoint.text, signer),
        digest=checkpoint.digest,
    )
    row.save(force_insert=True)
    Anchoring.objects.bulk_create(Anchoring(checkpoint=row, anchor=name, next_at=now) for name in configured_anchors())
