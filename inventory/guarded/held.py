"""Edits that make a key less late, and rotations done elsewhere, once somebody of DevOps has voted for them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.examining import touched_by
from inventory.models import Key, RotationEvidence
from inventory.permits import Permit
from inventory.selectors import rules
from inventory.services.findings import refresh_findings
from inventory.services.keys import DERIVED, change_facts, edited, revived, snapshot, store


@transaction.atomic
def apply_edit(
    *, pk: int, changes: Mapping[str, JSON], kind: str, permit: Permit, actor: Actor, reason: str, now: datetime
) -> Key:
    """Give a key new facts, as the log writes them, whatever date of rotation follows.

    `kind` says where they come from: "edit" or "import". Locks the key. Events: key.edited, and those of
    refresh_findings(). Raises: StaleError, ValidationError.
    """
    key, before = _changed(pk, changes)
    facts = permit.facts | {"kind": kind}
    record(Action.KEY_EDITED, actor=actor, now=now, reason=reason, subjects=[edited(key, before)], facts=facts)
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return key


@transaction.atomic
def apply_rotation(
    *, pk: int, changes: Mapping[str, JSON], evidence: int, permit: Permit, actor: Actor, reason: str, now: datetime
) -> Key:
    """Count a rotation that was done elsewhere: the key gets its next version, the one before is superseded.

    Locks the key. Events: key.rotated, and those of refresh_findings(). Raises: StaleError, IllegalTransitionError,
    ValidationError.
    """
    proof = RotationEvidence.objects.get(pk=evidence, key=pk)
    key, before = _changed(pk, changes)
    said = _with_version(edited(key, before), key.current_number)
    facts = permit.facts | {"evidence": proof.ref}
    event = record(Action.KEY_ROTATED, actor=actor, now=now, reason=reason, subjects=[said], facts=facts)
    shared_material = touched_by([key.pk])  # by the version that ends here
    lifecycle.supersede(key, rotated_on=proof.rotated_on, event=event)
    refresh_findings(keys=shared_material, actor=actor, now=now)
    return key


def _changed(pk: int, changes: Mapping[str, JSON]) -> tuple[Key, dict[str, JSON]]:
    """Write facts on a locked key; return it with what it was before."""
    clauses = rules(hold=True)
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    before = snapshot(key)
    values = {name: revived(name, said) for name, said in changes.items()}
    change_facts(key, values, clauses, may_be_less_late=True)
    store(key, update_fields=[*changes, *DERIVED])
    return key, before


def _with_version(said: Subject, number: int) -> Subject:
    return replace(said, before={**said.before, "version": number}, after={**said.after, "version": number + 1})
