"""How a state and a date read and look."""

from datetime import UTC, datetime, timedelta

import pytest

from inventory.chips import due_chip, state_chip
from inventory.states import CAN_BE_OVERDUE, State

DUE = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("state", State)
def test_every_state_has_words_and_a_look(state):
    assert state_chip(state.value).words == state.label
    assert state_chip(state.value).look


@pytest.mark.parametrize(
    ("from_due", "look", "words"),
    [
        (timedelta(seconds=-1), "soon", "in 1 day"),
        (timedelta(0), "late", "due today"),
        (timedelta(seconds=1), "late", "due today"),
        (timedelta(days=1), "late", "1 day late"),
        (timedelta(days=41, hours=9), "late", "41 days late"),
        (timedelta(days=-30), "soon", "in 30 days"),
        (timedelta(days=-31), "ok", "in 31 days"),
    ],
)
def test_due_chip_counts_whole_days(from_due, look, words):
    assert due_chip(DUE, State.ACTIVE, DUE + from_due) == (look, words)


def test_due_chip_without_a_date_or_in_a_state_that_cannot_be_late():
    assert due_chip(None, State.ACTIVE, DUE) == ("rest", "no date")
    for state in set(State) - set(CAN_BE_OVERDUE):
        assert due_chip(DUE, state, DUE + timedelta(days=99)).words == "not due"
