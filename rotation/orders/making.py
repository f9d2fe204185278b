"""kek.create: a KEK made in its store, or one that is there taken over, and its record in the inventory."""

from collections.abc import Mapping, Sequence
from typing import Any

from audit.canonical import JSON
from inventory.custody import KeyExistsError, NoSuchKeyError, VersionStatus, WrapAlgorithm, capabilities_of, store_of
from inventory.errors import StoreCannotError
from inventory.guarded.keks import Generation, register_kek
from inventory.services.keys import revived
from inventory.terms import KeyKind, StorageMedium, StoreStatus
from rotation.errors import StoreDiffersError
from rotation.models import Order
from rotation.orders.looking import Look, begin, forget, is_second, look_at, remember
from rotation.orders.pieces import Next, Task, again, done
from rotation.orders.rotating import canary_for

# What people say of a new KEK; the rest of its record follows from its store.
SAID = (
    "name", "owner", "creator", "service", "purpose", "environment", "classification", "access", "is_shared", "tenant",
    "labels", "notes", "runbook_url",
)  # fmt: skip
GENERATED = "by the generator of its key store"
_MEDIA = {"local": StorageMedium.FILE, "pkcs11": StorageMedium.HSM}
_NAMES: Mapping[str, tuple[str, int]] = {
    WrapAlgorithm.AES_256_GCM96: ("AES-256-GCM", 256),
    WrapAlgorithm.AWS_SYMMETRIC: ("AES-256-GCM", 256),
    WrapAlgorithm.RSA_2048_OAEP_256: ("RSA-OAEP-256", 2048),
    WrapAlgorithm.RSA_3072_OAEP_256: ("RSA-OAEP-256", 3072),
    WrapAlgorithm.RSA_4096_OAEP_256: ("RSA-OAEP-256", 4096),
    WrapAlgorithm.RSA_2048_OAEP: ("RSA-OAEP", 2048),
}


def step(task: Task) -> Next:
    """Make the KEK where nobody made it yet, or look at the one that is there; register it once it was seen twice."""
    said: Mapping[str, Any] = task.order.parameters
    uri, takes_over = str(said["uri"]), bool(said["takes_over"])
    look, seen = look_at(uri), task.order.seen
    if not takes_over and "before" not in seen:
        if look is not None:
            raise StoreDiffersError(
                f"The key store has a KEK {uri} already. Ask to take it over, or for one with another name."
            )
        return _act(task, uri, str(said["algorithm"]))
    if look is None:
        return _missing(task, uri, str(said["algorithm"]), takes_over=takes_over)
    if not is_second(seen, "after", look, task.now):
        return again(remember(seen, "after", look, task.now), looks=1, because="Seen once; a second look follows.")
    return _register(task, uri, look)


def _missing(task: Task, uri: str, algorithm: str, *, takes_over: bool) -> Next:
    if takes_over:
        raise NoSuchKeyError(f"The key store has no KEK {uri} to be taken over.")
    if is_second(task.order.seen, "doubt", None, task.now):
        return _act(task, uri, algorithm)
    return again(remember(task.order.seen, "doubt", None, task.now), because="The store does not show it yet.")


def _act(task: Task, uri: str, algorithm: str) -> Next:
    is_first = "before" not in task.order.seen
    begin(task, None, {"uri": uri})
    store, name = store_of(uri)
    if not store.capabilities.creates:
        raise StoreCannotError(
            f"The key store of {uri} makes no KEKs from here. Make it there, and ask to take it over."
        )
    try:
        store.create(name, WrapAlgorithm(algorithm))
    except KeyExistsError:
        if is_first:  # somebody else made it a moment ago: it is not ours, however often this is tried again
            forget(task)
        raise
    look = look_at(uri)
    kept = "doubt" if look is None else "after"
    because = "The store does not show it yet." if look is None else "Seen once; a second look follows."
    return again(remember(task.order.seen, kept, look, task.now), looks=int(look is not None), because=because)


def _register(task: Task, uri: str, look: Look) -> Next:
    generations = usable(task, uri, look)
    canary = canary_for(uri, look.algorithm, look.newest)
    facts = _facts(task, uri, look, generations)

    def within(order: Order) -> None:
        kek = register_kek(
            facts=facts,
            uri=uri,
            algorithm=look.algorithm,
            generations=generations,
            canary=canary,
            **task.voted.how,
        )
        order.key = kek.key

    said: dict[str, JSON] = {"uri": uri, "version": look.newest}
    return done(within, because=f"{uri} is registered, with {len(generations)} version(s).", facts=said)


def usable(task: Task, uri: str, look: Look) -> list[Generation]:
    """Return the versions that are there still, the newest last. Raises: StoreDiffersError where it is another KEK."""
    wanted = str(task.order.parameters["algorithm"])
    if look.algorithm != wanted:
        raise StoreDiffersError(f"The KEK {uri} is one for {look.algorithm}, and {wanted} was asked for.")
    generations = [one for one in map(look.generation, look.ids) if one.status != StoreStatus.GONE]
    newest = look.generation(look.newest)
    if newest.status != str(VersionStatus.ENABLED):
        raise StoreDiffersError(f"The newest version of {uri} is {newest.status} in its store, so it wraps nothing.")
    return [*(one for one in generations if one.store_id != look.newest), newest]


def _facts(task: Task, uri: str, look: Look, generations: Sequence[Generation]) -> dict[str, Any]:
    """Return the facts of the record: what people said, and what follows from the store."""
    said = {name: revived(name, value) for name, value in task.order.parameters["facts"].items() if name in SAID}
    today = task.now.date()
    is_new = not task.order.parameters["takes_over"]
    dates = {"created_on": today, "never_rotated": True} if is_new else {}
    return {
        **said,
        **dates,
        **facts_there(uri, look),
        "kind": KeyKind.KEK,
        "generation_method": GENERATED if is_new else "",
    } | _known_dates(task.order.parameters, len(generations))


def facts_there(uri: str, look: Look) -> dict[str, Any]:
    """Return what a record says of a KEK as its store shows it."""
    algorithm, bits = algorithm_of(look.algorithm)
    return {
        "algorithm": algorithm,
        "size_bits": bits,
        "storage_medium": medium_of(uri),
        "storage_location": uri,
        "is_exportable": look.is_exportable,
    }


def _known_dates(parameters: Mapping[str, Any], generations: int) -> dict[str, Any]:
    """Return the dates of a KEK that is taken over, as people said them."""
    if not parameters["takes_over"]:
        return {}
    said = {name: revived(name, parameters["facts"].get(name)) for name in ("created_on", "last_rotated_on")}
    if generations == 1 and said["last_rotated_on"] is None:
        said["never_rotated"] = True
    return said


def algorithm_of(algorithm: str) -> tuple[str, int]:
    """Return what the inventory calls a way of wrapping, and the size of the key in bits."""
    return _NAMES.get(algorithm, (algorithm, 256))


def medium_of(uri: str) -> StorageMedium:
    return _MEDIA.get(uri.partition(":")[0], StorageMedium.KEY_VAULT)


def can_create(uri: str) -> bool:
    return capabilities_of(uri).creates
