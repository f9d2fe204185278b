"""Registering and retiring a source of DEKs kept elsewhere."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q
from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.models import Kek
from inventory.permits import Permit
from rotation.errors import RuleRefusedError, WrongParametersError
from rotation.models import RewrapSource, SourceForm
from rotation.operations import register
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step, Target
from rotation.sources.places import check_asked
from rotation.sources.registering import SAID, check_retirable, register_source, retire_source
from rotation.sources.tables import columns_of

BOTH = (Step(SECURITY), Step(DEVOPS))
OPTIONAL = {"context_column", "binding_column", "ca_file"}
_LABELS = {
    "database": "Database",
    "login": "Login",
    "password_file": "Password in the file",
    "ca_file": "CA in the file",
    "table": "Table",
    "id_column": "Id",
    "wrapped_column": "Wrapped DEK",
    "version_column": "Version of the KEK",
    "context_column": "Context",
    "binding_column": "Binding digest",
}


# Registering


def _draft_register(parameters: Mapping[str, Any], *, now: datetime, hold: bool) -> Draft:
    """Parameters: kek (the number of its key) and what SAID names. The web holds no password: the worker looks.

    Raises: WrongParametersError, RuleRefusedError, SourceError for names that are none.
    """
    source = _read(parameters)
    same = ("host", "port", "database", "table", "wrapped_column")
    place = Q(retired_at__isnull=True, **{name: getattr(source, name) for name in same})
    if RewrapSource.objects.filter(Q(name=source.name) | place).exists():
        raise RuleRefusedError("There is a source of that name, or of that table and column, already.")
    key = source.kek.key
    facts: dict[str, JSON] = {"kek": {"ref": key.ref, "name": key.name, "uri": source.kek.uri}}
    revision = int.from_bytes(sha256(source.kek.uri.encode()).digest()[:6])
    return Draft(targets=[Target(ref=f"kek_source:{source.name}", label=source.name, revision=revision)], facts=facts)


def _read(parameters: Mapping[str, Any]) -> RewrapSource:
    """Return the source that somebody describes, not saved. Raises: as the draft."""
    said = {name: parameters.get(name, "" if name in OPTIONAL else None) for name in SAID}
    kek = Kek.objects.select_related("key").filter(pk=_number(parameters.get("kek"))).first()
    if kek is None or parameters.keys() - {"kek", *SAID} or _number(said["port"]) is None:
        raise WrongParametersError
    if any(not isinstance(text, str) for name, text in said.items() if name != "port"):
        raise WrongParametersError
    source = RewrapSource(kek=kek, **said)
    try:
        source.clean_fields(exclude=_not_said(said))
    except ValidationError as error:
        raise RuleRefusedError(_first(error)) from error
    if "\0" in "".join(str(text) for text in said.values()):
        raise WrongParametersError
    check_asked(source.host, source.port)
    columns_of(source)
    return source


def _not_said(said: Mapping[str, Any]) -> set[str]:
    """Return the fields that nobody has said anything of."""
    return {field.name for field in RewrapSource._meta.get_fields()} - {
        name for name, text in said.items() if text or name not in OPTIONAL
    }


def _number(said: Any) -> int | None:  # noqa: ANN401 - as the payload says it
    return said if type(said) is int and 0 < said < 2**31 else None


def _first(error: ValidationError) -> str:
    name, messages = next(iter(error.message_dict.items()))
    return f"{name.replace('_', ' ').capitalize()}: {messages[0]}"


def _describe_register(payload: Payload) -> Description:
    said: Mapping[str, Any] = payload.parameters
    kek: Any = payload.facts["kek"]
    sentences = [
        f"The DEKs of the table {said['table']} on {said['host']} are wrapped by {kek['name']}, and are re-wrapped "
        "there, in place, whenever that KEK is rotated. No version of it is closed from "
        "then on while a row of that table needs it, or while the table cannot be counted.",
        "When this is carried out the worker looks: at the columns and their types, and that the login may SELECT the "
        "columns named, UPDATE what it writes, and do nothing else anywhere. If that is not so, nothing is registered.",
        _of_binding(said),
    ]
    lines = [
        Line(label="KEK", text=f"{kek['name']} ({kek['uri']})", url=_key_url(kek["ref"])),
        Line(label="Server", text=f"{said['host']}, port {said['port']}"),
        *(Line(label=label, text=str(said.get(name) or "none")) for name, label in _LABELS.items()),
        Line(label="Form", text=str(SourceForm(said["form"]).label)),
    ]
    return Description(title=f"Register {said['name']} as a source of DEKs", sentences=sentences, lines=lines)


def _of_binding(said: Mapping[str, Any]) -> str:
    if said.get("binding_column"):
        return (
            f"At its first opening each DEK is bound to its row, in {said['binding_column']}: a wrapped DEK that "
            "is put into another row is refused from then on."
        )
    return (
        "There is no column for the binding digest: each DEK is opened once more before its row is changed, but one "
        "that was put into another row is not noticed here."
    )


def _key_url(ref: str) -> str:
    return reverse("admin:inventory_key_change", args=[ref.partition(":")[2]])


def _execute_register(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    said: Mapping[str, Any] = payload.parameters
    register_source(
        kek=int(str(said["kek"])),
        said={name: said.get(name, "") for name in SAID},
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


# Retiring


def _draft_retire(parameters: Mapping[str, Any], *, now: datetime, hold: bool) -> Draft:
    """Parameters: source (its number). Raises: WrongParametersError, RuleRefusedError."""
    rows = RewrapSource.objects.filter(pk=_number(parameters.get("source")) or 0)
    source = (rows.select_for_update(of=("self",)) if hold else rows).select_related("kek__key").first()
    if source is None:
        raise WrongParametersError
    check_retirable(source)
    facts: dict[str, JSON] = {
        "kek": {"ref": source.kek.key.ref, "name": source.kek.key.name, "uri": source.kek.uri},
        "table": source.table,
        "host": source.host,
        "counts": dict(source.counts),
        "counted_at": source.counted_at,
    }
    return Draft(targets=[Target(ref=source.ref, label=source.name, revision=source.revision)], facts=facts)


def _describe_retire(payload: Payload) -> Description:
    facts: Any = payload.facts
    (target,) = payload.targets
    deks = sum(facts["counts"].values())
    sentences = [
        f"The table {facts['table']} on {facts['host']} is not re-wrapped and not counted from then on: versions of "
        f"{facts['kek']['name']} may be closed and destroyed whatever is left in it.",
        f"When it was counted last, {deks:,} DEKs were in it. Whatever of them is still used there is lost once the "
        "version that wraps it is destroyed."
        if deks
        else "When it was counted last, no DEK was in it.",
    ]
    lines = [
        Line(label="KEK", text=f"{facts['kek']['name']} ({facts['kek']['uri']})", url=_key_url(facts["kek"]["ref"])),
        *(Line(label=f"Under version {version}", text=f"{n:,}") for version, n in facts["counts"].items()),
    ]
    return Description(title=f"Retire the source {target.label}", sentences=sentences, lines=lines)


def _execute_retire(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    pk = int(payload.targets[0].ref.partition(":")[2])
    retire_source(pk=pk, permit=permit, actor=actor, reason=payload.reason, now=now)


register(
    Operation(
        code="source.register",
        title="Register a source of DEKs kept elsewhere",
        action=Action.SOURCE_REGISTERED,
        askers=(SECURITY,),
        steps=BOTH,
        draft=_draft_register,
        describe=_describe_register,
        execute=_execute_register,
    )
)
register(
    Operation(
        code="source.retire",
        title="Retire a source of DEKs kept elsewhere",
        action=Action.SOURCE_RETIRED,
        askers=(SECURITY,),
        steps=BOTH,
        draft=_draft_retire,
        describe=_describe_retire,
        execute=_execute_retire,
    )
)
