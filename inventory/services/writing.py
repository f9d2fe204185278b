"""Writing what an import has planned: each kind of record in a few statements, each event for up to 1,000 of them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import F

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.services import Subject, record
from inventory import lifecycle
from inventory.models import Key, KeyVersion, Owner, Service
from inventory.services.bulk import insert_rows, update_rows
from inventory.services.held import hold_rows
from inventory.services.judged import Judged
from inventory.services.keys import DERIVED, edited, first_version, registered, tell_again
from inventory.services.owners import owner_subject, service_subject
from inventory.services.relations import Relations, with_relations, write_all_relations
from inventory.states import State

if TYPE_CHECKING:
    from inventory.services.plan import Plan, Tell

_AT_ONCE = 1_000
_OTHERS = {
    "vendor": Action.VENDOR_REGISTERED,
    "tenant": Action.TENANT_REGISTERED,
    "integration": Action.INTEGRATION_REGISTERED,
}
_REGISTERED = (
    "creator",
    "owner",
    "service",
    "vendor",
    "tenant",
    "integration",
)  # by this very file, it may be


def write_plan(plan: "Plan", *, actor: Actor, reason: str, now: datetime, tell: "Tell") -> None:
    """Write it all in the caller's transaction: owners and services, new keys, changed ones, questions.

    Events: as apply_import() says. Raises: IntegrityError, StaleError.
    """
    _write_owners(plan, actor, now)
    _write_services(plan, actor, now)
    _write_others(plan, actor, now)
    _write_new(plan, actor, reason, now, tell)
    _write_changed(plan, actor, reason, now, tell)
    _write_held(plan, actor, reason, now)
    _write_rejudged(plan, actor, reason, now)


def _write_owners(plan: "Plan", actor: Actor, now: datetime) -> None:
    Owner.objects.bulk_create(plan.owners)
    for subjects in batches(owner_subject(owner) for owner in plan.owners):
        record(Action.OWNER_REGISTERED, actor=actor, now=now, subjects=subjects)
    for owner in plan.owners_with_mail:
        owner.revision = F("revision") + 1
    Owner.objects.bulk_update(plan.owners_with_mail, ["mail", "revision"])
    tell_again(plan.owners_with_mail)
    for subjects in batches(_given_mail(owner) for owner in plan.owners_with_mail):
        record(Action.OWNER_EDITED, actor=actor, now=now, subjects=subjects)


def _given_mail(owner: Owner) -> Subject:
    return Subject(ref=owner.ref, before={"has_mail": False}, after={"has_mail": True})


def _write_services(plan: "Plan", actor: Actor, now: datetime) -> None:
    Service.objects.bulk_create(plan.services)
    for subjects in batches(service_subject(service) for service in plan.services):
        record(Action.SERVICE_REGISTERED, actor=actor, now=now, subjects=subjects)


def _write_others(plan: "Plan", actor: Actor, now: datetime) -> None:
    for kind, action in _OTHERS.items():
        insert_rows(plan.others.get(kind, ()), by="name")
        registered_now = (Subject(ref=f"{kind}:{one.pk}", label=one.name) for one in plan.others.get(kind, ()))
        for subjects in batches(registered_now):
            record(action, actor=actor, now=now, subjects=subjects)


def _write_new(plan: "Plan", actor: Actor, reason: str, now: datetime, tell: "Tell") -> None:
    keys = [key for _, key in plan.new]
    _refer_again(keys)
    insert_rows(keys, by="name", without=["state"])
    versions = [first_version(key, state=State.ACTIVE, now=now) for key in keys]
    for version in versions:
        version.reuse_digest = plan.digests.get(version.key.name)
        if judged := plan.brought.judged.get(version.key.name):
            judged.keep_with(version)
    insert_rows(versions, by="key_id", without=["state"])
    of_key = {version.key.ref: version for version in versions}
    related = _write_relations(plan, keys)
    done = 0
    for subjects in batches(_seen(_with(registered(key), related.get(key.pk)), of_key[key.ref]) for key in keys):
        tell("registered", done, len(keys))
        done += len(subjects)
        event = record(
            Action.KEY_IMPORTED,
            actor=actor,
            now=now,
            reason=reason,
            subjects=subjects,
            facts={"state": State.ACTIVE.value},
        )
        lifecycle.enter([of_key[subject.ref] for subject in subjects], state=State.ACTIVE, event=event)


def _seen(subject: Subject, version: KeyVersion) -> Subject:
    """Add to what an event says of a new key what its material shows."""
    said = Judged.of(version).said
    return replace(subject, after={**subject.after, **{name: seen for name, seen in said.items() if seen}})


def _write_changed(plan: "Plan", actor: Actor, reason: str, now: datetime, tell: "Tell") -> None:
    keys, fields = [change.key for change in plan.changed], {name for change in plan.changed for name in change.fields}
    _refer_again(keys)
    update_rows(keys, [*sorted(fields), *DERIVED])
    related = _write_relations(plan, keys)
    done = 0
    for subjects in batches(_with(edited(one.key, one.before), related.get(one.key.pk)) for one in plan.changed):
        tell("changed", done, len(keys))
        done += len(subjects)
        record(Action.KEY_EDITED, actor=actor, now=now, reason=reason, subjects=subjects)


_Before = tuple[Relations, Relations]  # and after


def _write_relations(plan: "Plan", keys: Sequence[Key]) -> dict[int, _Before]:
    """Write the relations of some of the keys; return what each of them had and has, by its number."""
    numbers = {key.name: key.pk for _, key in plan.new}
    changing = [key for key in keys if key.name in plan.related.changes]
    written = {key.pk: plan.related.written(key.name, numbers) for key in changing}
    write_all_relations([(pk, *both) for pk, both in written.items()])
    return written


def _with(subject: Subject, both: _Before | None) -> Subject:
    return with_relations(subject, *both) if both else subject


def _write_held(plan: "Plan", actor: Actor, reason: str, now: datetime) -> None:
    _refer_again([held.key for held in plan.to_be_held])
    plan.asked = hold_rows([held.proposal for held in plan.to_be_held], actor=actor, reason=reason, now=now)


def _write_rejudged(plan: "Plan", actor: Actor, reason: str, now: datetime) -> None:
    versions = [one.version for one in plan.rejudged]
    KeyVersion.objects.bulk_update(versions, ["weaknesses", "expires_on"], batch_size=_AT_ONCE)
    for subjects in batches(one.subject for one in plan.rejudged):
        record(Action.KEY_MATERIAL_JUDGED, actor=actor, now=now, reason=reason, subjects=subjects)


def _refer_again(keys: Iterable[Key]) -> None:
    """Refer to records of this file by their numbers, which they have only now that they are written."""
    for key in keys:
        for name in _REGISTERED:
            if getattr(key, f"{name}_id") is None and (named := getattr(key, name)) is not None:
                setattr(key, name, named)
