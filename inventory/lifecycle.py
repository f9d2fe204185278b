"""The only code that changes a state: it checks the table, dates the version and asks the database to write the columns."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from inventory.models import Key, KeyVersion
from inventory.states import State, legal

# The date that each state leaves on its version.
_DATED: dict[State, str] = {
    State.ACTIVE: "activated_at",
    State.SUSPENDED: "suspended_at",
    State.DEACTIVATED: "deactivated_at",
    State.COMPROMISED: "compromised_at",
    State.DESTROYED: "destroyed_at",
    State.DESTROYED_COMPROMISED: "compromised_at",
}


def transition(key: Key, *, to: State, event: UUID, now: datetime, reason: str = "") -> KeyVersion:
    """Bring the key's current version, and with it the key, into another state.

    The caller holds the lock on the key and has recorded `event`, in this transaction, with the key among its subjects;
    the database refuses the change otherwise. `reason` is an RFC 5280 reason where the version is revoked.
    Queries: 3. Raises: IllegalTransitionError.
    """
    legal(State(key.state), to)
    version = KeyVersion.objects.get(key=key, number=key.current_number)
    changed: dict[str, Any] = {_DATED[to]: now}
    if reason:
        changed |= {"revoked_at": now, "revocation_reason": reason}
    for name, value in changed.items():
        setattr(version, name, value)
    version.save(update_fields=list(changed))
    _set_states([version.pk], to, event)
    key.state = version.state = to
    return version


def enter(versions: Sequence[KeyVersion], *, state: State, event: UUID) -> None:
    """Enter newly registered versions in the state they have elsewhere already. `event` as in transition(). Queries: 1.

    Their dates are on the versions already; the database refuses keys that have a history.
    """
    if state != State.PRE_ACTIVATION and versions:
        _set_states([version.pk for version in versions], state, event)


def _set_states(version_ids: list[int], state: State, event: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inventory_set_state(%s, %s, %s)", [version_ids, state.value, event])
