"""Which clause decides, and when a key is to be rotated."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.policy import Clause, Demand, Facts, Rule, Scope, breaches, judge, makes_less_late, opens
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


@pytest.mark.parametrize(
    ("days", "percent", "left"), [(90, 100, 90), (90, 75, 67), (365, 75, 273), (90, 50, 45), (1, 50, 1), (3, 1, 1)]
)
def test_the_threat_level_leaves_whole_days_and_at_least_one(days, percent, left):
    shortened = Rule(clause_id=1, label="", longest_age=timedelta(days=days), scope=Scope(), percent=percent)
    assert shortened.limit == timedelta(days=left)
    assert judge(facts_of(), [shortened]).rotate_by == datetime(2026, 1, 10, tzinfo=UTC) + timedelta(days=left)


@given(FACTS_STRATEGY, st.lists(RULE_STRATEGY, max_size=6), st.integers(1, 100))
def test_a_higher_threat_never_gives_a_key_more_time(facts, rules, percent):
    from dataclasses import replace

    shortened = [replace(one, percent=percent) for one in rules]
    assert not makes_less_late(judge(facts, rules).rotate_by, judge(facts, shortened).rotate_by)


# The demands besides an age


def demanding(number=1, scope=None, **demands):
    return Clause(
        clause_id=number,
        label=f"clause {number}",
        source="S0",
        requirement="R1",
        scope=Scope(**(scope or {})),
        **demands,
    )


@pytest.mark.parametrize(
    ("demands", "said", "broken"),
    [
        ({"smallest_strength_bits": 112}, {"strength_bits": 111}, Demand.STRENGTH),
        ({"smallest_strength_bits": 112}, {"strength_bits": 112}, None),
        ({"smallest_strength_bits": 112}, {}, None),
        ({"forbidden_media": {"file", "source_control"}}, {"storage_medium": "file"}, Demand.MEDIUM),
        ({"forbidden_media": {"file"}}, {"storage_medium": "hsm"}, None),
        ({"forbidden_media": {"file"}}, {}, None),
        ({"allowed_media": {"hsm"}}, {"storage_medium": "file"}, None),
        ({"not_exportable": True}, {"is_exportable": True}, Demand.NOT_EXPORTABLE),
        ({"not_exportable": True}, {"is_exportable": False}, None),
        ({"not_exportable": True}, {}, None),
        ({"runbook_required": True}, {"has_runbook": False}, Demand.RUNBOOK),
        ({"runbook_required": True}, {"has_runbook": True}, None),
        (
            {"separate_per_environment": True},
            {"environment": "test", "same_material_in": {"production"}},
            Demand.SEPARATE_PER_ENVIRONMENT,
        ),
        ({"separate_per_environment": True}, {"environment": "test", "same_material_in": {"test", ""}}, None),
        ({"separate_per_environment": True}, {"same_material_in": {"test"}}, None),
        ({"separate_from_production": True}, {"same_material_in": {"production"}}, Demand.SEPARATE_FROM_PRODUCTION),
        ({"separate_from_production": True}, {"same_material_in": {"test"}}, None),
    ],
)
def test_breaches_are_what_is_known_to_miss_a_demand(demands, said, broken):
    sets = {name: frozenset(value) if isinstance(value, set) else value for name, value in (demands | said).items()}
    facts = facts_of(**{name: sets[name] for name in said})
    clause = demanding(**{name: sets[name] for name in demands})
    assert [(breach.demand, breach.clause) for breach in breaches(facts, [clause])] == (
        [(broken, clause)] if broken else []
    )


def test_breaches_come_from_the_clauses_that_cover_the_key_alone():
    ours = demanding(1, {"kinds": frozenset({"kek"})}, not_exportable=True, forbidden_media=frozenset({"file"}))
    other = demanding(2, {"kinds": frozenset({"dek"})}, not_exportable=True)
    facts = facts_of(kind="kek", is_exportable=True, storage_medium="file")
    assert [(breach.demand, breach.clause) for breach in breaches(facts, [other, ours])] == [
        (Demand.MEDIUM, ours),
        (Demand.NOT_EXPORTABLE, ours),
    ]
