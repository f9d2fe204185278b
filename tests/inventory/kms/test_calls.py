"""The manners of calls to stores elsewhere, with a clock of our own."""

import threading
import time
from datetime import timedelta
from email.utils import formatdate

import pytest

from inventory.kms.calls import LONGEST_REST, Breaker, Caller, Clock, Manners, breaker_of, retry_after
from inventory.kms.errors import DeniedError, UnavailableError, WrongAnswerError

WALL = 1_795_000_000.0


class Time:
    """A clock that moves when it is told, or when somebody waits."""

    def __init__(self) -> None:
        self.now, self.waits = 50.0, []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, wall=lambda: WALL, sleep=self.sleep)


def caller(moving: Time, **manners: float) -> Caller:
    told = Manners(**manners)
    return Caller(breaker=Breaker("main", manners=told, clock=moving.clock), manners=told, clock=moving.clock)


class Attempt:
    """Fails as often as it is told, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.made = list(errors), 0

    def __call__(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_what_is_transient_is_tried_three_times_more_with_growing_waits() -> None:
    moving, attempt = Time(), Attempt(*[UnavailableError("x")] * 3)
    assert caller(moving).call(attempt, is_idempotent=True) == "done"
    assert attempt.made == 4
    for number, wait in enumerate(moving.waits):
        assert 0.1 * 2**number <= wait < 0.2 * 2**number
    assert len({caller(moving)._wait(0, UnavailableError("x")) for _draw in range(50)}) > 10


@pytest.mark.parametrize("error", [WrongAnswerError("x"), DeniedError("x")])
def test_what_is_not_transient_is_tried_once(error: Exception) -> None:
    attempt = Attempt(error)
    with pytest.raises(type(error)):
        caller(Time()).call(attempt, is_idempotent=True)
    assert attempt.made == 1


def test_a_call_has_an_end() -> None:
    moving = Time()

    def slow() -> None:
        moving.now += 12
        raise UnavailableError("x")

    with pytest.raises(UnavailableError):
        caller(moving).call(slow, is_idempotent=True)
    assert moving.now < 50 + 30 + 12


def test_an_open_breaker_lets_one_try_through_every_ten_seconds() -> None:
    moving = Time()
    breaker = Breaker("main", clock=moving.clock)
    for _failure in range(5):
        breaker.enter()
        breaker.failed()
    assert breaker.is_open
    with pytest.raises(UnavailableError) as caught:
        breaker.enter()
    assert caught.value.retry_after == timedelta(seconds=10)
    moving.now += 10
    breaker.enter()  # the probe
    with pytest.raises(UnavailableError):
        breaker.enter()  # nobody joins it
    breaker.succeeded()
    breaker.enter()
    assert not breaker.is_open


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker("main", clock=Time().clock)
    for _round in range(4):
        for _failure in range(4):
            breaker.failed()
        breaker.succeeded()
    breaker.enter()


def test_threads_share_a_breaker_and_one_of_them_probes() -> None:
    moving = Time()
    breaker = Breaker("main", clock=moving.clock)
    for _failure in range(5):
        breaker.failed()
    moving.now += 10
    let, kept = [], []

    def enter() -> None:
        try:
            breaker.enter()
            let.append(1)
        except UnavailableError:
            kept.append(1)

    threads = [threading.Thread(target=enter) for _thread in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(let), len(kept)) == (1, 15)


def test_stores_do_not_share_a_breaker() -> None:
    assert breaker_of("openbao://a:1#x") is breaker_of("openbao://a:1#x")
    assert breaker_of("openbao://a:1#x") is not breaker_of("openbao://b:1#x")


def test_work_that_takes_too_long_is_left() -> None:
    began, gate = time.monotonic(), threading.Event()
    with pytest.raises(UnavailableError, match="in time"):
        caller(Time(), attempt=0.05).bounded(lambda: gate.wait(20))
    assert time.monotonic() - began < 2
    gate.set()
    assert caller(Time()).bounded(lambda: "done") == "done"
    with pytest.raises(DeniedError):
        caller(Time()).bounded(Attempt(DeniedError("x")))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0661", None),  # a digit that is not ASCII
        ("0", 0.1),
        ("7", 7),
        (" 7 ", 7),
        ("9" * 400, LONGEST_REST),
        (formatdate(WALL + 20, usegmt=True), 20),
        (formatdate(WALL - 20, usegmt=True), 0.1),
        (formatdate(WALL + 10**8, usegmt=True), LONGEST_REST),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_REST),
        ("Fri, 99 Dec 2026 23:59:59 GMT", None),
    ],
)
def test_retry_after_as_seconds_and_as_a_date(header: str | None, seconds: float | None) -> None:
    asked = retry_after(header, wall=WALL)
    assert asked == (None if seconds is None else timedelta(seconds=seconds))


def test_a_long_retry_after_keeps_everybody_away_for_so_long() -> None:
    moving = Time()
    speaker, attempt = caller(moving), Attempt(UnavailableError("x", retry_after=timedelta(seconds=60)))
    for _call in range(3):
        with pytest.raises(UnavailableError):
            speaker.call(attempt, is_idempotent=True)
    assert (attempt.made, moving.waits) == (1, [])
    moving.now += 60
    assert speaker.call(attempt, is_idempotent=True) == "done"
