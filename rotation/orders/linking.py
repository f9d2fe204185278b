"""kek.link: a record that the inventory has already, and the KEK in a store that it turns out to be about."""

from inventory.custody import NoSuchKeyError
from inventory.guarded.kek_links import link_kek
from rotation.models import Order
from rotation.orders.looking import is_second, look_at, remember
from rotation.orders.making import facts_there, usable
from rotation.orders.pieces import Next, Task, again, done
from rotation.orders.rotating import canary_for


def step(task: Task) -> Next:
    """Look, and link once two looks ten seconds apart were equal. Nothing is changed in the store."""
    uri, key = str(task.order.parameters["uri"]), task.order.key_id
    look, seen = look_at(uri), task.order.seen
    if look is None or key is None:
        raise NoSuchKeyError(f"The key store has no KEK {uri}.")
    generations = usable(task, uri, look)
    if not is_second(seen, "after", look, task.now):
        return again(remember(seen, "after", look, task.now), looks=1, because="Seen once; a second look follows.")
    canary = canary_for(uri, look.algorithm, look.newest)

    def within(_order: Order) -> None:
        link_kek(
            pk=key,
            facts=facts_there(uri, look),
            uri=uri,
            algorithm=look.algorithm,
            generations=generations,
            canary=canary,
            **task.voted.how,
        )

    because = f"The record is linked to {uri}, with {len(generations)} version(s)."
    return done(within, because=because, facts={"uri": uri, "version": look.newest})
