"""dek.create and dek.rotate: a DEK is drawn and wrapped before anything is written, so nothing is left of a try."""

from inventory.guarded.deks import rotate_dek
from inventory.services import deks
from rotation.models import Order
from rotation.orders.pieces import Next, Task, done


def step_new(task: Task) -> Next:
    """Draw a DEK under the primary version of the KEK that the order names, and register it."""
    kek = int(task.order.parameters["kek"])
    facts = deks.facts_from(task.order.parameters, now=task.now)
    deks.check_new_dek(facts, task.now)
    drawn = deks.draw_dek(kek=kek, now=task.now)
    voted = task.voted

    def within(order: Order) -> None:
        order.key = deks.create_dek(drawn=drawn, facts=facts, actor=voted.actor, reason=voted.reason, now=task.now)

    return done(within, because=f"{facts['name']} is made, and in use.")


def step_rotate(task: Task) -> Next:
    """Draw the next version of a DEK; the one before stays readable."""
    key = task.order.key_id
    if key is None:
        raise ValueError("an order to rotate is about a key")
    drawn = deks.draw_next(dek=key, now=task.now)
    voted = task.voted

    def within(order: Order) -> None:
        rotate_dek(drawn=drawn, facts=voted.told, actor=voted.actor, reason=voted.reason, now=task.now)

    return done(within, because=f"Version {drawn.number} is in use.", facts={"version": drawn.number})
