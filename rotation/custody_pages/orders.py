"""How an order to a key store stands, step by step."""

from dataclasses import dataclass
from datetime import datetime

from rotation.models import Act, Order, OrderState

EQUAL_LOOKS = 2
_LOOKED_AT = (Act.CREATE, Act.ROTATE)
_NEW = (Act.CREATE, Act.ROTATE, Act.NEW_DEK, Act.ROTATE_DEK)
_BEGUN = (OrderState.DOING, OrderState.WATCHING, OrderState.DONE)


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
    if order.state == OrderState.FAILED:
        tries = f" after {order.attempts} tries in vain" if order.attempts > 1 else ""
        return OrderStep("late", f"Failed{tries}", order.closed_because)
    if order.state == OrderState.WAITING:
        again = f"tried {order.attempts} times in vain: {order.closed_because}" if order.attempts else ""
        return OrderStep("run", "A worker looks at the store, and then acts", again or _next(order))
    if order.state == OrderState.DOING and order.act not in _LOOKED_AT:
        return OrderStep("run", "Being done in the store")
    is_new = "the store has the new version" if order.act in _LOOKED_AT else ""
    words = "Done in the store" if order.state in _BEGUN else "Not done"
    return OrderStep("ok" if order.state in _BEGUN and (order.looks or is_new == "") else "run", words)


def _looks_step(order: Order) -> OrderStep:
    if order.state == OrderState.DONE or order.looks >= EQUAL_LOOKS:
        return OrderStep("ok", "Two equal looks at the store", "ten seconds apart or more")
    mark = "run" if order.state == OrderState.DOING else ""
    return OrderStep(mark, f"Equal looks at the store: {order.looks} of {EQUAL_LOOKS}", "only then is it used")
