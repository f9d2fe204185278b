"""kek.rotate: one new version in the store, never two, used once it was seen twice."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction

from inventory.custody import store_of, wrap_new
from inventory.errors import StoreCannotError
from inventory.guarded.keks import take_into_use
from inventory.models import Kek, KekVersion
from rotation.errors import StoreDiffersError
from rotation.models import Order
from rotation.orders import jobs
from rotation.orders.looking import Look, begin, is_second, look_at_kek, remember
from rotation.orders.pieces import Next, Task, again, done

CANARY = 1  # the number that canaries are bound to


def step(task: Task) -> Next:
    """Look; ask for a new version where none was asked for; use it once two looks ten seconds apart showed it.

    A worker that died after the intent may have been heard by the store or not. So the next one looks, and only asks
    again when a second look, ten seconds later, still shows nothing new.
    """
    kek = task.kek
    look = look_at_kek(kek)
    seen = task.order.seen
    if "before" not in seen:
        return _act(task, kek, look)
    made = _new(seen, look)
    if made is None:
        if is_second(seen, "doubt", look, task.now):
            return _act(task, kek, look)
        because = "The store shows no new version yet."
        return again(remember(seen, "doubt", look, task.now), because=because)
    if not is_second(seen, "after", look, task.now):
        return again(remember(seen, "after", look, task.now), looks=1, because="Seen once; a second look follows.")
    return _use(task, kek, look, made)


def _act(task: Task, kek: Kek, look: Look) -> Next:
    """Write down the intent, ask the store, look. What comes of the look is used by the next step at the earliest."""
    begin(task, look)
    store, name = store_of(kek.uri)
    if not store.capabilities.rotates:
        raise StoreCannotError(f"The key store of {kek.uri} does not rotate a KEK from here.")
    store.rotate(name)
    after = look_at_kek(kek)
    seen = task.order.seen
    if _new(seen, after) is None:
        return again(remember(seen, "doubt", after, task.now), because="The store shows no new version yet.")
    return again(remember(seen, "after", after, task.now), looks=1, because="Seen once; a second look follows.")


def _new(seen: Mapping[str, Any], look: Look) -> str | None:
    """Return the version to be used: the newest, where it was not there before."""
    before = Look.remembered(seen["before"]).ids
    return look.newest if look.newest not in before else None


def _use(task: Task, kek: Kek, look: Look, made: str) -> Next:
    if KekVersion.objects.filter(kek=kek, store_id=made).exists():
        raise StoreDiffersError(f"The store calls {made} the newest version, and that is known here as an earlier one.")
    canary = canary_for(kek.uri, kek.algorithm, made)
    before = Look.remembered(task.order.seen["before"]).ids
    others = [one for one in look.ids if one not in before and one != made]

    def within(order: Order) -> None:
        voted = task.voted
        voted = replace(voted, told={**voted.told, **({"also_new": others} if others else {})})
        with transaction.atomic():
            version = take_into_use(pk=kek.pk, generation=look.generation(made), canary=canary, **voted.how)
        jobs.open_after(order, version, actor=voted.actor, now=task.now)

    return done(within, because=f"Version {made} is in use.", facts={"version": made})


def canary_for(uri: str, algorithm: str, version: str) -> bytes:
    """Return a wrapped DEK that protects nothing: shows later whether the version still opens. Asks the store."""
    wrapped, _binding = wrap_new(uri, algorithm, version, dek_id=canary_id(uri), number=CANARY)
    return wrapped


def canary_id(uri: str) -> bytes:
    return f"canary:{uri}".encode()
