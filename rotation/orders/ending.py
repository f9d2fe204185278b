"""kek.disable, kek.schedule, kek.purge and kek.recover: asked of the store, looked at, and written down as seen.

What is ended was closed to wraps with the request: nothing is under it. Sources elsewhere are counted afresh here, with
the versions closed and before the store is asked; one that cannot be reached is a refusal.
"""

from collections.abc import Callable, Mapping, Sequence

from audit.canonical import JSON
from inventory.custody import Scope, capabilities_of, store_of
from inventory.errors import NoSuchVersionError, StillNeededError, StoreCannotError
from inventory.guarded.keks import Generation, note_statuses, open_versions
from inventory.models import Kek, KekVersion
from inventory.terms import StoreStatus
from rotation import sources
from rotation.models import Act, Order, OrderState
from rotation.orders.dying import Death, try_canaries, write_deaths
from rotation.orders.gone import write_gone
from rotation.orders.looking import Look, begin, check_not_rolled_back, generations_of, look_at, look_at_kek
from rotation.orders.pieces import LOOKS_APART, WATCHED_EVERY, Next, Task, again, done
from rotation.orders.reach import reached

MOST_LOOKS = 12  # two minutes for a store to show what it was asked for
ENDED: Mapping[str, frozenset[str]] = {
    Act.DISABLE: frozenset({StoreStatus.DISABLED, StoreStatus.SCHEDULED, StoreStatus.GONE}),
    Act.SCHEDULE: frozenset({StoreStatus.SCHEDULED, StoreStatus.GONE}),
    Act.PURGE: frozenset({StoreStatus.GONE}),
}


def step(task: Task) -> Next:
    """End what the order names, unless the store shows that already; then look until it does."""
    if task.order.state == OrderState.WATCHING:
        return _watch(task)
    kek = task.kek
    look = _look_at_ending(task, kek)
    versions = _versions(task, kek)
    if not _is_so(task, look, versions):
        if not _was_asked(task.order):
            if look is not None:
                check_not_rolled_back(kek, look)
            _check_sources(task, kek, versions)
            begin(task, look, {"versions": [one.store_id for one in versions]})
            _ask(task, kek)
            look = _look_at_ending(task, kek)
        if not _is_so(task, look, versions):
            return _not_yet(task)
    return _write_down(task, kek, look, versions)


def _check_sources(task: Task, kek: Kek, versions: Sequence[KekVersion]) -> None:
    """Count every source elsewhere afresh. Raises: StillNeededError; SourceError for one that cannot be asked."""
    counts = sources.count_now(kek, actor=task.actor, now=task.now)
    if needed := sources.still_needed(counts, [one.store_id for one in versions]):
        words = "DEKs of sources elsewhere are under it, or under a version that nobody knows here"
        raise StillNeededError(kek.key.name, [f"{needed:,} {words}"])


def _look_at_ending(task: Task, kek: Kek) -> Look | None:
    """Return what the store shows; None where the KEK is no more, which a scheduled or purged one may be."""
    if task.order.act == Act.DISABLE:
        return look_at_kek(kek)
    return look_at(kek.uri)


def _versions(task: Task, kek: Kek) -> list[KekVersion]:
    version = task.order.kek_version
    if version is None:
        raise NoSuchVersionError(kek.key.name)
    return reached(kek, version, scope_of(task.order.act, kek.uri))


def scope_of(act: str, uri: str) -> Scope:
    """Return what an act reaches in the store of a KEK. Raises: StoreCannotError."""
    able = capabilities_of(uri)
    scopes = {Act.DISABLE: able.disables, Act.SCHEDULE: able.schedules, Act.PURGE: able.purges}
    scope = scopes.get(Act(act))
    if scope is None:
        words = {Act.DISABLE: "disable a version", Act.SCHEDULE: "schedule a destruction", Act.PURGE: "destroy at once"}
        raise StoreCannotError(f"The key store of {uri} cannot {words.get(Act(act), act)}.")
    return scope


def _is_so(task: Task, look: Look | None, versions: Sequence[KekVersion]) -> bool:
    """Whether the store shows all the versions ended, as far as was ordered."""
    wanted = ENDED[task.order.act]
    return all((look.generation(one.store_id).status if look else StoreStatus.GONE) in wanted for one in versions)


def _was_asked(order: Order) -> bool:
    """Whether the store was asked a moment ago, and only has to show it. After that it is asked anew."""
    return bool(order.looks) and order.looks % MOST_LOOKS != 0


def _not_yet(task: Task) -> Next:
    because = "The store was asked, and does not show it yet."
    return again(task.order.seen, looks=task.order.looks + 1, wait=LOOKS_APART, because=because)


def _ask(task: Task, kek: Kek) -> None:
    """Ask the store for what is ordered; every one of these may be asked twice."""
    store, name = store_of(kek.uri)
    version = task.order.kek_version
    if version is None:
        raise NoSuchVersionError(kek.key.name)
    if task.order.act == Act.DISABLE:
        store.disable(name, version.store_id)
    elif task.order.act == Act.SCHEDULE:
        store.schedule_destruction(name, version.store_id, days=int(task.order.parameters["days"]))
    else:
        store.purge(name, version.store_id)


def _write_down(task: Task, kek: Kek, look: Look | None, versions: Sequence[KekVersion]) -> Next:
    seen = generations_of(kek, look, [one.pk for one in versions])
    deaths = try_canaries(kek, versions, now=task.now)
    if all(one.status == StoreStatus.GONE for one in seen.values()):
        return done(
            _gone(task, kek, versions, deaths), because="The store shows that it is gone.", facts=_facts(versions)
        )
    within = _noted(task, kek, seen, deaths)
    if task.order.act == Act.SCHEDULE:
        return Next(
            state=OrderState.WATCHING,
            wait=WATCHED_EVERY,
            within=within,
            because="Scheduled there; looked at every hour until the store shows that it is gone.",
        )
    return done(within, because=_words(seen), facts=_facts(versions))


def _noted(task: Task, kek: Kek, seen: Mapping[int, Generation], deaths: Sequence[Death]) -> Callable[[Order], None]:
    def within(order: Order) -> None:
        note_statuses(pk=kek.pk, generations=seen, **task.voted.how)
        write_deaths(kek, deaths, task.voted)

    return within


def _gone(task: Task, kek: Kek, versions: Sequence[KekVersion], deaths: Sequence[Death]) -> Callable[[Order], None]:
    def within(order: Order) -> None:
        write_gone(order, kek, versions, deaths, task.voted)

    return within


def _facts(versions: Sequence[KekVersion]) -> dict[str, JSON]:
    return {"versions": [{"version": one.version.number, "id": one.store_id} for one in versions]}


def _words(seen: Mapping[int, Generation]) -> str:
    return "The store shows: " + ", ".join(sorted({str(one.status) for one in seen.values()})) + "."


# Watching


def _watch(task: Task) -> Next:
    """Look whether what was scheduled is gone; whoever recovered it outside of here ends the watch."""
    kek = task.kek
    look = look_at(kek.uri)
    versions = _versions(task, kek)
    seen = generations_of(kek, look, [one.pk for one in versions])
    states = {one.status for one in seen.values()}
    if states == {StoreStatus.GONE}:
        deaths = try_canaries(kek, versions, now=task.now)
        return done(
            _gone(task, kek, versions, deaths), because="The store shows that it is gone.", facts=_facts(versions)
        )
    within = _noted(task, kek, seen, ())
    if states <= {StoreStatus.SCHEDULED, StoreStatus.GONE}:
        return Next(
            state=OrderState.WATCHING,
            wait=WATCHED_EVERY,
            within=within,
            because="Still scheduled there.",
        )
    because = "Somebody has taken it back in the key store itself: it is not scheduled for destruction any more."
    return Next(state=OrderState.FAILED, within=within, because=because)


# Recovering


def step_recover(task: Task) -> Next:
    """Take a schedule back, enable what is disabled, and open it once the store shows that."""
    kek = task.kek
    look = look_at_kek(kek)
    version = task.order.kek_version
    if version is None:
        raise NoSuchVersionError(kek.key.name)
    status = look.generation(version.store_id).status
    if status == StoreStatus.GONE:
        raise NoSuchVersionError(kek.key.name)
    if status != StoreStatus.ENABLED:
        if not _was_asked(task.order):
            begin(task, look, {"versions": [version.store_id]})
            _take_back(kek, version, look)
            look = look_at_kek(kek)
        if look.generation(version.store_id).status != StoreStatus.ENABLED:
            return _not_yet(task)
    seen = generations_of(kek, look)
    back = {pk: one for pk, one in seen.items() if one.status == StoreStatus.ENABLED}

    def within(order: Order) -> None:
        open_versions(pk=kek.pk, generations=back, **task.voted.how)

    return done(within, because="The store shows it enabled, and it takes wraps again.", facts=_facts([version]))


def _take_back(kek: Kek, version: KekVersion, look: Look) -> None:
    store, name = store_of(kek.uri)
    able = store.capabilities
    status = look.generation(version.store_id).status
    if status == StoreStatus.SCHEDULED:
        if not able.recovers:
            raise StoreCannotError(f"The key store of {kek.uri} cannot recover what is scheduled.")
        store.recover(name, version.store_id)
        after = look_at(kek.uri)
        status = after.generation(version.store_id).status if after else status
    if status == StoreStatus.DISABLED:
        if not able.enables:
            raise StoreCannotError(f"The key store of {kek.uri} cannot enable a version again.")
        store.enable(name, version.store_id)
