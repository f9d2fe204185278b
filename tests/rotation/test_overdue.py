"""What is late is flagged once, and everybody concerned is told of it once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from audit.errors import AuditError
from inventory import services
from inventory.models import Key, Owner
from inventory.states import CAN_BE_OVERDUE, State
from rotation.models import Notice
from rotation.overdue import Flagging, flag_overdue
from tests.conftest import make_person
from tests.inventory.world import ACTOR, NOW, events_of, key_in, make_key, make_owner, seal

db = pytest.mark.django_db
DUE = datetime(2026, 10, 11, tzinfo=UTC)  # of every key that make_key makes
NOTHING = Flagging(newly_late=0, soon_due=0, notices=0, unaddressed=0)


def flag(now=NOW):
    return flag_overdue(actor=ACTOR, now=now)


def notices():
    return set(Notice.objects.values_list("key__name", "threshold_days", "recipient"))


@pytest.fixture
def ann(any_db):
    return make_owner("ann", "ann@example.org")


@db
def test_three_runs_leave_one_flag_one_notice_and_one_event(ann):
    key = make_key(owner=ann)
    assert flag() == Flagging(newly_late=1, soon_due=0, notices=1, unaddressed=0)
    assert flag() == NOTHING
    assert flag(NOW + timedelta(days=400)) == NOTHING
    seal()
    assert notices() == {("billing/stripe", 0, "ann@example.org")}
    (event,) = events_of("key.flagged_overdue")
    assert Key.objects.get().flagged_overdue_at == NOW
    assert event.said.subjects[0].ref == key.ref
    assert event.said.subjects[0].after == {
        "flagged_overdue_at": "2026-11-21T09:00:00+00:00",
        "rotate_by": "2026-10-11T00:00:00+00:00",
        "winning_clause": key.winning_clause.ref,
    }


@db
@pytest.mark.parametrize(
    ("from_due", "threshold", "is_late"),
    [
        (timedelta(days=-30, seconds=-1), None, False),
        (timedelta(days=-30), 30, False),
        (timedelta(days=-7, seconds=-1), 30, False),
        (timedelta(days=-7), 7, False),
        (timedelta(seconds=-1), 7, False),
        (timedelta(0), 0, True),
        (timedelta(seconds=1), 0, True),
        (timedelta(days=500), 0, True),
    ],
)
def test_thresholds_are_crossed_at_the_instant(ann, from_due, threshold, is_late):
    make_key(owner=ann)
    done = flag(DUE + from_due)
    assert done.newly_late == int(is_late)
    assert done.soon_due == int(threshold in {30, 7})
    assert notices() == (set() if threshold is None else {("billing/stripe", threshold, "ann@example.org")})
    assert (Key.objects.get().flagged_overdue_at is not None) == is_late


@db
def test_each_threshold_is_told_once_when_the_beat_runs_every_hour(ann):
    make_key(owner=ann)
    for hour in range(0, 40 * 24, 12):
        flag(DUE - timedelta(days=35) + timedelta(hours=hour))
    assert notices() == {("billing/stripe", days, "ann@example.org") for days in (30, 7, 0)}


@db
def test_after_a_pause_only_the_last_threshold_is_told(ann):
    make_key(owner=ann)
    flag(DUE - timedelta(days=29))
    flag(DUE + timedelta(days=9))
    assert notices() == {("billing/stripe", 30, "ann@example.org"), ("billing/stripe", 0, "ann@example.org")}


@db
def test_a_clock_that_is_set_back_takes_nothing_away_and_repeats_nothing(ann):
    make_key(owner=ann)
    make_key(name="told to nobody")
    flag(DUE)
    before = list(Key.objects.order_by("pk").values("flagged_overdue_at"))
    for minutes in (-60, -30, 0, 30):
        assert flag(DUE + timedelta(minutes=minutes)).newly_late == 0
    seal()
    assert list(Key.objects.order_by("pk").values("flagged_overdue_at")) == before
    assert Notice.objects.count() == 1
    assert len(events_of("key.flagged_overdue")) == 1


@db
@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_only_states_that_can_be_late_are_flagged(ann, state):
    key_in(state, owner=ann)
    assert flag().newly_late == int(state in CAN_BE_OVERDUE)
    assert Notice.objects.count() == int(state in CAN_BE_OVERDUE)


@db
def test_a_key_that_comes_into_use_late_is_flagged_then(ann):
    key = make_key(owner=ann, state=State.PRE_ACTIVATION)
    assert flag() == NOTHING
    services.activate_key(pk=key.pk, actor=ACTOR, reason="in use", now=NOW)
    assert flag().newly_late == 1


@db
def test_keys_without_anybody_to_tell_go_to_everybody_active_in_security(ann):
    for name, is_active in (("alice", True), ("aaron", True), ("gone", False)):
        person = make_person(name, "Security")
        if not is_active:
            _deactivate(person)
    make_person("bob", "DevOps")
    left = make_owner("left", "left@example.org")
    Owner.objects.filter(pk=left.pk).update(is_active=False)
    make_key(name="no owner")
    make_key(name="no address", owner=make_owner("nameless"))
    make_key(name="owner left", owner=left)
    make_key(name="hers", owner=ann)
    assert flag().notices == 7
    assert notices() == {
        (name, 0, f"{who}@example.org")
        for name in ("no owner", "no address", "owner left")
        for who in ("alice", "aaron")
    } | {("hers", 0, "ann@example.org")}
    assert set(Notice.objects.filter(owner=None).values_list("key__name", flat=True)) == {
        "no owner",
        "no address",
        "owner left",
    }


def _deactivate(person):
    from tests.conftest import _become

    with _become("command"):
        type(person).objects.filter(pk=person.pk).update(is_active=False)


@db
def test_a_key_of_which_nobody_can_be_told_is_flagged_once_and_told_later():
    make_key()
    for _ in range(3):
        assert flag().unaddressed == 1
    seal()
    assert len(events_of("key.flagged_overdue")) == 1
    assert not Notice.objects.exists()
    make_person("alice", "Security")
    assert flag(NOW + timedelta(days=3)) == Flagging(newly_late=0, soon_due=0, notices=1, unaddressed=0)
    assert Key.objects.get().flagged_overdue_at == NOW
    assert notices() == {("billing/stripe", 0, "alice@example.org")}


@db
def test_a_new_owner_is_told_and_the_old_one_not_again(ann):
    key = make_key(owner=ann)
    flag()
    ben = make_owner("ben", "ben@example.org")
    for owner in (ben, ann):
        services.edit_key(
            pk=key.pk, changes={"owner": owner}, expected_revision=Key.objects.get().revision, actor=ACTOR,
            reason="moved", now=NOW,
        )  # fmt: skip
        flag()
    assert notices() == {("billing/stripe", 0, "ann@example.org"), ("billing/stripe", 0, "ben@example.org")}
    seal()
    assert len(events_of("key.flagged_overdue")) == 1


@db
def test_a_new_date_is_told_again(ann):
    key = make_key(owner=ann, environment="test", created_on=date(2025, 1, 1), last_rotated_on=date(2025, 11, 1))
    flag()
    services.edit_key(
        pk=key.pk, changes={"last_rotated_on": date(2025, 10, 1)}, expected_revision=1, actor=ACTOR,
        reason="the log says so", now=NOW,
    )  # fmt: skip
    assert flag() == Flagging(newly_late=1, soon_due=0, notices=1, unaddressed=0)
    assert Notice.objects.count() == 2
    seal()
    assert len(events_of("key.flagged_overdue")) == 2


@db
def test_thresholds_that_are_taken_out_of_the_settings_stop_nobody(ann, settings):
    make_key(owner=ann)
    settings.NOTICE_DAYS = (7, 0)
    assert flag(DUE - timedelta(days=20)) == Flagging(newly_late=0, soon_due=1, notices=0, unaddressed=0)
    assert Key.objects.get().next_notice_at == DUE - timedelta(days=7)
    assert flag(DUE - timedelta(days=7)).notices == 1


@db
def test_a_thousand_and_more_are_shared_out_over_events_at_a_constant_cost(ann, django_assert_num_queries):
    rows = "\n".join(f"key {number},API token,ann,2020-01-01" for number in range(1_200))
    services.apply_import(
        content=f"Name,Type,Owner,Created\n{rows}".encode(), file_name="x.csv", actor=ACTOR, reason="x", now=NOW
    )
    with django_assert_num_queries(
        8
    ):  # a savepoint and its end, who is told, who is in Security, a setting, the statement, two events
        assert flag().newly_late == 1_200
    seal()
    assert [len(event.said.subjects) for event in events_of("key.flagged_overdue")] == [1_000, 200]
    assert Notice.objects.count() == 1_200


@db
def test_an_event_that_cannot_be_written_leaves_no_flag_and_no_notice(ann, as_owner):
    make_key(owner=ann)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION audit_append FROM keyvault_app")
    with pytest.raises(AuditError):
        flag()
    assert Key.objects.get().flagged_overdue_at is None
    assert not Notice.objects.exists()


@db
@pytest.mark.parametrize("login", ["worker", "command", "web"])
def test_the_grants_suffice(ann, as_role, login):
    make_key(owner=ann)
    make_key(name="nobody's")
    make_person("alice", "Security")
    with as_role(login):
        assert flag().notices == 2


@db
def test_the_command_says_what_it_did_and_a_dry_run_does_nothing(ann, as_role):
    make_key(owner=ann)
    make_key(name="soon", owner=ann, last_rotated_on=date(2026, 9, 1))
    make_key(name="nobody's")
    with as_role("command"):
        for options, lines in (
            (
                ["--dry-run"],
                ["nothing was written (--dry-run)", "2 newly overdue, 1 newly due soon, 2 notices to send"],
            ),
            ([], ["2 newly overdue, 1 newly due soon, 2 notices to send"]),
            ([], ["0 newly overdue, 0 newly due soon, 0 notices to send"]),
        ):
            out, err = StringIO(), StringIO()
            call_command("flag_overdue", *options, stdout=out, stderr=err)
            assert out.getvalue().splitlines() == lines
            assert "nobody could be told: 1." in err.getvalue()
            assert Notice.objects.count() == (0 if options else 2)


# Races


def test_two_runs_at_once_tell_once(committed_db, ann):
    for number in range(30):
        make_key(name=f"key {number}", owner=ann)
    barrier = threading.Barrier(3)

    def run(_):
        try:
            barrier.wait()
            return flag().newly_late
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        late = list(pool.map(run, range(3)))
    late.append(flag().newly_late)
    assert sum(late) == 30
    assert Notice.objects.count() == 30
    assert sum(len(event.said.subjects) for event in events_of("key.flagged_overdue")) == 30


def test_a_key_that_somebody_is_changing_is_left_to_the_next_run(committed_db, ann):
    from django.db import transaction

    key, other = make_key(owner=ann), make_key(name="other", owner=ann)

    def run():
        try:
            return flag()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Key.objects.select_for_update().get(pk=key.pk)
            assert pool.submit(run).result().newly_late == 1
        assert Key.objects.get(pk=other.pk).flagged_overdue_at == NOW
        assert pool.submit(run).result().newly_late == 1


# Plans


@db
def test_the_statement_and_the_lists_use_their_indexes(ann):
    """The tables are small here: without sequential scans the planner shows whether an index serves at all."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")

        def plan_of(query):
            cursor.execute(f"EXPLAIN {query}")
            return "\n".join(row[0] for row in cursor.fetchall())

        states = ", ".join(f"'{state.value}'" for state in CAN_BE_OVERDUE)
        assert "key_to_be_noticed" in plan_of(
            f"SELECT id FROM inventory_key WHERE next_notice_at <= now() AND state = ANY(ARRAY[{states}]) FOR UPDATE"
        )
        assert "key_can_be_overdue" in plan_of(
            f"SELECT id FROM inventory_key WHERE rotate_by <= now() AND state IN ({states}) "
            "ORDER BY rotate_by, id LIMIT 50"
        )
        assert "key_due" in plan_of("SELECT id FROM inventory_key ORDER BY rotate_by, id LIMIT 50")
        assert "keysearch_text" in plan_of(
            "SELECT key_id FROM inventory_keysearch WHERE text LIKE upper('%stripe%')"
        ) or _bitmap(cursor)


def _bitmap(cursor):
    cursor.execute("SET LOCAL enable_bitmapscan = on")
    cursor.execute("EXPLAIN SELECT key_id FROM inventory_keysearch WHERE text LIKE upper('%stripe%')")
    return "keysearch_text" in "\n".join(row[0] for row in cursor.fetchall())
