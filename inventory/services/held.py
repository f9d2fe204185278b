"""Changes that make a key less late: one person asks, and nothing happens until somebody of DevOps has confirmed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.errors import (
    ChangeWaitsError,
    ClosedChangeError,
    KeyMaterialError,
    LessLateError,
    NoMoreTimeError,
    NotActiveError,
    NotDecidingError,
    NotRequesterError,
    OwnChangeError,
    RelationsChangedError,
    RotationDateError,
    StaleError,
    VoidChangeError,
)
from inventory.examining import touched_by
from inventory.models import HeldChange, Key, RotationEvidence
from inventory.models.held import HeldKind, HeldState
from inventory.policy import Rule
from inventory.recognise import holds_key_material
from inventory.selectors import rules
from inventory.services.bulk import insert_rows
from inventory.services.findings import refresh_findings
from inventory.services.keys import (
    DERIVED,
    change_facts,
    check_entered,
    check_record,
    differing,
    edited,
    plain,
    require,
    revived,
    snapshot,
    store,
)
from inventory.services.relations import Relations, relations_of
from inventory.states import State


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


# Asking


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
) -> HeldChange:
    """Ask for an edit that edit_key() refuses to one person; arguments as there.

    A question is of facts alone: relations, if given, must be those that the key has. Locks the key.
    Event: key.change_held. Raises: StaleError, RelationsChangedError, NoMoreTimeError, ChangeWaitsError,
    KeyMaterialError, ValidationError.
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
        asked = Proposal(key=key, before=before, revision=key.revision, fields=tuple(different))
        (held,) = _hold([asked], HeldKind.EDIT, actor=actor, reason=reason, now=now)
        return held
    raise NoMoreTimeError(key.name)


@transaction.atomic
def report_rotation(
    *, pk: int, rotated_on: date, evidence: str, url: str = "", actor: Actor, now: datetime
) -> HeldChange:
    """Report that an active key was rotated where it is kept. It counts once somebody of DevOps has confirmed it.

    `evidence` says how others can see it, `url` where. Locks the key. Event: key.change_held.
    Raises: NotActiveError, RotationDateError, ChangeWaitsError, KeyMaterialError, ReasonMissingError, ValidationError.
    """
    if _person(actor) is None:
        raise ValueError("a rotation is reported by a person")
    return hold_rotation(pk=pk, rotated_on=rotated_on, evidence=evidence, url=url, actor=actor, now=now)


@transaction.atomic
def hold_rotation(
    *, pk: int, rotated_on: date, evidence: str, url: str = "", actor: Actor, now: datetime
) -> HeldChange:
    """Do as report_rotation() says, also for a command that found it out by itself."""
    require(evidence)
    for what, text in (("evidence", evidence), ("link", url)):
        if holds_key_material(text):
            raise KeyMaterialError(what)
    clauses = rules(hold=True)
    key = _locked_key(pk)
    if key.state != State.ACTIVE:
        raise NotActiveError(key.name, key.state)
    _check_rotation(key, rotated_on, now.date())
    proof = RotationEvidence(
        key=key, rotated_on=rotated_on, text=evidence, url=url, reported_by_id=_person(actor), reported_at=now
    )
    proof.full_clean()
    proof.save()
    before, revision = snapshot(key), key.revision
    changes: dict[str, Any] = {"last_rotated_on": rotated_on}
    if key.never_rotated:
        changes["never_rotated"] = False
    change_facts(key, changes, clauses, may_be_less_late=True)
    asked = Proposal(key=key, before=before, revision=revision, fields=tuple(changes))
    (held,) = _hold([asked], HeldKind.ROTATION, evidence=proof, actor=actor, reason=evidence, now=now)
    return held


def hold_rows(proposals: Sequence[Proposal], *, actor: Actor, reason: str, now: datetime) -> list[HeldChange]:
    """Ask for what rows of an import say, in the import's transaction, which holds the locks on the keys.

    Events: key.change_held for up to 1,000 keys. Raises: ChangeWaitsError.
    """
    return _hold(proposals, HeldKind.IMPORT, actor=actor, reason=reason, now=now)


def _hold(
    proposals: Sequence[Proposal],
    kind: HeldKind,
    *,
    evidence: RotationEvidence | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> list[HeldChange]:
    """Write the questions down. The keys are locked, so that each has one open question at most."""
    if not proposals:
        return []
    _make_room(proposals, actor, now)
    held = [_asked(one, kind, evidence, actor, reason, now) for one in proposals]
    insert_rows(held, by="key_id")
    for subjects in batches(_asked_of(one) for one in held):
        record(Action.KEY_CHANGE_HELD, actor=actor, now=now, reason=reason, subjects=subjects)
    return held


def _make_room(proposals: Sequence[Proposal], actor: Actor, now: datetime) -> None:
    """Close what is asked already and rests on an older record of the key. Raises: ChangeWaitsError for what holds."""
    revisions = {one.key.pk: one.revision for one in proposals}
    waiting = HeldChange.objects.filter(key__in=revisions, state=HeldState.PENDING).select_related("key")
    for held in waiting.select_for_update(of=("self",)).order_by("pk"):
        if held.expected_revision == revisions[held.key_id]:
            raise ChangeWaitsError(held.key.name)
        _close(held, HeldState.VOID, now)
        record(Action.KEY_CHANGE_VOIDED, actor=actor, now=now, subjects=[_closed(held)])


def _asked(
    asked: Proposal, kind: HeldKind, evidence: RotationEvidence | None, actor: Actor, reason: str, now: datetime
) -> HeldChange:
    due_before = asked.before["rotate_by"]
    return HeldChange(
        kind=kind,
        key=asked.key,
        changes=asked.changes,
        before={name: asked.before[name] for name in asked.fields},
        rotate_by_before=datetime.fromisoformat(str(due_before)) if due_before else None,
        rotate_by_after=asked.key.rotate_by,
        expected_revision=asked.revision,
        reason=reason,
        requested_by_id=_wisher(actor),
        requested_by_ref=actor.on_behalf_of or actor.id,
        requested_at=now,
        evidence=evidence,
    )


def _asked_of(held: HeldChange) -> Subject:
    """Describe an open question for the log: on the key itself nothing has changed but that it waits."""
    said: dict[str, JSON] = {
        "ref": held.ref,
        "kind": str(held.kind),
        "before": held.before | {"rotate_by": _instant(held.rotate_by_before)},
        "after": held.changes | {"rotate_by": _instant(held.rotate_by_after)},
    }
    if held.evidence:
        said["evidence"] = {"ref": held.evidence.ref, "text": held.evidence.text, "url": held.evidence.url}
    return Subject(ref=held.key.ref, label=held.key.name, before={"held_change": None}, after={"held_change": said})


def _instant(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None


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


# Deciding


def confirm_held(*, pk: int, actor: Actor, reason: str, now: datetime) -> HeldChange:
    """Confirm a change, and do it: the key gets its new facts, and after a rotation its next version.

    Only for somebody whose role may, and who did not ask for it. Locks the key, then the change. Events: key.edited or
    key.rotated, on behalf of who asked, and those of refresh_findings(). Where key or clauses changed meanwhile, the
    change is closed as void (event: key.change_voided); that stands only if the caller does not roll it back for
    the error.
    Raises: VoidChangeError, NotDecidingError, OwnChangeError, ClosedChangeError, ValidationError.
    """
    held = _confirm(pk=pk, actor=actor, reason=reason, now=now)
    if held.state == HeldState.VOID:
        raise VoidChangeError(held.key.name)
    return held


@transaction.atomic
def _confirm(*, pk: int, actor: Actor, reason: str, now: datetime) -> HeldChange:
    clauses = rules(hold=True)
    held = _decidable(pk, actor, reason)
    key = held.key
    before = snapshot(key)
    if not _still_fits(held, clauses):
        _close(held, HeldState.VOID, now)
        record(Action.KEY_CHANGE_VOIDED, actor=actor, now=now, reason=reason, subjects=[_closed(held)])
        return held
    store(key, update_fields=[*held.changes, *DERIVED])
    _close(held, HeldState.CONFIRMED, now, decided_by_id=_person(actor), decision_reason=reason)
    confirmed = replace(actor, on_behalf_of=held.requested_by_ref)
    facts: dict[str, JSON] = {"held_change": held.ref, "kind": str(held.kind)}
    if held.evidence is None:
        record(Action.KEY_EDITED, actor=confirmed, now=now, reason=reason, subjects=[edited(key, before)], facts=facts)
        refresh_findings(keys=[key.pk], actor=confirmed, now=now)
        return held
    facts["evidence"] = held.evidence.ref
    event = record(
        Action.KEY_ROTATED, actor=confirmed, now=now, reason=reason, subjects=[_rotated(key, before)], facts=facts
    )
    shared_material = touched_by([key.pk])  # by the version that ends here
    lifecycle.supersede(key, rotated_on=held.evidence.rotated_on, event=event)
    refresh_findings(keys=shared_material, actor=confirmed, now=now)
    return held


def _still_fits(held: HeldChange, clauses: Sequence[Rule]) -> bool:
    """Set what was asked on the key; say whether it is the record that was shown, and gets the date that was shown."""
    key = held.key
    if key.revision != held.expected_revision or key.rotate_by != held.rotate_by_before:
        return False
    changes = {name: revived(name, said) for name, said in held.changes.items()}
    change_facts(key, changes, clauses, may_be_less_late=True)
    return key.rotate_by == held.rotate_by_after


def _rotated(key: Key, before: Mapping[str, JSON]) -> Subject:
    said = edited(key, before)
    number = key.current_number
    return replace(said, before={**said.before, "version": number}, after={**said.after, "version": number + 1})


@transaction.atomic
def reject_held(*, pk: int, actor: Actor, reason: str, now: datetime) -> HeldChange:
    """Refuse a change; the key stays as it is. Locks the key, then the change. Event: key.change_rejected.

    Raises: NotDecidingError, OwnChangeError, ClosedChangeError.
    """
    held = _decidable(pk, actor, reason)
    _close(held, HeldState.REJECTED, now, decided_by_id=_person(actor), decision_reason=reason)
    record(Action.KEY_CHANGE_REJECTED, actor=actor, now=now, reason=reason, subjects=[_closed(held)])
    return held


@transaction.atomic
def withdraw_held(*, pk: int, actor: Actor, reason: str, now: datetime) -> HeldChange:
    """Take back what one has asked for. Locks the key, then the change. Event: key.change_withdrawn.

    Raises: NotRequesterError, ClosedChangeError.
    """
    require(reason)
    held = _locked_open(pk)
    if held.requested_by_id is None or held.requested_by_id != _person(actor):
        raise NotRequesterError
    _close(held, HeldState.WITHDRAWN, now, decision_reason=reason)
    record(Action.KEY_CHANGE_WITHDRAWN, actor=actor, now=now, reason=reason, subjects=[_closed(held)])
    return held


def _decidable(pk: int, actor: Actor, reason: str) -> HeldChange:
    """Return an open change, locked, that this person may decide on.

    The right is looked up afresh, and by role alone: being superuser confirms nothing.
    """
    require(reason)
    person = _person(actor)
    may = {
        "groups__permissions__codename": "confirm_heldchange",
        "groups__permissions__content_type__model": "heldchange",
    }
    if person is None or not get_user_model().objects.filter(pk=person, is_active=True, **may).exists():
        raise NotDecidingError
    held = _locked_open(pk)
    if held.requested_by_id == person:
        raise OwnChangeError(held.key.name)
    return held


def _locked_open(pk: int) -> HeldChange:
    """Lock the key and then the change, in the order of everybody who asks. Raises: ClosedChangeError."""
    key = _locked_key(HeldChange.objects.values_list("key_id", flat=True).get(pk=pk))
    held = HeldChange.objects.select_for_update(of=("self",)).select_related("evidence").get(pk=pk)
    held.key = key
    if held.state != HeldState.PENDING:
        raise ClosedChangeError(key.name, held.get_state_display())
    return held


def _locked_key(pk: int) -> Key:
    return Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)


def _close(held: HeldChange, state: HeldState, now: datetime, **how: Any) -> None:  # noqa: ANN401 - columns of a change
    ended: dict[str, Any] = {"state": state, "decided_at": now, **how}
    for name, value in ended.items():
        setattr(held, name, value)
    held.save(update_fields=list(ended))


def _closed(held: HeldChange) -> Subject:
    return Subject(ref=held.key.ref, label=held.key.name, before={"held_change": held.ref}, after={"held_change": None})


def _person(actor: Actor) -> int | None:
    """Return the number of the person who acts; None for a command or a process."""
    return int(actor.id.removeprefix("user:")) if actor.kind == "person" else None


def _wisher(actor: Actor) -> int | None:
    """Return the number of the person who wants it, be it that a worker carries it out: they may not confirm it."""
    return int(actor.on_behalf_of.removeprefix("user:")) if actor.on_behalf_of else _person(actor)
