"""Which clause decides, and when a key is to be rotated."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.policy import Facts, Rule, Scope, judge, makes_less_late, opens
from inventory.terms import Access, Classification, Environment, KeyKind

CREATED = date(2026, 1, 10)


def facts_of(**said):
    blank = {"kind": "api_token", "environment": "", "classification": "", "access": ""}
    return Facts(**(blank | {"created_on": CREATED, "last_rotated_on": None} | said))


def rule(days, number=1, **scope):
    sets = {name: frozenset(values) for name, values in scope.items()}
    return Rule(clause_id=number, label=f"clause {number}", longest_age=timedelta(days=days), scope=Scope(**sets))


ANNUAL = rule(365, 1)
PRODUCTION = rule(90, 2, access={"production", "customer"})
PERSONAL = rule(365, 3, kinds={"personal_token"}, environments={"staging", "test"})
RULES = [ANNUAL, PRODUCTION, PERSONAL]


def test_the_strictest_clause_wins_and_the_others_lose_in_order_of_strictness():
    verdict = judge(facts_of(kind="personal_token", environment="test", access="production"), RULES)
    assert verdict.winning == PRODUCTION
    assert verdict.losing == (ANNUAL, PERSONAL)
    assert verdict.rotate_by == datetime(2026, 4, 10, tzinfo=UTC)


def test_of_equal_clauses_the_first_given_wins():
    assert judge(facts_of(kind="personal_token", environment="test"), RULES).winning == ANNUAL
    assert judge(facts_of(kind="personal_token", environment="test"), RULES[::-1]).winning == PERSONAL


def test_age_counts_from_the_last_rotation_else_from_creation():
    rotated = facts_of(last_rotated_on=date(2026, 3, 1))
    assert judge(rotated, [ANNUAL]).rotate_by == datetime(2027, 3, 1, tzinfo=UTC)
    assert judge(facts_of(), [ANNUAL]).rotate_by == datetime(2027, 1, 10, tzinfo=UTC)
    leap = facts_of(created_on=date(2024, 2, 29))
    assert judge(leap, [ANNUAL]).rotate_by == datetime(2025, 2, 28, tzinfo=UTC)


def test_a_key_of_unknown_age_has_a_winning_clause_and_no_date():
    verdict = judge(facts_of(created_on=None), RULES)
    assert verdict.rotate_by is None
    assert verdict.winning == ANNUAL


def test_without_a_clause_that_covers_the_key_there_is_no_date():
    verdict = judge(facts_of(), [PERSONAL])
    assert (verdict.rotate_by, verdict.winning, verdict.losing) == (None, None, ())


@pytest.mark.parametrize(
    ("access", "environment", "opened"),
    [
        ("", "", set()),
        ("", "staging", set()),
        ("none", "test", set()),
        ("production", "test", {"production"}),
        ("customer", "test", {"customer"}),
        ("both", "", {"production", "customer"}),
        ("either", "", {"production", "customer"}),
        ("", "production", {"production"}),
        ("none", "production", {"production"}),
        ("customer", "production", {"production", "customer"}),
    ],
)
def test_a_key_of_production_opens_production_and_either_counts_as_each(access, environment, opened):
    assert opens(facts_of(access=access, environment=environment)) == opened
    wins = judge(facts_of(access=access, environment=environment), RULES).winning
    assert wins == (PRODUCTION if opened else ANNUAL)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ({}, True),
        ({"kinds": {"api_token", "kek"}}, True),
        ({"kinds": {"kek"}}, False),
        ({"environments": {"test"}}, False),
        ({"classifications": {"restricted"}}, False),
        ({"access": {"customer"}}, True),
        ({"access": {"production"}}, False),
        ({"kinds": {"api_token"}, "environments": {"test"}}, False),
    ],
)
def test_every_list_of_a_scope_is_a_condition(scope, covered):
    verdict = judge(facts_of(environment="staging", access="customer"), [rule(10, **scope)])
    assert (verdict.winning is not None) == covered


def test_later_or_no_date_is_less_late_and_a_first_date_is_not():
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    assert makes_less_late(early, late)
    assert makes_less_late(early, None)
    assert not makes_less_late(late, early)
    assert not makes_less_late(early, early)
    assert not makes_less_late(None, late)
    assert not makes_less_late(None, None)


def some(words):
    return st.sets(st.sampled_from([word.value for word in words]), max_size=3)


RULE_STRATEGY = st.builds(
    rule,
    st.integers(1, 3650),
    st.integers(1, 50),
    kinds=some(KeyKind),
    environments=some(Environment),
    classifications=some(Classification),
    access=st.sets(st.sampled_from(["production", "customer"])),
)
DAYS = st.dates(date(1970, 1, 1), date(2026, 11, 21)) | st.none()
FACTS_STRATEGY = st.builds(
    Facts,
    kind=st.sampled_from([kind.value for kind in KeyKind]),
    environment=st.sampled_from(["", *(word.value for word in Environment)]),
    classification=st.sampled_from(["", *(word.value for word in Classification)]),
    access=st.sampled_from(["", *(word.value for word in Access)]),
    created_on=DAYS,
    last_rotated_on=DAYS,
)


@given(FACTS_STRATEGY, st.lists(RULE_STRATEGY, max_size=6), RULE_STRATEGY)
def test_one_more_clause_never_gives_a_key_more_time(facts, rules, added):
    before, after = judge(facts, rules), judge(facts, [*rules, added])
    assert not makes_less_late(before.rotate_by, after.rotate_by)
    assert set(before.losing) <= set(after.losing) | {after.winning}


@given(FACTS_STRATEGY, st.lists(RULE_STRATEGY, max_size=6))
def test_more_access_never_gives_a_key_more_time(facts, rules):
    from dataclasses import replace

    wider = replace(facts, access="both")
    assert not makes_less_late(judge(facts, rules).rotate_by, judge(wider, rules).rotate_by)
