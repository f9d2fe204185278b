"""The reads behind the first page and a key's page, with their figures and their costs."""

from datetime import date, timedelta

import pytest

from inventory import selectors
from inventory.models import Finding, Key, PolicyClause
from inventory.states import CAN_BE_OVERDUE, State
from tests.inventory.world import NOW, key_in, make_key, make_owner

pytestmark = pytest.mark.django_db
DUE = date(2026, 11, 21) - timedelta(days=90)  # rotated on this day, a production key is due at 00:00 today


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_lateness_is_one_predicate_for_lists_numbers_and_worst_keys(state):
    key = key_in(state)
    late = [key] if state in CAN_BE_OVERDUE else []
    assert list(Key.objects.overdue(NOW)) == late
    assert selectors.most_overdue(NOW, 5) == late
    assert selectors.posture(NOW).overdue == len(late)
    assert selectors.posture(NOW).keys == 1


@pytest.mark.parametrize(("seconds", "is_late"), [(-1, False), (0, True), (1, True)])
def test_a_key_is_late_from_the_very_instant(seconds, is_late):
    key = make_key(last_rotated_on=DUE)
    instant = key.rotate_by + timedelta(seconds=seconds)
    assert Key.objects.overdue(instant).exists() == is_late
    assert Key.objects.due_within(instant, instant + timedelta(days=1)).exists() != is_late
    posture = selectors.posture(instant)
    assert (posture.overdue, posture.due_soon) == (int(is_late), int(not is_late))
    assert sum(week.count for week in selectors.due_by_week(instant, 2)) == int(not is_late)


def test_posture_counts_each_figure_in_one_query(django_assert_num_queries):
    make_key(name="late", classification="restricted", storage_medium="source_control")
    make_key(name="soon", last_rotated_on=DUE + timedelta(days=10), owner=make_owner("ann"))
    make_key(name="far", environment="test", created_on=date(2026, 11, 1), last_rotated_on=None)
    make_key(name="unknown", created_on=None, last_rotated_on=None)
    key_in(State.SUSPENDED, name="suspended", environment="test", last_rotated_on=date(2026, 11, 1))
    key_in(State.COMPROMISED, name="compromised", environment="test", last_rotated_on=date(2026, 11, 1))
    with django_assert_num_queries(1):
        found = selectors.posture(NOW)
    assert found == selectors.Posture(
        keys=6,
        overdue=1,
        accepted=0,
        due_soon=1,
        owners_due_soon=1,
        suspended=1,
        compromised=1,
        without_owner=5,
        of_unknown_age=1,
        restricted_overdue=1,
        open_findings=Finding.objects.filter(closed_at=None).count(),
        critical_findings=1,
        accepted_findings=0,
    )


def test_due_by_week_begins_on_monday_and_counts_the_edges(django_assert_num_queries):
    monday = date(2026, 11, 16)
    for day in (22, 23, 29, 30):
        make_key(name=f"due on {day}", last_rotated_on=date(2026, 11, day) - timedelta(days=90))
    make_key(name="late already", last_rotated_on=monday - timedelta(days=90))
    with django_assert_num_queries(1):
        weeks = selectors.due_by_week(NOW, 3)
    assert [week.starts_on.date() for week in weeks] == [monday + timedelta(weeks=number) for number in range(3)]
    assert [week.count for week in weeks] == [1, 2, 1]


def test_clauses_that_are_not_in_force_judge_nothing(as_owner):
    key = make_key(kind="kek")
    with as_owner():
        PolicyClause.objects.filter(code="s4-production-90").update(is_in_force=False)
    assert selectors.verdict(key).winning.label == "S0 §5 Key Management"
    assert {rule.label for rule in selectors.rules()} == {
        "S0 §5 Key Management",
        "S1 §6.3 Key Rotation",
        "S4 Key Management",
    }


def test_events_that_rotate_are_those_of_clauses_that_cover_the_key(as_owner):
    key = make_key(kind="dek", environment="test", access="none")
    assert {clause.code for clause in selectors.events_that_rotate(key)} == {"s0-5-annual", "s1-6-3-dek", "s3-incident"}
    with as_owner():
        PolicyClause.objects.filter(code="s3-incident").update(access=["customer"])
    assert "s3-incident" not in {clause.code for clause in selectors.events_that_rotate(key)}


def test_held_by_counts_what_somebody_answers_for(django_assert_num_queries):
    ann = make_owner("ann")
    make_key(name="late", owner=ann)
    make_key(name="on time", owner=ann, last_rotated_on=date(2026, 11, 1))
    make_key(name="not hers")
    with django_assert_num_queries(1):
        assert selectors.held_by(ann, NOW) == (2, 1)
