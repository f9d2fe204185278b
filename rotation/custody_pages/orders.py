"""How an order to a key store stands, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Model

from inventory.models import Integration, Key, Owner, Service, Tenant
from rotation.models import Act, Order, OrderState

_MODELS: dict[str, type[Model]] = {"tenant": Tenant, "integration": Integration, "owner": Owner, "service": Service}
_LOOKED_AT = (Act.CREATE, Act.LINK, Act.ROTATE)


@dataclass(frozen=True)
class OrderStep:
    """One step. `mark` is a class of the stylesheet: ok, run, late, or none for what is still to come."""

    mark: str
    words: str
    note: str = ""
    at: datetime | None = None


def order_steps(order: Order) -> list[OrderStep]:
    """Say what was done of an order and what comes next, as its row tells it."""
    steps = [OrderStep("ok", "Ordered", _by(order), order.created_at)]
    steps.append(_act_step(order))
    if order.act in _LOOKED_AT and order.state != OrderState.CANCELLED:
        steps.append(_looks_step(order))
    if order.state == OrderState.WATCHING:
        steps.append(OrderStep("run", "Watched until the store confirms that it is gone", _next(order)))
    if order.state in {OrderState.DONE, OrderState.CANCELLED}:
        words = "Done" if order.state == OrderState.DONE else "Cancelled"
        mark = "ok" if order.state == OrderState.DONE else ""
        steps.append(OrderStep(mark, words, order.closed_because, order.closed_at))
    return steps


def _by(order: Order) -> str:
    return f"by request {order.request_id}" if order.request_id else "free of votes"


def _next(order: Order) -> str:
    return f"next look after {order.next_at:%-d %b %Y, %H:%M} UTC"


def _act_step(order: Order) -> OrderStep:
    """Say whether the store was asked; a worker that took it up looks before it asks."""
    if order.state == OrderState.FAILED:
        tries = f" after {order.attempts} tries in vain" if order.attempts > 1 else ""
        return OrderStep("late", f"Failed{tries}", order.closed_because)
    if order.state in {OrderState.DONE, OrderState.WATCHING} or order.looks:
        return OrderStep("ok", "Done in the store")
    if order.state == OrderState.CANCELLED:
        return OrderStep("", "Not done in the store")
    note = order.closed_because or _next(order)
    return OrderStep("run", "A worker looks at the store, and then acts", note)


def _looks_step(order: Order) -> OrderStep:
    if order.state == OrderState.DONE:
        return OrderStep("ok", "Seen twice, ten seconds apart or more, and taken into use")
    if order.looks:
        return OrderStep("run", "Seen once; a second look follows", _next(order))
    return OrderStep("", "Seen twice in the store before it is used")


def order_name(order: Order) -> str:
    """Return what an order is about: its key, or the name of what is still to be made."""
    if order.key is not None:
        return str(order.key)
    facts = order.parameters.get("facts")
    named = facts.get("name") if isinstance(facts, Mapping) else None
    return str(named or order.parameters.get("secret_name") or order.parameters.get("uri") or "")


def parameters_in_words(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was ordered, records by their names. Queries: 1 for each record that is named."""
    flat = {name: value for name, value in parameters.items() if not isinstance(value, Mapping)}
    for more in parameters.values():
        flat |= dict(more) if isinstance(more, Mapping) else {}
    return [(name.replace("_", " "), _in_words(name, value)) for name, value in flat.items() if value not in (None, "")]


def _in_words(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    kind, _, number = str(value).partition(":")
    model = Key if name in {"key", "kek"} else _MODELS.get(kind)
    pk = str(value) if name in {"key", "kek"} else number
    if model is None or not pk.isdecimal():
        return str(value)
    return str(model._default_manager.filter(pk=int(pk)).first() or value)
