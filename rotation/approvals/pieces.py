"""What asking, voting, ending and carrying out share: who acts, the locked request, and its words in the log."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import AuditError
from audit.services import Outcome, Subject, record
from inventory.errors import KeyMaterialError
from inventory.recognise import holds_key_material
from inventory.services.keys import require
from rotation.errors import UnknownOperationError
from rotation.models import LIVE, Request, RequestState
from rotation.operations import operation_of
from rotation.operations.base import Payload
from rotation.operations.payloads import read_payload


def payload_of(request: Request) -> Payload:
    """Return what people vote on. Raises: AuditError for bytes that are no payload."""
    return read_payload(bytes(request.payload))


def person_of(actor: Actor) -> int | None:
    """Return the number of the person who acts; None for a command or a process."""
    return int(actor.id.removeprefix("user:")) if actor.kind == "person" else None


def wisher_of(actor: Actor) -> str:
    """Return whose wish it is: "user:3", also where a command acts on their behalf; else the command itself."""
    return actor.on_behalf_of or actor.id


def number_of(ref: str) -> int | None:
    """Return the number of a person's reference ("user:3"), None for another."""
    kind, _, number = ref.partition(":")
    return int(number) if kind == "user" and number.isascii() and number.isdecimal() else None


def check_words(words: str, what: str) -> None:
    """Refuse a decision without its why, and key material in it. Raises: ReasonMissingError, KeyMaterialError."""
    require(words)
    if holds_key_material(words):
        raise KeyMaterialError(what)


def locked(pk: int) -> Request:
    """Return the request, locked: whoever changes it or votes on it takes this lock first."""
    return Request.objects.select_for_update(of=("self",)).get(pk=pk)


def move(request: Request, state: RequestState, now: datetime, **columns: Any) -> None:  # noqa: ANN401 - columns of a request
    """Put a locked request into another state; the database checks that it may go there."""
    changed: dict[str, Any] = {"state": state, "closed_at": None if state in LIVE else now, **columns}
    for name, value in changed.items():
        setattr(request, name, value)
    request.save(update_fields=list(changed))


def tell_log(
    action: Action,
    request: Request,
    *,
    was: str = "",
    actor: Actor,
    now: datetime,
    reason: str = "",
    facts: Mapping[str, JSON] | None = None,
    outcome: Outcome = Outcome.DONE,
) -> None:
    """Record what happened to a request; its records are subjects too, so that their timelines show it.

    `was` is the state before, where that has changed.
    """
    before: dict[str, JSON] = {"state": was} if was else {}
    after: dict[str, JSON] = {"state": str(request.state)} if was else {}
    itself = Subject(ref=request.ref, label=label_of(request), before=before, after=after)
    said: dict[str, JSON] = {"operation": request.operation, "digest": bytes(request.digest).hex(), **(facts or {})}
    subjects = [itself, *_records(request)]
    record(action, actor=actor, now=now, subjects=subjects, reason=reason, facts=said, outcome=outcome)


def label_of(request: Request) -> str:
    """Return what the log calls a request: its operation, because a title may name people."""
    try:
        return operation_of(request.operation).title
    except UnknownOperationError:
        return request.operation


def _records(request: Request) -> list[Subject]:
    try:
        return list(target_subjects(payload_of(request)))
    except AuditError:  # somebody has altered the bytes: that is what has to be told
        return []


def target_subjects(payload: Payload) -> Iterator[Subject]:
    """Yield the records a request is about, each once. People go by their reference: the log never names them."""
    for ref, label in {target.ref: target.label for target in payload.targets}.items():
        yield Subject(ref=ref, label="" if ref.startswith("user:") else label[:300])
