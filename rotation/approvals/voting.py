"""Voting: one person, one vote, on exactly the bytes they were shown, with a second factor shown for this vote."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Protocol, cast

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, canonical
from inventory.errors import KeyMaterialError
from inventory.recognise import holds_key_material
from rotation.approvals import mails
from rotation.approvals.pieces import locked, move, payload_of, person_of, tell_log
from rotation.errors import (
    AlreadyVotedError,
    ClosedRequestError,
    CommentMissingError,
    ExcludedError,
    ExpiredRequestError,
    NoStepError,
    NotVotingError,
    OwnRequestError,
    ProofRefusedError,
    StaleVoteError,
    TooManyBallotsError,
)
from rotation.models import Request, RequestState, Vote
from rotation.operations import operation_of
from rotation.operations.base import Payload
from rotation.requests import fillable_step, missing_steps, standing_votes, voters

MAX_BALLOTS = 100  # under one code
LABEL = "keyvault-admin/approvals/ballots/v1"


@dataclass(frozen=True)
class Proof:
    """What a person shows for a vote: a code of their app, or a passkey's answer to the challenge they were given."""

    code: str = field(default="", repr=False)
    answer: str = field(default="", repr=False)
    challenge: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Ballot:
    """A request, and the digest of what was shown of it."""

    pk: int
    digest: bytes


class Verifier(Protocol):
    def __call__(
        self, *, actor: Actor, code: str, answer: str, challenge: bytes | None, digest: bytes, now: datetime
    ) -> str | None:
        """Return the device that accepted what was shown for this digest ("totp:5"); None for a wrong try, counted.

        In a transaction of its own, so that the count stands and the code is spent whatever becomes of the vote.
        """


def batch_digest(ballots: Sequence[Ballot]) -> bytes:
    """Return what a passkey answers for: the digest of the one request, or a SHA-256 over all that are listed."""
    if len(ballots) == 1:
        return ballots[0].digest
    listed: list[JSON] = [f"{ballot.pk}:{ballot.digest.hex()}" for ballot in sorted(ballots, key=lambda one: one.pk)]
    return sha256(canonical([LABEL, *listed])).digest()


@sensitive_variables("proof")
def vote(
    *, pk: int, digest: bytes, approves: bool, comment: str = "", proof: Proof, actor: Actor, now: datetime
) -> Vote:
    """Vote on one request, as vote_all() says."""
    (cast_vote,) = vote_all(
        ballots=[Ballot(pk, digest)], approves=approves, comment=comment, proof=proof, actor=actor, now=now
    )
    return cast_vote


@sensitive_variables("proof")
def vote_all(
    *, ballots: Sequence[Ballot], approves: bool, comment: str = "", proof: Proof, actor: Actor, now: datetime
) -> list[Vote]:
    """Vote the same on each request of a list, all of them or none, with one second factor shown for the whole list.

    Outside any transaction: the proof is checked in one of its own, after everything that would refuse the vote
    anyway, so that a stale page spends no code. The last missing approval approves a request, any rejection closes it;
    the door then hurries the worker. Locks the requests, by number.
    Events: request.voted for each, request.approved, request.rejected.
    Raises: NotVotingError and its like, ClosedRequestError, ExpiredRequestError, StaleVoteError, ProofRefusedError,
    CommentMissingError, KeyMaterialError, TooManyBallotsError.
    """
    person = person_of(actor)
    if person is None:
        raise NotVotingError("People vote, each in their own name; nothing votes for them.")
    _check_list(ballots, comment, approves=approves)
    in_order = sorted(ballots, key=lambda ballot: ballot.pk)
    for ballot in in_order:
        _check(_asked(ballot), ballot, person, now, approves=approves)
    device = _verified(proof, batch_digest(in_order), actor, now)
    if device is None:
        raise ProofRefusedError
    acting = replace(actor, verified_by=device, verified_at=now)
    try:
        return _cast(in_order, person, acting, comment, now, approves=approves)
    except IntegrityError as error:  # the database's own guard, about what has changed in this moment
        raise NotVotingError("Something has changed while you voted, and nothing was counted. Look again.") from error


@sensitive_variables("proof")
def _verified(proof: Proof, digest: bytes, actor: Actor, now: datetime) -> str | None:
    verifier = cast("Verifier", import_string(settings.VOTE_VERIFIER))
    return verifier(
        actor=actor, code=proof.code, answer=proof.answer, challenge=proof.challenge, digest=digest, now=now
    )


def _check_list(ballots: Sequence[Ballot], comment: str, *, approves: bool) -> None:
    if not 0 < len({ballot.pk for ballot in ballots}) == len(ballots) <= MAX_BALLOTS:
        raise TooManyBallotsError(MAX_BALLOTS)
    if not approves and not comment.strip():
        raise CommentMissingError
    if holds_key_material(comment):
        raise KeyMaterialError("comment")
    Vote._meta.get_field("comment").clean(comment, None)


def _check(request: Request, ballot: Ballot, person: int, now: datetime, *, approves: bool) -> str:
    """Return the role for which this person votes on the request as it is; raise what vote_all() says."""
    if request.state != RequestState.OPEN:
        raise ClosedRequestError(request.get_state_display())
    if request.expires_at <= now:
        raise ExpiredRequestError
    if bytes(request.digest) != ballot.digest:
        raise StaleVoteError
    payload = payload_of(request)
    ref = f"user:{person}"
    if ref in {request.requested_by_ref, payload.requested_by}:
        raise OwnRequestError
    if ref in payload.excluded:
        raise ExcludedError
    role = fillable_step(request, person) or (None if approves else _any_step(request, payload, person))
    if role is not None:
        return role
    if standing_votes(request).filter(person_id=person).exists():
        raise AlreadyVotedError
    raise NoStepError(sorted(missing_steps(request)))


def _any_step(request: Request, payload: Payload, person: int) -> str | None:
    """Return a role of the request that is this person's, filled or not: whoever may approve may also object."""
    could = voters(request, sorted({step.role for step in payload.steps}))
    return next((role for role, people in could.items() if person in people), None)


def _asked(ballot: Ballot) -> Request:
    try:
        return Request.objects.get(pk=ballot.pk)
    except Request.DoesNotExist as error:
        raise StaleVoteError from error


@transaction.atomic
def _cast(
    ballots: Sequence[Ballot], person: int, actor: Actor, comment: str, now: datetime, *, approves: bool
) -> list[Vote]:
    votes = []
    for ballot in ballots:
        request = locked(ballot.pk)
        role = _check(request, ballot, person, now, approves=approves)
        votes.append(_put(request, role, person, actor, comment, now, approves=approves))
        _count(request, actor, comment, now, approves=approves)
    _tell(votes, now)
    return votes


def _put(
    request: Request, role: str, person: int, actor: Actor, comment: str, now: datetime, *, approves: bool
) -> Vote:
    put = Vote(
        request=request,
        person_id=person,
        role=role,
        is_approval=approves,
        comment=comment,
        digest=bytes(request.digest),
        verified_by=actor.verified_by,
        voted_at=now,
    )
    put.save(force_insert=True)
    facts: dict[str, JSON] = {"approves": approves, "role": role, "verified_by": actor.verified_by}
    tell_log(Action.REQUEST_VOTED, request, actor=actor, now=now, reason=comment, facts=facts)
    return put


def _count(request: Request, actor: Actor, comment: str, now: datetime, *, approves: bool) -> None:
    """Close what was rejected, approve what has all its votes."""
    if not approves:
        because = f"Rejected: {comment}"[:500]
        move(request, RequestState.REJECTED, now, closed_because=because)
        tell_log(Action.REQUEST_REJECTED, request, was=RequestState.OPEN, actor=actor, now=now, reason=comment)
    elif not missing_steps(request):
        move(request, RequestState.APPROVED, now, approved_at=now, next_attempt_at=now)
        tell_log(Action.REQUEST_APPROVED, request, was=RequestState.OPEN, actor=actor, now=now)


def _tell(votes: Sequence[Vote], now: datetime) -> None:
    """Tell who asked how it stands; one mail for each person and outcome."""
    outcomes: dict[tuple[str, str], list[Request]] = {}
    for put in votes:
        outcomes.setdefault(_words(put), []).append(put.request)
    for (what, because), requests in outcomes.items():
        mails.tell_requester(requests, what, because, now=now)


def _words(put: Vote) -> tuple[str, str]:
    match put.request.state:
        case RequestState.APPROVED if operation_of(put.request.operation).at_machine:
            return "was approved", f"Carry it out on the server, with --request {put.request_id}, before it expires."
        case RequestState.APPROVED:
            return "was approved", "It is carried out within a minute."
        case RequestState.REJECTED:
            return "was rejected", f"The reason: {put.comment}"
    return "has one more vote", "It waits for the others."
