"""Clauses and the threat level are changed with their effect on the keys, or not at all."""

import hashlib
import threading
from datetime import date, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from inventory import selectors, services
from inventory.counts import reaches
from inventory.effects import simulate
from inventory.errors import (
    ClausesHeldError,
    EffectChangedError,
    KeyMaterialError,
    ReasonMissingError,
    RetiredClauseError,
    StaleError,
)
from inventory.guarded import clauses as guarded
from inventory.models import Key, PolicyClause, ThreatLevel
from tests import rules_by_votes
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, last_number, make_key, make_owner, seal

db = pytest.mark.django_db
TODAY = NOW.date()
HOW = {"actor": ACTOR, "reason": "the board decided", "now": NOW}
NEW = {
    "source": "S9", "document": "Our own policy", "section": "§2", "requirement": "", "text": "API tokens monthly.",
    "kinds": ["api_token"], "longest_age_days": 30,
}  # fmt: skip


def clause(code="s4-production-90"):
    return PolicyClause.objects.get(code=code)


def edit(code="s4-production-90", *, digest=None, revision=None, how=HOW, **changes):
    found = clause(code)
    return rules_by_votes.edit_clause(
        pk=found.pk, changes=changes, expected_revision=revision or found.revision, expected_changes=digest, **how
    )


def threat(level, **changes):
    return rules_by_votes.set_threat_level(
        changes={"level": level, **changes}, expected_revision=selectors.threat_level().revision, **HOW
    )


def nothing_changed_by(act, error):
    seal()
    before = [list(model.objects.order_by("pk").values()) for model in (Key, PolicyClause, ThreatLevel)]
    number = last_number()
    with pytest.raises(error), transaction.atomic():
        act()
    seal()
    assert [list(model.objects.order_by("pk").values()) for model in (Key, PolicyClause, ThreatLevel)] == before
    assert actions_since(number) == []


@db
def test_a_clause_shortened_from_90_to_60_days_does_exactly_what_was_simulated():
    ann = make_owner("ann")
    for number, days in enumerate((10, 45, 61, 75, 89, 95, 200)):
        make_key(
            name=f"production {number}", last_rotated_on=TODAY - timedelta(days=days), owner=ann if number % 2 else None
        )
    make_key(name="annual", environment="test", last_rotated_on=TODAY - timedelta(days=75))
    make_key(name="unknown age", created_on=None, last_rotated_on=None)
    Key.objects.filter(rotate_by__lte=NOW).update(flagged_overdue_at=NOW)
    proposed = clause()
    proposed.longest_age_days = 60
    before = selectors.posture(NOW)
    shown = simulate(clause=proposed, now=NOW)
    edited = edit(longest_age_days=60, digest=shown.digest)
    after = selectors.posture(NOW)
    assert after.overdue - before.overdue == shown.shares.become_late == 3
    assert after.due_soon == 1
    assert (edited.longest_age_days, edited.revision) == (60, 2)
    for key in Key.objects.all():
        assert key.rotate_by == selectors.verdict(key).rotate_by
        assert key.revision == 1
    moved = Key.objects.get(name="production 6")
    assert moved.rotate_by.date() == TODAY - timedelta(days=140)
    assert (moved.flagged_overdue_at, moved.next_notice_at) == (None, moved.rotate_by - timedelta(days=30))
    assert Key.objects.get(name="annual").rotate_by.date() == TODAY + timedelta(days=290)
    assert simulate(clause=clause(), now=NOW).changed == 0


@db
def test_the_event_says_who_why_what_and_what_it_did_to_the_keys():
    keys = [make_key(name=name, last_rotated_on=TODAY - timedelta(days=75)) for name in ("a", "b")]
    seal()
    number = last_number()
    edit(longest_age_days=60)
    seal()
    assert actions_since(number) == ["clause.edited"]
    (event,) = events_of("clause.edited")
    (subject,) = event.said.subjects
    assert (event.said.reason, event.said.actor_id) == ("the board decided", "test")
    assert (subject.ref, subject.label) == (clause().ref, "S4 Key Management")
    assert (subject.before, subject.after) == ({"longest_age_days": 90}, {"longest_age_days": 60})
    due, then = TODAY + timedelta(days=15), TODAY - timedelta(days=15)
    lines = "\n".join(f"{key.ref}|{due}|s4-production-90|{then}|s4-production-90" for key in keys)
    digest = hashlib.sha256(hashlib.sha256(lines.encode()).digest()).hexdigest()
    voted = {name: event.said.facts.pop(name) for name in ("request", "asked_by", "approved_by")}
    assert voted["request"].startswith("request:")
    assert len({voted["asked_by"], *voted["approved_by"]}) == 3
    assert event.said.facts == {
        "keys_changed": 2, "keys_became_late": 2, "keys_late_no_more": 0, "keys_became_due_soon": 0,
        "keys_with_less_time": 2, "keys_with_more_time": 0, "keys_sha256": digest, "findings_opened": 0,
        "findings_closed": 0,
    }  # fmt: skip


@db
def test_a_change_that_moves_no_date_leaves_the_keys_alone():
    key = make_key()
    Key.objects.update(flagged_overdue_at=NOW)
    edit(text="Other words.", smallest_strength_bits=112)
    stored = Key.objects.get()
    assert (stored.rotate_by, stored.flagged_overdue_at) == (key.rotate_by, NOW)
    assert clause().smallest_strength_bits == 112


@db
def test_another_clause_with_the_same_date_keeps_the_flag():
    key = make_key(kind="kek", environment="test", access="none")
    Key.objects.update(flagged_overdue_at=NOW)
    assert key.winning_clause.code == "s0-5-annual"
    found = clause("s0-5-annual")
    rules_by_votes.retire_clause(pk=found.pk, expected_revision=1, **HOW)
    stored = Key.objects.get()
    assert (stored.rotate_by, stored.winning_clause.code) == (key.rotate_by, "s1-6-3-kek")
    assert stored.flagged_overdue_at == NOW


@db
def test_saying_what_stands_there_already_leaves_nothing():
    seal()
    number = last_number()
    edit(longest_age_days=90)
    threat("normal")
    seal()
    assert actions_since(number) == []
    assert (clause().revision, selectors.threat_level().revision) == (1, 1)


@db
def test_register_clause_puts_its_keys_on_their_dates():
    token, other = make_key(last_rotated_on=TODAY), make_key(name="ssh", kind="ssh_key", last_rotated_on=TODAY)
    seal()
    number = last_number()
    shown = simulate(clause=PolicyClause(code="ours-30", **NEW), now=NOW)
    made = rules_by_votes.register_clause(code="ours-30", facts=NEW, expected_changes=shown.digest, **HOW)
    seal()
    assert actions_since(number) == ["clause.registered"]
    assert events_of("clause.registered")[0].said.subjects[0].after["longest_age_days"] == 30
    token.refresh_from_db()
    assert (token.winning_clause, token.rotate_by.date()) == (made, TODAY + timedelta(days=30))
    assert Key.objects.get(pk=other.pk).rotate_by == other.rotate_by
    with pytest.raises(ValidationError):
        rules_by_votes.register_clause(code="ours-30", facts=NEW, **HOW)


@db
def test_retire_clause_hands_its_keys_to_the_next_strictest_or_to_none():
    key = make_key()
    rules_by_votes.retire_clause(pk=clause().pk, expected_revision=1, **HOW)
    assert Key.objects.get().winning_clause.code == "s0-5-annual"
    rules_by_votes.retire_clause(pk=clause("s0-5-annual").pk, expected_revision=1, **HOW)
    stored = Key.objects.get(pk=key.pk)
    assert (stored.rotate_by, stored.winning_clause, stored.next_notice_at) == (None, None, None)
    nothing_changed_by(lambda: edit(longest_age_days=5), RetiredClauseError)
    seal()
    assert [event.said.subjects[0].after for event in events_of("clause.retired")] == [{"is_in_force": False}] * 2


@db
def test_the_threat_level_moves_every_date_and_back():
    key = make_key(last_rotated_on=TODAY - timedelta(days=70))
    level = threat("elevated")
    stored = Key.objects.get()
    assert (stored.rotate_by.date(), level.changed_at, level.revision) == (TODAY - timedelta(days=3), NOW, 2)
    assert make_key(name="new", last_rotated_on=TODAY).rotate_by.date() == TODAY + timedelta(days=67)
    threat("elevated", elevated_percent=80)
    assert Key.objects.get(pk=key.pk).rotate_by.date() == TODAY + timedelta(days=2)
    threat("normal")
    assert Key.objects.get(pk=key.pk).rotate_by == key.rotate_by
    seal()
    first, second, _ = events_of("threat_level.changed")
    assert (first.said.subjects[0].before, first.said.subjects[0].after) == ({"level": "normal"}, {"level": "elevated"})
    assert second.said.subjects[0].after == {"elevated_percent": "80"}
    assert first.said.facts["keys_became_late"] == 1


@db
def test_all_dates_are_written_so_many_keys_at_a_time_and_none_is_left_out(monkeypatch):
    monkeypatch.setattr(services.clauses, "KEYS_AT_ONCE", 2)
    for number in range(5):
        make_key(name=f"key {number}", last_rotated_on=TODAY - timedelta(days=number))
    excepted = make_key(name="excepted", last_rotated_on=TODAY - timedelta(days=100))
    rules_by_votes.grant(excepted, until=NOW + timedelta(days=60), now=NOW, actor=ACTOR)
    with CaptureQueriesContext(connection) as asked:
        threat("elevated")
    written = [one["sql"] for one in asked if "UPDATE inventory_key k" in one["sql"]]
    assert len([one for one in written if "k.id <=" in one]) == 3  # two and two and two; no statement takes them all
    days = [(key.rotate_by.date() - key.last_rotated_on).days for key in Key.objects.all()]
    assert days == [67] * 6
    assert Key.objects.get(pk=excepted.pk).accepted_until == NOW + timedelta(days=60)


@db
@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda: edit(longest_age_days=60, how=HOW | {"reason": " "}), ReasonMissingError),
        (lambda: edit(longest_age_days=60, revision=7), StaleError),
        (lambda: edit(longest_age_days=60, digest="something else"), EffectChangedError),
        (lambda: edit(longest_age_days=4000), ValidationError),
        (lambda: edit(longest_age_days=None), ValidationError),
        (lambda: edit(kinds=["philosophers_stone"]), ValidationError),
        (lambda: edit(text="it is ghp_a1B2c3D4e5F6g7H8i9J0"), KeyMaterialError),
        (lambda: edit(on_events=["ghp_a1B2c3D4e5F6g7H8i9J0 leaks"]), KeyMaterialError),
        (
            lambda: rules_by_votes.edit_clause(pk=clause().pk, changes={"code": "x"}, expected_revision=1, **HOW),
            ValueError,
        ),
        (lambda: edit(is_in_force=False), ValueError),
        (lambda: rules_by_votes.retire_clause(pk=clause().pk, expected_revision=2, **HOW), StaleError),
        (lambda: rules_by_votes.register_clause(code="x", facts=NEW, expected_changes="y", **HOW), EffectChangedError),
        (lambda: rules_by_votes.register_clause(code="x y", facts=NEW, **HOW), ValidationError),
        (lambda: rules_by_votes.set_threat_level(changes={"level": "high"}, expected_revision=9, **HOW), StaleError),
        (lambda: threat("panic"), ValidationError),
        (lambda: threat("high", high_percent=90), ValidationError),
    ],
)
def test_what_is_refused_leaves_no_trace(act, error):
    make_key()
    nothing_changed_by(act, error)


@db
def test_an_effect_that_became_another_since_it_was_shown_is_refused():
    make_key(last_rotated_on=TODAY - timedelta(days=75))
    proposed = clause()
    proposed.longest_age_days = 60
    shown = simulate(clause=proposed, now=NOW)
    make_key(name="another", last_rotated_on=TODAY - timedelta(days=75))
    with pytest.raises(EffectChangedError), transaction.atomic():
        edit(longest_age_days=60, digest=shown.digest)
    assert clause().longest_age_days == 90


@db
def test_reaches_counts_covered_and_won_in_one_query(django_assert_num_queries):
    make_key(name="a")
    make_key(name="b", environment="test", access="none", kind="kek")
    clauses = list(PolicyClause.objects.all())
    with django_assert_num_queries(1):
        found = reaches(clauses)
    by_code = {one.code: (found[one.pk].covered, found[one.pk].won) for one in clauses}
    assert by_code["s0-5-annual"] == (2, 1)
    assert by_code["s4-production-90"] == (1, 1)
    assert by_code["s1-6-3-kek"] == (1, 0)
    assert by_code["s1-5-dek-strength"] == (0, 0)


def edited_by_the_worker(permit):
    guarded.edit_clause(
        pk=clause().pk, changes={"longest_age_days": 60}, expected_revision=1, permit=permit, **HOW
    )  # fmt: skip


def test_who_waits_too_long_for_the_clauses_is_told_to_come_back(committed_db, as_role):
    said = []

    def register():
        try:
            make_key()
        except ClausesHeldError as error:
            said.append(str(error))
        finally:
            connection.close()

    other = threading.Thread(target=register)
    _, permit = rules_by_votes.permit_for("clause.edit", clause().ref)
    with as_role("worker"), transaction.atomic():
        edited_by_the_worker(permit)
        other.start()
        other.join(10)
    assert said == ["The clauses are being changed, or keys by them, at this moment. Try again in a minute."]
    assert not Key.objects.exists()


def test_a_key_registered_while_a_clause_changes_gets_the_date_of_the_new_clause(committed_db, as_role):
    """Whoever derives dates and whoever changes clauses wait for each other: no key is left with a date of before."""
    registered = threading.Event()

    def register():
        try:
            make_key(last_rotated_on=TODAY)
            registered.set()
        finally:
            connection.close()

    other = threading.Thread(target=register)
    _, permit = rules_by_votes.permit_for("clause.edit", clause().ref)
    with as_role("worker"):
        with transaction.atomic():
            edited_by_the_worker(permit)
            other.start()
            assert not registered.wait(0.5)
        other.join(10)
    assert Key.objects.get().rotate_by.date() == date(2027, 1, 20)
