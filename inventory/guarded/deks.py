"""Rotating DEKs and destroying what is left of them, once others have voted for it.

The wrapped bytes are what is destroyed here. The key store, and whoever was handed a copy, are not asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.errors import StaleError
from inventory.models import DekVersion, KekVersion, Key, Wrapping
from inventory.permits import Permit
from inventory.selectors import DESTROYED_STATES, rules, share_clauses
from inventory.services.deks.ending import check_clearable
from inventory.services.deks.hands import dek_version
from inventory.services.deks.making import Drawn, add_wrappings, check_takes_wraps
from inventory.services.findings import refresh_findings
from inventory.services.keys import DERIVED, change_facts, edited, require, snapshot, store
from inventory.states import State
from inventory.terms import StoreStatus

# What removing wrapped bytes here does not reach, and no page may claim.
NOT_REACHED_HERE = (
    "Dead rows of the database, until it has cleaned them up.",
    "The write-ahead log and its archives.",
    "Backups of the database.",
    "Copies that services were handed.",
)


@transaction.atomic
def rotate_dek(*, drawn: Drawn, facts: Mapping[str, JSON], actor: Actor, reason: str, now: datetime) -> DekVersion:
    """Give a DEK the next version, which services.deks.draw_next() has drawn; the one before stays readable (T8).

    `facts` are those of the permit: every event says by which request. Locks the key; takes the KEK's version FOR
    SHARE. Events: key.rotated, and those of refresh_findings(). Raises: StaleError where it has that version already,
    IllegalTransitionError, NotAllowedNowError, ValidationError.
    """
    require(reason)
    clauses = rules(hold=True)
    key = _locked(drawn.key)
    if drawn.number != key.current_number + 1:
        raise StaleError(key.name)
    under = KekVersion.objects.select_related("version__key", "kek").get(pk=drawn.kek_version)
    check_takes_wraps(under, now)
    before, today = snapshot(key), now.date()
    changes = {"last_rotated_on": today, "never_rotated": False}
    change_facts(key, changes, clauses, may_be_less_late=True)
    store(key, update_fields=[*changes, *DERIVED])
    said = edited(key, before)
    after: dict[str, JSON] = {**said.after, "last_rotated_on": today.isoformat(), "version": drawn.number}
    said = replace(said, before={**said.before, "version": drawn.number - 1}, after=after)
    where: dict[str, JSON] = {"kek": f"key:{under.kek_id}", "uri": under.kek.uri, "kek_version": under.store_id}
    event = record(Action.KEY_ROTATED, actor=actor, now=now, reason=reason, subjects=[said], facts={**facts, **where})
    version = lifecycle.supersede(key, rotated_on=today, event=event)
    made = DekVersion(version=version, key=key, number=drawn.number, binding=drawn.binding)
    made.save(force_insert=True)
    add_wrappings([(under.pk, made.pk, drawn.wrapped)])
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return made


@transaction.atomic
def clear_dek_version(*, dek: int, number: int, permit: Permit, actor: Actor, reason: str, now: datetime) -> DekVersion:
    """Remove the wrapped bytes of an earlier version: it is destroyed (T14, T15), and the key goes on. Locks the key.

    Events: key.destroyed for that version, dek.cleared, and those of refresh_findings(). Raises: ClearingError,
    NoDekError, IllegalTransitionError.
    """
    require(reason)
    share_clauses()
    key = _locked(dek)
    version = dek_version(key, number)
    _hold_off([version.pk])
    check_clearable(key, version)
    _destroy(key, version, facts=permit.facts, actor=actor, reason=reason, now=now)
    _clear(key, [version], facts=permit.facts, actor=actor, reason=reason, now=now)
    refresh_findings(keys=[key.pk], actor=actor, now=now)
    return version


def destroy_with_key(key: Key, *, facts: Mapping[str, JSON], actor: Actor, reason: str, now: datetime) -> None:
    """Destroy the earlier versions of a DEK that is destroyed itself, and remove all its wrapped bytes.

    The caller holds the lock, and destroys the current version after that. Events: key.destroyed for each earlier
    version, dek.cleared where there were bytes.
    """
    versions = list(DekVersion.objects.select_related("version").filter(key=key).order_by("number"))
    _hold_off([version.pk for version in versions])
    for version in versions:
        if version.number != key.current_number and version.version.state not in DESTROYED_STATES:
            _destroy(key, version, facts=facts, actor=actor, reason=reason, now=now)
    if there := [version for version in versions if version.cleared_at is None]:
        _clear(key, there, facts=facts, actor=actor, reason=reason, now=now)


def _hold_off(versions: Sequence[int]) -> None:
    """Wait for whoever wraps or hands out under the KEKs of these DEK versions now, and let nobody begin until the end.

    Without it a re-wrap that is about to commit would bring the bytes under another version unseen: what is removed
    here is what was there when the statement began. Locks every version of those KEKs.
    """
    keks = Wrapping.objects.filter(dek_version__in=versions).values("kek_version__kek")
    list(KekVersion.objects.filter(kek__in=keks).select_for_update(of=("self",)).order_by("pk").values_list("pk"))


def _destroy(
    key: Key, version: DekVersion, *, facts: Mapping[str, JSON], actor: Actor, reason: str, now: datetime
) -> None:
    """Bring a version that the key has no more into its last state."""
    number = version.number
    subject = Subject(
        ref=key.ref,
        label=key.name,
        before={"version": number, "state": version.version.state},
        after={"version": number, "state": State.DESTROYED.value},
    )
    said: dict[str, JSON] = {"destroyed_on": now.date(), "method": "its wrapped bytes were removed", "version": number}
    event = record(
        Action.KEY_DESTROYED, actor=actor, now=now, reason=reason, subjects=[subject], facts={**said, **facts}
    )
    lifecycle.destroy_version(key, version.version, event=event, now=now)


def _clear(
    key: Key, versions: Sequence[DekVersion], *, facts: Mapping[str, JSON], actor: Actor, reason: str, now: datetime
) -> None:
    """Remove wrappings, and say which versions of KEKs open what is left of them elsewhere: their end makes it final.

    All versions that are there still: earlier wrappings live on in backups as the last one does.
    """
    pks = [version.pk for version in versions]
    keks = Wrapping.objects.filter(dek_version__in=pks).values("kek_version__kek")
    alive = KekVersion.objects.filter(kek__in=keks).exclude(status=StoreStatus.GONE).order_by("pk")
    final = [f"{uri}, version {store_id}" for uri, store_id in alive.values_list("kek__uri", "store_id")]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM inventory_wrapping WHERE dek_version_id = ANY(%s)", [pks])
        removed = cursor.rowcount
    DekVersion.objects.filter(pk__in=pks).update(cleared_at=now)  # each was found not cleared, under the key's lock
    for version in versions:
        version.cleared_at = now
    numbers: list[JSON] = [version.number for version in versions]
    said: dict[str, JSON] = {
        "versions": numbers,
        "wrappings": removed,
        "not_reached": list(NOT_REACHED_HERE),
        "final_with": list(final),
    }
    subject = Subject(ref=key.ref, label=key.name)
    record(Action.DEK_CLEARED, actor=actor, now=now, reason=reason, subjects=[subject], facts={**said, **facts})


def _locked(pk: int) -> Key:
    return Key.objects.select_for_update(of=("self",), no_key=True).get(pk=pk)
