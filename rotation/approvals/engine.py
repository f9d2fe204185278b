"""What inventory.asking is given: the engine as those below it see it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.asking import Asked
from inventory.errors import NotAskedError
from rotation.approvals import mails
from rotation.approvals.asking import ask_all
from rotation.approvals.ending import expire
from rotation.approvals.pieces import move, payload_of, tell_log
from rotation.errors import RotationError
from rotation.models import LIVE, Request, RequestState, RequestTarget


class ApprovalEngine:
    """Opens requests, and finds those that wait."""

    def ask_all(
        self, operation: str, questions: Sequence[Mapping[str, JSON]], *, actor: Actor, reason: str, now: datetime
    ) -> list[Asked]:
        try:
            requests = ask_all(operation, questions, actor=actor, reason=reason, now=now)
        except RotationError as error:
            raise NotAskedError(str(error)) from error
        return [_asked(request) for request in requests]

    def live(self, refs: Sequence[str]) -> dict[str, list[Asked]]:
        """Return the requests that still wait, by the records they are about. Queries: 1."""
        return _by_record(refs, request__state__in=LIVE)

    def done(self, operation: str, refs: Sequence[str]) -> dict[str, list[Asked]]:
        """Return the requests of one operation that were carried out, newest first, by the same. Queries: 1."""
        executed = _by_record(refs, request__operation=operation, request__state=RequestState.EXECUTED)
        return {ref: asked[::-1] for ref, asked in executed.items()}

    def void(self, pks: Sequence[int], *, because: str, actor: Actor, now: datetime) -> None:
        """Close those that wait for votes as void, in the caller's transaction. Event: request.voided for each.

        What is approved is left to the worker, who finds out by itself, and may hold the lock of one.
        """
        waiting = Request.objects.filter(pk__in=pks, state=RequestState.OPEN)
        voided = list(waiting.select_for_update(of=("self",)).order_by("pk"))
        for request in voided:
            move(request, RequestState.VOID, now, closed_because=because)
            tell_log(Action.REQUEST_VOIDED, request, was=RequestState.OPEN, actor=actor, now=now, reason=because)
        mails.tell_requester(voided, "is void", because, now=now)

    def expire(self, pks: Sequence[int], *, actor: Actor, now: datetime) -> None:
        """Close those that nobody has decided in time, in the caller's transaction. Event: request.expired for each."""
        late = Request.objects.filter(pk__in=pks, state=RequestState.OPEN, expires_at__lte=now)
        for request in late.select_for_update(of=("self",)).order_by("pk"):
            expire(request, actor=actor, now=now)


def _by_record(refs: Sequence[str], **which: object) -> dict[str, list[Asked]]:
    """Return requests, oldest first, by those of their records that are given. Queries: 1, by index however many."""
    pairs = RequestTarget.objects.filter(ref__in=list(refs), **which).select_related("request")
    found: dict[str, list[Asked]] = {}
    for target in pairs.order_by("request_id", "ref"):
        found.setdefault(target.ref, []).append(_asked(target.request))
    return found


def _asked(request: Request) -> Asked:
    return Asked(
        pk=request.pk,
        ref=request.ref,
        operation=request.operation,
        title=request.title,
        parameters=payload_of(request).parameters,
        until=request.expires_at if request.state == RequestState.OPEN else None,
    )
