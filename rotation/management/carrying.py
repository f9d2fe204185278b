"""What commands share that carry out on the machine what people have voted for (--request ID)."""

from datetime import datetime

from django.core.management.base import CommandError

from audit.actor import Actor
from rotation import approvals
from rotation.models import Request, RequestState
from rotation.requests import missing_steps


def approved(pk: int, *, operation: str, subject: str) -> Request:
    """Return the request if it is for this operation on this very record, and approved. Raises: CommandError."""
    request = Request.objects.filter(pk=pk).first()
    if request is None or (request.operation, request.subject_ref) != (operation, subject):
        raise CommandError(f"Request {pk} does not permit this: it is not about {subject}, or for something else.")
    if request.state == RequestState.OPEN:
        missing = " and ".join(f"{count} of {role}" for role, count in missing_steps(request).items())
        raise CommandError(f"Request {pk} still waits for votes: {missing}. Nothing was done.")
    if request.state not in {RequestState.APPROVED, RequestState.EXECUTING}:
        raise CommandError(f"Request {pk} is {request.get_state_display()}. {request.closed_because}".strip())
    return request


def carry_out(request: Request, *, actor: Actor, now: datetime) -> Request:
    """Carry out an approved request. Raises: CommandError with the reason, where it was not done."""
    done = approvals.carry_out(pk=request.pk, actor=actor, now=now)
    if done.state == RequestState.EXECUTING:
        raise CommandError(f"Request {done.pk} is being carried out by somebody else, or they were stopped. Try later.")
    if done.state != RequestState.EXECUTED:
        raise CommandError(f"Request {done.pk} is {done.get_state_display()}. {done.closed_because}".strip())
    return done
