"""How requests and votes read on a page: chips, who fills which step, how it ended. Rendered from the payload alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError

from audit.selectors import ReadEvent, timeline
from inventory.chips import Chip
from inventory.errors import InventoryError
from rotation import requests
from rotation.errors import RotationError, UnknownOperationError
from rotation.models import LIVE, Request, RequestState, Vote
from rotation.operations import operation_of
from rotation.operations.base import Description, Line, Operation, Payload, Step, Target
from rotation.operations.payloads import read_payload
from rotation.operations.showing import as_shown, visible

SOON = timedelta(hours=4)
WITHDRAWABLE = (RequestState.OPEN, RequestState.APPROVED, RequestState.FAILED)
_LOOKS: dict[str, str] = {
    RequestState.OPEN: "soon",
    RequestState.APPROVED: "run",
    RequestState.EXECUTING: "run",
    RequestState.EXECUTED: "ok",
    RequestState.FAILED: "late",
    RequestState.REJECTED: "late",
}
EVENTS = 30  # of a request: each vote is one, so there are a handful
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_PAGES = {"key": "inventory_key", "clause": "inventory_policyclause", "user": "access_user"}


@dataclass(frozen=True)
class Place:
    """One vote that is given or missing."""

    role: str
    vote: Vote | None = None
    is_mine: bool = False  # whoever looks can fill it now
    is_unfillable: bool = False  # and nobody could, as things are


@dataclass(frozen=True)
class Told:
    """One event of a request, to be read after the name of who did it."""

    at: datetime | None
    actor: str
    words: str
    reason: str


@dataclass(frozen=True)
class Subject:
    """One record that is acted upon, with its page where there is one."""

    target: Target
    view: str = ""  # of the page: "admin:inventory_key_change"
    pk: int = 0


@dataclass(frozen=True)
class Shown:
    """Everything a decision page says of one request to one person."""

    payload: Payload
    operation: str  # its title
    reason: str
    description: Description
    subjects: Sequence[Subject]
    places: Sequence[Place]
    rejections: Sequence[Vote]
    void: Sequence[Vote]
    events: Sequence[Told]
    state: Chip
    until: Chip
    outcome: str
    overtaken: str  # why it can no longer be carried out as it stands
    mine: str  # the role for which this person can vote now
    why_not: str  # why they cannot, where that needs saying
    is_live: bool
    is_running: bool  # the worker has it
    may_withdraw: bool
    may_retry: bool

    @property
    def is_changing(self) -> bool:
        """Whether one of the lines says what it was before."""
        return any(line.before for line in self.description.lines)


@dataclass(frozen=True)
class Listed:
    """One request of a batch, in as many words as its own page has."""

    request: Request
    operation: str
    reason: str
    description: Description
    subjects: Sequence[Subject]
    until: Chip

    @property
    def is_changing(self) -> bool:
        return any(line.before for line in self.description.lines)


def shown(request: Request, *, person: int, roles: Sequence[str], now: datetime) -> Shown:
    """Return what the page of a request says to somebody.

    Queries: 4, 6 more while votes can be given, and those by which the operation looks at the records as they are.
    """
    payload, operation = read_payload(bytes(request.payload)), _operation(request.operation)
    votes = list(request.votes.select_related("person").order_by("voted_at", "pk"))
    standing = [vote for vote in votes if vote.voided_at is None]
    is_open = request.state == RequestState.OPEN and now < request.expires_at
    mine = (requests.fillable_step(request, person) or "") if is_open else ""
    at_machine = operation is not None and operation.at_machine
    is_own = request.requested_by_id == person
    return Shown(
        payload=payload,
        operation=title_of_operation(request.operation),
        reason=visible(payload.reason),
        description=described(payload),
        subjects=subjects(payload.targets),
        places=_places(request, payload, standing, mine),
        rejections=[vote for vote in standing if not vote.is_approval],
        void=[vote for vote in votes if vote.voided_at is not None],
        events=told(timeline(request.ref, EVENTS)),
        state=state_chip(request),
        until=until_chip(request, now),
        outcome=outcome(request, at_machine=at_machine),
        overtaken=overtaken(payload, operation, now) if request.state in LIVE else "",
        mine=mine,
        why_not=_why_not(request, payload, standing, person, roles) if is_open and not mine else "",
        is_live=request.state in LIVE,
        is_running=request.state in {RequestState.APPROVED, RequestState.EXECUTING} and not at_machine,
        may_withdraw=is_own and request.state in WITHDRAWABLE,
        may_retry=request.state == RequestState.FAILED and (is_own or _has_step(payload, roles)),
    )


def _places(request: Request, payload: Payload, standing: Sequence[Vote], mine: str) -> list[Place]:
    """Return the votes that are given or missing; of what was rejected, no vote is missing any more."""
    is_open = request.state == RequestState.OPEN
    found = places(payload.steps, standing, own=mine, unfillable=requests.unfillable(request) if is_open else ())
    return [place for place in found if place.vote] if request.state == RequestState.REJECTED else found


def listed(request: Request, now: datetime) -> Listed:
    """Return one line of a batch. Queries: none."""
    payload = read_payload(bytes(request.payload))
    return Listed(
        request=request,
        operation=title_of_operation(request.operation),
        reason=visible(payload.reason),
        description=described(payload),
        subjects=subjects(payload.targets),
        until=until_chip(request, now),
    )


def _operation(code: str) -> Operation | None:
    try:
        return operation_of(code)
    except UnknownOperationError:
        return None


def _has_step(payload: Payload, roles: Sequence[str]) -> bool:
    return any(step.role in roles for step in payload.steps)


def _why_not(request: Request, payload: Payload, standing: Sequence[Vote], person: int, roles: Sequence[str]) -> str:
    """Say why somebody who looks at an open request does not vote on it; nothing to who could never."""
    if request.requested_by_id == person:
        return "You asked for this, so other people decide it."
    if f"user:{person}" in payload.excluded:
        return "You have a part in what this is about, so other people decide it."
    if any(vote.person_id == person for vote in standing):
        return "You have voted. What is missing is somebody else's."
    if _has_step(payload, roles):
        return "The votes of your role are given, or you have no authenticator app or passkey that could vote."
    return ""


def overtaken(payload: Payload, operation: Operation | None, now: datetime) -> str:
    """Return why a request can no longer be carried out as it stands, "" while it can. Queries: the operation's."""
    if operation is None:
        return "This version knows no such operation."
    rules: tuple[type[Exception], ...] = (InventoryError, RotationError, ValidationError, *operation.refusals)
    try:
        are = _targets_now(operation, payload, now)
    except rules as error:
        return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
    then = {target.ref: target.revision for target in payload.targets}
    if {target.ref: target.revision for target in are} == then:
        return ""
    changed = [target.label for target in are if then.get(target.ref) != target.revision]
    return f"{', '.join(changed) or 'What it is about'} has changed since this was asked."


def _targets_now(operation: Operation, payload: Payload, now: datetime) -> Sequence[Target]:
    if operation.targets_now:
        return operation.targets_now(payload.parameters)
    return operation.draft(payload.parameters, now=now, hold=False).targets


def told(events: Sequence[ReadEvent]) -> list[Told]:
    """Return the events of a request in words, newest first."""
    found = []
    for event in events:
        at = event.said.at if event.said else event.stamped.recorded_at if event.stamped else None
        words = event.sentence.removeprefix(f"{event.who} ")
        found.append(Told(at, event.who, words, event.said.reason if event.said else ""))
    return found


def state_chip(request: Request) -> Chip:
    return Chip(_LOOKS.get(request.state, "rest"), RequestState(request.state).label)


def left(until: datetime, now: datetime) -> str:
    """Say how long something still lasts: "20 h left", "35 min left", "over"."""
    seconds = int((until - now).total_seconds())
    if seconds <= 0:
        return "over"
    if seconds < _HOUR:
        return f"{max(seconds // _MINUTE, 1)} min left"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR} h left"
    return f"{seconds // _DAY} days left"


def until_chip(request: Request, now: datetime) -> Chip:
    """Say until when votes are taken."""
    if request.expires_at <= now:
        return Chip("late", "over")
    return Chip("late" if request.expires_at - now < SOON else "rest", left(request.expires_at, now))


def title_of_operation(code: str) -> str:
    """Return what an operation is called; the code of one that is declared no more."""
    operation = _operation(code)
    return operation.title if operation else code


def described(payload: Payload) -> Description:
    """Return a payload in plain words; without its operation, the bare parameters."""
    operation = _operation(payload.operation)
    if operation is None:
        lines = [Line(label=name, text=str(said)) for name, said in payload.parameters.items()]
        words = f"The operation {payload.operation!r} is not known to this version, so nobody can carry it out."
        said = Description(title=payload.operation, sentences=[words], lines=lines)
    else:
        said = operation.describe(payload)
    return as_shown(said)


def places(
    steps: Sequence[Step], votes: Sequence[Vote], *, own: str = "", unfillable: Collection[str] = ()
) -> list[Place]:
    """Return every vote that is needed, the given ones with who gave them; `own` is the role that whoever looks fills.

    A rejection stands beside the places: it is none of the votes that are needed.
    """
    found: list[Place] = []
    for step in steps:
        given = [vote for vote in votes if vote.role == step.role and vote.is_approval][: step.count]
        found += [Place(step.role, vote) for vote in given]
        missing = step.count - len(given)
        found += [
            Place(step.role, is_mine=step.role == own and number == 0, is_unfillable=step.role in unfillable)
            for number in range(missing)
        ]
    return found


def subjects(targets: Sequence[Target]) -> list[Subject]:
    """Return what is acted upon, with the view of its page. Queries: none."""
    found = []
    for target in targets:
        kind, _, number = target.ref.partition(":")
        page = _PAGES.get(kind, "")
        is_there = bool(page) and number.isascii() and number.isdecimal()
        named = replace(target, label=visible(target.label))
        found.append(Subject(named, f"admin:{page}_change" if is_there else "", int(number) if is_there else 0))
    return found


def outcome(request: Request, *, at_machine: bool) -> str:
    """Say where a request stands, to be read on its page."""
    if request.state == RequestState.APPROVED and at_machine:
        return (
            f"All votes are given. Somebody carries it out on the server, with the command of this operation and "
            f"--request {request.pk}, before it expires."
        )
    if request.state == RequestState.APPROVED and request.is_break_glass:
        return "The glass was broken for it. Nobody votes on it, and the worker carries it out."
    return _OUTCOMES[RequestState(request.state)]


_OUTCOMES = {
    RequestState.OPEN: "It waits for the votes that are missing.",
    RequestState.APPROVED: "All votes are given. The worker carries it out, mostly at once and within a minute.",
    RequestState.EXECUTING: "The worker is carrying it out.",
    RequestState.EXECUTED: "It was carried out, exactly as it stands here.",
    RequestState.FAILED: "It was approved and could not be carried out. Nothing was changed.",
    RequestState.REJECTED: "It was rejected. Nothing was changed; whoever still wants it asks anew.",
    RequestState.WITHDRAWN: "Whoever asked took it back. Nothing was changed.",
    RequestState.EXPIRED: "Its time ran out before all votes were there. Nothing was changed; it can be asked anew.",
    RequestState.VOID: "What it is about has changed since it was asked, so it is over. Nothing was changed by it.",
}
