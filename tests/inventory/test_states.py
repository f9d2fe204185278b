"""The table of transitions: 49 pairs, 15 of them legal."""

from itertools import product

import pytest

from inventory.errors import IllegalTransitionError
from inventory.states import BY_PAIR, CAN_BE_OVERDUE, ENTRIES, TRANSITIONS, Act, Answer, State, allows, legal, targets

# SP 800-57 Part 1 Rev. 5 §7, once more and by hand: number, from, to.
TABLE = """
T2 pre_activation destroyed
T3 pre_activation compromised
T4 pre_activation active
T5 active destroyed
T6 active compromised
T7 active suspended
T8 active deactivated
T9 suspended destroyed
T10 suspended active
T11 suspended compromised
T12 suspended deactivated
T13 deactivated compromised
T14 deactivated destroyed
T15 compromised destroyed
A16 destroyed destroyed_compromised
"""
LEGAL = {tuple(line.split()[1:]): line.split()[0] for line in TABLE.strip().splitlines()}
PAIRS = list(product(State, State))


def test_transitions_are_those_of_the_standard():
    assert {(t.source.value, t.target.value): t.number for t in TRANSITIONS} == LEGAL
    assert len(LEGAL) == len(TRANSITIONS) == len(BY_PAIR) == 15
    assert len(PAIRS) == 49


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=lambda state: state.value)
def test_legal_tells_the_15_pairs_from_the_34_others(source, target):
    if (source.value, target.value) in LEGAL:
        assert legal(source, target).number == LEGAL[source.value, target.value]
    else:
        with pytest.raises(IllegalTransitionError) as caught:
            legal(source, target)
        assert caught.value.allowed == targets(source)


def test_a_refusal_says_where_the_key_may_go_instead():
    with pytest.raises(IllegalTransitionError) as caught:
        legal(State.DEACTIVATED, State.ACTIVE)
    assert str(caught.value) == (
        "A key that is deactivated cannot become active. From here it can go to: compromised, destroyed."
    )
    with pytest.raises(IllegalTransitionError, match=r"From here it can go to: nowhere\.$"):
        legal(State.DESTROYED_COMPROMISED, State.ACTIVE)


def test_only_what_protects_data_can_be_overdue():
    assert set(CAN_BE_OVERDUE) == {State.ACTIVE, State.SUSPENDED, State.COMPROMISED}
    assert State.DESTROYED not in ENTRIES
    assert State.PRE_ACTIVATION not in ENTRIES


# What a key in each state may do (threats-and-tests a.2), once more and by hand: protect, process, overdue, take, give.
PERMITS = """
pre_activation        no      no      no  no  no
active                yes     yes     yes yes yes
suspended             no      depends yes no  depends
deactivated           no      yes     no  no  yes
compromised           no      depends yes no  yes
destroyed             no      no      no  no  no
destroyed_compromised no      no      no  no  no
"""


@pytest.mark.parametrize("line", PERMITS.strip().splitlines(), ids=lambda line: line.split()[0])
def test_allows_answers_for_every_state_and_act(line):
    state, *expected = line.split()
    assert [allows(State(state), act).answer for act in Act] == expected
    assert all(permit.condition for act in Act if (permit := allows(State(state), act)).answer == Answer.DEPENDS)


def test_the_end_of_a_period_takes_away_what_it_was_for():
    before = {(state, act): allows(state, act) for state in State for act in Act}
    after = {
        (state, act): allows(state, act, past_protecting=True, past_processing=True) for state in State for act in Act
    }
    changed = {pair: permit.answer for pair, permit in after.items() if permit != before[pair]}
    assert changed == {
        (State.ACTIVE, Act.PROTECT): Answer.DEPENDS,
        (State.ACTIVE, Act.TAKE_REWRAPPED): Answer.NO,
        (State.DEACTIVATED, Act.PROCESS): Answer.NO,
    }


def test_lateness_and_what_allows_says_of_it_are_one_thing():
    assert set(CAN_BE_OVERDUE) == {state for state in State if allows(state, Act.BE_OVERDUE).answer == Answer.YES}
