"""How requests end without being carried out: taken back, or too old. And trying once more what failed."""

from datetime import datetime
from functools import partial

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, QuerySet

from audit.actions import Action
from audit.actor import Actor
from rotation.approvals import mails
from rotation.approvals.pieces import check_words, locked, move, number_of, payload_of, tell_log, wisher_of
from rotation.errors import (
    AlreadyAskedError,
    ClosedRequestError,
    ExpiredRequestError,
    NotRequesterError,
    NotRetryingError,
)
from rotation.models import Request, RequestState
from rotation.operations import operation_of
from rotation.requests import roles_now

REMINDER_PART = 3  # told once more when a third of the time is left
AT_ONCE = 200  # ended or reminded by one run; the rest by the next
WITHDRAWABLE = (RequestState.OPEN, RequestState.APPROVED, RequestState.FAILED)
_IN_TIME = "Nobody had decided it in time."
_NOT_BEGUN = "It was approved, but nobody could begin to carry it out in time."


@transaction.atomic
def withdraw(*, pk: int, actor: Actor, reason: str, now: datetime) -> Request:
    """Take back what one has asked for, while it is not being carried out. Locks it. Event: request.withdrawn.

    Raises: NotRequesterError, ClosedRequestError, ReasonMissingError, KeyMaterialError.
    """
    check_words(reason, "reason")
    request = locked(pk)
    if request.requested_by_ref != wisher_of(actor):
        raise NotRequesterError
    if request.state not in WITHDRAWABLE:
        raise ClosedRequestError(request.get_state_display())
    was = request.state
    move(request, RequestState.WITHDRAWN, now, closed_because=f"Withdrawn: {reason}"[:500], next_attempt_at=None)
    tell_log(Action.REQUEST_WITHDRAWN, request, was=was, actor=actor, now=now, reason=reason)
    mails.tell_requester([request], "was withdrawn", now=now)
    return request


@transaction.atomic
def retry(*, pk: int, actor: Actor, reason: str, now: datetime) -> Request:
    """Have tried again what failed, under the votes it has, as long as it has not expired. Event: request.retried.

    For who asked, and for people of the roles that vote on it. Locks it.
    Raises: NotRetryingError, ClosedRequestError, ExpiredRequestError, AlreadyAskedError, ReasonMissingError.
    """
    check_words(reason, "reason")
    request = locked(pk)
    wisher = wisher_of(actor)
    person = number_of(wisher)
    roles = {step.role for step in payload_of(request).steps}
    if wisher != request.requested_by_ref and not (person and roles & roles_now(person)):
        raise NotRetryingError
    if request.state != RequestState.FAILED:
        raise ClosedRequestError(request.get_state_display())
    if request.expires_at <= now:
        raise ExpiredRequestError
    try:
        with transaction.atomic():
            move(request, RequestState.APPROVED, now, closed_because="", attempts=0, next_attempt_at=now)
    except IntegrityError as error:
        title = operation_of(request.operation).title
        raise AlreadyAskedError(request.subject_ref, title, "asked anew meanwhile") from error
    tell_log(Action.REQUEST_RETRIED, request, was=RequestState.FAILED, actor=actor, now=now, reason=reason)
    mails.tell_requester([request], "is tried again", now=now)
    return request


def expire_due(*, actor: Actor, now: datetime) -> int:
    """Close what nobody decided, or could begin, in time; return how many. Event: request.expired for each."""
    late = Request.objects.filter(state__in=[RequestState.OPEN, RequestState.APPROVED], expires_at__lte=now)
    return _each(late, partial(expire, actor=actor, now=now))


def expire(request: Request, *, actor: Actor, now: datetime) -> bool:
    """Close a locked request whose time is over."""
    was = request.state
    because = _IN_TIME if was == RequestState.OPEN else _NOT_BEGUN
    move(request, RequestState.EXPIRED, now, closed_because=because, next_attempt_at=None)
    tell_log(Action.REQUEST_EXPIRED, request, was=was, actor=actor, now=now, reason=because)
    mails.tell_requester([request], "has expired", because, now=now)
    return True


def remind_due(*, actor: Actor, now: datetime) -> int:
    """Remind of what waits for votes, once, when a third of its time is left; return how many requests.

    Where there is nobody to tell, the next run tries again.
    """
    third = ExpressionWrapper(
        F("expires_at") - (F("expires_at") - F("requested_at")) / REMINDER_PART, output_field=DateTimeField()
    )
    open_ones = Request.objects.filter(state=RequestState.OPEN, reminded_at__isnull=True, expires_at__gt=now)
    return _each(open_ones.annotate(third=third).filter(third__lte=now), partial(_remind, now=now))


def _remind(request: Request, *, now: datetime) -> bool:
    if not mails.remind_voters(request, now=now):
        return False
    request.reminded_at = now
    request.save(update_fields=["reminded_at"])
    return True


def _each(found: QuerySet[Request], act: "partial[bool]") -> int:
    """Do it with each, locked, in a transaction of its own; what somebody else holds is left to the next run."""
    done = 0
    for pk in list(found.order_by("pk").values_list("pk", flat=True)[:AT_ONCE]):
        with transaction.atomic():
            request = found.filter(pk=pk).select_for_update(of=("self",), skip_locked=True).first()
            done += request is not None and act(request)
    return done
