"""Looking at a KEK in its store: what is there, whether two looks are equal, whether the store went back (KMS-08)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, parse_timestamp, timestamp
from audit.services import Outcome, Subject, record
from inventory.census import versions_of
from inventory.custody import KeyInfo, NoSuchKeyError, RolledBackError, VersionInfo, store_of
from inventory.guarded.keks import Generation
from inventory.models import Kek, KekVersion, Key
from inventory.terms import StoreStatus
from rotation.errors import StoreDiffersError
from rotation.models import Order
from rotation.orders.pieces import LOOKS_APART, Task, locked, move, tell_log
from rotation.refusals import alert_custody


@dataclass(frozen=True, kw_only=True)
class Look:
    """A KEK as its store showed it once: plain, so that an order can remember it."""

    algorithm: str
    newest: str
    is_exportable: bool
    versions: Sequence[tuple[str, str, str]]  # id, status, when it will be destroyed; oldest first

    @classmethod
    def of(cls, info: KeyInfo) -> Self:
        versions = tuple((one.id, str(one.status), _text(one)) for one in info.versions)
        return cls(
            algorithm=str(info.algorithm), newest=info.newest, is_exportable=info.is_exportable, versions=versions
        )

    @classmethod
    def remembered(cls, said: Mapping[str, Any]) -> Self:
        return cls(**{**said, "versions": tuple((str(a), str(b), str(c)) for a, b, c in said["versions"])})

    @property
    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "versions": [list(one) for one in self.versions]}

    @property
    def ids(self) -> list[str]:
        return [one[0] for one in self.versions]

    def generation(self, store_id: str) -> Generation:
        """Return a version as it was seen; what the store forgets is gone."""
        for pk, status, gone_at in self.versions:
            if pk == store_id:
                at = parse_timestamp(gone_at) if gone_at and status == StoreStatus.SCHEDULED else None
                return Generation(store_id=pk, status=StoreStatus(status), scheduled_for=at)
        return Generation(store_id=store_id, status=StoreStatus.GONE)


def _text(version: VersionInfo) -> str:
    return timestamp(version.gone_at) if version.gone_at else ""


def look_at(uri: str) -> Look | None:
    """Return the KEK as its store shows it now; None where the store has none of that name. Raises: BackendError."""
    store, name = store_of(uri)
    try:
        return Look.of(store.describe(name))
    except NoSuchKeyError:
        return None


def look_at_kek(kek: Kek) -> Look:
    """Return a KEK that ought to be there. Raises: NoSuchKeyError; RolledBackError where its store went back."""
    look = look_at(kek.uri)
    if look is None:
        raise NoSuchKeyError(f"The key store has no KEK {kek.uri} any more.")
    check_not_rolled_back(kek, look)
    return look


def check_not_rolled_back(kek: Kek, look: Look) -> None:
    """Refuse a store whose newest version is older than the newest that it has shown. Raises: RolledBackError."""
    seen, ids = kek.newest_seen, look.ids
    if not seen or look.newest == seen:
        return
    if seen in ids and look.newest in ids and ids.index(look.newest) > ids.index(seen):
        return
    raise RolledBackError(
        f"The key store shows {look.newest or 'nothing'} as the newest version of {kek.uri}, and has shown "
        f"{seen} before. It may have been restored from a backup, or this is another store: nothing is wrapped "
        "until somebody has looked."
    )


@transaction.atomic
def tell_rolled_back(
    *, key: Key, because: str, actor: Actor, now: datetime, facts: Mapping[str, JSON] | None = None
) -> None:
    """Record that a store went back, and write to Security. Event: kek.rolled_back, refused."""
    subject = Subject(ref=key.ref, label=key.name)
    record(
        Action.KEK_ROLLED_BACK,
        actor=actor,
        now=now,
        reason=because,
        subjects=[subject],
        facts=facts,
        outcome=Outcome.REFUSED,
    )
    alert_custody(
        subject=f"The key store of {key.name} shows an older version than before",
        lines=[
            because,
            "What was wrapped under the versions that are missing may not open. Find out what happened to the store "
            "before anything is wrapped, rotated or destroyed there.",
        ],
        now=now,
    )


# What an order remembers of its looks


def begin(task: Task, look: Look | None, facts: Mapping[str, JSON] | None = None) -> None:
    """Write down the intent, and what was there before. Called right before a store is asked for anything.

    Whoever stood still for longer than its lease learns here that the order is somebody else's, or was given up.
    Event: order.begun. Raises: StoreDiffersError where that is so.
    """
    with transaction.atomic():
        order = locked(task.order)
        if order is None:
            raise StoreDiffersError("Another worker has taken the order over.")
        seen = {**order.seen, "begun_at": timestamp(task.now)}
        seen.setdefault("before", look.plain if look else None)
        seen.pop("doubt", None)
        move(order, order.state, task.now, seen=seen)
        said: dict[str, JSON] = {"newest_before": look.newest if look else None, **(facts or {})}
        voted = task.voted
        tell_log(
            Action.ORDER_BEGUN,
            order,
            actor=voted.actor,
            now=task.now,
            reason=voted.reason,
            facts={**said, **voted.told},
        )
        task.order.seen = seen


def forget(task: Task) -> None:
    """Take the intent back: the store has refused it, so that whatever is there is not what was asked for."""
    with transaction.atomic():
        order = locked(task.order)
        if order is not None:
            move(order, order.state, task.now, seen={})


def is_second(seen: Mapping[str, Any], name: str, look: Look | None, now: datetime) -> bool:
    """Whether the look is the same as the one remembered by that name, at least ten seconds earlier."""
    first = seen.get(name)
    if not first or first["look"] != (look.plain if look else None):
        return False
    return now - parse_timestamp(first["at"]) >= LOOKS_APART


def remember(seen: Mapping[str, Any], name: str, look: Look | None, now: datetime) -> dict[str, Any]:
    """Return what was seen with this look; an equal one that was remembered already keeps its time."""
    plain = look.plain if look else None
    first = seen.get(name)
    if first and first["look"] == plain and parse_timestamp(first["at"]) <= now:
        return dict(seen)
    return {**seen, name: {"look": plain, "at": timestamp(now)}}


def seen_of(order: Order) -> dict[str, Any]:
    return dict(order.seen)


def generations_of(kek: Kek, look: Look | None, pks: Sequence[int] | None = None) -> dict[int, Generation]:
    """Return by version of ours what the look shows of it. Queries: 1."""
    rows: Sequence[KekVersion] = list(versions_of(kek.pk) if pks is None else versions_of(kek.pk).filter(pk__in=pks))
    gone = Generation(store_id="", status=StoreStatus.GONE)
    return {one.pk: look.generation(one.store_id) if look else gone for one in rows}
