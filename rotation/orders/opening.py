"""Writing an order down, in the transaction of what was decided."""

from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.models import KekVersion, Key
from inventory.permits import Permit
from rotation.errors import OrderWaitsError
from rotation.models import BUSY_ORDERS, Act, Order
from rotation.orders.pieces import number_of, tell_log


def open_order(
    *,
    act: Act,
    key: Key | None,
    kek_version: KekVersion | None = None,
    parameters: Mapping[str, JSON] | None = None,
    permit: Permit | None,
    actor: Actor,
    reason: str,
    now: datetime,
) -> Order:
    """Write down what is to be done in a key store; the worker does it once this transaction has committed.

    In the transaction of the request that is being carried out (`permit`), or, for what needs no votes, of the service.
    `parameters` are plain and never secret. Event: order.opened. Raises: OrderWaitsError while another one is not done
    for that key; the database refuses what no request permits.
    """
    if key is not None and (other := busy_order(key.pk)):
        raise OrderWaitsError(key.name, other.ref)
    order = Order(
        act=act,
        request_id=number_of(permit.request) if permit else None,
        key=key,
        kek_version=kek_version,
        parameters=dict(parameters or {}),
        reason=reason,
        asked_by_ref=permit.asked_by if permit else actor.on_behalf_of or actor.id,
        created_at=now,
        next_at=now,
    )
    try:
        with transaction.atomic():
            order.save(force_insert=True)
    except IntegrityError as error:
        if key is None or "order_on" not in str(error):
            raise
        raise OrderWaitsError(key.name, "just now") from error
    facts: dict[str, JSON] = {"act": str(order.act), "parameters": dict(order.parameters)}
    tell_log(Action.ORDER_OPENED, order, actor=actor, reason=reason, now=now, facts=facts)
    return order


def busy_order(key: int) -> Order | None:
    """Return the order that is not done yet for a key. Queries: 1."""
    return Order.objects.filter(key=key, state__in=BUSY_ORDERS).first()
