"""KEKs in their stores: made, rotated, and their versions disabled, destroyed or taken back. Each is an order.

Carrying a request out changes nothing in a store: it closes what is to be ended (the interlock), and writes an order
that the worker carries out once the request is done (rotation.orders).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256

from django.conf import settings

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.custody import BackendError, Capabilities, Scope, WrapAlgorithm, capabilities_of
from inventory.errors import InventoryError, KeyMaterialError, NoSuchVersionError, PrimaryVersionError, StoreCannotError
from inventory.guarded.keks import Voted, close_versions
from inventory.models import Kek, KekVersion, Key
from inventory.permits import Permit
from inventory.recognise import holds_key_material
from inventory.services.keys import check_entered, revived
from inventory.states import State
from inventory.terms import StoreStatus
from rotation.errors import OrderWaitsError, RuleRefusedError, WrongParametersError
from rotation.models import Act, Order
from rotation.operations import kek_facts, register
from rotation.operations.affected import targets_of
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step, Target
from rotation.orders import busy_order, open_order, reached
from rotation.orders.deciding import cancel_watched
from rotation.orders.ending import scope_of
from rotation.orders.making import SAID

BOTH = (Step(SECURITY), Step(DEVOPS))
MANDATORY = ("owner", "creator", "service", "environment")
THEN = "The worker carries it out in the key store within a minute of the last vote, and looks whether it is done."


# Make


def draft_create(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: uri, algorithm, takes_over, facts (name, owner, … as the log has them; dates of one taken over)."""
    uri, algorithm = str(parameters.get("uri") or ""), str(parameters.get("algorithm") or "")
    takes_over, facts = parameters.get("takes_over"), parameters.get("facts")
    if type(takes_over) is not bool or not isinstance(facts, Mapping):
        raise WrongParametersError
    _check_facts(facts, takes_over=takes_over, now=now)
    able = _check_place(uri, algorithm, takes_over=takes_over)
    name = str(facts["name"])
    target = Target(ref=f"kek:{sha256(uri.encode()).hexdigest()[:32]}", label=name[:300], revision=0)
    return Draft(targets=[target], facts={"death": str(able.death), "binds_context": able.binds_context})


def _check_facts(facts: Mapping[str, JSON], *, takes_over: bool, now: datetime) -> None:
    dates = {"created_on", "last_rotated_on"} if takes_over else set()
    if not facts.get("name") or facts.keys() - set(SAID) - dates:
        raise WrongParametersError
    needed = [*MANDATORY, *(["created_on"] if takes_over else [])]
    if missing := [name for name in needed if not facts.get(name)]:
        raise RuleRefusedError(f"Say of the new KEK who or what this is: {', '.join(missing)}.".replace("_", " "))
    check_entered({name: revived(name, said) for name, said in facts.items()}, now)
    if Key.objects.filter(name=str(facts["name"])).exists():
        raise RuleRefusedError(f"There is a key of the name {facts['name']} already. Choose another one.")


def _check_place(uri: str, algorithm: str, *, takes_over: bool) -> Capabilities:
    able = capabilities_of(uri)
    store = uri.partition(":")[2].partition("/")[0]
    if store not in settings.KMS_STORES:
        known = ", ".join(sorted(settings.KMS_STORES)) or "none"
        raise RuleRefusedError(f"No key store is called {store}. KEYVAULT_KMS names: {known}.")
    if holds_key_material(uri):
        raise KeyMaterialError("address")
    if Kek.objects.filter(uri=uri).exists():
        raise RuleRefusedError(f"{uri} is registered already.")
    if algorithm not in set(map(str, WrapAlgorithm)) or (not takes_over and algorithm not in able.algorithms):
        known = ", ".join(able.algorithms)
        raise RuleRefusedError(f"KEKs of this kind of store are made for one of: {known}.")
    if not takes_over and not able.creates:
        raise StoreCannotError(f"The key store {store} makes no KEKs from here. Make it there, and take it over.")
    return able


def describe_create(payload: Payload) -> Description:
    said = kek_facts._map(payload.parameters)
    uri, name = str(said["uri"]), kek_facts.name_of(payload)
    if said["takes_over"]:
        what = f"The KEK {uri}, which is in its key store already, is registered as {name} with all its versions."
        title = f"Take over the KEK {name}"
    else:
        what = f"A new KEK {uri} is made in its key store, which never lets it out, and registered as {name}."
        title = f"Make the KEK {name}"
    facts = [
        Line(label=word.replace("_", " ").capitalize(), text=_shown(value))
        for word, value in sorted(kek_facts._map(said["facts"]).items())
        if value not in (None, "", [])
    ]
    return Description(
        title=title,
        sentences=[what, f"{THEN} New DEKs may be wrapped under it from then on.", kek_facts.death_words(payload)],
        lines=[Line(label="Kept in", text=uri), Line(label="Wraps with", text=str(said["algorithm"])), *facts],
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def execute_create(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    open_order(
        act=Act.CREATE,
        key=None,
        parameters=payload.parameters,
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


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
    job = (
        f"A job then brings {under:,} DEKs of {tenants:,} tenants under it; what is stored under them is not touched."
        if under
        else "Nothing is wrapped under it yet, so nothing has to be re-wrapped."
    )
    where = "in the key store, on its side" if payload.facts["rewraps_there"] else "by the worker"
    return Description(
        title=f"Rotate {name}",
        sentences=[
            f"{name} gets a new version in its key store. It is used once it was seen twice, and takes all new wraps. "
            f"{THEN}",
            f"{job} The re-wrap is done {where}.",
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
                "closed to wraps when this is carried out; sources elsewhere are counted once more then, and one that cannot "
                f"be reached stops it. {THEN}",
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
        voted = Voted(facts=permit.facts, actor=actor, reason=payload.reason, now=now)
        cancel_watched(kek, versions, because=f"Replaced by {permit.request}.", actor=actor, now=now)
        close_versions(
            pk=key.pk,
            versions=[one.pk for one in versions],
            with_primary=scope_of(act, kek.uri) is Scope.KEY,
            voted=voted,
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
            "enabled again in the key store: whoever has something wrapped under it, such as an old backup, can open that. "
            f"{THEN}",
            "It may be wrapped under again, but new wraps go to the primary version.",
        ],
        lines=kek_facts.lines(payload),
    )


def execute_recover(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    key, kek = kek_facts.kek_in(payload.parameters, hold=True)
    version = kek_facts.version_in(payload.parameters, kek)
    cancel_watched(kek, [version], because=f"Recovered by {permit.request}.", actor=actor, now=now)
    _order(Act.RECOVER, key, version, payload, permit, actor, now)


REFUSALS: tuple[type[Exception], ...] = (BackendError, InventoryError)

CREATE = register(
    Operation(
        code=Act.CREATE.value,
        title="Make a KEK, or take one over",
        action=Action.ORDER_OPENED,
        askers=(DEVOPS,),
        steps=(Step(SECURITY),),
        draft=draft_create,
        describe=describe_create,
        execute=execute_create,
        refusals=REFUSALS,
    )
)
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
