"""Having a KEK made in its store, or one that is there taken over: asked by DevOps, one vote of Security."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from django.conf import settings

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.custody import BackendError, Capabilities, WrapAlgorithm, capabilities_of
from inventory.errors import KeyMaterialError, StoreCannotError
from inventory.models import Kek, Key, Owner
from inventory.permits import Permit
from inventory.recognise import holds_key_material
from inventory.services.keys import check_entered, revived
from rotation.errors import RuleRefusedError, WrongParametersError
from rotation.models import Act
from rotation.operations import kek_facts, register
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step, Target
from rotation.orders import open_order
from rotation.orders.making import SAID

MANDATORY = ("owner", "creator", "service", "environment")


def draft_create(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: uri, algorithm, takes_over, facts (name, owner, … as the log has them; dates of one taken over)."""
    uri, algorithm = str(parameters.get("uri") or ""), str(parameters.get("algorithm") or "")
    takes_over, facts = parameters.get("takes_over"), parameters.get("facts")
    if type(takes_over) is not bool or not isinstance(facts, Mapping):
        raise WrongParametersError
    _check_facts(facts, takes_over=takes_over, now=now)
    able = check_place(uri, algorithm, takes_over=takes_over)
    name = str(facts["name"])
    target = Target(ref=f"kek:{sha256(uri.encode()).hexdigest()[:32]}", label=name[:300], revision=0)
    shown: dict[str, JSON] = {"death": str(able.death), "names": _names(facts)}
    return Draft(targets=[target], facts=shown)


def _names(facts: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return what services and tenants are called. Owners are people, whose names are no part of what never changes."""
    found = {name: revived(name, facts[name]) for name in ("service", "tenant") if facts.get(name)}
    return {name: str(record) for name, record in found.items()}


def _check_facts(facts: Mapping[str, JSON], *, takes_over: bool, now: datetime) -> None:
    dates = {"created_on", "last_rotated_on"} if takes_over else set()
    if not facts.get("name") or facts.keys() - set(SAID) - dates:
        raise WrongParametersError
    needed = [*MANDATORY, *(["created_on"] if takes_over else [])]
    if missing := [name for name in needed if not facts.get(name)]:
        raise RuleRefusedError(f"Say of the new KEK who or what this is: {', '.join(missing)}.".replace("_", " "))
    check_entered({name: revived(name, said) for name, said in facts.items()}, now)
    name = str(facts["name"])
    if Key.objects.filter(name=name).exists():
        raise RuleRefusedError(f"There is a key of the name {name} already. Choose another one.")


def check_place(uri: str, algorithm: str, *, takes_over: bool) -> Capabilities:
    """Return what the store of a KEK that is to be registered can do. Raises: RuleRefusedError, StoreCannotError …"""
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
    said = kek_facts.plain_map(payload.parameters)
    uri, name = str(said["uri"]), kek_facts.name_of(payload)
    if said["takes_over"]:
        what = f"The KEK {uri}, which is in its key store already, is registered as {name} with all its versions."
        title = f"Take over the KEK {name}"
    else:
        what = f"A new KEK {uri} is made in its key store, which never lets it out, and registered as {name}."
        title = f"Make the KEK {name}"
    names = kek_facts.plain_map(payload.facts["names"]) | _owners(said["facts"])
    facts = [
        Line(label=word.replace("_", " ").capitalize(), text=str(names.get(word, _shown(value))))
        for word, value in sorted(said["facts"].items())
        if value not in (None, "", [])
    ]
    return Description(
        title=title,
        sentences=[
            what,
            f"{kek_facts.THEN} New DEKs may be wrapped under it from then on.",
            kek_facts.death_words(payload),
        ],
        lines=[Line(label="Kept in", text=uri), Line(label="Wraps with", text=str(said["algorithm"])), *facts],
    )


def _owners(facts: Mapping[str, JSON]) -> dict[str, str]:
    """Return what owner and creator are called now, by word. Queries: 1."""
    refs = {word: str(facts[word]) for word in ("owner", "creator") if facts.get(word)}
    pks = [int(ref.partition(":")[2]) for ref in refs.values()]
    known = {owner.ref: str(owner) for owner in Owner.objects.filter(pk__in=pks)}
    return {word: known.get(ref, ref) for word, ref in refs.items()}


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
        refusals=(BackendError,),
    )
)
