"""The way up to the engine of approvals, which lives above: what needs votes is asked there, never done here."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from audit.actor import Actor
from audit.canonical import JSON
from inventory.errors import NotAskedError


class Asked(NamedTuple):
    """A request that waits for votes, or is over."""

    pk: int
    ref: str  # "request:118"
    operation: str
    title: str
    parameters: Mapping[str, JSON]


class Engine(Protocol):
    """What rotation.approvals does for those below it."""

    refusals: tuple[type[Exception], ...]  # its own rules, whose words may be shown

    def ask_all(
        self, operation: str, questions: Sequence[Mapping[str, JSON]], *, actor: Actor, reason: str, now: datetime
    ) -> list[Asked]:
        """Open a request for each question, given by the parameters of the operation, in the caller's transaction.

        Queries: few, however many there are. Raises: RotationError, or what the operation's rules say.
        """

    def live(self, refs: Sequence[str]) -> dict[str, list[Asked]]:
        """Return the requests that still wait, by the records they are about. Queries: 1."""


_engine: list[Engine] = []


def use_engine(engine: Engine) -> None:
    """Say who opens requests; once, when the applications start."""
    _engine[:] = [engine]


def ask(operation: str, parameters: Mapping[str, JSON], *, actor: Actor, reason: str, now: datetime) -> Asked:
    """Open one request. Event: request.opened. Raises as Engine.ask_all()."""
    (asked,) = ask_all(operation, [parameters], actor=actor, reason=reason, now=now)
    return asked


def ask_all(
    operation: str, questions: Sequence[Mapping[str, JSON]], *, actor: Actor, reason: str, now: datetime
) -> list[Asked]:
    """Open many requests of one operation, as Engine.ask_all() says. Raises: NotAskedError for what it refuses."""
    (engine,) = _engine
    try:
        return engine.ask_all(operation, questions, actor=actor, reason=reason, now=now)
    except engine.refusals as error:
        raise NotAskedError(str(error)) from error


def live(refs: Sequence[str]) -> dict[str, list[Asked]]:
    """Return the requests that still wait, by the records they are about. Queries: 1."""
    (engine,) = _engine
    return engine.live(refs)
