"""Asking for changes that make a key less late: nothing happens until somebody of DevOps has voted for it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import asking
from inventory.asking import Asked
from inventory.errors import (
    ChangeWaitsError,
    KeyMaterialError,
    LessLateError,
    NoMoreTimeError,
    NotActiveError,
    RelationsChangedError,
    RotationDateError,
    StaleError,
)
from inventory.models import Key, RotationEvidence
from inventory.recognise import holds_key_material
from inventory.selectors import rules
from inventory.services.keys import (
    change_facts,
    check_entered,
    check_record,
    differing,
    plain,
    require,
    snapshot,
)
from inventory.services.questions import EDIT, OPERATIONS, ROTATION, Question
from inventory.services.relations import Relations, relations_of
from inventory.states import State

_OVERTAKEN = "The key was changed after this was asked, and somebody has asked for something else since."
_LONGEST_REASON = 2_000  # of a request


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What somebody asks of one key, worked out and not saved."""

    key: Key  # with the new values set
    before: Mapping[str, JSON]  # a snapshot of the record as it is
    revision: int  # of that record
    fields: Sequence[str]

    @property
    def changes(self) -> dict[str, JSON]:
        return {name: plain(self.key, name) for name in self.fields}

    def question(self, kind: str, evidence: int | None = None) -> Question:
        due_before = self.before["rotate_by"]
        return Question(
            key=self.key.pk,
            kind=kind,
            revision=self.revision,
            changes=self.changes,
            due_before=str(due_before) if due_before else None,
            due_after=self.key.rotate_by.isoformat() if self.key.rotate_by else None,
            evidence=evidence,
        )


@transaction.atomic
def hold_edit(
    *,
    pk: int,
    changes: Mapping[str, Any],
    expected_revision: int,
    relations: Relations | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Asked:
    """Ask for an edit that edit_key() refuses to one person; arguments as there.

    A question is of facts alone: relations, if given, must be those that the key has. Locks the key.
    Event: request.opened. Raises: StaleError, RelationsChangedError, NoMoreTimeError, ChangeWaitsError,
    KeyMaterialError, ValidationError, and whatever asking.ask() does.
    """
    require(reason)
    check_entered(changes, now)
    clauses = rules(hold=True)
    key = _locked_key(pk)
    if key.revision != expected_revision:
        raise StaleError(key.name)
    if relations is not None and relations != relations_of(key):
        raise RelationsChangedError(key.name)
    before, different = snapshot(key), differing(key, changes)
    try:
        change_facts(key, different, clauses)
    except LessLateError:
        check_record(key)
        _make_room({key.pk: key.revision}, {key.pk: str(before["name"])}, actor, now)
        asked = Proposal(key=key, before=before, revision=key.revision, fields=tuple(different))
        return asking.ask(EDIT, asked.question("edit").parameters, actor=actor, reason=reason, now=now)
    raise NoMoreTimeError(key.name)


def report_rotation(*, pk: int, rotated_on: date, evidence: str, url: str = "", actor: Actor, now: datetime) -> Asked:
    """Report that an active key was rotated where it is kept. It counts once somebody of DevOps has approved it.

    `evidence` says how others can see it, `url` where. Locks the key. Events: key.rotation_reported, request.opened.
    Raises: NotActiveError, RotationDateError, ChangeWaitsError, KeyMaterialError, ReasonMissingError, ValidationError,
    and whatever asking.ask() does.
    """
    if _person(actor) is None:
        raise ValueError("a rotation is reported by a person")
    return hold_rotation(pk=pk, rotated_on=rotated_on, evidence=evidence, url=url, actor=actor, now=now)


@transaction.atomic
def hold_rotation(*, pk: int, rotated_on: date, evidence: str, url: str = "", actor: Actor, now: datetime) -> Asked:
    """Do as report_rotation() says, also for a command that found it out by itself."""
    asked = rotation_question(pk=pk, rotated_on=rotated_on, evidence=evidence, url=url, actor=actor, now=now)
    reason = f"It was rotated where it is kept, on {rotated_on:%-d %B %Y}."
    return asking.ask(ROTATION, asked.parameters, actor=actor, reason=reason, now=now)


def rotation_question(
    *, pk: int, rotated_on: date, evidence: str, url: str = "", actor: Actor, now: datetime
) -> Question:
    """Write down what somebody says of a rotation, and return the question that follows, in the caller's transaction.

    For whoever asks it otherwise than by vote; else as hold_rotation(). Event: key.rotation_reported.
    """
    require(evidence)
    for what, text in (("evidence", evidence), ("link", url)):
        if holds_key_material(text):
            raise KeyMaterialError(what)
    clauses = rules(hold=True)
    key = _locked_key(pk)
    if key.state != State.ACTIVE:
        raise NotActiveError(key.name, key.state)
    _check_rotation(key, rotated_on, now.date())
    _make_room({key.pk: key.revision}, {key.pk: key.name}, actor, now)
    proof = RotationEvidence(
        key=key, rotated_on=rotated_on, text=evidence, url=url, reported_by_id=_person(actor), reported_at=now
    )
    proof.full_clean()
    proof.save()
    record(Action.KEY_ROTATION_REPORTED, actor=actor, now=now, subjects=[_reported(key, proof)])
    before, revision = snapshot(key), key.revision
    changes: dict[str, Any] = {"last_rotated_on": rotated_on}
    if key.never_rotated:
        changes["never_rotated"] = False
    change_facts(key, changes, clauses, may_be_less_late=True)
    asked = Proposal(key=key, before=before, revision=revision, fields=tuple(changes))
    return asked.question("rotation", proof.pk)


def hold_rows(proposals: Sequence[Proposal], *, actor: Actor, reason: str, now: datetime) -> list[Asked]:
    """Ask for what rows of an import say, in the import's transaction, which holds the locks on the keys.

    Returned in the order of the rows. Queries: few, however many rows. Events: those of asking.ask_all(). Raises:
    ChangeWaitsError, and whatever asking.ask_all() does.
    """
    if not proposals:
        return []
    names = {one.key.pk: str(one.before["name"]) for one in proposals}
    _make_room({one.key.pk: one.revision for one in proposals}, names, actor, now)
    questions = [one.question("import").parameters for one in proposals]
    return asking.ask_all(EDIT, questions, actor=actor, reason=reason[:_LONGEST_REASON], now=now)


def waiting_on(key: Key) -> Asked | None:
    """Return what of ours is asked of a key and not decided, be it overtaken. Queries: 1."""
    return _open([key.pk]).get(key.pk)


def waiting(revisions: Mapping[int, int], now: datetime) -> dict[int, Asked]:
    """Return the open question of each key, given by number with its revision, that has one which still holds.

    Queries: 1.
    """
    return {
        pk: asked
        for pk, asked in _open(revisions).items()
        if asked.parameters["revision"] == revisions[pk] and not asked.is_over(now)
    }


def _open(keys: Iterable[int]) -> dict[int, Asked]:
    """Return the open question of each of these keys that has one. Queries: 1."""
    live = asking.live([f"key:{pk}" for pk in keys])
    return {
        cast("int", asked.parameters["key"]): asked
        for found in live.values()
        for asked in found
        if asked.operation in OPERATIONS
    }


def _make_room(revisions: Mapping[int, int], names: Mapping[int, str], actor: Actor, now: datetime) -> None:
    """Close what is asked already and rests on an older record of the key, or was not decided in time.

    Raises: ChangeWaitsError for what holds.
    """
    found = _open(revisions)
    over = {asked.pk for asked in found.values() if asked.is_over(now)}
    rest = {pk: asked for pk, asked in found.items() if asked.pk not in over}
    for pk, asked in rest.items():
        if asked.parameters["revision"] == revisions[pk]:
            raise ChangeWaitsError(names[pk])
    if over:
        asking.expire(sorted(over), actor=actor, now=now)
    if rest:
        asking.void([asked.pk for asked in rest.values()], because=_OVERTAKEN, actor=actor, now=now)


def _reported(key: Key, proof: RotationEvidence) -> Subject:
    """Describe evidence for the log: on the key itself nothing has changed."""
    said: dict[str, JSON] = {
        "ref": proof.ref,
        "rotated_on": proof.rotated_on,
        "text": proof.text,
        "url": proof.url,
    }
    return Subject(ref=key.ref, label=key.name, before={"evidence": None}, after={"evidence": said})


def _check_rotation(key: Key, rotated_on: date, today: date) -> None:
    """Raise RotationDateError for a day that lies ahead, before the key was made, or not after its last rotation."""
    if rotated_on > today:
        raise RotationDateError(f"{rotated_on:%-d %B %Y} lies after today, {today:%-d %B %Y} (UTC).")
    if key.created_on and rotated_on < key.created_on:
        raise RotationDateError(f"{key.name} was created on {key.created_on:%-d %B %Y}, after that day.")
    if key.last_rotated_on and rotated_on <= key.last_rotated_on:
        raise RotationDateError(
            f"{key.name} was last rotated on {key.last_rotated_on:%-d %B %Y} already; only a later rotation is news."
        )


def _locked_key(pk: int) -> Key:
    return Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)


def _person(actor: Actor) -> int | None:
    """Return the number of the person who acts; None for a command or a process."""
    return int(actor.id.removeprefix("user:")) if actor.kind == "person" else None
