"""What the steps of an order share: its words in the log, the lock on it, and what a step leads to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Outcome, Subject, record
from inventory.guarded.keks import Voted
from inventory.models import Kek
from rotation.models import Order, OrderState, Vote

LOOKS_APART = timedelta(seconds=10)  # two equal looks at a store, before what they show is used
WATCHED_EVERY = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Task:
    """An order that this worker has claimed, and who does it when."""

    order: Order
    actor: Actor
    now: datetime

    @property
    def kek(self) -> Kek:
        """Return the KEK that it is about, as it is now. Queries: 1."""
        return Kek.objects.select_related("key").get(pk=self.order.key_id)

    @property
    def voted(self) -> Voted:
        return voted_of(self.order, self.actor, self.now)


@dataclass(frozen=True, kw_only=True)
class Next:
    """What an order comes to by a step. `within` runs in the transaction that writes it down, before its event."""

    state: OrderState
    wait: timedelta = LOOKS_APART
    seen: Mapping[str, Any] | None = None
    looks: int = 0
    because: str = ""
    within: Callable[[Order], None] | None = None
    facts: Mapping[str, JSON] = field(default_factory=dict)


def again(seen: Mapping[str, Any], *, looks: int = 0, wait: timedelta = LOOKS_APART, because: str = "") -> Next:
    """Look again a little later."""
    return Next(state=OrderState.WAITING, seen=seen, looks=looks, wait=wait, because=because)


def done(within: Callable[[Order], None], *, because: str, facts: Mapping[str, JSON] | None = None) -> Next:
    return Next(state=OrderState.DONE, within=within, because=because, facts=facts or {})


def voted_of(order: Order, actor: Actor, now: datetime) -> Voted:
    """Return what every event of an order says: its request, who asked, who approved. Queries: at most 1."""
    facts: dict[str, JSON] = {"order": order.ref, "asked_by": order.asked_by_ref}
    if order.request_id:
        people = Vote.objects.filter(request=order.request_id, is_approval=True, voided_at=None).order_by("pk")
        approved = [f"user:{person}" for person in people.values_list("person_id", flat=True)]
        facts |= {"request": f"request:{order.request_id}", "approved_by": approved}
    wish = order.asked_by_ref
    acting = replace(actor, on_behalf_of=wish if wish.startswith("user:") else actor.on_behalf_of)
    return Voted(told=facts, actor=acting, reason=order.reason or "ordered", now=now)


def tell_log(
    action: Action,
    order: Order,
    *,
    was: str = "",
    actor: Actor,
    now: datetime,
    reason: str = "",
    facts: Mapping[str, JSON] | None = None,
    outcome: Outcome = Outcome.DONE,
) -> None:
    """Record what happened to an order; its key is a subject too, so that the timeline of the key shows it."""
    before: dict[str, JSON] = {"state": was} if was else {}
    after: dict[str, JSON] = {"state": str(order.state)} if was or action == Action.ORDER_OPENED else {}
    subjects = [Subject(ref=order.ref, label=order.get_act_display(), before=before, after=after)]
    if order.key is not None:
        subjects.append(Subject(ref=order.key.ref, label=order.key.name))
    request: dict[str, JSON] = {"request": f"request:{order.request_id}"} if order.request_id else {}
    said = {"act": str(order.act), **(facts or {}), **request}
    record(action, actor=actor, now=now, subjects=subjects, reason=reason, facts=said, outcome=outcome)


def locked(order: Order) -> Order | None:
    """Return the order, locked, if it is still as this worker claimed it."""
    claim = {"pk": order.pk, "state": order.state, "leased_until": order.leased_until, "attempts": order.attempts}
    return Order.objects.select_for_update(of=("self",)).select_related("key").filter(**claim).first()


def move(order: Order, state: OrderState | str, now: datetime, **columns: Any) -> None:  # noqa: ANN401 - columns of an order
    """Put a locked order into another state; the database checks that it may go there."""
    is_over = state in {OrderState.DONE, OrderState.CANCELLED}
    changed: dict[str, Any] = {"state": state, "closed_at": now if is_over else None, **columns}
    for name, value in changed.items():
        setattr(order, name, value)
    order.save(update_fields=list(changed))


def number_of(ref: str) -> int:
    """Return 118 for "request:118"."""
    return int(ref.partition(":")[2])
