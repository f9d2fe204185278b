"""What a person decides about an order: that it is tried again after it failed, or that it is not done after all."""

from collections.abc import Sequence
from datetime import datetime

from django.db import IntegrityError, transaction

from audit.actions import Action
from audit.actor import Actor
from inventory.errors import KeyMaterialError
from inventory.models import Kek, KekVersion
from inventory.recognise import holds_key_material
from inventory.services.keys import require
from rotation.errors import NotOrderingError, OrderOverError, OrderWaitsError
from rotation.kinds import DEVOPS, SECURITY
from rotation.models import Order, OrderState
from rotation.orders.pieces import move, tell_log
from rotation.requests import roles_now

DECIDE = {SECURITY, DEVOPS}


@transaction.atomic
def retry(*, pk: int, actor: Actor, reason: str, now: datetime) -> Order:
    """Have an order tried again that has failed; the worker looks first. Locks it. Event: order.retried.

    For people of Security and DevOps, and commands on the machine.
    Raises: NotOrderingError, OrderOverError, OrderWaitsError, ReasonMissingError, KeyMaterialError.
    """
    order = _decided(pk, actor, reason)
    if order.state != OrderState.FAILED:
        raise OrderOverError(order.get_state_display())
    try:
        with transaction.atomic():
            move(order, OrderState.WAITING, now, closed_because="", attempts=0, next_at=now, leased_until=None)
    except IntegrityError as error:
        raise OrderWaitsError(str(order.key), "asked anew meanwhile") from error
    tell_log(Action.ORDER_RETRIED, order, was=OrderState.FAILED, actor=actor, now=now, reason=reason)
    return order


@transaction.atomic
def cancel(*, pk: int, actor: Actor, reason: str, now: datetime) -> Order:
    """Give an order up that is not done: one that waits or has failed. Locks it. Event: order.cancelled.

    What was closed for it is opened again by the worker, once the store was seen to have it enabled still.
    Raises: as retry().
    """
    order = _decided(pk, actor, reason)
    if order.state not in {OrderState.WAITING, OrderState.FAILED}:
        raise OrderOverError(order.get_state_display())
    was = str(order.state)
    move(order, OrderState.CANCELLED, now, closed_because=reason[:500], leased_until=None)
    tell_log(Action.ORDER_CANCELLED, order, was=was, actor=actor, now=now, reason=reason)
    return order


def _decided(pk: int, actor: Actor, reason: str) -> Order:
    require(reason)
    if holds_key_material(reason):
        raise KeyMaterialError("reason")
    person = int(actor.id.removeprefix("user:")) if actor.kind == "person" else None
    if person is not None and not roles_now(person) & DECIDE:
        raise NotOrderingError
    return Order.objects.select_for_update(of=("self",)).select_related("key").get(pk=pk)


def cancel_watched(kek: Kek, versions: Sequence[KekVersion], *, because: str, actor: Actor, now: datetime) -> None:
    """Watch a scheduled destruction no more, because another decision about the version takes its place.

    In the transaction of that one. Event: order.cancelled for each.
    """
    rows = Order.objects.filter(key=kek.pk, kek_version__in=versions, state=OrderState.WATCHING)
    for order in rows.select_for_update(of=("self",)).select_related("key").order_by("pk"):
        move(order, OrderState.CANCELLED, now, closed_because=because, leased_until=None)
        tell_log(Action.ORDER_CANCELLED, order, was=OrderState.WATCHING, actor=actor, now=now, reason=because)
