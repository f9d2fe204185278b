"""What one person may do alone, at once: suspend a key, report a compromise, break the glass.

Each leaves a duty in the same transaction: others look at it within a day (rotation.duties).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from hashlib import sha256
from hmac import compare_digest
from typing import cast

from django.conf import settings
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, canonical, timestamp
from audit.services import Subject, record
from inventory.errors import KeyMaterialError
from inventory.guarded.suspending import suspend_key
from inventory.guarded.transitions import compromise_at_once
from inventory.models import Key
from inventory.recognise import holds_key_material
from inventory.selectors import share_clauses
from inventory.services.held import rotation_question
from inventory.services.keys import require
from inventory.services.questions import ROTATION
from inventory.states import RevocationReason, State
from rotation import approvals
from rotation.approvals import Proof
from rotation.approvals.asking import BREAK_GLASS_LIFETIME
from rotation.approvals.voting import Verifier
from rotation.duties import Act, name_of, open_duty
from rotation.errors import (
    AlreadyAskedError,
    AlreadyCompromisedError,
    AnonymousReportError,
    GlassChangedError,
    GlassNotForThisError,
    GlassNotTheirsError,
    GlassReasonTooShortError,
    GlassStillOpenError,
    ProofRefusedError,
)
from rotation.letters import write_letter
from rotation.models import DutyKind, Request
from rotation.operations import operation_of
from rotation.operations.base import Description, Payload
from rotation.operations.showing import as_shown
from rotation.requests import live_about
from rotation.selectors import everybodys_mails, open_glass, voting_roles

LEAST_REASON = 20  # characters: what happened, and why it cannot wait
GLASS = "keyvault-admin/at-once/glass/v1"
REVOKE = "key.revoke"
ROTATE_KEK = "kek.rotate"
_COMPROMISED = (State.COMPROMISED, State.DESTROYED_COMPROMISED)


@transaction.atomic
def suspend(*, pk: int, actor: Actor, reason: str, now: datetime) -> Key:
    """Take a key out of use at once (T7). The door asks who may. Locks the key.

    Events: key.suspended, duty.opened. Raises: ReasonMissingError, KeyMaterialError, IllegalTransitionError.
    """
    _check_words(reason)
    key = suspend_key(pk=pk, actor=actor, reason=reason, now=now)
    _leave_duty(key, DutyKind.SUSPENSION, f"Suspension of {key.name}", actor=actor, reason=reason, now=now)
    _tell_owner(key, f"{key.name} was suspended", reason, actor, now)
    return key


# A compromise that somebody reports


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What came of a report: the key as it is now, and the request to revoke it, where there is something to revoke."""

    key: Key
    request: Request | None


@transaction.atomic
def report_compromise(*, pk: int, actor: Actor, reason: str, now: datetime) -> Reported:
    """Report that others may know a key; anybody who is signed in may, also of keys that are not theirs. Locks the key.

    In use it is suspended at once, and its revocation is asked for: others vote on it, never the reporter. Before or
    after its use it is compromised at once (T3, T13), destroyed it keeps the mark of it (A16).
    Events: key.compromise_reported, key.suspended or key.compromised, request.opened, duty.opened.
    Raises: AnonymousReportError, AlreadyCompromisedError, ReasonMissingError, KeyMaterialError.
    """
    if actor.kind != "person":
        raise AnonymousReportError
    _check_words(reason)
    share_clauses()
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    before = State(key.state)
    if before in _COMPROMISED:
        raise AlreadyCompromisedError(key.name)
    key = _take_effect(key, actor, reason, now)
    request = _revocation_of(key, actor, reason, now)
    facts: dict[str, JSON] = {"was": before.value, "is": key.state}
    if request:
        facts["request"] = request.ref
    subjects = [Subject(ref=key.ref, label=key.name)]
    record(Action.KEY_COMPROMISE_REPORTED, actor=actor, now=now, reason=reason, subjects=subjects, facts=facts)
    title = f"Reported compromise of {key.name}"
    _leave_duty(key, DutyKind.REPORT, title, request=request, actor=actor, reason=reason, now=now)
    _tell_owner(key, f"{key.name} was reported as compromised", reason, actor, now)
    return Reported(key=key, request=request)


def _take_effect(key: Key, actor: Actor, reason: str, now: datetime) -> Key:
    if key.state == State.SUSPENDED:
        return key
    if key.state == State.ACTIVE:
        return suspend_key(pk=key.pk, actor=actor, reason=reason, now=now)
    return compromise_at_once(pk=key.pk, actor=actor, reason=reason, now=now)


def _revocation_of(key: Key, actor: Actor, reason: str, now: datetime) -> Request | None:
    """Ask others to revoke a suspended key; return the request, or the one that waits already."""
    if key.state != State.SUSPENDED:
        return None
    parameters: dict[str, JSON] = {"key": key.pk, "reason_code": RevocationReason.KEY_COMPROMISE.value}
    try:
        return approvals.ask(
            operation=REVOKE, parameters=parameters, actor=actor, reason=reason, now=now, by_report=True
        )
    except AlreadyAskedError:
        return live_about([key.ref]).filter(operation=REVOKE).first()


# Break-glass


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What breaking the glass would do, in plain words, and the digest of what they are made from."""

    description: Description
    digest: bytes


def show_glass(*, operation: str, entered: Mapping[str, JSON], actor: Actor, now: datetime) -> Shown:
    """Say what break_glass() would do; nothing of it stays. Raises: as break_glass(), but for reason and proof."""
    _check_glass(operation, actor)
    kind = operation_of(operation)
    with transaction.atomic():
        digest = glass_digest(operation, entered)
        parameters = _parameters(operation, entered, actor, now)
        draft = kind.draft(parameters, now=now, hold=False)
        payload = Payload(
            operation=operation,
            targets=tuple(draft.targets),
            parameters=parameters,
            facts=draft.facts,
            steps=(),
            excluded=(),
            reason="",
            requested_by=actor.id,
            requested_at=timestamp(now),
            expires_at=timestamp(now + BREAK_GLASS_LIFETIME),
            is_break_glass=True,
            nonce="",
        )
        description = as_shown(kind.describe(payload))
        transaction.set_rollback(True)
    return Shown(description=description, digest=digest)


@sensitive_variables("proof")
def break_glass(
    *,
    operation: str,
    entered: Mapping[str, JSON],
    digest: bytes,
    actor: Actor,
    reason: str,
    proof: Proof,
    now: datetime,
) -> Request:
    """Ask for what nobody votes on, in an emergency: approved at once, carried out by the worker, over after an hour.

    For people of Security and DevOps, who show a second factor for exactly what show_glass() showed them, and whose
    break-glass before this one two others have signed. Everybody is told by mail. `entered` is a key with its
    reason_code, or with rotated_on, evidence and url. Outside any transaction: the proof is checked in one of its own,
    after everything that would refuse the act anyway. Locks the key.
    Events: request.opened, request.approved, glass.broken, duty.opened.
    Raises: GlassNotForThisError, GlassNotTheirsError, GlassStillOpenError, GlassReasonTooShortError, GlassChangedError,
    ProofRefusedError, KeyMaterialError, and what approvals.ask() says.
    """
    person = _check_glass(operation, actor)
    if len(reason.strip()) < LEAST_REASON:
        raise GlassReasonTooShortError(LEAST_REASON)
    _check_words(reason)
    _check_unchanged(operation, entered, digest)
    device = _verified(proof, digest, actor, now)
    if device is None:
        raise ProofRefusedError
    acting = replace(actor, verified_by=device, verified_at=now)
    try:
        return _break(operation, entered, digest, acting, reason, now)
    except IntegrityError as error:
        if still_open := open_glass(person):  # another one of theirs, in this moment
            raise GlassStillOpenError(still_open.title) from error
        raise GlassNotTheirsError from error


@sensitive_variables("proof")
def _verified(proof: Proof, digest: bytes, actor: Actor, now: datetime) -> str | None:
    verifier = cast("Verifier", import_string(settings.VOTE_VERIFIER))
    return verifier(
        actor=actor, code=proof.code, answer=proof.answer, challenge=proof.challenge, digest=digest, now=now
    )


def glass_digest(operation: str, entered: Mapping[str, JSON]) -> bytes:
    """Return a SHA-256 over the operation, what was entered, and the key as it is now. Queries: 1."""
    revision = Key.objects.values_list("revision", flat=True).get(pk=cast("int", entered["key"]))
    return sha256(canonical([GLASS, operation, dict(entered), revision])).digest()


def _check_unchanged(operation: str, entered: Mapping[str, JSON], digest: bytes) -> None:
    if not compare_digest(glass_digest(operation, entered), digest):
        raise GlassChangedError


def _check_glass(operation: str, actor: Actor) -> int:
    """Return who acts, if they may. Queries: 2."""
    kind = operation_of(operation)
    if not kind.breaks_glass:
        raise GlassNotForThisError(kind.title)
    person = int(actor.id.removeprefix("user:")) if actor.kind == "person" else None
    if person is None or not voting_roles(person):
        raise GlassNotTheirsError
    if still_open := open_glass(person):
        raise GlassStillOpenError(still_open.title)
    return person


def _parameters(operation: str, entered: Mapping[str, JSON], actor: Actor, now: datetime) -> Mapping[str, JSON]:
    """Return the parameters of the operation; of a rotation the evidence is written down first."""
    if operation != ROTATION:
        return entered
    question = rotation_question(
        pk=cast("int", entered["key"]),
        rotated_on=date.fromisoformat(str(entered["rotated_on"])),
        evidence=str(entered["evidence"]),
        url=str(entered["url"]),
        actor=actor,
        now=now,
    )
    return question.parameters


@transaction.atomic
def _break(
    operation: str, entered: Mapping[str, JSON], digest: bytes, actor: Actor, reason: str, now: datetime
) -> Request:
    share_clauses()
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=cast("int", entered["key"]))
    _check_unchanged(operation, entered, digest)
    parameters = _parameters(operation, entered, actor, now)
    request = approvals.ask(
        operation=operation, parameters=parameters, actor=actor, reason=reason, now=now, is_break_glass=True
    )
    facts: dict[str, JSON] = {
        "request": request.ref,
        "operation": operation,
        "expires_at": request.expires_at,
        "verified_by": actor.verified_by,
    }
    subjects = [Subject(ref=key.ref, label=key.name)]
    record(Action.GLASS_BROKEN, actor=actor, now=now, reason=reason, subjects=subjects, facts=facts)
    title = f"Break-glass: {request.title}"[:300]
    _leave_duty(key, DutyKind.BREAK_GLASS, title, request=request, actor=actor, reason=reason, now=now)
    _tell_everybody(request, key, actor, now)
    return request


# Pieces


def _check_words(reason: str) -> None:
    require(reason)
    if holds_key_material(reason):
        raise KeyMaterialError("reason")


def _leave_duty(
    key: Key,
    kind: DutyKind,
    title: str,
    *,
    request: Request | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> None:
    act = Act(
        kind=kind,
        title=title,
        reason=reason,
        done_by=actor.id,
        done_at=now,
        verified_by=actor.verified_by,
        request=request,
    )
    open_duty(key=key, act=act, actor=actor, now=now)


def _tell_owner(key: Key, what: str, reason: str, actor: Actor, now: datetime) -> None:
    """Tell whoever answers for the key, so that they tell the services that use it; not who did it themselves."""
    owner = key.owner
    if owner is None or not owner.mail or actor.id == f"user:{owner.user_id}":
        return
    write_letter(
        recipients=[owner.mail],
        subject=what,
        lines=[
            f"{what} by {name_of(actor)} on {now:%-d %B %Y at %H:%M} UTC, and you answer for it.",
            f"Why: {reason}",
            f"It is {key.get_state_display().lower()} from now on and must not protect anything new. Nothing is "
            "switched off where the key is kept: tell the services that use it.",
        ],
        url=settings.SITE_URL + reverse("admin:inventory_key_change", args=[key.pk]),
        now=now,
    )


def _tell_everybody(request: Request, key: Key, actor: Actor, now: datetime) -> None:
    description = as_shown(operation_of(request.operation).describe(approvals.payload_of(request)))
    who = name_of(actor)
    write_letter(
        recipients=everybodys_mails(),
        subject=f"Break-glass by {who}: {description.title}"[:200],
        lines=[
            f"{who} has broken the glass on {now:%-d %B %Y at %H:%M} UTC: what follows is done now, by one person "
            "alone, without the votes that it needs else.",
            *description.sentences,
            f"Why: {request.reason}",
            "Everybody who works here gets this mail. One person of Security and one of DevOps must look at it and "
            "sign within 24 hours. The digest of the request: " + request.short_digest,
        ],
        url=settings.SITE_URL + reverse("admin:inventory_key_change", args=[key.pk]),
        now=now,
    )
