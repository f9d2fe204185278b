"""Linking a record of the inventory to the KEK in a store that it is about: asked by DevOps, one vote of Security."""

from collections.abc import Mapping
from datetime import datetime

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.custody import BackendError
from inventory.guarded.kek_links import check_linkable
from inventory.permits import Permit
from rotation.errors import OrderWaitsError, WrongParametersError
from rotation.models import Act
from rotation.operations import kek_facts, register
from rotation.operations.affected import chosen, facts_of, lines_of, targets_of
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step
from rotation.operations.new_keks import check_place
from rotation.orders import busy_order, open_order
from rotation.orders.making import algorithm_of


def draft_link(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key, uri, algorithm. Raises: NotLinkableError, RuleRefusedError, OrderWaitsError."""
    if "keys" in parameters:
        raise WrongParametersError
    uri, algorithm = str(parameters.get("uri") or ""), str(parameters.get("algorithm") or "")
    (key,) = chosen(parameters, hold=hold)
    name, bits = algorithm_of(algorithm)
    check_linkable(key, uri=uri, algorithm=name, size_bits=bits)
    able = check_place(uri, algorithm, takes_over=True)
    if other := busy_order(key.pk):
        raise OrderWaitsError(key.name, other.ref)
    shown: dict[str, JSON] = {
        "death": str(able.death),
        "before": {"algorithm": key.algorithm, "location": key.storage_location},
    }
    return Draft(targets=targets_of([key]), facts=facts_of([key], lambda _: None, now) | shown)


def describe_link(payload: Payload) -> Description:
    uri, name = str(payload.parameters["uri"]), kek_facts.name_of(payload)
    before = kek_facts.plain_map(payload.facts["before"])
    return Description(
        title=f"Link {name} to its key store",
        sentences=[
            f"The record {name} becomes that of the KEK {uri}, with all versions that its key store has: the newest is "
            f"the current one. {kek_facts.THEN}",
            "Its algorithm, its size, where it is kept and whether it can be exported are then what the store says. "
            "Everything else of the record stays, and so does its history.",
            f"Nothing is changed in the store. New DEKs may be wrapped under it. {kek_facts.death_words(payload)}",
        ],
        lines=[
            *lines_of(payload),
            Line(label="Kept in", text=uri, before=str(before["location"])),
            Line(label="Wraps with", text=str(payload.parameters["algorithm"]), before=str(before["algorithm"])),
        ],
    )


def execute_link(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    (key,) = chosen(payload.parameters, hold=True)
    open_order(
        act=Act.LINK,
        key=key,
        parameters=payload.parameters,
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


LINK = register(
    Operation(
        code=Act.LINK.value,
        title="Link a record to a KEK in its key store",
        action=Action.ORDER_OPENED,
        askers=(DEVOPS,),
        steps=(Step(SECURITY),),
        draft=draft_link,
        describe=describe_link,
        execute=execute_link,
        refusals=(BackendError,),
    )
)
