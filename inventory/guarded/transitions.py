"""Changes of a key's state, and of its period of use, that one person must not make.

Each is called with the key locked or lockable, clauses first, in the transaction in which a request is carried out; the
database looks the request up again before it writes (migration 0017). A compromise that takes nothing out of use is
the exception: one person reports it, at once.
"""

from collections.abc import Mapping
from datetime import date, datetime

from django.db import connection, transaction
from django.db.models import QuerySet

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.errors import (
    DatesError,
    IllegalTransitionError,
    KeyMaterialError,
    NotRevocableError,
    PeriodOverError,
    StillWrapsError,
)
from inventory.guarded.deks import destroy_with_key
from inventory.models import Key
from inventory.permits import Permit
from inventory.recognise import holds_key_material
from inventory.selectors import DESTROYED_STATES, share_clauses
from inventory.services.findings import refresh_findings
from inventory.services.keys import PERIOD, check_record, edited, require, snapshot
from inventory.services.relations import take_turns
from inventory.states import RevocationReason, State, legal, targets
from inventory.terms import KeyKind, Relation

COMPROMISES = (RevocationReason.KEY_COMPROMISE, RevocationReason.CA_COMPROMISE)
IN_USE = (State.ACTIVE, State.SUSPENDED)
NAMED_BELOW = 5

# What the destruction of a key does not reach, and no page may claim.
NOT_REACHED = (
    "Copies of the key in backups of where it was kept, and with whoever has read it, are not reached.",
    "What it protected stays where it is.",
)
NOT_REACHED_OF_DEK = (
    "Its wrapped bytes may live on in dead rows, the write-ahead log and backups of the database until the version of "
    "the key-encrypting key that wrapped it is destroyed."
)


def revoked_state(reason_code: str) -> State:
    """Return the state that a revocation leads to: only a compromise makes a key compromised. Raises: ValueError."""
    return State.COMPROMISED if RevocationReason(reason_code) in COMPROMISES else State.DEACTIVATED


def check_revocable(key: Key, reason_code: str) -> State:
    """Return what the key becomes by T6, T8, T11 or T12. Raises: NotRevocableError."""
    if key.state not in IN_USE:
        raise NotRevocableError(key.name, key.state)
    return revoked_state(reason_code)


@transaction.atomic
def revoke_key(*, pk: int, reason_code: str, permit: Permit, actor: Actor, reason: str, now: datetime) -> Key:
    """Revoke a key that is in use, for a reason of RFC 5280 §5.3.1. Locks the key.

    Events: key.compromised for a compromise (T6, T11), key.deactivated else (T8, T12). Raises: NotRevocableError.
    """
    key = _locked(pk)
    to = check_revocable(key, reason_code)
    action = Action.KEY_COMPROMISED if to == State.COMPROMISED else Action.KEY_DEACTIVATED
    return _move(key, to, action, revoked_for=reason_code, facts=permit.facts, actor=actor, reason=reason, now=now)


def check_reactivable(key: Key, now: datetime) -> None:
    """Refuse what cannot come back into use, or would not stay there.

    Raises: IllegalTransitionError, PeriodOverError.
    """
    if key.state != State.SUSPENDED:  # a key that is not in use yet is activated, by one person
        source = State(key.state)
        raise IllegalTransitionError(source=source, target=State.ACTIVE, allowed=targets(source))
    if key.protect_until and key.protect_until <= now:
        raise PeriodOverError(key.name)


@transaction.atomic
def reactivate_key(*, pk: int, permit: Permit, actor: Actor, reason: str, now: datetime) -> Key:
    """Take a suspended key back into use (T10). Locks the key. Event: key.reactivated.

    Raises: IllegalTransitionError, PeriodOverError.
    """
    key = _locked(pk)
    check_reactivable(key, now)
    return _move(key, State.ACTIVE, Action.KEY_REACTIVATED, facts=permit.facts, actor=actor, reason=reason, now=now)


def check_destroyable(key: Key, words: Mapping[str, str], destroyed_on: date, now: datetime) -> None:
    """Refuse what cannot be destroyed now, or is not said to be in words that may be kept. Queries: 2.

    Raises: IllegalTransitionError, StillWrapsError, DatesError, KeyMaterialError.
    """
    legal(State(key.state), State.DESTROYED)
    for what, text in words.items():
        if holds_key_material(text):
            raise KeyMaterialError(what)
    if destroyed_on > now.date():
        raise DatesError(
            f"{destroyed_on} lies ahead (UTC): say the day on which it was destroyed, today at the latest."
        )
    if key.created_on and destroyed_on < key.created_on:
        raise DatesError(f"{key.name} was created on {key.created_on}, so it was not destroyed before.")
    below = wrapped_by(key.pk).values_list("name", flat=True)
    if named := list(below[:NAMED_BELOW]):
        raise StillWrapsError(key.name, named, below.count())


def wrapped_by(pk: int) -> QuerySet[Key]:
    """Return the keys that it wraps and that are not destroyed, by name."""
    links = {"parent_links__parent": pk, "parent_links__relation": Relation.WRAPPED_BY}
    return Key.objects.filter(**links).exclude(state__in=DESTROYED_STATES).order_by("name")


def not_reached(key: Key) -> list[str]:
    """Say what destroying a key that has protected something (T14, T15) does not reach."""
    if key.state not in {State.DEACTIVATED, State.COMPROMISED}:
        return []
    return [*NOT_REACHED, *([NOT_REACHED_OF_DEK] if key.kind == KeyKind.DEK else [])]


@transaction.atomic
def destroy_key(
    *,
    pk: int,
    destroyed_on: date,
    method: str,
    evidence: str,
    permit: Permit,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Key:
    """Record that a key's material is gone (T2, T5, T9, T14, T15). Locks the key. Event: key.destroyed.

    `method` says how it was destroyed, `evidence` who saw it or what shows it; both are kept in the event, with what is
    not reached. Of a DEK, all versions go, and what is wrapped of them here. Raises: IllegalTransitionError,
    StillWrapsError, DatesError, KeyMaterialError.
    """
    key = _locked(pk)
    take_turns()  # nobody puts a key under it between the look and the end
    check_destroyable(key, {"method": method, "evidence": evidence}, destroyed_on, now)
    facts: dict[str, JSON] = {"destroyed_on": destroyed_on, "method": method, "evidence": evidence}
    facts["not_reached"] = not_reached(key)
    if key.kind == KeyKind.DEK:
        destroy_with_key(key, facts=permit.facts, actor=actor, reason=reason, now=now)
    return _move(
        key, State.DESTROYED, Action.KEY_DESTROYED, facts=facts | permit.facts, actor=actor, reason=reason, now=now
    )


def check_dates(key: Key, dates: Mapping[str, datetime | None], now: datetime) -> None:
    """Set the dates on the key, unsaved, or refuse them. Queries: those of the validation.

    Raises: DatesError; ValidationError for an order in which they cannot be.
    """
    if unknown := dates.keys() - set(PERIOD):
        raise ValueError(f"no dates of a key: {', '.join(sorted(unknown))}")
    changed = {name: at for name, at in dates.items() if getattr(key, name) != at}
    if not changed:
        raise DatesError(f"These are the dates that {key.name} has already.")
    _refuse_moot(key, changed)
    words = {name: str(Key._meta.get_field(name).verbose_name) for name in changed}  # type: ignore[union-attr]
    if behind := sorted(words[name] for name, at in changed.items() if at and at <= now):
        raise DatesError(f"“{behind[0].capitalize()}” lies behind. To end its use now, ask to revoke it.")
    for name, at in changed.items():
        setattr(key, name, at)
    check_record(key)


def _refuse_moot(key: Key, changed: Mapping[str, datetime | None]) -> None:
    state = State(key.state)
    if state in DESTROYED_STATES:
        raise DatesError(f"{key.name} is destroyed. Nothing begins or ends for it any more.")
    if "activates_at" in changed and state != State.PRE_ACTIVATION:
        raise DatesError(f"{key.name} has come into use already, so there is nothing to wait for.")
    if "protect_until" in changed and state not in {State.PRE_ACTIVATION, *IN_USE}:
        raise DatesError(f"{key.name} protects nothing new any more, so no date can end that.")


@transaction.atomic
def set_dates(
    *, pk: int, dates: Mapping[str, datetime | None], permit: Permit, actor: Actor, reason: str, now: datetime
) -> Key:
    """Change dates of a key's period of use; None takes one away. Locks the key. Event: key.dates_changed.

    The database writes what the event says. Raises: DatesError, ValidationError.
    """
    require(reason)
    key = _locked(pk)
    before = snapshot(key)
    check_dates(key, dates, now)
    key.revision += 1
    key.save(update_fields=["revision"])
    subject = edited(key, before)
    event = record(
        Action.KEY_DATES_CHANGED, actor=actor, now=now, reason=reason, subjects=[subject], facts=permit.facts
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT inventory_set_dates(%s)", [event])
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return key


@transaction.atomic
def compromise_at_once(
    *, pk: int, actor: Actor, reason: str, now: datetime, facts: Mapping[str, JSON] | None = None
) -> Key:
    """Note the compromise of a key that is not in use (T3, T13, A16): one person may. Locks the key.

    A key in use is suspended at once instead, and revoked by votes. `facts` go into the event: key.compromised.
    Raises: IllegalTransitionError.
    """
    key = _locked(pk)
    is_gone = key.state in DESTROYED_STATES
    to = State.DESTROYED_COMPROMISED if is_gone else State.COMPROMISED
    if key.state in IN_USE:
        raise IllegalTransitionError(source=State(key.state), target=to, allowed=[State.SUSPENDED])
    why = "" if is_gone else RevocationReason.KEY_COMPROMISE.value
    return _move(
        key, to, Action.KEY_COMPROMISED, revoked_for=why, facts=facts or {}, actor=actor, reason=reason, now=now
    )


def _locked(pk: int) -> Key:
    share_clauses()
    return Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)


def _move(
    key: Key,
    to: State,
    action: Action,
    *,
    revoked_for: str = "",
    facts: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> Key:
    require(reason)
    legal(State(key.state), to)
    after: dict[str, JSON] = {"state": to.value}
    if revoked_for:
        after["revocation_reason"] = revoked_for
    subject = Subject(ref=key.ref, label=key.name, before={"state": key.state}, after=after)
    event = record(action, actor=actor, now=now, reason=reason, subjects=[subject], facts=facts)
    lifecycle.transition(key, to=to, event=event, now=now, reason=revoked_for)
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return key
