"""Waiting that ends: whoever asks a server stops waiting after some seconds, however the answer comes."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what the work returns, or raise what it raises.

    The work runs in a thread of its own, which is left behind when the time is over: time-outs of sockets begin anew
    with each byte, and a resolver has none. So it must not write.

    Raises: TimeoutError once the seconds are over.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError:
        if outcome.done():  # the work's own time-out
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from None
