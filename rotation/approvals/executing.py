"""Carrying out: an approved request is claimed, checked once more, and done with its event in one transaction.

    approved → executing         (1) claimed: lease, one more attempt, nothing changed yet
    executing → executed         (2) records changed, request.executed, the new state: all of it or nothing
    executing → failed | void | open | approved   (3) what stands in the way, written down after (2) was undone

Whoever dies before (2) commits leaves a lease; once it has run out the request is claimed again. In (2) the row of the
request is locked, so that nobody can claim meanwhile what somebody still does.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet

from audit.actions import Action
from audit.actor import Actor
from audit.errors import AuditError
from audit.services import Outcome
from inventory.errors import InventoryError
from inventory.permits import Permit
from rotation.approvals import mails
from rotation.approvals.ending import expire
from rotation.approvals.paper import flaw_on_paper
from rotation.approvals.pieces import move, payload_of, tell_log
from rotation.approvals.standing import void_flawed
from rotation.errors import NotHereError, RotationError, UnknownOperationError
from rotation.models import Request, RequestState
from rotation.operations import operation_of, operations
from rotation.operations.base import Operation, Payload
from rotation.requests import missing_steps, standing_votes

logger = logging.getLogger(__name__)

WORKER = "worker"
LEASE = timedelta(minutes=5)  # of whoever dies; who takes longer holds the row, and is left alone
MAX_ATTEMPTS = 5
WAITS = [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]  # after the first, second … attempt
RULES = (InventoryError, RotationError, ValidationError)
TROUBLE = (OperationalError, InterfaceError)


class _ChangedError(RotationError):
    """What the request is about is not what people voted on."""


class _TakenError(RotationError):
    """Somebody else has claimed the request meanwhile."""


def carry_out(*, pk: int, actor: Actor, now: datetime) -> Request:
    """Carry out an approved request, if nobody else does and its time has come; return it as it is then.

    It must be begun before it expires; that attempt may end later. Outside any transaction. Votes are checked once
    more, by the database too. What the operation does, its events and request.executed are one transaction.
    Events: request.executed, or one of request.vote_voided, request.voided, request.failed, request.expired.
    Raises: NotHereError for an operation of the other kind of place: worker, or a command on the machine.
    """
    _check_place(Request.objects.get(pk=pk), actor)
    claimed = _claim(pk, actor, now)
    if claimed is not None:
        _carry_out(claimed, actor, now)
    return Request.objects.get(pk=pk)


def carry_out_due(*, actor: Actor, now: datetime, limit: int = 50) -> int:
    """Carry out what is approved, and what a dead worker left; return how many requests are done.

    One that the database does not let be claimed or closed is left for the next time; the others do not wait for it.
    """
    pks = list(due(now).order_by("next_attempt_at", "pk").values_list("pk", flat=True)[:limit])
    done = 0
    for pk in pks:
        try:
            done += carry_out(pk=pk, actor=actor, now=now).state == RequestState.EXECUTED
        except (DatabaseError, AuditError) as error:
            logger.error("request %d was left as it is (%s)", pk, type(error).__name__)  # noqa: TRY400 - no row in a log
    return done


def due(now: datetime) -> QuerySet[Request]:
    """Return what the worker has to carry out by now. No query by itself."""
    at_machine = [operation.code for operation in operations() if operation.at_machine]
    return Request.objects.filter(_is_due(now)).exclude(operation__in=at_machine)


def _is_due(now: datetime) -> Q:
    """Say what is to be claimed. Times further ahead than we ever set them were set before the clock was set back."""
    approved = Q(next_attempt_at__lte=now) | Q(next_attempt_at__gt=now + WAITS[-1]) | Q(next_attempt_at__isnull=True)
    left = Q(leased_until__lte=now) | Q(leased_until__gt=now + LEASE)
    return Q(state=RequestState.APPROVED) & approved | Q(state=RequestState.EXECUTING) & left


def _check_place(request: Request, actor: Actor) -> None:
    try:
        at_machine = operation_of(request.operation).at_machine
    except UnknownOperationError:
        return  # closed by whoever finds it
    if at_machine == (actor.id == WORKER):
        raise NotHereError(at_machine=at_machine)


# Claiming


@transaction.atomic
def _claim(pk: int, actor: Actor, now: datetime) -> Request | None:
    """Claim a request, or close it where it cannot be carried out any more; None unless it was claimed."""
    found = Request.objects.filter(_is_due(now), pk=pk)
    request = found.select_for_update(of=("self",), skip_locked=True).first()
    if request is None:
        return None
    if request.state == RequestState.EXECUTING and not _take_back(request, actor, now):
        return None
    flaw = flaw_on_paper(request)
    if flaw:
        _end(request, RequestState.VOID, flaw, actor, now)
    elif request.expires_at <= now:
        expire(request, actor=actor, now=now)
    elif not void_flawed(request, actor=actor, now=now):
        return _leased(request, now)
    return None


def _take_back(request: Request, actor: Actor, now: datetime) -> bool:
    """Take a request from a worker that died; False where that has happened too often."""
    if request.attempts >= MAX_ATTEMPTS:
        because = f"It was begun {request.attempts} times, and whoever carried it out never came to an end."
        _end(request, RequestState.FAILED, because, actor, now)
        return False
    move(request, RequestState.APPROVED, now, leased_until=None)
    return True


def _leased(request: Request, now: datetime) -> Request | None:
    """Put the lease on an approved request by a guarded update; the database looks at the votes once more."""
    if not request.is_break_glass and missing_steps(request):
        move(request, RequestState.OPEN, now, approved_at=None, next_attempt_at=None)
        return None
    changed = Request.objects.filter(pk=request.pk, state=RequestState.APPROVED, attempts=request.attempts).update(
        state=RequestState.EXECUTING, attempts=request.attempts + 1, leased_until=now + LEASE
    )
    request.refresh_from_db()
    return request if changed == 1 else None


# Doing


def _carry_out(claimed: Request, actor: Actor, now: datetime) -> None:
    operation = operation_of(claimed.operation)
    stops: tuple[type[Exception], ...] = (*_rules_of(operation), *TROUBLE, DatabaseError, AuditError)
    try:
        _do(claimed, operation, actor, now)
    except _TakenError:
        logger.warning("request %d was taken over by another worker; nothing of this one stands", claimed.pk)
    except _ChangedError as error:
        _settle(claimed, RequestState.VOID, str(error), actor, now)
    except stops as error:
        _stopped(claimed, operation, error, actor, now)


def _stopped(claimed: Request, operation: Operation, error: Exception, actor: Actor, now: datetime) -> None:
    if _is_trouble(error):
        _postpone(claimed, error, actor, now)
    elif isinstance(error, _rules_of(operation)):
        _settle(claimed, RequestState.FAILED, _sentence(error), actor, now)
    else:
        _settle(claimed, RequestState.FAILED, _refused_by_database(claimed, error), actor, now)


def _is_trouble(error: Exception) -> bool:
    """Whether it may be over in a minute, also where a rule has put it into words, as ClausesHeldError does."""
    return isinstance(error, TROUBLE) or isinstance(error.__cause__, TROUBLE)


@transaction.atomic
def _do(claimed: Request, operation: Operation, actor: Actor, now: datetime) -> None:
    """Check that nothing has changed, do it, and say so: one transaction, under the lock of the request."""
    request = Request.objects.select_for_update(of=("self",)).get(pk=claimed.pk)
    if (request.state, request.attempts) != (RequestState.EXECUTING, claimed.attempts):
        raise _TakenError
    flaw = flaw_on_paper(request)
    if flaw:
        raise _ChangedError(flaw)
    payload = payload_of(request)
    _check_targets(operation, payload, now)
    permit = _permit(request)
    acting = replace(actor, on_behalf_of=request.requested_by_ref)
    operation.execute(payload, permit, acting, now)
    move(request, RequestState.EXECUTED, now, closed_because="", leased_until=None, next_attempt_at=None)
    tell_log(
        Action.REQUEST_EXECUTED,
        request,
        was=RequestState.EXECUTING,
        actor=acting,
        now=now,
        reason=request.reason,
        facts=permit.facts,
    )
    mails.tell_requester([request], "is done", now=now)


def _check_targets(operation: Operation, payload: Payload, now: datetime) -> None:
    """Look at the records once more, locked, and refuse others than people saw.

    Raises: _ChangedError; for a lock that somebody holds at this moment, what the operation raised.
    """
    try:
        draft = operation.draft(payload.parameters, now=now, hold=True)
    except _rules_of(operation) as error:
        if _is_trouble(error):
            raise
        raise _ChangedError(_sentence(error)) from error
    are = {target.ref: target.revision for target in draft.targets}
    were = {target.ref: target.revision for target in payload.targets}
    if are != were:
        labels = {target.ref: target.label for target in (*draft.targets, *payload.targets)}
        changed = sorted(labels[ref] for ref in labels if are.get(ref) != were.get(ref))
        raise _ChangedError(
            f"{', '.join(changed[:5])} changed after it was asked. Look at it as it is now, and ask anew if it should "
            "still be done."
        )


def _rules_of(operation: Operation) -> tuple[type[Exception], ...]:
    return (*RULES, *operation.refusals)


def _permit(request: Request) -> Permit:
    people = standing_votes(request).filter(is_approval=True).values_list("person_id", flat=True)
    return Permit(
        request=request.ref, asked_by=request.requested_by_ref, approved_by=[f"user:{person}" for person in people]
    )


# What stands in the way


@transaction.atomic
def _settle(claimed: Request, state: RequestState, because: str, actor: Actor, now: datetime) -> None:
    """Close what was claimed and could not be done, or open it again where a vote does not stand."""
    request = _mine(claimed)
    if request is not None and (state == RequestState.VOID or not void_flawed(request, actor=actor, now=now)):
        _end(request, state, because, actor, now)


@transaction.atomic
def _postpone(claimed: Request, error: Exception, actor: Actor, now: datetime) -> None:
    """Let it be tried again after a while; after the last attempt it has failed."""
    logger.warning("request %d: attempt %d failed (%s)", claimed.pk, claimed.attempts, type(error).__name__)
    request = _mine(claimed)
    if request is None:
        return
    if request.attempts >= MAX_ATTEMPTS:
        because = f"The database could not be reached or was too busy, {request.attempts} times. Try again later."
        _end(request, RequestState.FAILED, because, actor, now)
        return
    move(request, RequestState.APPROVED, now, leased_until=None, next_attempt_at=now + WAITS[request.attempts - 1])


def _mine(claimed: Request) -> Request | None:
    """Return the request, locked, if it is still the attempt that was claimed."""
    mine = Request.objects.filter(pk=claimed.pk, state=RequestState.EXECUTING, attempts=claimed.attempts)
    return mine.select_for_update(of=("self",)).first()


def _end(request: Request, state: RequestState, because: str, actor: Actor, now: datetime) -> None:
    was = request.state
    move(request, state, now, closed_because=because[:500], leased_until=None, next_attempt_at=None)
    failed = state == RequestState.FAILED
    tell_log(
        Action.REQUEST_FAILED if failed else Action.REQUEST_VOIDED,
        request,
        was=was,
        actor=actor,
        now=now,
        reason=because,
        facts={"attempts": request.attempts} if failed else None,
        outcome=Outcome.FAILED if failed else Outcome.DONE,
    )
    mails.tell_requester([request], "has failed" if failed else "is void", because, now=now)


def _sentence(error: Exception) -> str:
    messages: Sequence[str] = error.messages if isinstance(error, ValidationError) else [str(error)]
    return " ".join(messages)


def _refused_by_database(claimed: Request, error: Exception) -> str:
    logger.error("request %d: refused by the database (%s)", claimed.pk, type(error).__name__)
    return f"The database refused it ({type(error).__name__}). Tell who runs this installation."
