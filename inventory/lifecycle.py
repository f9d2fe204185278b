"""The only code that changes a state: checks the table, dates the version, asks the database to write the columns."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F

from inventory.errors import IllegalTransitionError
from inventory.models import Key, KeyVersion
from inventory.states import ENTRIES, RevocationReason, State, legal

_DATED: dict[State, str] = {
    State.ACTIVE: "activated_at",
    State.SUSPENDED: "suspended_at",
    State.DEACTIVATED: "deactivated_at",
    State.COMPROMISED: "compromised_at",
    State.DESTROYED: "destroyed_at",
    State.DESTROYED_COMPROMISED: "compromised_at",
}


def dates(state: State, *, now: datetime, reason: str = "") -> dict[str, Any]:
    """Return what entering a state leaves on a version. `reason` is an RFC 5280 reason where it is revoked by that."""
    left: dict[str, Any] = {_DATED[state]: now}
    return left | {"revoked_at": now, "revocation_reason": reason} if reason else left


def transition(key: Key, *, to: State, event: UUID, now: datetime, reason: str = "") -> KeyVersion:
    """Bring the key's current version, and with it the key, into another state.

    The caller holds the lock on the key and has recorded `event`, in this transaction, with the key among its subjects;
    the database refuses the change otherwise. `reason` as in dates(). Queries: 4. Raises: IllegalTransitionError.
    """
    legal(State(key.state), to)
    version = KeyVersion.objects.get(key=key, number=key.current_number)
    changed = dates(to, now=now, reason=reason)
    for name, value in changed.items():
        setattr(version, name, value)
    version.save(update_fields=list(changed))
    key.revision += 1
    key.save(update_fields=["revision"])
    _set_states([version.pk], to, event)
    key.state = version.state = to
    return version


def transition_together(keys: Sequence[Key], *, to: State, event: UUID, now: datetime) -> None:
    """Bring the current versions of many keys into another state, as transition() does one. Queries: 4.

    At most as many as one event names. Raises: IllegalTransitionError.
    """
    for key in keys:
        legal(State(key.state), to)
    pks = [key.pk for key in keys]
    versions = KeyVersion.objects.filter(key__in=pks, number=F("key__current_number"))
    version_ids = list(versions.values_list("pk", flat=True))
    KeyVersion.objects.filter(pk__in=version_ids).update(**dates(to, now=now))
    Key.objects.filter(pk__in=pks).update(revision=F("revision") + 1)
    _set_states(version_ids, to, event)


def supersede(key: Key, *, rotated_on: date, event: UUID) -> KeyVersion:
    """Give an active key its next version, in use since that day, and deactivate the one before as superseded (T4, T8).

    The caller holds the lock and has recorded `event` ("key.rotated") as for transition(), and counts the revision up.
    Both versions change in one step of the database. Queries: 4. Raises: IllegalTransitionError.
    """
    legal(State(key.state), State.DEACTIVATED)
    before = KeyVersion.objects.get(key=key, number=key.current_number)
    day = datetime.combine(rotated_on, time(), tzinfo=UTC)
    at = max(day, before.activated_at or day)  # nothing ends before it began
    left = dates(State.DEACTIVATED, now=at, reason=RevocationReason.SUPERSEDED)
    for name, value in left.items():
        setattr(before, name, value)
    before.save(update_fields=list(left))
    version = KeyVersion(key=key, number=before.number + 1, generated_on=rotated_on, activated_at=at)
    version.save()
    _set_states([version.pk], State.ACTIVE, event)
    key.current_number = version.number
    key.state = version.state = State.ACTIVE
    return version


def destroy_version(key: Key, version: KeyVersion, *, event: UUID, now: datetime) -> None:
    """Note that the material of one version is gone (T5, T9, T14, T15), whichever version the key has now.

    The caller holds the lock on the key and has recorded `event` as for transition(). Queries: 3.
    Raises: IllegalTransitionError.
    """
    legal(State(version.state), State.DESTROYED)
    for name, value in dates(State.DESTROYED, now=now).items():
        setattr(version, name, value)
    version.save(update_fields=[_DATED[State.DESTROYED]])
    key.revision += 1
    key.save(update_fields=["revision"])
    _set_states([version.pk], State.DESTROYED, event)
    version.state = State.DESTROYED
    if version.number == key.current_number:
        key.state = State.DESTROYED


def enter(versions: Sequence[KeyVersion], *, state: State, event: UUID) -> None:
    """Enter newly registered versions in the state they have elsewhere already. `event` as in transition().

    Their dates are on the versions already; the database refuses keys that have a history.
    Queries: 1. Raises: IllegalTransitionError when no record may begin in that state.
    """
    if state == State.PRE_ACTIVATION or not versions:
        return
    if state not in ENTRIES:
        raise IllegalTransitionError(source=State.PRE_ACTIVATION, target=state, allowed=sorted(ENTRIES))
    _set_states([version.pk for version in versions], state, event)


def _set_states(version_ids: list[int], state: State, event: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inventory_set_state(%s, %s, %s)", [version_ids, state.value, event])
