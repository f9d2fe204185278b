"""Bringing a file's rows into the inventory: first a plan to look at, then the same plan in one transaction."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import record
from inventory.asking import Asked
from inventory.errors import (
    ChangeWaitsError,
    ImportRunningError,
    LessLateError,
    PlanChangedError,
    RelationsChangedError,
    StaleError,
)
from inventory.examining import around_new
from inventory.models import Key
from inventory.policy import Rule
from inventory.reading import KeyFacts, ReadRow, Refusal
from inventory.recognise import algorithm_of, storage_of
from inventory.selectors import rules
from inventory.services.brought import AS_IT_IS, ImportOptions, read_brought
from inventory.services.digests import digest_of_public_key
from inventory.services.findings import refresh_findings
from inventory.services.headers import remember
from inventory.services.held import waiting
from inventory.services.identity import known_keys, rejudged
from inventory.services.keys import (
    change_facts,
    derive,
    differing,
    snapshot,
)
from inventory.services.mentioned import Records
from inventory.services.plan import Change, Held, Plan, Tell
from inventory.services.related import FileRelations, Relating, refuse_wrong_parents
from inventory.services.scopes import refuse_taken_scopes
from inventory.services.writing import write_plan

# Facts that a file speaks of in so many words; the others name records.
_PLAIN_FACTS = (
    "kind", "purpose", "created_on", "last_rotated_on", "never_rotated", "environment", "algorithm", "size_bits",
    "storage_medium", "storage_location", "access", "classification", "notes", "is_shared", "is_exportable",
    "generation_method", "secret_name", "runbook_url",
)  # fmt: skip
_ROWS_AT_ONCE = 1_000
_WAITS_MEND = "Import the file again when that one is decided."
_APART_MEND = "Import the relations of this key by themselves first, in a file without the other columns."


def quietly(_doing: str, _rows: int, _of: int) -> None:
    """Tell nobody how far it is."""


def plan_import(
    *, content: bytes, now: datetime, options: ImportOptions = AS_IT_IS, lock: bool = False, tell: Tell = quietly
) -> Plan:
    """Compare a file with the inventory. Nothing is written. Queries: 9, with relations up to 5 more.

    With `lock` all that an import of it writes is locked until the end of the transaction, and the clauses held still.
    Raises: TableError when the file is no table, ColumnsError when its columns are not clear, MaterialError,
    PrivateKeyError.
    """
    brought = read_brought(content, today=now.date(), options=options)
    records = Records(brought.rows, brought.people, options.left_out)
    clauses = rules(hold=lock)
    known = known_keys(brought, telling=records.people.with_mail, lock=lock)
    plan = Plan(
        related=FileRelations(brought.rows, known, records.services, lock=lock),
        brought=brought,
        options=options,
        around=around_new(now),
        digests={name: digest_of_public_key(one) for name, one in brought.digests.items()},
        refused=[*brought.refusals],
    )
    asked = waiting({key.pk: key.revision for key in known.values()}, now)
    _compare(plan, records, known, clauses, asked, tell)
    refuse_taken_scopes(plan)
    refuse_wrong_parents(plan)
    _register_with(plan, records)
    going_in = {change.key.pk for change in plan.changed} | {key.pk for key in plan.same}
    plan.rejudged = rejudged(brought, known, going_in)
    plan.refused.sort(key=lambda refusal: (refusal.row, refusal.field))
    return plan


def _compare(
    plan: Plan,
    records: Records,
    known: Mapping[str, Key],
    clauses: Sequence[Rule],
    asked: Mapping[int, Asked],
    tell: Tell,
) -> None:
    """Sort the rows, each by itself, into what is new, changed, held, the same and refused. Queries: none."""
    rows = plan.brought.rows
    for done, read in enumerate(rows):
        if done % _ROWS_AT_ONCE == 0:
            tell("compared", done, len(rows))
        said = _said(read.facts, records)
        key = known.get(read.facts.name)
        if refusal := plan.related.refused.get(read.row):
            plan.refused.append(refusal)
        elif key is None:
            key = Key(name=read.facts.name, **said)
            derive(key, clauses)
            plan.new.append((read.row, key))
        else:
            for name in _no_news(read.facts, key, is_material=read.facts.name in plan.brought.digests):
                said.pop(name, None)
            _plan_change(plan, read, key, said, clauses, asked.get(key.pk))


def _register_with(plan: Plan, records: Records) -> None:
    """Take the new records into the plan that rows name which go in, are held, or say what is known.

    Of key material, where two places may have one number, no row names any.
    """
    refused = {refusal.row for refusal in plan.refused}
    records.keep([read for read in plan.brought.rows if read.row not in refused])
    people, services = records.people, records.services
    plan.owners, plan.owners_with_mail, plan.owners_left_out = people.new, people.with_mail, people.left_out
    plan.services, plan.services_left_out = services.new, services.left_out
    plan.others = {name: records.named[name].new for name in ("vendor", "tenant", "integration")}


def _no_news(facts: KeyFacts, key: Key, *, is_material: bool) -> Iterator[str]:
    """Yield what changes nothing on a known key, such as what we only read out of a cell that says what is known."""
    if is_material and key.notes:
        yield "notes"  # what a person wrote of a certificate is worth more than what stands in it
    algorithm = facts.algorithm
    if key.size_bits is None and key.algorithm == algorithm and facts.size_bits == algorithm_of(algorithm)[1]:
        yield "size_bits"
    location = facts.storage_location
    if not key.storage_medium and key.storage_location == location and facts.storage_medium == storage_of(location)[0]:
        yield "storage_medium"


def _plan_change(
    plan: Plan,
    read: ReadRow,
    key: Key,
    said: Mapping[str, Any],
    clauses: Sequence[Rule],
    asked: Asked | None,
) -> None:
    row, known_as = read.row, read.facts.name if read.facts.name != key.name else ""
    changes, relating = differing(key, said), plan.related.changes.get(read.facts.name)
    if not changes and relating is None:
        plan.same.append(key)
        return
    if problem := _contradiction(key, changes):
        plan.refused.append(Refusal(row=row, field="last_rotated_on", problem=problem[0], mend=problem[1]))
        return
    if "last_rotated_on" in changes and key.never_rotated:
        changes["never_rotated"] = False
    before = snapshot(key)
    try:
        change_facts(key, changes, clauses)
    except LessLateError:
        held = Held(row=row, key=key, before=before, fields=tuple(changes), request=asked, known_as=known_as)
        _hold(plan, held, relating)
    else:
        fields = tuple(changes)
        plan.changed.append(
            Change(row=row, key=key, before=before, fields=fields, relating=relating, known_as=known_as)
        )


def _hold(plan: Plan, held: Held, relating: Relating | None) -> None:
    """Hold a row, or refuse it: a question is of facts alone, and a key has one question at a time."""
    if relating is not None:
        both = ", ".join((*held.fields, *relating.fields))
        problem = str(RelationsChangedError(held.key.name))
        plan.refused.append(Refusal(row=held.row, field=both, problem=problem, mend=_APART_MEND))
    elif held.request is None or held.request.parameters["changes"] == held.proposal.changes:
        plan.held.append(held)
    else:
        waits = str(ChangeWaitsError(held.key.name))
        plan.refused.append(Refusal(row=held.row, field=", ".join(held.fields), problem=waits, mend=_WAITS_MEND))


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


def _said(facts: KeyFacts, records: Records) -> dict[str, Any]:
    """Return what a row says, as values of Key. What it leaves empty it does not say: nothing is erased by a blank."""
    said = {name: getattr(facts, name) for name in _PLAIN_FACTS} | records.find(facts)
    if not facts.never_rotated:
        del said["never_rotated"]
    return {name: value for name, value in said.items() if value not in (None, "")}


@transaction.atomic
def apply_import(
    *,
    content: bytes,
    file_name: str,
    actor: Actor,
    reason: str,
    now: datetime,
    options: ImportOptions = AS_IT_IS,
    expected_digest: str | None = None,
    tell: Tell = quietly,
) -> Plan:
    """Plan once more and write it all, or nothing.

    One import at a time; it locks owners that it gives an address, then keys, then waits for its turn to make keys
    parents. `expected_digest` is that of the plan which somebody saw and confirmed. What a person said of headers is
    remembered. Events: owner.registered, owner.edited, service.registered, vendor.registered, tenant.registered,
    integration.registered, key.imported, key.edited, key.material_judged, each for up to 1,000 records; those of
    hold_rows() and refresh_findings(); and one inventory.imported. A file that brings nothing leaves only the last.
    Raises: TableError, ColumnsError, MaterialError, PrivateKeyError, ImportRunningError, PlanChangedError; StaleError
    when somebody registers the same meanwhile.
    """
    _one_at_a_time()
    plan = plan_import(content=content, now=now, options=options, lock=True, tell=tell)
    if expected_digest not in {None, plan.digest}:
        raise PlanChangedError
    try:
        write_plan(plan, actor=actor, reason=reason, now=now, tell=tell)
        touched = {key.pk for key in plan.written} | plan.related.no_longer_above
        touched |= {one.version.key_id for one in plan.rejudged}
        refresh_findings(keys=touched, actor=actor, now=now)
    except IntegrityError as error:
        raise StaleError("The inventory") from error
    if wish := actor.on_behalf_of or (actor.id if actor.kind == "person" else ""):
        remember(options.mapping, by=wish, now=now)
    facts: dict[str, JSON] = {
        "file": file_name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "new": len(plan.new),
        "changed": len(plan.changed),
        "unchanged": plan.unchanged,
        "refused": plan.refused_rows,
    }
    if plan.held:
        facts["held"] = len(plan.held)
    if plan.rejudged:
        facts["judged_again"] = len(plan.rejudged)
    record(Action.INVENTORY_IMPORTED, actor=actor, now=now, reason=reason, facts=facts | options.said)
    return plan


def _one_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('inventory.import'))")
        (is_ours,) = cursor.fetchone()
    if not is_ours:
        raise ImportRunningError
