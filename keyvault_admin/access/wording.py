"""How people, their roles and what happened to them read on a page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import NamedTuple

from audit import sentences
from audit.body import Body
from audit.selectors import ReadEvent
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import MATRIX, PERMISSIONS, VOTING, Role

SOON_DAYS = 30


class Chip(NamedTuple):
    look: str  # late, soon, ok or rest
    words: str


@dataclass(frozen=True)
class Line:
    """One event on a person's page."""

    at: datetime | None
    actor: str
    words: str
    reason: str
    changes: Sequence[sentences.Change]
    number: int


# In plain words, in the order in which people ask: what the role is for, and what a permission lets one do.
PURPOSES: dict[Role, str] = {
    Role.SECURITY: "keeps the rules, the people and the log; votes",
    Role.DEVOPS: "runs rotations and confirms them; votes",
    Role.ENGINEERING: "answers for keys of their own",
    Role.MANAGEMENT: "decides on exceptions; reads",
    Role.AUDITOR: "reads everything, changes nothing",
}
TOPICS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Keys", (
        ("inventory.view_key", "see keys"),
        ("inventory.view_keyversion", "see their versions"),
        ("inventory.add_key", "register a key"),
        ("inventory.change_own_key", "edit and suspend keys of their own"),
        ("inventory.change_key", "edit any key"),
        ("inventory.suspend_key", "suspend any key at once"),
        ("inventory.report_rotation", "report a rotation done elsewhere"),
        ("inventory.import_keys", "import an inventory"),
        ("inventory.export_keys", "export the inventory"),
        ("inventory.find_token", "look up a token that was found"),
    )),
    ("What keys belong to", (
        ("inventory.view_owner", "see owners"),
        ("inventory.add_owner", "add owners"),
        ("inventory.change_owner", "edit owners"),
        ("inventory.view_service", "see services"),
        ("inventory.add_service", "add services"),
        ("inventory.change_service", "edit services"),
        ("inventory.view_vendor", "see vendors"),
        ("inventory.add_vendor", "add vendors"),
        ("inventory.change_vendor", "edit vendors"),
    )),
    ("Rules", (
        ("inventory.view_policyclause", "see policy clauses and algorithms"),
        ("inventory.change_policyclause", "ask for other clauses, and raise the threat level"),
        ("inventory.view_policyexception", "see exceptions to clauses"),
        ("inventory.ask_policyexception", "ask for an exception to a clause"),
        ("inventory.end_policyexception", "end an exception early"),
    )),
    ("Key stores", (
        ("inventory.create_dek", "have a DEK made"),
        ("inventory.hand_out_dek", "confirm that a copy of a wrapped DEK is in use no more"),
        ("rotation.view_order", "see what is ordered from key stores"),
        ("rotation.view_rewrapjob", "see how far a re-wrap job is"),
        ("rotation.run_rewrapjob", "open, pause, resume and stop re-wrap jobs"),
        ("rotation.view_rewrapsource", "see which DEKs are kept elsewhere"),
        ("audit.view_certificate", "see certificates of re-wrapping and destruction"),
    )),
    ("Proof and people", (
        ("rotation.view_digest", "see the mail that went out"),
        ("rotation.view_duty", "see what one person did alone, and who looked at it"),
        ("rotation.view_request", "see what waits for votes, and vote for a role of their own"),
        ("rotation.view_review", "see reviews and who signed them"),
        ("rotation.sign_review", "judge and sign reviews, never what they did themselves"),
        ("audit.view_event", "see the audit log"),
        ("audit.view_exportcursor", "see where the audit log is shipped to"),
        ("audit.export_log", "export the audit log"),
        ("access.view_user", "see people"),
        ("access.manage_people", "add, edit and deactivate people, take roles away"),
    )),
)  # fmt: skip


def role_table() -> list[tuple[str, list[tuple[str, list[bool]]]]]:
    """Return each topic with what can be done, and for each role whether it may; nothing is left out."""
    named = {code for _, lines in TOPICS for code, _ in lines}
    others = tuple((code, PERMISSIONS[code].lower()) for code in PERMISSIONS if code not in named)
    topics = [*TOPICS, *([("Other", others)] if others else [])]
    return [
        (topic, [(words, [code in MATRIX[role] for role in Role]) for code, words in lines]) for topic, lines in topics
    ]


def standing(person: User, today: date) -> Chip:
    """Say whether the account works, and until when."""
    if not person.is_active:
        return Chip("rest", "deactivated")
    if person.has_ended(today):
        return Chip("rest", "ended")
    if person.ends_on is None:
        return Chip("ok", "active")
    days = (person.ends_on - today).days
    return Chip("soon" if days <= SOON_DAYS else "ok", f"until {person.ends_on:%-d %b %Y}")


def votes(person: User) -> bool:
    """Whether one of the person's roles fills a step of an approval."""
    return any(role in person.role_names for role in VOTING)


def lines_of(events: Sequence[ReadEvent], person: User) -> list[Line]:
    """Return the events of a person's page in words."""
    return [_line(event, person) for event in events]


def _line(event: ReadEvent, person: User) -> Line:
    said = event.said
    if said is None:
        at = event.stamped.recorded_at if event.stamped else None
        return Line(at, "", "The body of this event cannot be read.", "", (), event.number)
    own = next((subject for subject in said.subjects if subject.ref == person.ref), None)
    changes = sentences.changes(own) if own else []
    return Line(said.at, event.who, _did(said, event.who, person), said.reason, changes, event.number)


def _did(said: Body, who: str, person: User) -> str:
    """Return what was done, to be read after the name of who did it."""
    named = (replace(subject, label=str(person)) if subject.ref == person.ref else subject for subject in said.subjects)
    return sentences.sentence(replace(said, subjects=tuple(named)), who).removeprefix(f"{who} ")
