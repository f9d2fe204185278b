"""What inventory.asking is given: the engine as those below it see it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from audit.actor import Actor
from audit.canonical import JSON
from inventory.asking import Asked
from rotation.approvals.asking import ask_all
from rotation.approvals.pieces import payload_of
from rotation.models import Request, RequestTarget
from rotation.requests import live_about


class ApprovalEngine:
    """Opens requests, and finds those that wait."""

    def ask_all(
        self, operation: str, questions: Sequence[Mapping[str, JSON]], *, actor: Actor, reason: str, now: datetime
    ) -> list[Asked]:
        requests = ask_all(operation, questions, actor=actor, reason=reason, now=now)
        return [_asked(request) for request in requests]

    def live(self, refs: Sequence[str]) -> dict[str, list[Asked]]:
        """Return the requests that still wait, by the records they are about. Queries: 1."""
        pairs = RequestTarget.objects.filter(request__in=live_about(refs).order_by().values("pk"), ref__in=list(refs))
        found: dict[str, list[Asked]] = {}
        for target in pairs.select_related("request").order_by("request_id", "ref"):
            found.setdefault(target.ref, []).append(_asked(target.request))
        return found


def _asked(request: Request) -> Asked:
    return Asked(
        pk=request.pk,
        ref=request.ref,
        operation=request.operation,
        title=request.title,
        parameters=payload_of(request).parameters,
    )
