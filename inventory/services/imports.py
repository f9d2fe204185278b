"""Bringing a file's rows into the inventory: first a plan that can be looked at, then the same plan in one transaction."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import MAX_SUBJECTS, Subject, record
from inventory import lifecycle
from inventory.errors import LessLateError
from inventory.findings import findings
from inventory.models import Key, KeyVersion, Owner, Service
from inventory.models.owner import OwnerKind
from inventory.policy import Rule
from inventory.reading import KeyFacts, PersonRef, ReadRow, Refusal, read_inventory
from inventory.recognise import merge_people
from inventory.selectors import rules
from inventory.services.keys import (
    DERIVED,
    change_facts,
    derive,
    differing,
    edited,
    first_version,
    registered,
    snapshot,
)
from inventory.services.owners import owner_subject, service_subject
from inventory.states import State

# Facts that a file speaks of in so many words; the three others name records.
_PLAIN_FACTS = (
    "kind", "purpose", "created_on", "last_rotated_on", "never_rotated", "environment", "algorithm", "size_bits",
    "storage_medium", "storage_location", "access", "classification", "notes",
)  # fmt: skip
_LESS_LATE_MEND = "Leave the record as it is until a second person can confirm it."
_TEAM_WORDS = ("team", "oncall", "on-call", "squad", "group")
Item = TypeVar("Item")


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
        return sum(len(findings(key)) for key in keys)

    @property
    def summary(self) -> str:
        return (
            f"{len(self.new)} new, {len(self.changed)} changed, {self.unchanged} unchanged, {self.refused_rows} refused"
        )

    @property
    def digest(self) -> str:
        """Return a SHA-256 over what would be written, so that a confirmation can tell that the plan is still the one shown."""
        lines = [f"new {row} {key.name} {key.rotate_by}" for row, key in self.new]
        lines += [f"changed {change.row} {_values(change)}" for change in self.changed]
        lines += [f"refused {refusal.row} {refusal.field} {refusal.problem}" for refusal in self.refused]
        lines += [f"owner {owner.handle} {owner.mail}" for owner in self.owners + self.owners_with_mail]
        lines += [f"service {service.name}" for service in self.services]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def plan_import(*, content: bytes, now: datetime, lock: bool = False) -> Plan:
    """Compare a file with the inventory. Nothing is written. Queries: 5. Raises: TableError when the file is no table.

    With `lock` the keys that it names are locked until the end of the transaction.
    """
    reading = read_inventory(
        content, today=now.date(), max_bytes=settings.IMPORT_MAX_BYTES, max_rows=settings.IMPORT_MAX_ROWS
    )
    plan = Plan(columns=reading.columns, ignored=reading.ignored, unchanged=len(reading.repeated))
    plan.refused.extend(reading.refusals)
    people = _People(reading.rows, plan)
    services = _Services(reading.rows, plan)
    known = _known_keys({read.facts.name for read in reading.rows}, lock=lock)
    clauses = rules()
    for read in reading.rows:
        said = _said(read.facts, people, services)
        key = known.get(read.facts.name)
        if key is None:
            key = Key(name=read.facts.name, **said)
            derive(key, clauses, now=now)
            plan.new.append((read.row, key))
        else:
            _plan_change(plan, read.row, key, said, clauses, now)
    plan.refused.sort(key=lambda refusal: (refusal.row, refusal.field))
    return plan


def _known_keys(names: set[str], *, lock: bool) -> dict[str, Key]:
    keys = Key.objects.select_related("owner", "creator", "service").filter(name__in=names).order_by("pk")
    return {key.name: key for key in (keys.select_for_update(of=("self",)) if lock else keys)}


def _plan_change(
    plan: Plan, row: int, key: Key, said: Mapping[str, Any], clauses: Sequence[Rule], now: datetime
) -> None:
    changes = differing(key, said)
    if not changes:
        plan.unchanged += 1
        return
    before = snapshot(key)
    if "last_rotated_on" in changes and key.never_rotated:
        changes["never_rotated"] = False
    problem = _contradiction(key, changes)
    try:
        change_facts(key, changes, clauses, now=now)
    except LessLateError as error:
        problem = Refusal(row=row, field=", ".join(changes), problem=str(error), mend=_LESS_LATE_MEND)
    if problem:
        plan.refused.append(replace(problem, row=row))
    else:
        plan.changed.append(Change(row=row, key=key, before=before, fields=tuple(changes)))


def _contradiction(key: Key, changes: Mapping[str, Any]) -> Refusal | None:
    """Return what a row says against the record that cannot be true together with it."""
    created = changes.get("created_on", key.created_on)
    rotated = changes.get("last_rotated_on", key.last_rotated_on)
    if changes.get("never_rotated") and key.last_rotated_on:
        problem = f"says never, but the record has a rotation on {key.last_rotated_on}"
        return Refusal(row=0, field="last_rotated_on", problem=problem, mend="Enter the date of the last rotation.")
    if created and rotated and rotated < created:
        problem = f"last rotated {rotated} lies before creation {created}"
        return Refusal(row=0, field="last_rotated_on", problem=problem, mend="Correct the date that is wrong.")
    return None


def _said(facts: KeyFacts, people: "_People", services: "_Services") -> dict[str, Any]:
    """Return what a row says, as values of Key. What it leaves empty it does not say: nothing is erased by a blank."""
    said = {name: getattr(facts, name) for name in _PLAIN_FACTS}
    said |= {
        "creator": people.find(facts.creator),
        "owner": people.find(facts.owner),
        "service": services.find(facts.service),
    }
    return {name: value for name, value in said.items() if value not in (None, "", False)}


class _People:
    """The owners that a file names: known ones, and those to be registered with it. Queries: 1."""

    def __init__(self, rows: Iterable[ReadRow], plan: Plan) -> None:
        refs = {ref for read in rows for ref in (read.facts.creator, read.facts.owner) if ref}
        handles, mails = {ref.handle for ref in refs}, {ref.mail for ref in refs if ref.mail}
        stored = Owner.objects.filter(Q(handle__in=handles) | Q(mail__in=mails))
        self._by_handle = {owner.handle: owner for owner in stored}
        self._by_mail = {owner.mail: owner for owner in stored if owner.mail}
        known = {owner.handle: {owner.mail} if owner.mail else set() for owner in stored}
        self._merged = merge_people(refs, known)
        self._plan = plan
        for ref in sorted(set(self._merged.values()), key=lambda one: (one.handle, one.mail)):
            self._place(ref)

    def _place(self, ref: PersonRef) -> None:
        owner = self._by_mail.get(ref.mail) or self._by_handle.get(ref.handle)
        if owner is None or (ref.mail and owner.mail and owner.mail != ref.mail):
            taken = ref.handle in self._by_handle
            owner = Owner(handle=ref.mail if taken else ref.handle, mail=ref.mail, kind=_kind_of(ref.handle))
            self._plan.owners.append(owner)
        elif ref.mail and not owner.mail:
            owner.mail = ref.mail
            self._plan.owners_with_mail.append(owner)
        self._by_handle.setdefault(owner.handle, owner)
        if owner.mail:
            self._by_mail[owner.mail] = owner

    def find(self, ref: PersonRef | None) -> Owner | None:
        if ref is None:
            return None
        merged = self._merged[ref]
        return self._by_mail.get(merged.mail) or self._by_handle[merged.handle]


def _values(change: Change) -> list[str]:
    return [f"{name}={getattr(change.key, name)}" for name in change.fields]


def _kind_of(handle: str) -> str:
    return OwnerKind.TEAM if any(word in handle for word in _TEAM_WORDS) else OwnerKind.PERSON


class _Services:
    """The services that a file names. Queries: 1."""

    def __init__(self, rows: Iterable[ReadRow], plan: Plan) -> None:
        names = {read.facts.service for read in rows if read.facts.service}
        self._by_name = {service.name: service for service in Service.objects.filter(name__in=names)}
        for name in sorted(names - self._by_name.keys()):
            self._by_name[name] = Service(name=name)
            plan.services.append(self._by_name[name])

    def find(self, name: str) -> Service | None:
        return self._by_name[name] if name else None


@transaction.atomic
def apply_import(*, content: bytes, file_name: str, actor: Actor, reason: str, now: datetime) -> Plan:
    """Plan once more and write it all, or nothing.

    One import at a time (advisory lock); the keys that change are locked. Events: owner.registered, service.registered,
    key.imported, key.edited, each for up to 1,000 records, and one inventory.imported. A file that brings nothing
    leaves only the last. Raises: TableError.
    """
    _one_at_a_time()
    plan = plan_import(content=content, now=now, lock=True)
    _write_owners(plan, actor, now)
    _write_services(plan, actor, now)
    _write_new(plan, actor, reason, now)
    _write_changed(plan, actor, reason, now)
    facts = {
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
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('inventory.import'))")


def _write_owners(plan: Plan, actor: Actor, now: datetime) -> None:
    Owner.objects.bulk_create(plan.owners)
    for chunk in _chunks(plan.owners):
        record(Action.OWNER_REGISTERED, actor=actor, now=now, subjects=[owner_subject(owner) for owner in chunk])
    Owner.objects.bulk_update(plan.owners_with_mail, ["mail"])
    for chunk in _chunks(plan.owners_with_mail):
        subjects = [Subject(ref=owner.ref, before={"has_mail": False}, after={"has_mail": True}) for owner in chunk]
        record(Action.OWNER_EDITED, actor=actor, now=now, subjects=subjects)


def _write_services(plan: Plan, actor: Actor, now: datetime) -> None:
    Service.objects.bulk_create(plan.services)
    for chunk in _chunks(plan.services):
        record(Action.SERVICE_REGISTERED, actor=actor, now=now, subjects=[service_subject(one) for one in chunk])


def _write_new(plan: Plan, actor: Actor, reason: str, now: datetime) -> None:
    for chunk in _chunks([key for _, key in plan.new]):
        Key.objects.bulk_create(chunk)
        versions = KeyVersion.objects.bulk_create([first_version(key, state=State.ACTIVE, now=now) for key in chunk])
        event = record(
            Action.KEY_IMPORTED,
            actor=actor,
            now=now,
            reason=reason,
            subjects=[registered(key) for key in chunk],
            facts={"state": State.ACTIVE.value},
        )
        lifecycle.enter(versions, state=State.ACTIVE, event=event)


def _write_changed(plan: Plan, actor: Actor, reason: str, now: datetime) -> None:
    for change in plan.changed:
        change.key.save(update_fields=[*change.fields, *DERIVED])
    for chunk in _chunks([edited(change.key, change.before) for change in plan.changed]):
        record(Action.KEY_EDITED, actor=actor, now=now, reason=reason, subjects=chunk)


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, MAX_SUBJECTS)):
        yield chunk
