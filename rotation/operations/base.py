"""What a guarded operation is: who may ask for it, whose votes it needs, what it shows and what it does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.permits import Permit

SECURITY, DEVOPS, MANAGEMENT, ENGINEERING = "Security", "DevOps", "Management", "Engineering"


@dataclass(frozen=True)
class Step:
    """So many votes of different people of one role."""

    role: str
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Target:
    """One record that is acted upon, as it was when somebody asked."""

    ref: str  # "key:12"
    label: str
    revision: int  # grows with every change of the record; what has none uses a digest of it or 0


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What an operation is about, found out from its parameters."""

    targets: Sequence[Target]  # the first one gives the request its name
    facts: Mapping[str, JSON] = field(default_factory=dict)  # what people are shown: before and after, whom it affects
    excluded: Sequence[str] = ()  # "user:3": who may not vote on it, besides who asks


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What people vote on and what is carried out, as its canonical bytes say it (RFC 8785). Never changed."""

    operation: str
    targets: Sequence[Target]
    parameters: Mapping[str, JSON]
    facts: Mapping[str, JSON]
    steps: Sequence[Step]
    excluded: Sequence[str]
    reason: str
    requested_by: str
    requested_at: str  # as audit.canonical.timestamp() writes it
    expires_at: str
    is_break_glass: bool
    nonce: str  # 128 random bits: no two requests have the same digest


class Link(NamedTuple):
    """A record that a line names; without an address only its words are shown."""

    text: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One fact of a decision page; where it changes, what it was. `links` are examples, which mails leave out."""

    label: str
    text: str
    before: str = ""
    url: str = ""
    links: Sequence[Link] = ()


@dataclass(frozen=True, kw_only=True)
class Description:
    """A payload in plain words. Made from the payload alone, so that what is shown is what is executed."""

    title: str  # "Revoke crm-sync/partner-sftp"
    sentences: Sequence[str]  # what will happen, and whom it affects
    lines: Sequence[Line] = ()


class Drafting(Protocol):
    def __call__(self, parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
        """Look at the records as they are; with `hold` lock them, clauses first, for the execution in this transaction.

        Raises: InventoryError, RotationError, or another rule's error whose words may be shown, when it cannot be done.
        """


class DraftingAll(Protocol):
    def __call__(self, questions: Sequence[Mapping[str, JSON]], *, now: datetime) -> Sequence[Draft]:
        """Do as Drafting with hold=False for each of many parameters, in few queries."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One guarded operation. Declared once, with `register()`; its code is stored and never renamed."""

    code: str  # "key.revoke"
    title: str  # "Revoke a key"
    action: Action  # what its execution leaves in the log
    askers: tuple[str, ...]  # roles
    steps: tuple[Step, ...]  # the fewest votes; a rule of the house may ask for more, never for less
    draft: Drafting
    describe: Callable[[Payload], Description]
    execute: Callable[[Payload, Permit, Actor, datetime], None]  # in a transaction, after draft(hold=True)
    draft_all: DraftingAll | None = None  # where thousands are asked at once
    targets_now: Callable[[Mapping[str, JSON]], Sequence[Target]] | None = None  # for pages, where a draft takes long
    refusals: tuple[type[Exception], ...] = ()  # rules that may say no, besides InventoryError, RotationError …
    owner_may_ask: bool = False  # of all the keys that it is about
    command_may_ask: bool = False  # on nobody's behalf; where two people vote, any command may
    lifetime: timedelta = timedelta(hours=24)
    breaks_glass: bool = False  # whether one person may do it in an emergency
    at_machine: bool = False  # a command carries it out (--request), no worker
