"""Asking: a question to several people, put down as the exact bytes that they will vote on."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from django.db import IntegrityError, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON, timestamp
from audit.services import Subject, record
from inventory.models import Key
from inventory.services.bulk import insert_rows
from rotation.approvals import mails
from rotation.approvals.pieces import check_words, label_of, move, number_of, target_subjects, tell_log, wisher_of
from rotation.errors import (
    AlreadyAskedError,
    NoBreakGlassError,
    NotAskingError,
    NothingAskedError,
    TooMuchAskedError,
)
from rotation.models import LIVE, Request, RequestState, RequestTarget
from rotation.operations import in_force, operation_of
from rotation.operations.base import DEVOPS, SECURITY, Draft, Operation, Payload
from rotation.operations.payloads import read_payload, write_payload
from rotation.requests import roles_now

MAX_TARGETS = 500  # of one request
BREAK_GLASS_LIFETIME = timedelta(hours=1)
BREAK_GLASS_ROLES = (SECURITY, DEVOPS)
AT_LEAST = 2  # votes, where a command asks on nobody's behalf: whoever ran it could be one of the voters
_ONE_LIVE = "request_one_live_for_each"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    request: Request
    payload: Payload


@transaction.atomic
def ask(
    *,
    operation: str,
    parameters: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
    is_break_glass: bool = False,
    by_report: bool = False,
) -> Request:
    """Open a request, and tell by mail whoever can vote on it. Who stands behind a command is who asks.

    With `by_report` everybody with a role may ask: it follows from what they have reported, and others decide it.
    One that waits already for the same, about an older state of the records, becomes void. With `is_break_glass` it is
    approved at once, by nobody. Events: request.opened, request.voided, request.approved.
    Raises: UnknownOperationError, NotAskingError, AlreadyAskedError, NothingAskedError, TooMuchAskedError,
    NoBreakGlassError, ReasonMissingError, KeyMaterialError, ValidationError, and what the operation's rules say.
    """
    kind = operation_of(operation)
    draft = kind.draft(parameters, now=now, hold=False)
    if is_break_glass:
        _check_break_glass(kind, actor)
    (request,) = _open(
        kind, [parameters], [draft], actor, reason, now, is_break_glass=is_break_glass, by_report=by_report
    )
    if is_break_glass:
        move(request, RequestState.APPROVED, now, approved_at=now, next_attempt_at=now)
        facts: dict[str, JSON] = {"is_break_glass": True}  # nobody voted
        tell_log(Action.REQUEST_APPROVED, request, was=RequestState.OPEN, actor=actor, now=now, facts=facts)
    return request


@transaction.atomic
def ask_all(
    operation: str, questions: Sequence[Mapping[str, JSON]], *, actor: Actor, reason: str, now: datetime
) -> list[Request]:
    """Open a request for each question, as ask() does; all of them or none.

    Queries: those of the operation's drafts, and 8 for each 1,000.
    """
    kind = operation_of(operation)
    if not questions:
        return []
    if kind.draft_all:
        drafts = kind.draft_all(questions, now=now)
    else:
        drafts = [kind.draft(parameters, now=now, hold=False) for parameters in questions]
    return _open(kind, questions, drafts, actor, reason, now)


def may_ask(operation: Operation, refs: Sequence[str], *, actor: Actor) -> bool:
    """Whether somebody may ask for this about these records: by role, as owner of the keys, or as a command.

    Being superuser asks for nothing. Queries: 1, and 1 more for an owner.
    """
    wisher = wisher_of(actor)
    person = number_of(wisher)
    if person is None:
        enough = operation.command_may_ask or sum(step.count for step in operation.steps) >= AT_LEAST
        return enough and actor.kind == "system" and wisher.startswith("command:")
    roles = roles_now(person)
    if roles & set(operation.askers):
        return True
    return operation.owner_may_ask and bool(roles) and _owns(person, refs)


def _owns(person: int, refs: Sequence[str]) -> bool:
    """Whether all of it are keys that this person answers for."""
    keys = {ref for ref in refs if ref.startswith("key:")}
    if not keys or keys != set(refs):
        return False
    numbers = [int(ref.removeprefix("key:")) for ref in keys]
    return Key.objects.filter(pk__in=numbers, owner__user_id=person, owner__is_active=True).count() == len(keys)


def _check_break_glass(operation: Operation, actor: Actor) -> None:
    if not operation.breaks_glass:
        raise NoBreakGlassError(f"{operation.title}: this always waits for its votes, also in an emergency.")
    person = number_of(actor.id)
    if person is None or not roles_now(person) & set(BREAK_GLASS_ROLES):
        raise NoBreakGlassError("Only people of Security or DevOps break the glass, each in their own name.")


def _open(
    operation: Operation,
    questions: Sequence[Mapping[str, JSON]],
    drafts: Sequence[Draft],
    actor: Actor,
    reason: str,
    now: datetime,
    *,
    is_break_glass: bool = False,
    by_report: bool = False,
) -> list[Request]:
    operation = in_force(operation)
    check_words(reason, "reason")
    Request._meta.get_field("reason").clean(reason, None)
    _check_targets(operation, drafts, actor, by_report=by_report)
    _make_room(operation, drafts, actor, now)
    asked = [
        _drawn_up(operation, parameters, draft, actor, reason, now, is_break_glass=is_break_glass)
        for parameters, draft in zip(questions, drafts, strict=True)
    ]
    requests = [one.request for one in asked]
    _insert(operation, asked)
    for subjects in batches(_subjects(asked)):
        facts: dict[str, JSON] = {"operation": operation.code, "is_break_glass": is_break_glass}
        if len(asked) == 1:
            facts |= _facts(asked[0])
        record(Action.REQUEST_OPENED, actor=actor, now=now, subjects=subjects, reason=reason, facts=facts)
    if not is_break_glass:
        mails.tell_voters(requests, now=now)
    return requests


def _check_targets(operation: Operation, drafts: Sequence[Draft], actor: Actor, *, by_report: bool) -> None:
    for draft in drafts:
        if not draft.targets:
            raise NothingAskedError
        if len(draft.targets) > MAX_TARGETS:
            raise TooMuchAskedError(len(draft.targets), MAX_TARGETS)
    person = number_of(actor.id)
    if by_report and person is not None and roles_now(person):
        return
    if not may_ask(operation, [target.ref for draft in drafts for target in draft.targets], actor=actor):
        raise NotAskingError(operation.title, operation.askers, owner=operation.owner_may_ask)


def _make_room(operation: Operation, drafts: Sequence[Draft], actor: Actor, now: datetime) -> None:
    """Close what waits and rests on older records, or has expired. Raises: AlreadyAskedError for what still holds.

    Only open ones are locked: who carries one out holds its lock while waiting for the records.
    """
    new = {draft.targets[0].ref: tuple(draft.targets) for draft in drafts}
    live = Request.objects.filter(operation=operation.code, subject_ref__in=new, state__in=LIVE)
    for request in live.exclude(state=RequestState.OPEN):
        raise AlreadyAskedError(new[request.subject_ref][0].label, operation.title, request.ref)
    waiting = live.filter(state=RequestState.OPEN).select_for_update(of=("self",)).order_by("pk")
    for request in waiting:
        if request.expires_at <= now:
            move(request, RequestState.EXPIRED, now, closed_because="Nobody had decided it in time.")
            tell_log(Action.REQUEST_EXPIRED, request, was=RequestState.OPEN, actor=actor, now=now)
        elif read_payload(bytes(request.payload)).targets == new[request.subject_ref]:
            raise AlreadyAskedError(new[request.subject_ref][0].label, operation.title, request.ref)
        else:
            because = "What it was about has changed since, and it was asked anew."
            move(request, RequestState.VOID, now, closed_because=because)
            tell_log(Action.REQUEST_VOIDED, request, was=RequestState.OPEN, actor=actor, now=now, reason=because)


def _drawn_up(
    operation: Operation,
    parameters: Mapping[str, JSON],
    draft: Draft,
    actor: Actor,
    reason: str,
    now: datetime,
    *,
    is_break_glass: bool,
) -> _Asked:
    expires_at = now + (BREAK_GLASS_LIFETIME if is_break_glass else operation.lifetime)
    raw = write_payload(
        Payload(
            operation=operation.code,
            targets=tuple(draft.targets),
            parameters=parameters,
            facts=draft.facts,
            steps=() if is_break_glass else operation.steps,
            excluded=tuple(draft.excluded),
            reason=reason,
            requested_by=wisher_of(actor),
            requested_at=timestamp(now),
            expires_at=timestamp(expires_at),
            is_break_glass=is_break_glass,
            nonce=secrets.token_hex(16),
        )
    )
    payload = read_payload(raw)  # what is described is what the bytes say
    subject = payload.targets[0].ref
    request = Request(
        operation=operation.code,
        payload=raw,
        digest=sha256(raw).digest(),
        title=operation.describe(payload).title[:300],
        subject_ref=subject,
        key_id=int(subject.removeprefix("key:")) if subject.startswith("key:") else None,
        reason=reason,
        requested_by_id=number_of(payload.requested_by),
        requested_by_ref=payload.requested_by,
        requested_at=now,
        expires_at=expires_at,
        is_break_glass=is_break_glass,
    )
    return _Asked(request=request, payload=payload)


def _insert(operation: Operation, asked: Sequence[_Asked]) -> None:
    try:
        with transaction.atomic():
            insert_rows([one.request for one in asked], by="digest", without=("waits_for", "barred"))
    except IntegrityError as error:
        if _ONE_LIVE not in str(error):
            raise
        raise AlreadyAskedError(asked[0].payload.targets[0].label, operation.title, "just now") from error
    RequestTarget.objects.bulk_create(
        [
            RequestTarget(request=one.request, ref=ref)
            for one in asked
            for ref in dict.fromkeys(target.ref for target in one.payload.targets)
        ],
        batch_size=1_000,
    )


def _subjects(asked: Sequence[_Asked]) -> list[Subject]:
    """Return the requests, each followed by its records; a record of several of them stands there once."""
    found: dict[str, Subject] = {}
    for one in asked:
        said: dict[str, JSON] = {"state": str(RequestState.OPEN), "digest": bytes(one.request.digest).hex()}
        found[one.request.ref] = Subject(
            ref=one.request.ref, label=label_of(one.request), before={"state": None}, after=said
        )
        found |= {subject.ref: subject for subject in target_subjects(one.payload)}
    return list(found.values())


def _facts(asked: _Asked) -> dict[str, JSON]:
    return {
        "digest": bytes(asked.request.digest).hex(),
        "expires_at": asked.payload.expires_at,
        "steps": [{"role": step.role, "count": step.count} for step in asked.payload.steps],
    }
