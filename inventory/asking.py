"""The way up to the engine of approvals, which lives above: what needs votes is asked there, never done here."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from audit.actor import Actor
from audit.canonical import JSON


class Asked(NamedTuple):
    """A request that waits for votes, or is over."""

    pk: int
    ref: str  # "request:118"
    operation: str
    title: str
    parameters: Mapping[str, JSON]
    until: datetime | None  # from then on it takes no votes, and is closed soon after; None once it is decided

    def is_over(self, now: datetime) -> bool:
        """Whether nobody has decided it in time."""
        return self.until is not None and self.until <= now


class Engine(Protocol):
    """What rotation.approvals does for those below it."""

    def ask_all(
        self, operation: str, questions: Sequence[Mapping[str, JSON]], *, actor: Actor, reason: str, now: datetime
    ) -> list[Asked]:
        """Open a request for each question, given by the parameters of the operation, in the caller's transaction.

        Queries: few, however many there are. Raises: NotAskedError, or what the operation's rules say.
        """

    def live(self, refs: Sequence[str]) -> dict[str, list[Asked]]:
        """Return the requests that still wait, by the records they are about. Queries: 1."""

    def done(self, operation: str, refs: Sequence[str]) -> dict[str, list[Asked]]:
        """Return the requests of one operation that were carried out, newest first, by the same. Queries: 1."""

    def void(self, pks: Sequence[int], *, because: str, actor: Actor, now: datetime) -> None:
        """Close requests that still wait as void, in the caller's transaction, `because` being a sentence for people.

        Event: request.voided for each. One that is approved is left alone: carrying it out finds out.
        """

    def expire(self, pks: Sequence[int], *, actor: Actor, now: datetime) -> None:
        """Close requests that nobody has decided in time, in the caller's transaction. Event: request.expired for each.

        What still takes votes, or is approved, is left alone.
        """


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
    """Open many requests of one operation, as Engine.ask_all() says."""
    (engine,) = _engine
    return engine.ask_all(operation, questions, actor=actor, reason=reason, now=now)


def live(refs: Sequence[str]) -> dict[str, list[Asked]]:
    """Return the requests that still wait, by the records they are about. Queries: 1."""
    (engine,) = _engine
    return engine.live(refs)


def done(operation: str, refs: Sequence[str]) -> dict[str, list[Asked]]:
    """Return the requests of one operation that were carried out, as Engine.done() says. Queries: 1."""
    (engine,) = _engine
    return engine.done(operation, refs)


def void(pks: Sequence[int], *, because: str, actor: Actor, now: datetime) -> None:
    """Close requests that rest on what is no longer so, as Engine.void() says."""
    (engine,) = _engine
    engine.void(pks, because=because, actor=actor, now=now)


def expire(pks: Sequence[int], *, actor: Actor, now: datetime) -> None:
    """Close requests whose time is over, as Engine.expire() says."""
    (engine,) = _engine
    engine.expire(pks, actor=actor, now=now)
