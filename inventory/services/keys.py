"""Registering, editing and activating keys."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model
from django.db.models.functions import Coalesce

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.errors import (
    KeyMaterialError,
    LessLateError,
    ReasonMissingError,
    SecondPersonError,
    StaleError,
)
from inventory.models import Key, KeyVersion, Owner, Service, Vendor
from inventory.policy import Rule, accepted_until, judge, makes_less_late
from inventory.recognise import holds_key_material
from inventory.selectors import rules, share_clauses
from inventory.services.findings import refresh_findings
from inventory.services.relations import Relations, relations_of, with_relations, write_relations
from inventory.states import RevocationReason, State, legal

# What a person says of a key. Everything else on the record follows from these, or from a transition.
FACTS: tuple[str, ...] = (
    "name", "kind", "creator", "owner", "service", "purpose", "created_on", "last_rotated_on", "never_rotated",
    "environment", "classification", "access", "is_shared", "algorithm", "size_bits", "storage_medium",
    "storage_location", "is_exportable", "generation_method", "tenant", "integration", "secret_name", "vendor",
    "runbook_url", "labels", "notes",
)  # fmt: skip
# Said at registration and never again by one person: each of the first two moves the state when its time comes.
PERIOD: tuple[str, ...] = ("activates_at", "protect_until", "process_until")
REFERENCES: Mapping[str, str] = {
    "creator": "owner", "owner": "owner", "service": "service", "tenant": "tenant", "integration": "integration",
    "vendor": "vendor", "winning_clause": "clause",
}  # fmt: skip
DERIVED: tuple[str, ...] = (
    "rotate_by", "winning_clause", "accepted_until", "flagged_overdue_at", "next_notice_at", "revision",
)  # fmt: skip


@transaction.atomic
def register_key(
    *,
    facts: Mapping[str, Any],
    state: State = State.ACTIVE,
    relations: Relations | None = None,
    generations: int = 1,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Key:
    """Register a key that exists elsewhere in the state it has there, or in pre-activation one that is not used yet.

    `facts` holds values for names of FACTS and PERIOD. Of several `generations` it is the last that has the state, and
    those before are superseded. Events: key.registered, and those of refresh_findings().
    Raises: KeyMaterialError, IllegalTransitionError, ValidationError.
    """
    require(reason)
    check_entered({name: fact for name, fact in facts.items() if name not in PERIOD}, now)
    if facts.get("activates_at") and state != State.PRE_ACTIVATION:
        raise ValidationError({"activates_at": "It is in use already, so there is nothing to wait for."})
    key = Key(**facts, current_number=generations)
    derive(key, rules(hold=True))
    store(key)
    relations = relations or Relations()
    write_relations(key, before=Relations(), after=relations)
    version = first_version(key, state=state, now=now)
    version.number = generations
    earlier = _superseded(key, range(1, generations), now)
    event = record(
        Action.KEY_REGISTERED,
        actor=actor,
        now=now,
        reason=reason,
        subjects=[with_relations(registered(key), Relations(), relations)],
        facts={"state": state.value} | ({"generations": generations} if generations > 1 else {}),
    )
    for one in (*earlier, version):
        one.save()
    lifecycle.enter(earlier, state=State.DEACTIVATED, event=event)
    lifecycle.enter([version], state=state, event=event)
    key.state = state
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return key


@transaction.atomic
def edit_key(
    *,
    pk: int,
    changes: Mapping[str, Any],
    expected_revision: int,
    relations: Relations | None = None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Key:
    """Change facts of a key that nobody else changed since `expected_revision`, and its relations if they are given.

    Locks the key. Events: key.edited with what changed before and after, and those of refresh_findings(); none when
    nothing did.
    Raises: StaleError, LessLateError, KeyMaterialError, CycleError, ValidationError.
    """
    require(reason)
    check_entered(changes, now)
    clauses = rules(hold=True)
    # No key update: whoever makes this key a parent of theirs meanwhile only needs it to exist, and would dead-lock.
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    if key.revision != expected_revision:
        raise StaleError(key.name)
    different = differing(key, changes)
    related = Relations() if relations is None else relations_of(key)
    relating = related if relations is None else relations
    if not different and relating == related:
        return key
    before = snapshot(key)
    change_facts(key, different, clauses)
    store(key, update_fields=[*different, *DERIVED])
    write_relations(key, before=related, after=relating)
    subject = with_relations(edited(key, before), related, relating)
    record(Action.KEY_EDITED, actor=actor, now=now, reason=reason, subjects=[subject])
    no_longer_above = {pk for pk, _ in related.parents - relating.parents}
    refresh_findings(keys={key.pk, *no_longer_above}, actor=actor, now=now)
    return key


def differing(key: Key, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return of what is said of a key what the record does not say already."""
    return {name: value for name, value in said.items() if getattr(key, name) != value}


def change_facts(
    key: Key, changes: Mapping[str, Any], clauses: Sequence[Rule], *, may_be_less_late: bool = False
) -> None:
    """Set facts on a key and derive the rest; nothing is saved. Raises: LessLateError when it would get more time.

    Only what others have voted for, or are to vote on, may do that. A new owner is told what the one before was
    told.
    """
    due_before = key.rotate_by
    for name, value in changes.items():
        setattr(key, name, value)
    derive(key, clauses)
    if "owner" in changes:
        key.next_notice_at = _first_notice_at(key.accepted_until or key.rotate_by)
    if makes_less_late(due_before, key.rotate_by) and not may_be_less_late:
        raise LessLateError(key.name, _day(due_before), _day(key.rotate_by))
    key.revision += 1


def edited(key: Key, before: Mapping[str, JSON]) -> Subject:
    """Describe for the log what differs between a snapshot and the key as it has been saved."""
    after = snapshot(key)
    names = [name for name in before if before[name] != after[name]]
    return Subject(
        ref=key.ref,
        label=key.name,
        before={name: before[name] for name in names},
        after={name: after[name] for name in names},
    )


@transaction.atomic
def activate_key(*, pk: int, actor: Actor, reason: str, now: datetime) -> Key:
    """Bring a key from pre-activation into use (T4). Locks the key. Event: key.activated.

    Raises: SecondPersonError when the key is suspended, IllegalTransitionError.
    """
    share_clauses()
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    if key.state == State.SUSPENDED:
        raise SecondPersonError(key.name)  # T10 has a door of its own
    return _transition(pk, State.ACTIVE, Action.KEY_ACTIVATED, actor=actor, reason=reason, now=now)


def _transition(pk: int, to: State, action: Action, *, actor: Actor, reason: str, now: datetime) -> Key:
    require(reason)
    share_clauses()
    key = Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
    legal(State(key.state), to)
    subject = Subject(ref=key.ref, label=key.name, before={"state": key.state}, after={"state": to.value})
    event = record(action, actor=actor, now=now, reason=reason, subjects=[subject])
    lifecycle.transition(key, to=to, event=event, now=now)
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return key


def check_entered(facts: Mapping[str, Any], now: datetime) -> None:
    """Raise for what nobody may enter, before anything is worked out from it."""
    if unknown := facts.keys() - set(FACTS):
        raise ValueError(f"no facts of a key: {', '.join(sorted(unknown))}")
    for name, value in facts.items():
        if isinstance(value, str) and holds_key_material(value):
            raise KeyMaterialError(name.replace("_", " "))
    today = now.date()
    if ahead := [name for name in ("created_on", "last_rotated_on") if (facts.get(name) or today) > today]:
        raise ValidationError(dict.fromkeys(ahead, f"This lies after today, {today} (UTC)."))


def check_record(key: Key) -> None:
    """Raise ValidationError for a record that cannot be stored so, such as one of a name that is taken."""
    key.full_clean(exclude=["state"])


def store(key: Key, *, update_fields: Sequence[str] | None = None) -> None:
    """Validate and save. Raises: ValidationError; StaleError when somebody else was faster."""
    check_record(key)
    try:
        key.save(update_fields=update_fields)
    except IntegrityError as error:
        raise StaleError(key.name) from error


def derive(key: Key, clauses: Sequence[Rule]) -> None:
    """Set on the key, without saving, what follows from its facts and the exceptions to the clauses.

    A new date, or another day until which it is accepted, takes an old flag of lateness away.
    """
    verdict, accepted = judge(key.facts, clauses), accepted_until(key.facts, clauses, key.pk or 0)
    if (key.rotate_by, key.accepted_until) != (verdict.rotate_by, accepted):
        key.flagged_overdue_at = None
        key.next_notice_at = _first_notice_at(accepted or verdict.rotate_by)
    key.rotate_by, key.accepted_until = verdict.rotate_by, accepted
    key.winning_clause_id = verdict.winning.clause_id if verdict.winning and verdict.rotate_by else None


def _first_notice_at(counts_from: datetime | None) -> datetime | None:
    return counts_from and counts_from - timedelta(days=max(settings.NOTICE_DAYS))


def tell_again(owners: Sequence[Owner]) -> None:
    """Make the next run tell these owners of their keys, now that they can be told. Queries: 1, none for nobody."""
    if owners:
        first = Coalesce("accepted_until", "rotate_by") - timedelta(days=max(settings.NOTICE_DAYS))
        Key.objects.filter(owner__in=owners).update(next_notice_at=first)


def first_version(key: Key, *, state: State, now: datetime) -> KeyVersion:
    """Build, without saving, the version that a newly registered key has: the generation that is in use today."""
    since = key.last_rotated_on or key.created_on
    version = KeyVersion(key=key, number=1, generated_on=since)
    if state == State.PRE_ACTIVATION:
        return version
    version.activated_at = datetime.combine(since, time(), tzinfo=UTC) if since else now
    if state != State.ACTIVE:
        reason = RevocationReason.KEY_COMPROMISE if state == State.COMPROMISED else ""
        for name, value in lifecycle.dates(state, now=now, reason=reason).items():
            setattr(version, name, value)
    return version


def _superseded(key: Key, numbers: Iterable[int], now: datetime) -> list[KeyVersion]:
    left = lifecycle.dates(State.DEACTIVATED, now=now, reason=RevocationReason.SUPERSEDED)
    return [KeyVersion(key=key, number=number, **left) for number in numbers]


def registered(key: Key) -> Subject:
    """Describe a newly registered key for the log: all that is said of it, and what follows.

    What is left out is as on a new record, so that "no" is not taken for "nobody has said".
    """
    unsaid = snapshot(Key())
    after = {name: value for name, value in snapshot(key).items() if value != unsaid[name]}
    return Subject(ref=key.ref, label=key.name, after=after)


def snapshot(key: Key) -> dict[str, JSON]:
    """Return a saved key's facts and date of rotation as the log writes them, records by reference. No queries."""
    return {name: plain(key, name) for name in (*FACTS, *PERIOD, "rotate_by", "winning_clause")}


def plain(key: Key, name: str) -> JSON:
    """Return one fact as the log writes it: a record by reference, a date as text."""
    if name in REFERENCES:
        pk = getattr(key, f"{name}_id")
        return f"{REFERENCES[name]}:{pk}" if pk else None
    value = getattr(key, name)
    return value.isoformat() if isinstance(value, date) else cast("JSON", value)


def revived(name: str, said: JSON) -> Any:  # noqa: ANN401 - whatever the fact is
    """Return a fact as Key has it, out of what plain() made of it. Queries: 1 for a record, none else."""
    field = Key._meta.get_field(name)
    if name not in REFERENCES or said is None:
        return field.to_python(said)  # type: ignore[union-attr]
    return cast("type[Model]", field.related_model)._default_manager.get(pk=int(str(said).partition(":")[2]))


def require(reason: str) -> None:
    """Raise ReasonMissingError unless somebody said why."""
    if not reason.strip():
        raise ReasonMissingError


def require_revision(record: Owner | Service | Vendor, expected: int) -> None:
    """Refuse to change a locked record that is not the one somebody was looking at. Raises: StaleError."""
    if record.revision != expected:
        raise StaleError(str(record))


def _day(instant: datetime | None) -> str:
    return f"{instant:%-d %B %Y}" if instant else "no date at all"
