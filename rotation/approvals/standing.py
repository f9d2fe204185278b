"""Whether votes still stand: who has lost what let them vote has not voted."""

from datetime import datetime

from django.db.models import CharField, F, Func

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from rotation.approvals import mails
from rotation.approvals.pieces import move, tell_log
from rotation.models import Request, RequestState, Vote
from rotation.requests import standing_votes


def flawed_votes(request: Request) -> list[tuple[Vote, str]]:
    """Return the votes that do not stand any more, each with what is wrong. Queries: 1."""
    flaw = Func(F("pk"), function="public.rotation_vote_flaw", output_field=CharField())
    found = standing_votes(request).annotate(flaw=flaw)
    return [(vote, vote.flaw) for vote in found if vote.flaw]


def void_flawed(request: Request, *, actor: Actor, now: datetime) -> bool:
    """Void what does not stand of a locked request's votes, and ask for others; return whether there was any.

    Events: request.vote_voided for each. Who asked and who can fill the step are told.
    """
    flawed = flawed_votes(request)
    if not flawed:
        return False
    was = request.state
    for vote, flaw in flawed:
        Vote.objects.filter(pk=vote.pk, voided_at__isnull=True).update(voided_at=now, voided_because=flaw)
    move(request, RequestState.OPEN, now, approved_at=None, next_attempt_at=None, leased_until=None)
    for vote, flaw in flawed:
        facts: dict[str, JSON] = {"person": f"user:{vote.person_id}", "role": vote.role, "voted_at": vote.voted_at}
        tell_log(Action.REQUEST_VOTE_VOIDED, request, was=was, actor=actor, now=now, reason=flaw, facts=facts)
    because = "A vote does not stand any more: " + "; ".join(sorted({flaw for _, flaw in flawed})) + "."
    mails.tell_requester([request], "waits for a vote again", because, now=now)
    mails.tell_voters([request], now=now)
    return True
