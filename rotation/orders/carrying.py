"""Carrying orders out: claim one, let its step ask the store, write down what it came to."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet

from audit.actions import Action
from audit.actor import Actor
from audit.errors import AuditError
from audit.services import Outcome
from inventory.custody import BackendError, RolledBackError
from inventory.errors import InventoryError
from rotation.errors import RotationError
from rotation.models import Act, Order, OrderState
from rotation.orders import deks, ending, linking, making, rotating
from rotation.orders.looking import tell_rolled_back
from rotation.orders.pieces import WATCHED_EVERY, Next, Task, locked, move, tell_log, voted_of

logger = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)  # longer than a task may run
MAX_ATTEMPTS = 10  # in vain, one after the other
WAITS = [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 15, 30)]  # the last one from then on
RULES = (InventoryError, RotationError, ValidationError)
TROUBLE = (OperationalError, InterfaceError)
DUE = (OrderState.WAITING, OrderState.DOING, OrderState.WATCHING)

STEPS: Mapping[str, Callable[[Task], Next]] = {
    Act.CREATE: making.step,
    Act.LINK: linking.step,
    Act.ROTATE: rotating.step,
    Act.DISABLE: ending.step,
    Act.SCHEDULE: ending.step,
    Act.PURGE: ending.step,
    Act.RECOVER: ending.step_recover,
    Act.NEW_DEK: deks.step_new,
    Act.ROTATE_DEK: deks.step_rotate,
}


def due(now: datetime) -> QuerySet[Order]:
    """Return the orders that a worker has to look after by now. No query by itself."""
    waits = Q(state=OrderState.WAITING) & (Q(next_at__lte=now) | Q(next_at__gt=now + timedelta(days=1)))
    left = Q(state=OrderState.DOING) & (Q(leased_until__lte=now) | Q(leased_until__gt=now + LEASE))
    watched = Q(state=OrderState.WATCHING, next_at__lte=now) & (Q(leased_until=None) | Q(leased_until__lte=now))
    return Order.objects.filter(waits | left | watched)


def carry_out_due(*, actor: Actor, now: datetime, limit: int = 50) -> int:
    """Take every order that is due a step further; return how many are done by that."""
    ended = 0
    for pk in list(due(now).order_by("next_at", "pk").values_list("pk", flat=True)[:limit]):
        try:
            ended += carry_out(pk=pk, actor=actor, now=now).state == OrderState.DONE
        except (DatabaseError, AuditError) as error:
            logger.error("order %d was left as it is (%s)", pk, type(error).__name__)  # noqa: TRY400 - no row in a log
    return ended


def carry_out(*, pk: int, actor: Actor, now: datetime) -> Order:
    """Take an order one step further, if it is due and nobody else does; return it as it is then.

    For the worker, outside any transaction. A step asks the store for at most one act, and looks before and after. One
    that waits has to be looked at again, ten seconds later or when its store may have recovered (next_at).
    Events: order.begun, order.done or order.failed, and those of what was done.
    """
    claimed = _claim(pk, actor, now)
    if claimed is not None:
        _step(claimed, actor, now)
    return Order.objects.get(pk=pk)


@transaction.atomic
def _claim(pk: int, actor: Actor, now: datetime) -> Order | None:
    rows = due(now).filter(pk=pk).select_related("key", "kek_version")
    order = rows.select_for_update(of=("self",), skip_locked=True).first()
    if order is None:
        return None
    if order.state == OrderState.DOING:  # left by a worker that died
        order.attempts += 1
        if order.attempts >= MAX_ATTEMPTS:
            because = f"It was begun {order.attempts} times, and whoever did it never came to an end."
            _fail(order, because, actor, now)
            return None
    state = OrderState.WATCHING if order.state == OrderState.WATCHING else OrderState.DOING
    move(order, state, now, leased_until=now + LEASE, attempts=order.attempts)
    return order


def _step(claimed: Order, actor: Actor, now: datetime) -> None:
    """Do a step, and write down what it came to or what stands in its way."""
    try:
        _settle(claimed, STEPS[claimed.act](Task(order=claimed, actor=actor, now=now)), actor, now)
    except BackendError as error:
        _store_failed(claimed, error, actor, now)
    except TROUBLE as error:
        _postpone(claimed, "The database could not be reached or was too busy.", error, actor, now)
    except RULES as error:
        _stop(claimed, " ".join(error.messages) if isinstance(error, ValidationError) else str(error), actor, now)
    except (DatabaseError, AuditError) as error:
        logger.error("order %d: refused by the database (%s)", claimed.pk, type(error).__name__)  # noqa: TRY400 - as above
        because = f"The database refused it ({type(error).__name__}). Tell who runs this installation."
        _stop(claimed, because, actor, now)


@transaction.atomic
def _settle(claimed: Order, then: Next, actor: Actor, now: datetime) -> None:
    """Write down what a step led to, unless somebody else has taken the order over."""
    order = locked(claimed)
    if order is None:
        logger.warning("order %d was taken over by another worker; nothing of this step stands", claimed.pk)
        return
    if then.within is not None:
        then.within(order)
    columns = {
        "seen": dict(order.seen if then.seen is None else then.seen),
        "looks": then.looks,
        "attempts": 0,
        "leased_until": None,
        "next_at": now + then.wait,
        "closed_because": then.because[:500],
        "key": order.key,
    }
    was = str(order.state)
    move(order, then.state, now, **columns)
    if then.state == OrderState.DONE:
        voted = voted_of(order, actor, now)
        tell_log(
            Action.ORDER_DONE,
            order,
            was=was,
            actor=voted.actor,
            now=now,
            reason=voted.reason,
            facts={**then.facts, **voted.told},
        )


# What stands in the way


def _store_failed(claimed: Order, error: BackendError, actor: Actor, now: datetime) -> None:
    if error.transient:
        _postpone(claimed, str(error), error, actor, now, at_least=error.retry_after)
        return
    _stop(claimed, str(error), actor, now, is_rolled_back=isinstance(error, RolledBackError))


@transaction.atomic
def _postpone(
    claimed: Order, because: str, error: Exception, actor: Actor, now: datetime, at_least: timedelta | None = None
) -> None:
    """Let it be tried again after a while; after the last attempt it has failed. What is watched goes on."""
    logger.warning("order %d: attempt %d failed (%s)", claimed.pk, claimed.attempts + 1, type(error).__name__)
    order = locked(claimed)
    if order is None:
        return
    tried = order.attempts + 1
    wait = max(WAITS[min(tried, len(WAITS)) - 1], at_least or timedelta())
    if order.state == OrderState.WATCHING:
        move(
            order, order.state, now, leased_until=None, attempts=tried, next_at=now + wait, closed_because=because[:500]
        )
    elif tried >= MAX_ATTEMPTS:
        _fail(order, f"Tried {tried} times in vain. {because}", actor, now)
    else:
        move(
            order,
            OrderState.WAITING,
            now,
            leased_until=None,
            attempts=tried,
            next_at=now + wait,
            closed_because=because[:500],
        )


@transaction.atomic
def _stop(claimed: Order, because: str, actor: Actor, now: datetime, *, is_rolled_back: bool = False) -> None:
    order = locked(claimed)
    if order is None:
        return
    if is_rolled_back and order.key is not None:
        tell_rolled_back(key=order.key, because=because, actor=actor, now=now, facts={"order": order.ref})
    if order.state == OrderState.WATCHING:  # it is scheduled there, whatever stands in the way of looking
        wait = now + WATCHED_EVERY
        move(order, order.state, now, leased_until=None, next_at=wait, closed_because=because[:500])
    else:
        _fail(order, because, actor, now)


def _fail(order: Order, because: str, actor: Actor, now: datetime) -> None:
    was = str(order.state)
    move(order, OrderState.FAILED, now, leased_until=None, closed_because=because[:500])
    facts = {"attempts": order.attempts}
    tell_log(
        Action.ORDER_FAILED,
        order,
        was=was,
        actor=actor,
        now=now,
        reason=because,
        facts=facts,
        outcome=Outcome.FAILED,
    )
