"""Bringing a file's rows into the inventory: first a plan to look at, then the same plan in one transaction."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.errors import ImportRunningError, LessLateError, PlanChangedError, StaleError
from inventory.examining import table
from inventory.findings import Surroundings, findings
from inventory.models import Key, KeyVersion, Owner, Service
from inventory.policy import Rule
from inventory.reading import KeyFacts, PersonRef, ReadRow, Refusal, read_inventory
from inventory.selectors import rules
from inventory.services.findings import refresh_findings
from inventory.services.keys import (
    DERIVED,
    change_facts,
    derive,
    differing,
    edited,
    first_version,
    registered,
    snapshot,
    tell_again,
)
from inventory.services.mentioned import People, Services
from inventory.services.owners import owner_subject, service_subject
from inventory.states import State

# Facts that a file speaks of in so many words; the three others name records.
_PLAIN_FACTS = (
    "kind", "purpose", "created_on", "last_rotated_on", "never_rotated", "environment", "algorithm", "size_bits",
    "storage_medium", "storage_location", "access", "classification", "notes",
)  # fmt: skip
_ROWS_AT_ONCE = 1_000
_LESS_LATE_MEND = "Leave the record as it is until a second person can confirm it."


@dataclass(frozen=True, kw_only=True)
class Change:
    """A row that says something else than the record of the same name."""

    row: int
    key: Key  # with the new values set, not saved
    before: Mapping[str, JSON]  # a snapshot
    fields: tuple[str, ...]


@dataclass(kw_only=True)
class Plan:
    """What an import would do, nothing of it done yet."""

    around: Surroundings  # of a key that is not registered yet, at the time of the plan
    new: list[tuple[int, Key]] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    unchanged: int = 0
    refused: list[Refusal] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)  # to be registered with it
    owners_with_mail: list[Owner] = field(default_factory=list)  # known ones whose address the file gives
    services: list[Service] = field(default_factory=list)
    columns: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()

    @property
    def refused_rows(self) -> int:
        return len({refusal.row for refusal in self.refused})

    @property
    def findings(self) -> int:
        """Return how many findings the new and changed records will have."""
        keys = [key for _, key in self.new] + [change.key for change in self.changed]
        return sum(len(findings(key, self.around)) for key in keys)

    @property
    def summary(self) -> str:
        return (
            f"{len(self.new)} new, {len(self.changed)} changed, {self.unchanged} unchanged, {self.refused_rows} refused"
        )

    @property
    def digest(self) -> str:
        """Return a SHA-256 over what would be written, by which a confirmation tells that the plan is the one shown."""
        written: list[object] = [(row, key.name, key.rotate_by) for row, key in self.new]
        written += [(change.row, change.key.revision, change.key.rotate_by, _values(change)) for change in self.changed]
        written += self.refused
        written += [(owner.handle, owner.mail) for owner in self.owners + self.owners_with_mail]
        written += [service.name for service in self.services]
        return hashlib.sha256("\n".join(map(repr, written)).encode()).hexdigest()


def plan_import(*, content: bytes, now: datetime, lock: bool = False) -> Plan:
    """Compare a file with the inventory. Nothing is written. Queries: 6. Raises: TableError when the file is no table.

    With `lock` the keys that it names are locked until the end of the transaction.
    """
    reading = read_inventory(
        content, today=now.date(), max_bytes=settings.IMPORT_MAX_BYTES, max_rows=settings.IMPORT_MAX_ROWS
    )
    around = Surroundings(now=now, table=table())
    plan = Plan(around=around, columns=reading.columns, ignored=reading.ignored, unchanged=len(reading.repeated))
    plan.refused.extend(reading.refusals)
    people = People(reading.people, _people_of(reading.rows))
    services = Services(read.facts.service for read in reading.rows)
    plan.owners, plan.owners_with_mail, plan.services = people.new, people.with_mail, services.new
    known = _known_keys({read.facts.name for read in reading.rows}, lock=lock)
    clauses = rules()
    for read in reading.rows:
        said = _said(read.facts, people, services)
        key = known.get(read.facts.name)
        if key is None:
            key = Key(name=read.facts.name, **said)
            derive(key, clauses)
            plan.new.append((read.row, key))
        else:
            _plan_change(plan, read.row, key, said, clauses)
    plan.refused.sort(key=lambda refusal: (refusal.row, refusal.field))
    return plan


def _known_keys(names: set[str], *, lock: bool) -> dict[str, Key]:
    keys = Key.objects.select_related("owner", "creator", "service").filter(name__in=names).order_by("pk")
    return {key.name: key for key in (keys.select_for_update(of=("self",), no_key=True) if lock else keys)}


def _people_of(rows: Sequence[ReadRow]) -> set[PersonRef]:
    return {ref for read in rows for ref in (read.facts.creator, read.facts.owner) if ref}


def _plan_change(plan: Plan, row: int, key: Key, said: Mapping[str, Any], clauses: Sequence[Rule]) -> None:
    changes = differing(key, said)
    if not changes:
        plan.unchanged += 1
        return
    if problem := _contradiction(key, changes):
        plan.refused.append(Refusal(row=row, field="last_rotated_on", problem=problem[0], mend=problem[1]))
        return
    if "last_rotated_on" in changes and key.never_rotated:
        changes["never_rotated"] = False
    before = snapshot(key)
    try:
        change_facts(key, changes, clauses)
    except LessLateError as error:
        plan.refused.append(Refusal(row=row, field=", ".join(changes), problem=str(error), mend=_LESS_LATE_MEND))
    else:
        plan.changed.append(Change(row=row, key=key, before=before, fields=tuple(changes)))


def _contradiction(key: Key, changes: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what a row says of dates that cannot be true together with the record, and how to mend it."""
    created = changes.get("created_on", key.created_on)
    rotated = changes.get("last_rotated_on", key.last_rotated_on)
    if changes.get("never_rotated") and key.last_rotated_on:
        problem = f"The row says that the key was never rotated; the record has a rotation on {key.last_rotated_on}."
        return problem, "Enter the date of the last rotation."
    if created and rotated and rotated < created:
        problem = (
            f"Together with the record, the key was last rotated on {rotated}, before it was created on {created}."
        )
        return problem, "Correct the date that is wrong."
    return None


def _said(facts: KeyFacts, people: People, services: Services) -> dict[str, Any]:
    """Return what a row says, as values of Key. What it leaves empty it does not say: nothing is erased by a blank."""
    said = {name: getattr(facts, name) for name in _PLAIN_FACTS}
    said |= {
        "creator": people.find(facts.creator),
        "owner": people.find(facts.owner),
        "service": services.find(facts.service),
    }
    return {name: value for name, value in said.items() if value not in (None, "", False)}


def _values(change: Change) -> list[str]:
    return [f"{name}={getattr(change.key, name)}" for name in change.fields]


@transaction.atomic
def apply_import(
    *, content: bytes, file_name: str, actor: Actor, reason: str, now: datetime, expected_digest: str | None = None
) -> Plan:
    """Plan once more and write it all, or nothing.

    One import at a time; the keys that change are locked. `expected_digest` is that of the plan which somebody saw and
    confirmed. Events: owner.registered, owner.edited, service.registered, key.imported, key.edited, each for up to
    1,000 records, those of refresh_findings(), and one inventory.imported, all that a file without news leaves.
    Raises: TableError, ImportRunningError, PlanChangedError; StaleError when somebody registers the same meanwhile.
    """
    _one_at_a_time()
    plan = plan_import(content=content, now=now, lock=True)
    if expected_digest not in {None, plan.digest}:
        raise PlanChangedError
    try:
        _write(plan, actor, reason, now)
    except IntegrityError as error:
        raise StaleError("The inventory") from error
    facts: dict[str, JSON] = {
        "file": file_name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "new": len(plan.new),
        "changed": len(plan.changed),
        "unchanged": plan.unchanged,
        "refused": plan.refused_rows,
    }
    record(Action.INVENTORY_IMPORTED, actor=actor, now=now, reason=reason, facts=facts)
    return plan


def _one_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('inventory.import'))")
        (is_ours,) = cursor.fetchone()
    if not is_ours:
        raise ImportRunningError


def _write(plan: Plan, actor: Actor, reason: str, now: datetime) -> None:
    _write_owners(plan, actor, now)
    _write_services(plan, actor, now)
    _write_new(plan, actor, reason, now)
    _write_changed(plan, actor, reason, now)
    keys = [key for _, key in plan.new] + [change.key for change in plan.changed]
    refresh_findings(keys=[key.pk for key in keys], actor=actor, now=now)


def _write_owners(plan: Plan, actor: Actor, now: datetime) -> None:
    Owner.objects.bulk_create(plan.owners)
    for subjects in batches(owner_subject(owner) for owner in plan.owners):
        record(Action.OWNER_REGISTERED, actor=actor, now=now, subjects=subjects)
    Owner.objects.bulk_update(plan.owners_with_mail, ["mail"])
    tell_again(plan.owners_with_mail)
    for subjects in batches(_given_mail(owner) for owner in plan.owners_with_mail):
        record(Action.OWNER_EDITED, actor=actor, now=now, subjects=subjects)


def _given_mail(owner: Owner) -> Subject:
    return Subject(ref=owner.ref, before={"has_mail": False}, after={"has_mail": True})


def _write_services(plan: Plan, actor: Actor, now: datetime) -> None:
    Service.objects.bulk_create(plan.services)
    for subjects in batches(service_subject(service) for service in plan.services):
        record(Action.SERVICE_REGISTERED, actor=actor, now=now, subjects=subjects)


def _write_new(plan: Plan, actor: Actor, reason: str, now: datetime) -> None:
    keys = [key for _, key in plan.new]
    Key.objects.bulk_create(keys, batch_size=_ROWS_AT_ONCE)
    versions = [first_version(key, state=State.ACTIVE, now=now) for key in keys]
    of_key = {
        version.key.ref: version for version in KeyVersion.objects.bulk_create(versions, batch_size=_ROWS_AT_ONCE)
    }
    for subjects in batches(registered(key) for key in keys):
        event = record(
            Action.KEY_IMPORTED,
            actor=actor,
            now=now,
            reason=reason,
            subjects=subjects,
            facts={"state": State.ACTIVE.value},
        )
        lifecycle.enter([of_key[subject.ref] for subject in subjects], state=State.ACTIVE, event=event)


def _write_changed(plan: Plan, actor: Actor, reason: str, now: datetime) -> None:
    for change in plan.changed:
        change.key.save(update_fields=[*change.fields, *DERIVED])
    for subjects in batches(edited(change.key, change.before) for change in plan.changed):
        record(Action.KEY_EDITED, actor=actor, now=now, reason=reason, subjects=subjects)
