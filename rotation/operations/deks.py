"""Clearing an earlier version of a DEK: its wrapped bytes are removed for good."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, parse_timestamp, timestamp
from inventory.guarded.deks import NOT_REACHED_HERE, clear_dek_version
from inventory.models import DekVersion, Key
from inventory.permits import Permit
from inventory.services import deks
from inventory.services.deks.ending import check_clearable
from inventory.services.deks.hands import dek_version
from inventory.terms import KeyKind
from rotation.errors import WrongParametersError
from rotation.operations import register
from rotation.operations.affected import chosen, facts_of, keys_in, lines_of, targets_of
from rotation.operations.base import DEVOPS, ENGINEERING, SECURITY, Description, Draft, Line, Operation, Payload, Step


def _one(parameters: Mapping[str, JSON], *, hold: bool) -> Key:
    if "keys" in parameters:
        raise WrongParametersError
    (key,) = chosen(parameters, hold=hold)
    if key.kind != KeyKind.DEK:
        raise WrongParametersError
    return key


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
