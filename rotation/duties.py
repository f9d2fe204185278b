"""Duties: opened by what one person did alone, signed by others, told of until they are.

`rotation.at_once` opens them in the transaction of the act; the beat opens one more for what is still suspended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.errors import KeyMaterialError
from inventory.models import Key
from inventory.recognise import holds_key_material
from inventory.states import State
from rotation.errors import (
    ClosedDutyError,
    DutyRoleTakenError,
    DutyWordsMissingError,
    NotSigningError,
    OwnActError,
    SignedTwiceError,
)
from rotation.kinds import DEVOPS, SECURITY
from rotation.letters import write_letter
from rotation.models import Duty, DutyKind, DutySignature, DutyState, Request, Verdict
from rotation.selectors import role_mails, suspended_since, voting_roles

SIGNING = (SECURITY, DEVOPS)
TO_LOOK = timedelta(hours=24)
LONGEST_SUSPENSION = timedelta(hours=72)
BEFORE = timedelta(hours=4)
WHILE_LATE = timedelta(days=1)
_NEEDED = {DutyKind.BREAK_GLASS: 2}


@dataclass(frozen=True, kw_only=True)
class Act:
    """What somebody did alone."""

    kind: DutyKind
    title: str
    reason: str
    done_by: str  # "user:3", or a command
    done_at: datetime
    verified_by: str = ""
    request: Request | None = None


def needed(duty: Duty) -> int:
    """Return how many people have to look, of different roles where they are more than one."""
    return _NEEDED.get(DutyKind(duty.kind), 1)


@transaction.atomic
def open_duty(*, key: Key, act: Act, actor: Actor, now: datetime) -> Duty:
    """Open a duty in the transaction of the act, and mail those who can sign it. Event: duty.opened.

    Raises: IntegrityError where who breaks the glass has another break-glass that is not signed yet.
    """
    due_at = now + TO_LOOK
    duty = Duty(
        kind=act.kind,
        key=key,
        request=act.request,
        title=act.title,
        reason=act.reason,
        done_by_id=_person(act.done_by),
        done_by_ref=act.done_by,
        done_at=act.done_at,
        verified_by=act.verified_by,
        opened_at=now,
        due_at=due_at,
        next_reminder_at=next_reminder(due_at, now),
    )
    duty.save(force_insert=True)
    facts: dict[str, JSON] = {"kind": duty.kind, "due": due_at, "done_by": act.done_by, "done_at": act.done_at}
    if act.request:
        facts["request"] = act.request.ref
    _record(Action.DUTY_OPENED, duty, facts, actor=actor, reason=act.reason, now=now)
    tell(duty, now, who=name_of(actor))
    return duty


@transaction.atomic
def sign_duty(*, pk: int, role: str, verdict: Verdict, words: str, actor: Actor, now: datetime) -> Duty:
    """Say for a role that one has looked, and what one found; the last signature that is needed closes the duty.

    The door has asked for a fresh second factor. Locks the duty. Events: duty.signed, duty.closed. Raises:
    NotSigningError, ClosedDutyError, OwnActError, SignedTwiceError, DutyRoleTakenError, DutyWordsMissingError,
    KeyMaterialError.
    """
    person = _person(actor.id)
    if person is None or role not in voting_roles(person):
        raise NotSigningError
    if not actor.verified_by:
        raise ValueError("a signature needs a second factor")
    duty = Duty.objects.select_for_update(of=("self",)).select_related("key").get(pk=pk)
    _check_words(verdict, words)
    signed = _check_place(duty, role, person)
    DutySignature.objects.create(
        duty=duty,
        person_id=person,
        role=role,
        verdict=verdict,
        words=words.strip(),
        verified_by=actor.verified_by,
        signed_at=now,
    )
    facts: dict[str, JSON] = {"role": role, "verdict": verdict.value}
    _record(Action.DUTY_SIGNED, duty, facts, actor=actor, reason=words.strip(), now=now)
    if signed + 1 >= needed(duty):
        _close(duty, "", actor, now)
    return duty


def _check_words(verdict: Verdict, words: str) -> None:
    if verdict not in {Verdict.IN_ORDER, Verdict.FINDING}:
        raise ValueError("whoever signs says how they found it")
    if not words.strip():
        raise DutyWordsMissingError
    if holds_key_material(words):
        raise KeyMaterialError("finding")


def _check_place(duty: Duty, role: str, person: int) -> int:
    """Return how many have signed before, where this person may be the next; under the duty's lock."""
    if duty.state != DutyState.OPEN:
        raise ClosedDutyError
    if person == duty.done_by_id:
        raise OwnActError
    signatures = list(duty.signatures.all())
    if any(one.person_id == person for one in signatures):
        raise SignedTwiceError
    if any(one.role == role for one in signatures):
        raise DutyRoleTakenError(role)
    return len(signatures)


def _close(duty: Duty, because: str, actor: Actor, now: datetime) -> None:
    duty.state, duty.closed_at = DutyState.CLOSED, now
    duty.save(update_fields=["state", "closed_at"])
    findings = duty.signatures.filter(verdict=Verdict.FINDING).count()
    _record(Action.DUTY_CLOSED, duty, {"findings": findings}, actor=actor, reason=because, now=now)


# The beat


@transaction.atomic
def open_due(*, actor: Actor, now: datetime) -> list[Duty]:
    """Open a duty for each key that is suspended for 72 hours, once for each suspension; idempotent.

    Whoever suspended it does not sign that it may stay so. Locks the keys; those that somebody else holds wait for the
    next run. Event: duty.opened for each.
    """
    opened = []
    for key, since, by in suspended_since(now - LONGEST_SUSPENSION):
        act = Act(
            kind=DutyKind.STILL_SUSPENDED,
            title=f"{key.name} is still suspended",
            reason="Suspended for 72 hours, and nobody has decided what becomes of it.",
            done_by=by or actor.id,
            done_at=since,
        )
        opened.append(open_duty(key=key, act=act, actor=actor, now=now))
    return opened


@transaction.atomic
def close_moot(*, actor: Actor, now: datetime) -> int:
    """Close the duties about keys that are suspended no more; return how many. Event: duty.closed for each."""
    moot = Duty.objects.filter(kind=DutyKind.STILL_SUSPENDED, state=DutyState.OPEN).exclude(key__state=State.SUSPENDED)
    found = list(moot.select_related("key").select_for_update(of=("self",), skip_locked=True).order_by("pk"))
    for duty in found:
        _close(duty, "It is suspended no more.", actor, now)
    return len(found)


@transaction.atomic
def remind(*, actor: Actor, now: datetime) -> int:
    """Flag what is overdue and write the reminders that are due; return how many mails.

    Each once, whatever runs at the same time; after a pause the last of those missed stands for them. Where there is
    nobody to tell, the duty keeps its place. Locks the duties. Event: duty.flagged_overdue, once.
    """
    waiting = Duty.objects.filter(state=DutyState.OPEN, next_reminder_at__lte=now).select_related("key").order_by("pk")
    return sum(_remind(duty, actor, now) for duty in waiting.select_for_update(of=("self",), skip_locked=True))


def _remind(duty: Duty, actor: Actor, now: datetime) -> int:
    changed: dict[str, datetime] = {}
    if duty.due_at <= now and duty.flagged_overdue_at is None:
        changed["flagged_overdue_at"] = now
        facts: dict[str, JSON] = {"kind": duty.kind, "due": duty.due_at}
        _record(Action.DUTY_FLAGGED_OVERDUE, duty, facts, actor=actor, reason="", now=now)
    written = tell(duty, now)
    if written:
        changed["next_reminder_at"] = next_reminder(duty.due_at, now)
    if changed:
        Duty.objects.filter(pk=duty.pk).update(**changed)
    return written


def next_reminder(due_at: datetime, now: datetime) -> datetime:
    """Return when the next mail about an open duty goes out: four hours before it is due, then, and every day."""
    if now < due_at - BEFORE:
        return due_at - BEFORE
    return due_at if now < due_at else due_at + WHILE_LATE * ((now - due_at) // WHILE_LATE + 1)


def tell(duty: Duty, now: datetime, *, who: str = "one person") -> int:
    """Put a mail into the outbox for everybody who could sign, but for who did it; return how many.

    `who` did it, in words: the worker, which reminds, may not read who people are.
    """
    signed = {one.role for one in duty.signatures.all()}
    roles = [role for role in SIGNING if role not in signed]
    is_late = duty.due_at <= now
    when = "Overdue" if is_late else f"Due {duty.due_at:%-d %B %Y, %H:%M} UTC"
    return write_letter(
        recipients=role_mails(roles, but=duty.done_by_id),
        subject=f"{when}: look at “{duty.title}”",
        lines=_lines(duty, roles, who, now),
        url=settings.SITE_URL + reverse("admin:rotation_duty_change", args=[duty.pk]),
        now=now,
    )


def _lines(duty: Duty, roles: Sequence[str], who: str, now: datetime) -> list[str]:
    did = f"{duty.title}: done by {who} alone, on {duty.done_at:%-d %B %Y at %H:%M} UTC."
    if duty.kind == DutyKind.STILL_SUSPENDED:
        did = f"{duty.title}, since {duty.done_at:%-d %B %Y, %H:%M} UTC."
    by = f"{duty.due_at:%-d %B %Y, %H:%M} UTC"
    due = f"this has been due since {by}" if duty.due_at <= now else f"by {by}"
    which = " and one of " if needed(duty) > 1 and len(roles) > 1 else " or "
    ask = f"One person of {which.join(roles)} must look at it and sign, {due}. Nobody signs for their own act."
    if duty.kind == DutyKind.BREAK_GLASS:
        ask += " Until two people of two roles have signed, who broke the glass can break no other."
    return [did, f"Why: {duty.reason}", ask]


# Pieces


def _record(action: Action, duty: Duty, facts: Mapping[str, JSON], *, actor: Actor, reason: str, now: datetime) -> None:
    about = Subject(ref=duty.key.ref, label=duty.key.name)
    record(action, actor=actor, now=now, subjects=[about], reason=reason, facts={"duty": duty.ref, **facts})


def name_of(actor: Actor) -> str:
    """Return who acts, in words for a mail."""
    return actor.identity.name if actor.identity else actor.id.removeprefix("command:")


def _person(reference: str) -> int | None:
    kind, _, number = reference.partition(":")
    return int(number) if kind == "user" and number.isdecimal() else None
