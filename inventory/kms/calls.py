"""The manners of whoever calls a store elsewhere: how long, how often, and when not at all. They speak no protocol.

A client's attempt is a function without arguments that raises BackendError or one of its kinds. `Caller.call()` makes
it, at most 1 + `Manners.retries` times, and asks the store's breaker first. HTTP within these manners is
inventory.kms.channel; the packages of a vendor bring their own, and run each attempt inside `Caller.bounded()`.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TypeVar

from audit.deadlines import within
from inventory.kms.errors import BackendError, UnavailableError, WrongAnswerError

T = TypeVar("T")
LONGEST_REST = 300.0  # seconds: what a store may ask for by Retry-After
_STEPS = 1000  # of jitter


@dataclass(frozen=True, kw_only=True)
class Manners:
    """The bounds of a call. All times are seconds."""

    connect: float = 2.0  # names looked up, connected and TLS agreed
    attempt: float = 10.0  # the whole of it, from the first byte out to the last byte in
    call: float = 30.0  # no retry begins later
    retries: int = 3
    first_wait: float = 0.2  # doubled each time, of which half is chance
    longest_wait: float = 5.0  # a store that asks for more is left alone: the caller comes back later
    most_bytes: int = 4 * 1024 * 1024  # of an answer
    failures: int = 5  # one after the other, until the breaker opens
    probe: float = 10.0  # between two tries while it is open


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time, as calls need it: tests bring their own."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time  # seconds since 1970, for Retry-After as a date
    sleep: Callable[[float], None] = time.sleep


class Breaker:
    """Leaves a store alone that failed several times running, but for one try every few seconds. Shared by threads."""

    def __init__(self, store: str, *, manners: Manners | None = None, clock: Clock | None = None) -> None:
        self.store = store
        self._manners = manners or Manners()
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0  # when the next try may begin

    @property
    def is_open(self) -> bool:
        with self._lock:
            return self._clock.monotonic() < self._closed_until

    def enter(self) -> None:
        """Let an attempt begin. Raises: UnavailableError, which says when to come back."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._closed_until:
                raise UnavailableError(
                    f"The key store {self.store} is left alone for a moment, as it did not answer or asked for it.",
                    retry_after=timedelta(seconds=self._closed_until - now),
                )
            if self._failures >= self._manners.failures:
                self._closed_until = now + self._manners.probe  # this one is the probe, and the only one

    def succeeded(self) -> None:
        """It answered, be it a refusal."""
        with self._lock:
            self._failures, self._closed_until = 0, 0.0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= self._manners.failures:
                self._rest(self._manners.probe)

    def rest(self, seconds: float) -> None:
        """Leave it alone for as long as it asked for."""
        with self._lock:
            self._rest(min(seconds, LONGEST_REST))

    def _rest(self, seconds: float) -> None:
        self._closed_until = max(self._closed_until, self._clock.monotonic() + seconds)


_breakers: dict[str, Breaker] = {}
_breakers_lock = threading.Lock()


def breaker_of(store: str) -> Breaker:
    """Return the breaker that every Backend of this process shares for a store: by name, scheme, host and port."""
    with _breakers_lock:
        return _breakers.setdefault(store, Breaker(store))


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Makes calls of one store with manners."""

    breaker: Breaker
    manners: Manners = field(default_factory=Manners)
    clock: Clock = field(default_factory=Clock)

    def call(self, attempt: Callable[[], T], *, is_idempotent: bool) -> T:
        """Return what the attempt returns, and try again what is transient and may be repeated.

        A refusal (403, 404, an altered blob) is an answer, so it closes the breaker; no answer in time, too many
        requests, a server's error and an answer that makes no sense are failures. A Retry-After that is too long to
        wait for ends the call, and the breaker keeps everybody away until then.

        Raises: whatever the attempt raises; UnavailableError without an attempt while the breaker is open.
        """
        ends = self.clock.monotonic() + self.manners.call
        tries = 1 + (self.manners.retries if is_idempotent else 0)
        for number in range(tries):
            self.breaker.enter()
            try:
                return self._attempt(attempt)
            except UnavailableError as error:
                wait = self._wait(number, error)
                is_over = number + 1 == tries or self.clock.monotonic() + wait >= ends
                if is_over or self.breaker.is_open:
                    raise
                self.clock.sleep(wait)
        raise AssertionError("unreachable")  # pragma: no cover

    def bounded(self, work: Callable[[], T]) -> T:
        """Return what the work returns, or give up once an attempt's time is over, however the answer comes.

        For packages whose own time-outs begin anew with each byte. The work is left behind in its thread, so its own
        time-outs must end it some time. Raises: UnavailableError.
        """
        try:
            return within(self.manners.attempt, work)
        except TimeoutError as error:
            raise too_slow(self.breaker.store) from error

    def _attempt(self, attempt: Callable[[], T]) -> T:
        try:
            result = attempt()
        except (UnavailableError, WrongAnswerError) as error:
            self.breaker.failed()
            self._heed(error)
            raise
        except BackendError:
            self.breaker.succeeded()
            raise
        self.breaker.succeeded()
        return result

    def _heed(self, error: BackendError) -> None:
        asked = error.retry_after.total_seconds() if error.retry_after else 0.0
        if asked > self.manners.longest_wait:
            self.breaker.rest(asked)

    def _wait(self, number: int, error: BackendError) -> float:
        """Return how long to wait before the next try."""
        if error.retry_after is not None:
            return error.retry_after.total_seconds()
        longest = min(self.manners.first_wait * 2.0**number, self.manners.longest_wait)
        return longest * (_STEPS + secrets.randbelow(_STEPS)) / (2 * _STEPS)


def too_slow(store: str) -> UnavailableError:
    return UnavailableError(f"The key store {store} did not answer in time.")


def retry_after(header: str | None, *, wall: float) -> timedelta | None:
    """Return what a header Retry-After asks for: seconds, or an HTTP date (RFC 9110 §10.2.3); None for nonsense.

    At least a tenth of a second, so that a date in the past does not mean at once; at most LONGEST_REST.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - wall
        except (TypeError, ValueError, OverflowError):
            return None
    return timedelta(seconds=min(max(seconds, 0.1), LONGEST_REST))
