"""Waiting that ends, and what comes of the work before it does."""

import time

import pytest

from audit.deadlines import within


def test_within_returns_what_the_work_returns() -> None:
    assert within(5, lambda: 7) == 7


def test_within_raises_what_the_work_raises_at_once() -> None:
    """Also what nobody foresaw: a mistake must not look like a slow server."""
    began = time.monotonic()
    with pytest.raises(KeyError, match="missing"):
        within(60, lambda: {}["missing"])
    assert time.monotonic() - began < 30


def test_within_gives_up() -> None:
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        within(0.1, lambda: time.sleep(2))


def test_within_keeps_the_words_of_a_time_out_of_the_work() -> None:
    def work() -> None:
        raise TimeoutError("the socket's own")

    with pytest.raises(TimeoutError, match="the socket's own"):
        within(5, work)
