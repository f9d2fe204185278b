"""What an order that was voted for does to the records of a KEK, once its key store was seen to have done it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Outcome, Subject, record
from inventory import lifecycle
from inventory.census import needs
from inventory.errors import NoSuchVersionError, PrimaryVersionError, StillNeededError
from inventory.models import Kek, KekVersion, Key, KeyVersion
from inventory.selectors import DESTROYED_STATES, rules, share_clauses
from inventory.services.findings import refresh_findings
from inventory.services.keys import DERIVED, change_facts, edited, register_key, require, snapshot, store
from inventory.states import State
from inventory.terms import StoreStatus


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One version as its store shows it."""

    store_id: str
    status: StoreStatus = StoreStatus.ENABLED
    scheduled_for: datetime | None = None


class How(TypedDict):
    """What each of these services wants to know besides what it does."""

    told: Mapping[str, JSON]
    actor: Actor
    reason: str
    now: datetime


@dataclass(frozen=True, kw_only=True)
class Voted:
    """By which request it is done, by which order, and who does it when: what every event of it says."""

    told: Mapping[str, JSON]  # of the permit, and the order
    actor: Actor
    reason: str
    now: datetime

    @property
    def how(self) -> How:
        return {"told": self.told, "actor": self.actor, "reason": self.reason, "now": self.now}

    def tell(
        self,
        action: Action,
        subjects: Sequence[Subject],
        facts: Mapping[str, JSON] | None = None,
        outcome: Outcome = Outcome.DONE,
    ) -> Any:  # noqa: ANN401 - the id of the event
        return record(
            action,
            actor=self.actor,
            now=self.now,
            reason=self.reason,
            subjects=subjects,
            facts={**(facts or {}), **self.told},
            outcome=outcome,
        )


@transaction.atomic
def register_kek(  # noqa: PLR0913 - a KEK has these
    *,
    facts: Mapping[str, Any],
    uri: str,
    algorithm: str,
    generations: Sequence[Generation],
    canary: bytes,
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> Kek:
    """Register a KEK that its store has: the key with its facts, and a version for each that the store shows.

    The last one of `generations` is the primary; `canary` is wrapped under it. Events: key.registered, kek.linked, and
    those of refresh_findings(). Raises: as register_key().
    """
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    key = register_key(facts=facts, generations=len(generations), actor=voted.actor, reason=voted.reason, now=voted.now)
    return settle(key, uri=uri, algorithm=algorithm, generations=generations, canary=canary, voted=voted)


def settle(
    key: Key, *, uri: str, algorithm: str, generations: Sequence[Generation], canary: bytes, voted: Voted
) -> Kek:
    """Link a key to its store, in the caller's transaction: the newest of `generations` is its current version.

    Those before are the versions before it. Event: kek.linked.
    """
    kek = Kek(key=key, uri=uri, algorithm=algorithm, newest_seen=generations[-1].store_id, looked_at=voted.now)
    kek.full_clean(exclude=["key", "primary"])
    kek.save(force_insert=True)
    numbers = dict(KeyVersion.objects.filter(key=key).values_list("number", "pk"))
    for number, one in enumerate(generations, key.current_number - len(generations) + 1):
        is_last = number == key.current_number
        version = KekVersion(
            version_id=numbers[number],
            kek=kek,
            store_id=one.store_id,
            status=one.status,
            status_at=voted.now,
            scheduled_for=one.scheduled_for,
            closed_at=None if one.status == StoreStatus.ENABLED or is_last else voted.now,
            canary=canary if is_last else None,
        )
        version.save(force_insert=True)
    kek.primary_id = numbers[key.current_number]
    kek.save(update_fields=["primary"])
    linked: dict[str, JSON] = {
        "uri": uri,
        "algorithm": algorithm,
        "versions": [{"id": one.store_id, "status": str(one.status)} for one in generations],
        "primary": generations[-1].store_id,
    }
    voted.tell(Action.KEK_LINKED, [Subject(ref=key.ref, label=key.name)], linked)
    return kek


@transaction.atomic
def take_into_use(
    *,
    pk: int,
    generation: Generation,
    canary: bytes,
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> KekVersion:
    """Give a KEK the next version, which its store was seen to have: it takes the wraps from now on.

    Locks the key, then the KEK. Events: key.rotated, kek.rotated, and those of refresh_findings().
    Raises: IllegalTransitionError, ValidationError.
    """
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    require(voted.reason)
    clauses = rules(hold=True)
    key = _locked(pk)
    kek = Kek.objects.select_for_update(of=("self",)).get(pk=pk)
    before, number = snapshot(key), key.current_number
    day = voted.now.date()
    changes: dict[str, Any] = {"last_rotated_on": day} | ({"never_rotated": False} if key.never_rotated else {})
    change_facts(key, changes, clauses, may_be_less_late=True)
    store(key, update_fields=[*changes, *DERIVED])
    said = edited(key, before)
    after: dict[str, JSON] = {**said.after, "last_rotated_on": day.isoformat(), "version": number + 1}
    said = replace(said, before={**said.before, "version": number}, after=after)
    event = voted.tell(Action.KEY_ROTATED, [said])
    version = lifecycle.supersede(key, rotated_on=day, event=event)
    made = KekVersion(
        version=version,
        kek=kek,
        store_id=generation.store_id,
        status=generation.status,
        status_at=voted.now,
        canary=canary,
    )
    made.save(force_insert=True)
    was = KekVersion.objects.filter(pk=kek.primary_id).values_list("store_id", flat=True).first()
    kek.primary, kek.newest_seen, kek.looked_at = made, generation.store_id, voted.now
    kek.save(update_fields=["primary", "newest_seen", "looked_at"])
    turned = Subject(ref=key.ref, label=key.name, before={"primary": was}, after={"primary": generation.store_id})
    voted.tell(Action.KEK_ROTATED, [turned])
    refresh_findings(keys=[key.pk], actor=voted.actor, now=voted.now)
    return made


@transaction.atomic
def close_versions(
    *,
    pk: int,
    versions: Collection[int],
    with_primary: bool,
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> list[KekVersion]:
    """Close versions of a KEK to wraps; return them, oldest first. Nothing may need them (inventory.census).

    With `with_primary` the KEK loses its primary: all of it ends. Locks the key, the KEK and the versions, so that no
    writer of wraps is between the count and the end. Event: kek.version_closed.
    Raises: NoSuchVersionError, PrimaryVersionError, StillNeededError.
    """
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    key, kek, locked = lock_versions(pk=pk, versions=versions)
    if kek.primary_id in versions:
        if not with_primary:
            raise PrimaryVersionError(key.name)
        kek.primary = None
        kek.save(update_fields=["primary"])
    check_unneeded(key.name, locked)
    closing = [one for one in locked if one.closed_at is None]
    for one in closing:
        one.closed_at = voted.now
        one.save(update_fields=["closed_at"])
    if closing:
        voted.tell(Action.KEK_VERSION_CLOSED, [named(key, closing)], {"versions": _ids(closing), "under": 0})
    return locked


def lock_versions(*, pk: int, versions: Collection[int]) -> tuple[Key, Kek, list[KekVersion]]:
    """Lock a KEK and versions of it, oldest first, for this transaction. Queries: 4. Raises: NoSuchVersionError."""
    share_clauses()
    key = _locked(pk)
    kek = Kek.objects.select_for_update(of=("self",)).get(pk=pk)
    rows = KekVersion.objects.filter(kek=kek, pk__in=versions).select_related("version")
    locked = list(rows.select_for_update(of=("self",)).order_by("pk"))
    if not locked or len(locked) != len(set(versions)):
        raise NoSuchVersionError(key.name)
    return key, kek, locked


def check_unneeded(name: str, versions: Sequence[KekVersion]) -> None:
    """Refuse to end what something still needs; the caller holds the locks. Queries: 3. Raises: StillNeededError."""
    found = needs([one.pk for one in versions])
    said = [f"version {one.version.number}: {words}" for one in versions for words in found[one.pk].said]
    if said:
        raise StillNeededError(name, said)


@transaction.atomic
def open_versions(
    *,
    pk: int,
    generations: Mapping[int, Generation],
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> list[KekVersion]:
    """Open closed versions again, which their store was seen to have enabled; the newest is the primary where none is.

    `generations` says by version what was seen. Locks the KEK and the versions. Events: kek.version_seen,
    kek.version_opened. Raises: NoSuchVersionError.
    """
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    key, kek, locked = lock_versions(pk=pk, versions=generations)
    note_seen(key, locked, generations, voted)
    opening = [one for one in locked if one.closed_at is not None and one.status == StoreStatus.ENABLED]
    for one in opening:
        one.closed_at = None
        one.death, one.death_at = "", None
        one.save(update_fields=["closed_at", "death", "death_at"])
    newest = next((one for one in opening if one.version.number == key.current_number), None)
    if newest is not None and kek.primary_id is None:
        kek.primary = newest
        kek.save(update_fields=["primary"])
    if opening:
        voted.tell(Action.KEK_VERSION_OPENED, [named(key, opening)], {"versions": _ids(opening)})
    return locked


@transaction.atomic
def note_statuses(
    *,
    pk: int,
    generations: Mapping[int, Generation],
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> None:
    """Note what the store shows of versions. Locks the KEK and them. Event: kek.version_seen, where it changed."""
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    key, _, locked = lock_versions(pk=pk, versions=generations)
    note_seen(key, locked, generations, voted)


def note_seen(
    key: Key, locked: Sequence[KekVersion], generations: Mapping[int, Generation], voted: Voted
) -> list[KekVersion]:
    """Write down statuses that are others than before, in the caller's transaction; return those versions."""
    changed = []
    for one in locked:
        seen = generations[one.pk]
        if (one.status, one.scheduled_for) == (seen.status, seen.scheduled_for):
            continue
        was = one.status
        one.status, one.scheduled_for, one.status_at = seen.status, seen.scheduled_for, voted.now
        one.save(update_fields=["status", "scheduled_for", "status_at"])
        subject = replace(
            named(key, [one]),
            before={"store_status": str(was)},
            after={
                "store_status": str(seen.status),
                **({"scheduled_for": seen.scheduled_for.isoformat()} if seen.scheduled_for else {}),
            },
        )
        voted.tell(Action.KEK_VERSION_SEEN, [subject], {"versions": _ids([one])})
        changed.append(one)
    return changed


@transaction.atomic
def note_death(
    *,
    pk: int,
    version: int,
    death: str,
    is_dead: bool | None,
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> None:
    """Note what was seen of the end of a version; None where its store cannot show any. Locks the version.

    Event: kek.version_shown_dead, failed where it still opens; kek.version_seen where it cannot be shown.
    """
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    key, _, (one,) = lock_versions(pk=pk, versions=[version])
    one.death, one.death_at = death[:200], voted.now
    one.save(update_fields=["death", "death_at"])
    action = Action.KEK_VERSION_SEEN if is_dead is None else Action.KEK_VERSION_SHOWN_DEAD
    outcome = Outcome.FAILED if is_dead is False else Outcome.DONE
    voted.tell(action, [named(key, [one])], {"versions": _ids([one]), "death": one.death}, outcome)


@transaction.atomic
def destroy_versions(
    *,
    pk: int,
    versions: Collection[int],
    method: str,
    not_reached: Sequence[str],
    told: Mapping[str, JSON],
    actor: Actor,
    reason: str,
    now: datetime,
) -> list[KekVersion]:
    """Record that versions are gone from their store, for good (T5, T9, T14, T15). Locks the KEK and the versions.

    Events: kek.version_seen and key.destroyed for each version, and those of refresh_findings().
    Raises: NoSuchVersionError, IllegalTransitionError.
    """
    voted = Voted(told=told, actor=actor, reason=reason, now=now)
    require(voted.reason)
    key, _, locked = lock_versions(pk=pk, versions=versions)
    check_unneeded(key.name, locked)
    note_seen(key, locked, dict.fromkeys(versions, Generation(store_id="", status=StoreStatus.GONE)), voted)
    for one in locked:
        version = one.version
        if version.state in DESTROYED_STATES:
            continue
        facts: dict[str, JSON] = {
            "destroyed_on": voted.now.date(),
            "method": method,
            "version": version.number,
            "not_reached": list(not_reached),
        }
        subject = replace(
            named(key, [one]),
            before={"version": version.number, "state": version.state},
            after={"version": version.number, "state": State.DESTROYED.value},
        )
        event = voted.tell(Action.KEY_DESTROYED, [subject], facts)
        lifecycle.destroy_version(key, version, event=event, now=voted.now)
    refresh_findings(keys=[key.pk], actor=voted.actor, now=voted.now)
    return locked


def named(key: Key, versions: Sequence[KekVersion]) -> Subject:
    """Name versions of a KEK for the log: the record is the key."""
    numbers = ", ".join(str(one.version.number) for one in versions[:20])
    more = " and more" if len(versions) > 20 else ""  # noqa: PLR2004 - as many as fit
    word = "version" if len(versions) == 1 else "versions"
    return Subject(ref=key.ref, label=f"{key.name[:200]}, {word} {numbers}{more}"[:300])


def _ids(versions: Sequence[KekVersion]) -> list[JSON]:
    return [{"version": one.version.number, "id": one.store_id} for one in versions]


def _locked(pk: int) -> Key:
    return Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
