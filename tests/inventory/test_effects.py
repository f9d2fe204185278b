"""What a change of the rules does to all keys at once, counted by the database, is what policy.judge() says of each."""

import sys
from datetime import date, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.effects import effect_of, simulate
from inventory.models import Key, PolicyClause, ThreatLevel
from inventory.policy import judge
from inventory.selectors import rules, rules_if, threat_level
from inventory.services.clauses import move_dates
from inventory.states import CAN_BE_OVERDUE, State
from inventory.terms import Access, Classification, Environment, KeyKind
from tests.inventory.world import NOW, key_in, make_key, make_owner

pytestmark = pytest.mark.django_db
TODAY = NOW.date()
ROTATED_75_DAYS_AGO = TODAY - timedelta(days=75)


def clause(code="s4-production-90", **changes):
    found = PolicyClause.objects.get(code=code)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def made_up(code, days, **scope):
    return PolicyClause(code=code, source="S9", document="Ours", section="§1", text="x", longest_age_days=days, **scope)


def test_simulate_counts_who_becomes_late_who_stops_and_who_is_due_soon():
    ann, ben = make_owner("ann"), make_owner("ben")
    make_key(name="becomes late", last_rotated_on=ROTATED_75_DAYS_AGO, owner=ann)
    make_key(name="becomes late too", last_rotated_on=ROTATED_75_DAYS_AGO)
    make_key(name="becomes due soon", last_rotated_on=TODAY - timedelta(days=45), owner=ben)
    make_key(name="sooner, not soon", last_rotated_on=TODAY - timedelta(days=20))
    make_key(name="late as before", last_rotated_on=TODAY - timedelta(days=200))
    make_key(name="annual", environment="test", last_rotated_on=ROTATED_75_DAYS_AGO)
    make_key(name="of unknown age", created_on=None, last_rotated_on=None)
    key_in(State.DEACTIVATED, name="cannot be late", last_rotated_on=ROTATED_75_DAYS_AGO)
    effect = simulate(clause=clause(longest_age_days=60), now=NOW)
    shares = effect.shares
    assert (shares.become_late, shares.late_no_more, shares.become_due_soon) == (2, 0, 1)
    assert (effect.changed, effect.get_less_time, effect.get_more_time, effect.owners) == (6, 6, 0, 2)
    assert [(one.owner, one.shares.become_late, one.shares.become_due_soon) for one in effect.by_owner] == [
        ("ann", 1, 0),
        ("", 1, 0),
        ("ben", 0, 1),
    ]
    assert [key.name for key in effect.samples["become_late"]] == ["becomes late", "becomes late too"]
    (soon,) = effect.samples["become_due_soon"]
    assert (soon.due_before.date(), soon.due_after.date()) == (date(2027, 1, 5), date(2026, 12, 6))


def test_simulate_of_a_longer_age_or_none_tells_who_is_late_no_more():
    make_key(name="late", last_rotated_on=TODAY - timedelta(days=100))
    longer = simulate(clause=clause(longest_age_days=120), now=NOW)
    assert (longer.shares.late_no_more, longer.get_more_time) == (1, 1)
    assert [key.name for key in longer.samples["late_no_more"]] == ["late"]
    retired = simulate(clause=clause(is_in_force=False), now=NOW)
    assert (retired.shares.late_no_more, retired.get_more_time) == (1, 1)


def test_simulate_of_what_changes_nothing_is_empty_and_writes_nothing(django_assert_num_queries):
    make_key()
    before = list(Key.objects.values())
    unchanged = clause()
    with django_assert_num_queries(7):  # clauses, level, the clause as it is, savepoint, patience, effect, savepoint
        effect = simulate(clause=unchanged, now=NOW)
    assert (effect.changed, effect.shares.become_late, effect.owners, effect.by_owner) == (0, 0, 0, [])
    simulate(clause=clause(longest_age_days=1), now=NOW)
    assert list(Key.objects.values()) == before


def test_simulate_lists_twenty_owners_and_twenty_keys_and_counts_all():
    for number in range(23):
        make_key(name=f"k{number}", last_rotated_on=ROTATED_75_DAYS_AGO, owner=make_owner(f"owner{number}"))
    effect = simulate(clause=clause(longest_age_days=60), now=NOW)
    assert (effect.shares.become_late, effect.owners) == (23, 23)
    assert (len(effect.by_owner), len(effect.samples["become_late"])) == (20, 20)


def test_the_digest_tells_two_effects_apart_and_the_same_one_again():
    make_key(last_rotated_on=ROTATED_75_DAYS_AGO)
    digests = {simulate(clause=clause(longest_age_days=days), now=NOW).changes_digest for days in (60, 61)}
    assert len(digests) == 2
    assert simulate(clause=clause(longest_age_days=60), now=NOW).changes_digest in digests
    make_key(name="another", last_rotated_on=ROTATED_75_DAYS_AGO)
    assert simulate(clause=clause(longest_age_days=60), now=NOW).changes_digest not in digests


def test_the_threat_level_shortens_every_age_to_whole_days():
    make_key(last_rotated_on=TODAY - timedelta(days=70))
    level = ThreatLevel(pk=1, level="elevated")
    assert {rule.code: rule.limit.days for rule in rules_if(threat=level)} == {
        "s0-5-annual": 273,
        "s1-6-3-kek": 273,
        "s4-personal-365": 273,
        "s4-production-90": 67,
    }
    assert simulate(threat=level, now=NOW).shares.become_late == 1
    assert simulate(threat=threat_level(), now=NOW).changed == 0


# The database and policy.judge() agree on every key, for any clauses and any level.

WORDS = st.tuples(
    st.sampled_from(KeyKind.values),
    st.sampled_from(["", *Environment.values]),
    st.sampled_from(["", *Classification.values]),
    st.sampled_from(["", *Access.values]),
    st.dates(date(1970, 1, 1), TODAY) | st.none(),
    st.dates(date(1970, 1, 1), TODAY) | st.none(),
    st.sampled_from(CAN_BE_OVERDUE),
)
CLAUSES = st.tuples(
    st.integers(1, 3650),
    st.lists(st.sampled_from(KeyKind.values), max_size=3, unique=True),
    st.lists(st.sampled_from(Environment.values), max_size=2, unique=True),
    st.lists(st.sampled_from(Classification.values), max_size=2, unique=True),
    st.lists(st.sampled_from(["production", "customer"]), unique=True),
)


@settings(
    max_examples=200 if "tests.full" in sys.modules else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(WORDS, min_size=1, max_size=12), st.lists(CLAUSES, max_size=5), st.integers(1, 100))
def test_the_database_gives_every_key_the_verdict_of_judge(as_owner, keys, clauses, percent):
    from django.db import transaction

    numbers = count()
    with transaction.atomic():
        for kind, environment, classification, access, created, rotated, _ in keys:
            Key.objects.bulk_create([
                Key(
                    name=f"k{next(numbers)}", kind=kind, environment=environment, classification=classification,
                    access=access, created_on=min(filter(None, (created, rotated)), default=None) if created else None,
                    last_rotated_on=rotated,
                )
            ])  # fmt: skip
        with as_owner():
            PolicyClause.objects.filter(longest_age_days__isnull=False).update(is_in_force=False)
            for number, (days, kinds, environments, classifications, access) in enumerate(clauses):
                made_up(
                    f"c{number}", days, kinds=kinds, environments=environments, classifications=classifications,
                    access=access,
                ).save()  # fmt: skip
            ThreatLevel.objects.update(level="elevated", elevated_percent=percent, high_percent=1)
        current = rules()
        effect = effect_of(current, NOW)
        assert move_dates(current) == effect.changed
        for key in Key.objects.all():
            verdict = judge(key.facts, current)
            assert key.rotate_by == verdict.rotate_by
            assert key.winning_clause_id == (verdict.winning.clause_id if verdict.rotate_by else None)
            assert key.next_notice_at == (verdict.rotate_by and verdict.rotate_by - timedelta(days=30))
        assert effect_of(current, NOW).changed == 0
        transaction.set_rollback(True)
