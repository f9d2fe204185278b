"""Rotating DEKs, which a worker does by an order, and clearing what an earlier version has left."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, parse_timestamp, timestamp
from inventory.errors import NotAllowedNowError
from inventory.guarded.deks import NOT_REACHED_HERE, clear_dek_version
from inventory.models import DekVersion, Key
from inventory.permits import Permit
from inventory.services import deks
from inventory.services.deks.ending import check_clearable
from inventory.services.deks.hands import dek_version
from inventory.services.deks.making import primary_of
from inventory.states import State
from inventory.terms import KeyKind
from rotation.errors import OrderWaitsError, WrongParametersError
from rotation.models import Act
from rotation.operations import register
from rotation.operations.affected import chosen, facts_of, keys_in, lines_of, targets_of
from rotation.operations.base import DEVOPS, ENGINEERING, SECURITY, Description, Draft, Line, Operation, Payload, Step
from rotation.orders.opening import busy_order, open_order


def _one(parameters: Mapping[str, JSON], *, hold: bool) -> Key:
    if "keys" in parameters:
        raise WrongParametersError
    (key,) = chosen(parameters, hold=hold)
    if key.kind != KeyKind.DEK:
        raise WrongParametersError
    return key


# Rotate


def draft_rotate(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key. Raises: NotAllowedNowError, NoDekError, NoPrimaryError, OrderWaitsError."""
    key = _one(parameters, hold=hold)
    if key.state != State.ACTIVE:
        raise NotAllowedNowError(key.name, key.state, "be rotated")
    version = dek_version(key, None)
    under = primary_of(deks.kek_under(version), now)
    if other := busy_order(key.pk):
        raise OrderWaitsError(key.name, other.ref)
    rotated: dict[str, JSON] = {
        "uri": under.kek.uri,
        "kek": under.version.key.name,
        "kek_version": under.store_id,
        "earlier": DekVersion.objects.filter(key=key, cleared_at=None).count(),
    }
    return Draft(targets=targets_of([key]), facts=facts_of([key], lambda _: None, now) | {"rotated": rotated})


def describe_rotate(payload: Payload) -> Description:
    (key,) = keys_in(payload)
    rotated: Any = payload.facts["rotated"]
    number, earlier = int(key["version"]), int(rotated["earlier"])
    sentences = [
        f"The data key {key['name']} gets version {number + 1}: the worker draws it, wraps it by {rotated['kek']}, and "
        "whoever asks for the DEK is handed that one from then on.",
        f"Version {number} protects nothing new and still opens what it encrypted, until somebody confirms that all of "
        "it is encrypted anew and others vote to clear it.",
        "Services that were handed the DEK go on with the copy they have until they fetch the new one.",
    ]
    lines = [
        *lines_of(payload),
        Line(label="Version", text=f"{number}, then {number + 1}"),
        Line(label="Wrapped by", text=f"{rotated['uri']}, version {rotated['kek_version']} or a later one"),
        Line(label="Versions that are kept", text=str(earlier + 1)),
    ]
    return Description(title=f"Rotate {key['name']}", sentences=sentences, lines=lines)


def execute_rotate(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    key = _one(payload.parameters, hold=True)
    open_order(act=Act.ROTATE_DEK, key=key, permit=permit, actor=actor, reason=payload.reason, now=now)


ROTATE = register(
    Operation(
        code="dek.rotate",
        title="Rotate a DEK",
        action=Action.ORDER_OPENED,
        askers=(DEVOPS, ENGINEERING),
        steps=(Step(DEVOPS),),
        draft=draft_rotate,
        describe=describe_rotate,
        execute=execute_rotate,
        owner_may_ask=True,
    )
)


# Clear


def draft_clear(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Parameters: key, and number of the version. Raises: ClearingError, NoDekError, IllegalTransitionError."""
    number = parameters.get("number")
    if type(number) is not int:
        raise WrongParametersError
    key = _one(parameters, hold=hold)
    version = dek_version(key, number)
    check_clearable(key, version)
    cleared: dict[str, JSON] = {
        "number": number,
        "state": version.version.get_state_display(),
        "confirmed_at": timestamp(version.reencrypted_at) if version.reencrypted_at else None,
        "under": _under(version),
        "not_reached": list(NOT_REACHED_HERE),
    }
    return Draft(targets=targets_of([key]), facts=facts_of([key], lambda _: None, now) | {"cleared": cleared})


def _under(version: DekVersion) -> list[JSON]:
    rows = version.wrappings.order_by("kek_version_id").values_list("kek_version__kek__uri", "kek_version__store_id")
    return [f"{uri}, version {store_id}" for uri, store_id in rows]


def describe_clear(payload: Payload) -> Description:
    (key,) = keys_in(payload)
    cleared: Any = payload.facts["cleared"]
    number = cleared["number"]
    sentences = [
        f"The wrapped bytes of version {number} of the data key {key['name']} are removed here, and that version "
        f"becomes Destroyed. The key goes on with version {key['version']}.",
        "What was encrypted under that version, and was not encrypted anew, can never be read again. Somebody has "
        "confirmed that there is nothing.",
        " ".join(["What this does not reach:", *cleared["not_reached"]]),
        "Nobody can undo this.",
    ]
    confirmed = f"{parse_timestamp(cleared['confirmed_at']):%-d %B %Y, %H:%M} UTC" if cleared["confirmed_at"] else "no"
    lines = [
        *lines_of(payload),
        Line(label="Version", text=f"{number}, {cleared['state'].lower()}, becomes Destroyed"),
        Line(label="Confirmed as encrypting nothing", text=confirmed),
        Line(label="Wrapped under", text="; ".join(cleared["under"]) or "nothing"),
    ]
    return Description(title=f"Clear version {number} of {key['name']}", sentences=sentences, lines=lines)


def execute_clear(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    (key,) = keys_in(payload)
    number = int(str(payload.parameters["number"]))
    pk = int(str(key["ref"]).removeprefix("key:"))
    clear_dek_version(dek=pk, number=number, permit=permit, actor=actor, reason=payload.reason, now=now)


CLEAR = register(
    Operation(
        code=deks.CLEAR,
        title="Clear a version of a DEK",
        action=Action.DEK_CLEARED,
        askers=(SECURITY, DEVOPS, ENGINEERING),
        steps=(Step(SECURITY), Step(DEVOPS)),
        draft=draft_clear,
        describe=describe_clear,
        execute=execute_clear,
        owner_may_ask=True,
        command_may_ask=True,
    )
)
