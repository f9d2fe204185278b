"""Looking at every KEK in its store, whether or not anything was ordered: what went back, what others have changed."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef

from audit.actions import Action
from audit.actor import Actor
from audit.selectors import was_told
from inventory.custody import BackendError, RolledBackError
from inventory.guarded.keks import Voted, lock_versions, note_statuses, open_versions
from inventory.models import Kek, KekVersion
from inventory.terms import StoreStatus
from rotation.models import BUSY_ORDERS, Act, Order
from rotation.orders.looking import Look, check_not_rolled_back, generations_of, look_at, tell_rolled_back

logger = logging.getLogger(__name__)
TOLD_EVERY = timedelta(days=1)
ENDING = (Act.DISABLE, Act.SCHEDULE, Act.PURGE)
Standing = tuple[str, dict[int, tuple[object, ...]]]


@dataclass(frozen=True, kw_only=True)
class Patrolled:
    """How many KEKs were looked at, how many stores did not answer, how many went back."""

    looked: int = 0
    unanswered: int = 0
    rolled_back: int = 0


def look_around(*, actor: Actor, now: datetime) -> Patrolled:
    """Look at each KEK once: note what others have changed, and tell Security of a store that went back.

    Opens again what was closed for an order that was cancelled. Outside any transaction; asks every store.
    Events: kek.version_seen, kek.version_opened, kek.rolled_back (refused, once a day while it stands).
    """
    looked = unanswered = rolled_back = 0
    for kek in Kek.objects.select_related("key").order_by("pk"):
        try:
            _look(kek, actor, now)
            looked += 1
        except RolledBackError as error:
            rolled_back += 1
            _tell_once(kek, str(error), actor, now)
        except BackendError as error:
            unanswered += 1
            logger.warning("the store of %s does not answer (%s)", kek.uri, type(error).__name__)
        except DatabaseError as error:
            logger.error("%s was left as it is (%s)", kek.uri, type(error).__name__)  # noqa: TRY400 - no row in a log
    return Patrolled(looked=looked, unanswered=unanswered, rolled_back=rolled_back)


def _look(kek: Kek, actor: Actor, now: datetime) -> None:
    kek.refresh_from_db(fields=["newest_seen", "primary"])  # the KEKs before it may have taken minutes
    before = _standing(kek)
    look = look_at(kek.uri)
    if look is not None:
        check_not_rolled_back(kek, look)
    _write_down(kek, look, before, actor, now)


def _standing(kek: Kek) -> Standing:
    """Return what an order may change while a store is looked at: the newest version seen, and each version's state."""
    newest = Kek.objects.values_list("newest_seen", flat=True).get(pk=kek.pk)
    rows = KekVersion.objects.filter(kek=kek).values_list("pk", "status", "status_at", "closed_at")
    return newest, {pk: tuple(facts) for pk, *facts in rows}


@transaction.atomic
def _write_down(kek: Kek, look: Look | None, before: Standing, actor: Actor, now: datetime) -> None:
    """Note what was seen, unless an order was quicker: then the look is older than what stands here."""
    if before[1]:
        lock_versions(pk=kek.pk, versions=before[1])
    if _standing(kek) != before:
        return
    voted = Voted(told={}, actor=actor, reason="seen in its key store", now=now)
    seen = generations_of(kek, look)
    seen = {pk: one for pk, one in seen.items() if one.status != StoreStatus.GONE}  # an end is for the order to tell
    if seen:
        note_statuses(pk=kek.pk, generations=seen, **voted.how)
    if look is not None:
        _reopen(kek, look, actor, now)
        newest = look.newest if look.newest in look.ids else kek.newest_seen
        Kek.objects.filter(pk=kek.pk).update(newest_seen=newest, looked_at=now)


def _reopen(kek: Kek, look: Look, actor: Actor, now: datetime) -> None:
    """Open what was closed for an order that nobody carries out any more, as long as its store has it enabled.

    The caller holds the lock on the key, under which others order something.
    """
    busy = Order.objects.filter(key=OuterRef("kek"), state__in=BUSY_ORDERS, act__in=ENDING)
    rows = KekVersion.objects.filter(kek=kek, closed_at__isnull=False, status=StoreStatus.ENABLED)
    left = list(rows.exclude(Exists(busy)).values_list("pk", flat=True))
    if left:
        voted = Voted(told={}, actor=actor, reason="what it was closed for was cancelled", now=now)
        open_versions(pk=kek.pk, generations=generations_of(kek, look, left), **voted.how)


def _tell_once(kek: Kek, because: str, actor: Actor, now: datetime) -> None:
    if not was_told(kek.key.ref, Action.KEK_ROLLED_BACK, now - TOLD_EVERY):
        with transaction.atomic():
            tell_rolled_back(key=kek.key, because=because, actor=actor, now=now)
