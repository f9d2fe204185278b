"""The body of an event, version 1: how it is put together and how it is read back. Pure.

    {"v":1, "id", "action", "outcome", "at",
     "actor":{"kind","id","role","on_behalf_of","verified_by","verified_at","identity"},
     "path", "reason", "subjects":[{"ref","label","before","after"}], "facts":{}}

Every name is always there. `at` is the business time; `verified_at` is a time or ""; `identity` is 64 hexadecimal
digits or "": the HMAC of the identity that stands sealed beside the event. A new version is a new number in "v" and
another function here; what was written in this one stays readable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from audit import canonical
from audit.actions import Action, Outcome
from audit.actor import Actor, Identity
from audit.canonical import JSON, parse_timestamp, timestamp
from audit.errors import AuditError

VERSION = 1
MAX_SUBJECTS = 1_000
MAX_BYTES = 1024 * 1024
MAX_TEXT = 300  # characters of a reference, a label, a path


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One thing the event is about, with what changed on it; never material."""

    ref: str  # "key:12"
    label: str = ""  # its name at that moment
    before: Mapping[str, JSON] = field(default_factory=dict)
    after: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Body:
    """What the bytes of an event say; times and changes are as written."""

    id: UUID
    action: str
    outcome: str
    at: datetime
    actor_kind: str
    actor_id: str
    actor_role: str
    on_behalf_of: str
    verified_by: str
    verified_at: str
    identity_digest: str
    path: str
    reason: str
    subjects: tuple[Subject, ...]
    facts: Mapping[str, Any]


def compose(  # noqa: PLR0913 - an event has these facts
    event_id: UUID,
    action: Action,
    outcome: Outcome,
    *,
    actor: Actor,
    identity_digest: str,
    at: datetime,
    subjects: Sequence[Subject],
    reason: str,
    facts: Mapping[str, JSON],
) -> bytes:
    """Return the canonical bytes of an event.

    Raises: AuditError for what may not be recorded.
    """
    _check_subjects(subjects)
    _check_path(actor.path)
    raw = canonical.canonical({
        "v": VERSION,
        "id": event_id,
        "action": action,
        "outcome": outcome,
        "at": at,
        "actor": {
            "kind": actor.kind,
            "id": actor.id,
            "role": actor.role,
            "on_behalf_of": actor.on_behalf_of,
            "verified_by": actor.verified_by,
            "verified_at": timestamp(actor.verified_at) if actor.verified_at else "",
            "identity": identity_digest,
        },
        "path": actor.path,
        "reason": reason,
        "subjects": [
            {"ref": subject.ref, "label": subject.label, "before": subject.before, "after": subject.after}
            for subject in subjects
        ],
        "facts": facts,
    })  # fmt: skip
    if len(raw) > MAX_BYTES:
        raise AuditError(f"The event has {len(raw)} bytes; the log takes {MAX_BYTES}.")
    return raw


def parse(raw: bytes) -> Body:
    """Return what the bytes of an event say.

    Raises: AuditError when they are not canonical, or no body of a known version.
    """
    try:
        said = canonical.read(raw)
        if said["v"] != VERSION:
            raise AuditError(f"The body has the unknown version {said['v']!r}.")
        return _body(said)
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError("The body of the event cannot be read.") from error


def canonical_identity(identity: Identity) -> bytes:
    """Return the bytes of an identity that are sealed and digested."""
    return canonical.canonical({
        "name": identity.name,
        "mail": identity.mail,
        "address": identity.address,
        "agent": identity.agent,
    })  # fmt: skip


def parse_identity(raw: bytes) -> Identity:
    """Return the identity that `canonical_identity` wrote."""
    said = canonical.read(raw)
    return Identity(name=said["name"], mail=said["mail"], address=said["address"], agent=said["agent"])


def identity_holder(actor_kind: str, actor_id: str, at: datetime) -> str:
    """Return whose identity key protects an event's identity.

    A person has one key for ever. Strangers share one a month, so that their addresses can be erased by the month.
    """
    return actor_id if actor_kind == "person" else f"{actor_id}:{at.astimezone(UTC):%Y-%m}"


def _body(said: Mapping[str, Any]) -> Body:
    actor = said["actor"]
    return Body(
        id=UUID(said["id"]),
        action=said["action"],
        outcome=said["outcome"],
        at=parse_timestamp(said["at"]),
        actor_kind=actor["kind"],
        actor_id=actor["id"],
        actor_role=actor["role"],
        on_behalf_of=actor["on_behalf_of"],
        verified_by=actor["verified_by"],
        verified_at=actor["verified_at"],
        identity_digest=actor["identity"],
        path=said["path"],
        reason=said["reason"],
        subjects=tuple(
            Subject(ref=each["ref"], label=each["label"], before=each["before"], after=each["after"])
            for each in said["subjects"]
        ),
        facts=said["facts"],
    )


def _check_subjects(subjects: Sequence[Subject]) -> None:
    if len(subjects) > MAX_SUBJECTS:
        raise AuditError(f"An event has at most {MAX_SUBJECTS} subjects; this one has {len(subjects)}.")
    if len({subject.ref for subject in subjects}) != len(subjects):
        raise AuditError("An event names each of its subjects once.")
    for subject in subjects:
        if not 0 < len(subject.ref) <= MAX_TEXT:
            raise AuditError(f"A subject's reference has 1 to {MAX_TEXT} characters.")


def _check_path(path: str) -> None:
    if "?" in path or "#" in path or len(path) > MAX_TEXT:
        raise AuditError(f"A path is recorded without its query string and has at most {MAX_TEXT} characters.")
