"""KEKs in their stores: rotated, and their versions disabled, destroyed or taken back. Each is an order.

Carrying a request out changes nothing in a store: it closes what is to be ended (the interlock), and writes an order
that the worker carries out once the request is done (rotation.orders).
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.custody import BackendError, Scope, capabilities_of
from inventory.errors import NoSuchVersionError, PrimaryVersionError, StoreCannotError
from inventory.guarded.keks import Voted, close_versions
from inventory.models import Kek, KekVersion, Key
from inventory.permits import Permit
from inventory.states import State
from inventory.terms import StoreStatus
from rotation.errors import OrderWaitsError, RuleRefusedError
from rotation.models import Act, Order
from rotation.operations import kek_facts, register
from rotation.operations.affected import targets_of
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step
from rotation.orders import busy_order, open_order, reached
from rotation.orders.deciding import cancel_watched
from rotation.orders.ending import scope_of

BOTH = (Step(SECURITY), Step(DEVOPS))


# Rotate


def draft_rotate(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key. Raises: NoSuchKekError, StoreCannotError, OrderWaitsError, PrimaryVersionError."""
    key, kek = kek_facts.kek_in(parameters, hold=hold)
    if not capabilities_of(kek.uri).rotates:
        raise StoreCannotError(f"The key store of {key.name} does not rotate a KEK from here.")
    if key.state not in {State.ACTIVE, State.SUSPENDED} or kek.primary_id is None:
        raise RuleRefusedError(f"{key.name} is {key.get_state_display().lower()} or takes no wraps: it is not rotated.")
    _check_idle(key)
    return Draft(targets=targets_of([key]), facts=kek_facts.facts(key, kek, [], now))


def _check_idle(key: Key) -> None:
    if other := busy_order(key.pk):
        raise OrderWaitsError(key.name, other.ref)


def describe_rotate(payload: Payload) -> Description:
    name, under = kek_facts.name_of(payload), kek_facts.under_all(payload)
    tenants = int(str(payload.facts["tenants"]))
    where = "in the key store, on its side" if payload.facts["rewraps_there"] else "by the worker"
    job = (
        f"A job then brings {under:,} DEKs of {tenants:,} tenants under it, {where}; data that is encrypted under them "
        "is not touched."
        if under
        else "Nothing is wrapped under it here yet, so nothing has to be re-wrapped."
    )
    return Description(
        title=f"Rotate {name}",
        sentences=[
            f"{name} gets a new version in its key store. It is used once it was seen twice, and takes all new wraps. "
            f"{kek_facts.THEN}",
            job,
            "Earlier versions still open what they wrapped. Disabling or destroying them is another decision, once "
            f"nothing needs them. {kek_facts.death_words(payload)}",
        ],
        lines=kek_facts.lines(payload),
    )


def execute_rotate(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    key, _ = kek_facts.kek_in(payload.parameters, hold=True)
    open_order(act=Act.ROTATE, key=key, permit=permit, actor=actor, reason=payload.reason, now=now)


# End a version


def _draft_ending(act: Act) -> Callable[..., Draft]:
    def draft(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
        """Parameters: key, number; of a schedule days. Raises: StillNeededError, PrimaryVersionError …"""
        key, kek = kek_facts.kek_in(parameters, hold=hold)
        _check_idle(key)
        version = kek_facts.version_in(parameters, kek)
        _check_not_so(act, key, version)
        _check_days(act, parameters, kek)
        versions = _reached(act, kek, version)
        kek_facts.check_nothing_needs(kek, versions)
        return Draft(targets=targets_of([key]), facts=kek_facts.facts(key, kek, versions, now))

    return draft


def _check_not_so(act: Act, key: Key, version: KekVersion) -> None:
    already = {Act.DISABLE: (StoreStatus.DISABLED, StoreStatus.SCHEDULED), Act.SCHEDULE: (StoreStatus.SCHEDULED,)}
    if version.status in already.get(act, ()):
        label = version.get_status_display()
        raise RuleRefusedError(f"Version {version.version.number} of {key.name} is {label} already.")


def _check_days(act: Act, parameters: Mapping[str, JSON], kek: Kek) -> None:
    if act != Act.SCHEDULE:
        return
    able, days = capabilities_of(kek.uri), parameters.get("days")
    fewest, most = able.waiting_days
    if type(days) is not int or not fewest <= days <= most:
        raise RuleRefusedError(f"This kind of key store waits {kek_facts.waiting_words(able)} before it destroys.")


def _reached(act: Act, kek: Kek, version: KekVersion) -> list[KekVersion]:
    """Return what the act reaches in the store. Raises: StoreCannotError, PrimaryVersionError."""
    scope = scope_of(act, kek.uri)
    versions = reached(kek, version, scope)
    if scope is not Scope.KEY and kek.primary_id in {one.pk for one in versions}:
        raise PrimaryVersionError(kek.key.name)
    return versions


_ENDS = {
    Act.DISABLE: (
        "Disable",
        "{} of {} wrap and open nothing any more in the key store, until somebody has them recovered.",
    ),
    Act.SCHEDULE: (
        "Schedule the destruction of",
        "{} of {} are destroyed by the key store after a waiting time. Until then they open nothing, and can be "
        "recovered by votes where the store can do that.",
    ),
    Act.PURGE: ("Destroy", "{} of {} are destroyed in the key store at once. Nobody can undo that."),
}


def _describe_ending(act: Act) -> Callable[[Payload], Description]:
    def describe(payload: Payload) -> Description:
        verb, sentence = _ENDS[act]
        name, what = kek_facts.name_of(payload), kek_facts.acted_on(payload)
        days = payload.parameters.get("days")
        scope = REACH_WORDS[len(payload.facts["acted_on"]) > 1]  # type: ignore[arg-type]
        said = sentence.format(what.capitalize(), name)
        if "versions" not in what:
            said = said.replace(" wrap and open ", " wraps and opens ").replace(" are ", " is ", 1)
            said = said.replace("they open", "it opens").replace("them", "it")
        more = [Line(label="Waiting time", text=f"{days} days")] if days else []
        return Description(
            title=f"{verb} {what} of {name}",
            sentences=[
                f"{said} {scope}".strip(),
                "Nothing is wrapped under it here, no copy that was handed out is open, no backup holds it. It is "
                "closed to wraps when this is carried out; sources elsewhere are counted once more then, and one "
                f"that cannot be reached stops it. {kek_facts.THEN}",
                kek_facts.death_words(payload),
            ],
            lines=kek_facts.lines(payload, *more),
        )

    return describe


REACH_WORDS = {
    False: "",
    True: "Its store knows no smaller step: all of these are reached together.",
}


def _execute_ending(act: Act) -> Callable[[Payload, Permit, Actor, datetime], None]:
    def execute(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
        key, kek = kek_facts.kek_in(payload.parameters, hold=True)
        version = kek_facts.version_in(payload.parameters, kek)
        versions = _reached(act, kek, version)
        if [one.version.number for one in versions] != list(payload.facts["acted_on"]):  # type: ignore[arg-type]
            raise NoSuchVersionError(key.name)  # others than people have seen
        voted = Voted(told=permit.facts, actor=actor, reason=payload.reason, now=now)
        cancel_watched(kek, versions, because=f"Replaced by {permit.request}.", actor=actor, now=now)
        close_versions(
            pk=key.pk,
            versions=[one.pk for one in versions],
            with_primary=scope_of(act, kek.uri) is Scope.KEY,
            **voted.how,
        )
        _order(act, key, version, payload, permit, actor, now)

    return execute


def _order(
    act: Act, key: Key, version: KekVersion, payload: Payload, permit: Permit, actor: Actor, now: datetime
) -> Order:
    return open_order(
        act=act,
        key=key,
        kek_version=version,
        parameters=payload.parameters,
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


# Take back


def draft_recover(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key, number. Raises: NoSuchVersionError, StoreCannotError, OrderWaitsError."""
    key, kek = kek_facts.kek_in(parameters, hold=hold)
    _check_idle(key)
    version = kek_facts.version_in(parameters, kek)
    able = capabilities_of(kek.uri)
    if version.status == StoreStatus.ENABLED:
        raise RuleRefusedError(
            f"Version {version.version.number} of {key.name} is enabled: nothing is to be recovered."
        )
    if version.status == StoreStatus.SCHEDULED and not able.recovers:
        raise StoreCannotError(f"The key store of {key.name} cannot recover what is scheduled for destruction.")
    if version.status == StoreStatus.DISABLED and not able.enables:
        raise StoreCannotError(f"The key store of {key.name} cannot enable a version again.")
    return Draft(targets=targets_of([key]), facts=kek_facts.facts(key, kek, [version], now))


def describe_recover(payload: Payload) -> Description:
    name, what = kek_facts.name_of(payload), kek_facts.acted_on(payload)
    return Description(
        title=f"Recover {what} of {name}",
        sentences=[
            f"{what.capitalize()} of {name} is taken back from its destruction where it is scheduled for that, and "
            "enabled again in the key store: whoever has something wrapped under it, such as an old backup, can "
            f"open that. {kek_facts.THEN}",
            "It may be wrapped under again, but new wraps go to the primary version.",
        ],
        lines=kek_facts.lines(payload),
    )


def execute_recover(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    key, kek = kek_facts.kek_in(payload.parameters, hold=True)
    version = kek_facts.version_in(payload.parameters, kek)
    cancel_watched(kek, [version], because=f"Recovered by {permit.request}.", actor=actor, now=now)
    _order(Act.RECOVER, key, version, payload, permit, actor, now)


REFUSALS: tuple[type[Exception], ...] = (BackendError,)

ROTATE = register(
    Operation(
        code=Act.ROTATE.value,
        title="Rotate a KEK in its key store",
        action=Action.ORDER_OPENED,
        askers=(DEVOPS,),
        steps=(Step(SECURITY),),
        draft=draft_rotate,
        describe=describe_rotate,
        execute=execute_rotate,
        refusals=REFUSALS,
        breaks_glass=True,
    )
)


def _ending(act: Act, title: str) -> Operation:
    return register(
        Operation(
            code=act.value,
            title=title,
            action=Action.ORDER_OPENED,
            askers=(SECURITY, DEVOPS),
            steps=BOTH,
            draft=_draft_ending(act),
            describe=_describe_ending(act),
            execute=_execute_ending(act),
            refusals=REFUSALS,
        )
    )


DISABLE = _ending(Act.DISABLE, "Disable a version of a KEK")
SCHEDULE = _ending(Act.SCHEDULE, "Schedule a version of a KEK for destruction")
PURGE = _ending(Act.PURGE, "Destroy a version of a KEK at once")
RECOVER = register(
    Operation(
        code=Act.RECOVER.value,
        title="Recover a version of a KEK",
        action=Action.ORDER_OPENED,
        askers=(SECURITY, DEVOPS),
        steps=BOTH,
        draft=draft_recover,
        describe=describe_recover,
        execute=execute_recover,
        refusals=REFUSALS,
    )
)
