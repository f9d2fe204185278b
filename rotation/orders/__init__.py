"""Orders to key stores: written with what was decided, done by the worker step by step, looking before each act.

    waiting → doing            (1) claimed: a lease
    doing → waiting            (2) a look was equal once, or the store was in trouble: again a little later
    doing → watching           (3) a destruction is scheduled: looked at every hour until the store says it is gone
    doing, watching → done     (4) seen to be done: the records and their events in one transaction with the order's
    doing → failed             (5) a sentence says why; a person has it tried again, or cancels it

Every call of a store is outside any transaction. What cannot be asked twice is written down as an intent before
(order.begun). Whoever dies anywhere leaves a lease; the next one looks first.
"""

from rotation.orders.carrying import carry_out, carry_out_due, due
from rotation.orders.deciding import cancel, retry
from rotation.orders.dying import show_death
from rotation.orders.opening import busy_order, open_order
from rotation.orders.patrol import Patrolled, look_around
from rotation.orders.pieces import LOOKS_APART
from rotation.orders.reach import reached

__all__ = [
    "LOOKS_APART",
    "Patrolled",
    "busy_order",
    "cancel",
    "carry_out",
    "carry_out_due",
    "due",
    "look_around",
    "open_order",
    "reached",
    "retry",
    "show_death",
]
