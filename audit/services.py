"""The only writer of the log. Everything else in the house calls `record`, inside the transaction of its change."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from audit import body, sealing
from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.body import MAX_SUBJECTS, Subject
from audit.canonical import JSON
from audit.errors import AuditError

__all__ = ["MAX_SUBJECTS", "Outcome", "Subject", "erase_identity", "extend_log", "record", "record_refusal"]


def record(
    action: Action,
    *,
    actor: Actor,
    now: datetime,
    subjects: Sequence[Subject] = (),
    reason: str = "",
    facts: Mapping[str, JSON] | None = None,
    outcome: Outcome = Outcome.DONE,
) -> UUID:
    """Record what the transaction at hand does; return the event's id. One query, two with an identity.

    The event is numbered and chained when the transaction commits, and undone with it or with its savepoint. Call it
    after the change, so that the facts are those of the moment. Links to an event use the id; its number is not known
    before the commit.

    Raises: AuditError outside a transaction, for what may not be recorded, and when the database refuses. Let it pass:
    a change without its event must not stand.
    """
    if not connection.in_atomic_block:
        raise AuditError("An event is recorded in the transaction of its change, and there is none.")
    event_id = uuid.uuid4()
    try:
        digest, sealed = _seal_identity(event_id, actor, now)
        raw = body.compose(
            event_id,
            action,
            outcome,
            actor=actor,
            identity_digest=digest,
            at=now,
            subjects=subjects,
            reason=reason,
            facts=facts or {},
        )
        with connection.cursor() as cursor:
            cursor.execute("SELECT audit_append(%s, %s, %s)", [event_id, raw, sealed])
    except DatabaseError as error:
        raise AuditError("The event could not be recorded, so nothing was changed.") from error
    return event_id


def record_refusal(
    action: Action,
    *,
    actor: Actor,
    now: datetime,
    subjects: Sequence[Subject] = (),
    reason: str = "",
    facts: Mapping[str, JSON] | None = None,
) -> UUID:
    """Record that a rule said no, in a transaction of its own; return the event's id.

    A door calls it after the refused change was rolled back.

    Raises: RuntimeError inside a transaction, which could take the event with it; AuditError like `record`.
    """
    try:
        with transaction.atomic(durable=True):
            return record(
                action, actor=actor, now=now, subjects=subjects, reason=reason, facts=facts, outcome=Outcome.REFUSED
            )
    except DatabaseError as error:  # the chain is sealed at commit
        raise AuditError("The refusal could not be recorded.") from error


@transaction.atomic
def erase_identity(
    person: str, *, actor: Actor, reason: str, now: datetime, facts: Mapping[str, JSON] | None = None
) -> bool:
    """Destroy the key of a person ("user:3", "anonymous:2026-11"); return whether there was one. Records the event.

    Their name, mail, address and agent in the log are unreadable from then on, and the chain still verifies. What was
    mailed, exported or is in a backup is out of reach. Only the command role may do this.
    """
    record(Action.PERSON_ERASED, actor=actor, now=now, subjects=[Subject(ref=person)], reason=reason, facts=facts)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT audit_identity_erase(%s)", [person])
            (was_there,) = cursor.fetchone()
    except DatabaseError as error:
        raise AuditError("The identity could not be erased; nothing was changed.") from error
    return bool(was_there)


def extend_log() -> int:
    """Make partitions until half a million events fit; return how many were made, usually none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT audit_extend()")
        (made,) = cursor.fetchone()
    return int(made)


def _seal_identity(event_id: UUID, actor: Actor, now: datetime) -> tuple[str, bytes | None]:
    """Return the digest for the body and the sealed bytes to stand beside it: ("", None) without an identity."""
    if actor.identity is None:
        return "", None
    holder = body.identity_holder(actor.kind, actor.id, now)
    keys = sealing.person_keys(holder, _identity_key(holder))
    facts = body.canonical_identity(actor.identity)
    return keys.digest(facts).hex(), keys.sealer.seal(facts, context=f"event:{event_id}")


def _identity_key(holder: str) -> bytes:
    """Return the holder's sealed key, made at first need.

    Read anew each time: one that was made in a transaction that is rolled back does not exist.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT sealed_key FROM audit_identity_key WHERE person = %s", [holder])
        found = cursor.fetchone()
        if found is None:
            cursor.execute("SELECT audit_identity_make(%s, %s)", [holder, sealing.new_identity_key(holder)])
            found = cursor.fetchone()
    if found is None or found[0] is None:
        raise AuditError("The identity of this person was erased; nothing can be recorded in their name.")
    return bytes(found[0])
