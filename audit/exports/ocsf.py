"""An event in OCSF, the Open Cybersecurity Schema Framework, version 1.6.0: one JSON object.

People and their sessions are Authentication (3002), Account Change (3001) and User Access Management (3005); everything
else is Entity Management (3004), whose entity is the first subject. What the schema has no place for stands as we
write it under `unmapped`. `metadata.uid` and `metadata.sequence` (id and number of the event) are the same each time an
event is sent: by them a receiver drops a duplicate. Source: github.com/ocsf/ocsf-schema, tag 1.6.0.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from audit.actions import Action, Outcome
from audit.body import Body
from audit.canonical import timestamp
from audit.exports.product import NAME, VERSION, gravity_of
from audit.selectors import ReadEvent

SCHEMA = "1.6.0"
CATEGORY = (3, "Identity & Access Management")
OTHER = (99, "Other")
SEVERITIES = ((1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High"))  # by gravity
PERSON = {"person": 1, "anonymous": 0}  # type_id of a user


class EventClass(NamedTuple):
    """A class of the schema, with what it calls its activities."""

    uid: int
    caption: str
    activities: Mapping[str, tuple[int, str]]  # by action, or by its participle


AUTHENTICATION = EventClass(
    3002,
    "Authentication",
    {
        Action.SESSION_OPENED: (1, "Logon"),
        Action.SESSION_REFUSED: (1, "Logon"),
        Action.SESSION_CLOSED: (2, "Logoff"),
        Action.SESSION_ENDED: (2, "Logoff"),
        Action.SESSION_VERIFIED: OTHER,
        Action.PASSKEY_ASSERTED: OTHER,
        Action.SINGLE_SIGN_ON_USED: OTHER,
    },
)
ACCOUNT = EventClass(
    3001,
    "Account Change",
    {
        Action.PERSON_REGISTERED: (1, "Create"),
        Action.PERSON_REACTIVATED: (2, "Enable"),
        Action.PERSON_PASSWORD_CHANGED: (3, "Password Change"),
        Action.PERSON_DEACTIVATED: (5, "Disable"),
        Action.SIGN_IN_LOCKED: (9, "Lock"),
        Action.PERSON_ENROLLED: (10, "MFA Factor Enable"),
        Action.FACTOR_ADDED: (10, "MFA Factor Enable"),
        Action.FACTOR_REMOVED: (11, "MFA Factor Disable"),
        Action.FACTOR_RESET: (11, "MFA Factor Disable"),
        Action.SIGN_IN_UNLOCKED: (12, "Unlock"),
        Action.PERSON_EDITED: OTHER,
        Action.PERSON_END_SET: OTHER,
        Action.PERSON_ERASED: OTHER,
        Action.ENROLMENT_ISSUED: OTHER,
        Action.RECOVERY_CODE_MADE: OTHER,
        Action.RECOVERY_CODE_USED: OTHER,
        Action.SINGLE_SIGN_ON_LINKED: OTHER,
        Action.SINGLE_SIGN_ON_UNLINKED: OTHER,
    },
)
ACCESS = EventClass(
    3005,
    "User Access Management",
    {
        Action.ROLE_GRANTED: (1, "Assign Privileges"),
        Action.QUORUM_RESTORED: (1, "Assign Privileges"),
        Action.ROLE_REVOKED: (2, "Revoke Privileges"),
    },
)
ENTITY = EventClass(
    3004,
    "Entity Management",
    {
        **dict.fromkeys(("registered", "imported", "made", "opened"), (1, "Create")),
        **dict.fromkeys(("exported", "export_begun", "looked_up", "verified", "shipped"), (2, "Read")),
        **dict.fromkeys(("edited", "rotated", "changed", "judged"), (3, "Update")),
        "destroyed": (4, "Delete"),
        "retired": (9, "Disable"),
        "activated": (10, "Activate"),
        "deactivated": (11, "Deactivate"),
        "suspended": (12, "Suspend"),
        "reactivated": (13, "Resume"),
    },
)
CLASSES = {action: each for each in (AUTHENTICATION, ACCOUNT, ACCESS) for action in each.activities}


def line(event: ReadEvent, *, origin: str) -> str:
    """Return the object on one line of ASCII, without line end; `origin` is the name of the log."""
    return _encode(mapped(event, origin=origin))


def mapped(event: ReadEvent, *, origin: str) -> dict[str, Any]:
    """Return the event as an object of the schema."""
    said = event.said
    kind = CLASSES.get(said.action, ENTITY) if said else ENTITY
    activity, name = _activity(kind, said)
    severity, severe = SEVERITIES[gravity_of(said)]
    is_done = said is not None and said.outcome == Outcome.DONE
    moment = said.at if said else (event.stamped.recorded_at if event.stamped else None)
    return {
        "activity_id": activity,
        "activity_name": name,
        "category_uid": CATEGORY[0],
        "category_name": CATEGORY[1],
        "class_uid": kind.uid,
        "class_name": kind.caption,
        "type_uid": kind.uid * 100 + activity,
        "severity_id": severity,
        "severity": severe,
        "status_id": 1 if is_done else 2,
        "status": "Success" if is_done else "Failure",
        "time": _milliseconds(moment) if moment else 0,
        "message": event.sentence,
        "metadata": _metadata(event, said, origin),
        **(_facts(event, said, kind) if said else {"entity": {"type": "event", "uid": str(event.number)}}),
    }


def _activity(kind: EventClass, said: Body | None) -> tuple[int, str]:
    """Return the activity; of one that the schema does not know, our own word stands beside 99."""
    action = said.action if said else "event.unreadable"
    known = kind.activities.get(action) or kind.activities.get(action.rpartition(".")[2]) or OTHER
    return known if known != OTHER else (OTHER[0], action)


def _metadata(event: ReadEvent, said: Body | None, origin: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "version": SCHEMA,
        "product": {"name": NAME, "vendor_name": NAME, "version": VERSION},
        "log_name": origin,
        "sequence": event.number,
    }
    if said:
        metadata |= {"uid": str(said.id), "event_code": said.action, "original_time": timestamp(said.at)}
    if event.stamped:
        metadata["logged_time"] = _milliseconds(event.stamped.recorded_at)
    return metadata


def _facts(event: ReadEvent, said: Body, kind: EventClass) -> dict[str, Any]:
    facts: dict[str, Any] = {"actor": _actor(event, said), "status_code": said.outcome}
    if said.reason:
        facts["comment" if kind is ENTITY else "status_detail"] = said.reason
    if kind is ENTITY:
        facts["entity"] = _entity(said)
    else:
        facts["user"] = _user(event, said)
    if kind is AUTHENTICATION:
        facts |= {"service": {"name": NAME}, "is_mfa": bool(said.verified_by)}
    if kind is ACCESS:
        facts["privileges"] = _privileges(said)
    return {**facts, "unmapped": _unmapped(event, said)}


def _actor(event: ReadEvent, said: Body) -> dict[str, Any]:
    actor: dict[str, Any] = {"user": _acting(event, said)} if said.actor_kind in PERSON else {"app_name": said.actor_id}
    return {**actor, "invoked_by": said.on_behalf_of} if said.on_behalf_of else actor


def _acting(event: ReadEvent, said: Body) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": said.actor_id, "type_id": PERSON.get(said.actor_kind, 0)}
    if said.actor_role:
        user["groups"] = [{"name": role} for role in said.actor_role.split("+")]
    if event.identity and event.identity.name:
        user["name"] = event.identity.name
    return user


def _user(event: ReadEvent, said: Body) -> dict[str, Any]:
    """Return whom it is about: the person among the subjects, or who acted."""
    about = next((subject.ref for subject in said.subjects if subject.ref.startswith("user:")), said.actor_id)
    return _acting(event, said) if about == said.actor_id else {"uid": about, "type_id": PERSON["person"]}


def _entity(said: Body) -> dict[str, str]:
    if not said.subjects:
        noun = said.action.partition(".")[0]
        return {"type": noun, "uid": noun}
    first = said.subjects[0]
    return {"type": first.ref.partition(":")[0], "uid": first.ref, "name": first.label or first.ref}


def _privileges(said: Body) -> list[str]:
    """Return the roles that were given or taken, as the event says them in its facts or in what changed."""
    changed = {str(said.facts["role"])} if "role" in said.facts else set()
    for each in said.subjects:
        changed |= _texts(each.before.get("roles")) ^ _texts(each.after.get("roles"))
    return sorted(changed)


def _texts(said: object) -> set[str]:
    return {text for text in said if isinstance(text, str)} if isinstance(said, list) else set()


def _unmapped(event: ReadEvent, said: Body) -> dict[str, Any]:
    """Return what of the event has no place elsewhere, under the names of the log."""
    subjects = [
        {"ref": each.ref, "label": each.label, "before": each.before, "after": each.after} for each in said.subjects
    ]
    unmapped = {
        "digest": event.digest.hex(),
        "outcome": said.outcome,
        "path": said.path,
        "verified_by": said.verified_by,
        "verified_at": said.verified_at,
        "subjects": subjects,
        "facts": said.facts,
    }
    return {name: fact for name, fact in unmapped.items() if fact}


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
