"""Keys come into use and stop protecting at their dates, once, whoever is late."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from inventory import services, tasks
from inventory.models import Key, KeyVersion
from inventory.states import State
from tests.approving import as_worker
from tests.inventory.world import (
    ACTOR,
    NOW,
    actions_since,
    events_of,
    key_in,
    last_number,
    make_key,
    seal,
    told_of,
)

db = pytest.mark.django_db
HOUR = timedelta(hours=1)


def apply(now=NOW):
    with as_worker():
        done = services.apply_due_transitions(actor=ACTOR, now=now)
    seal()
    return done.activated, done.deactivated


@db
@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_only_what_the_standard_leaves_to_time_happens_by_itself(state):
    key = key_in(state, activates_at=NOW, protect_until=NOW + HOUR)
    seal()
    expected = {State.PRE_ACTIVATION: State.ACTIVE}.get(state, state)
    assert apply(NOW) == (int(state == State.PRE_ACTIVATION), 0)
    assert Key.objects.get(pk=key.pk).state == expected
    ends = expected in {State.ACTIVE, State.SUSPENDED}
    assert apply(NOW + HOUR) == (0, int(ends))
    stored = Key.objects.get(pk=key.pk)
    assert stored.state == stored.versions.get().state == (State.DEACTIVATED if ends else expected)


@db
@pytest.mark.parametrize(("seconds", "count"), [(-1, 0), (0, 1), (1, 1)])
def test_it_happens_from_the_very_instant(seconds, count):
    make_key(state=State.PRE_ACTIVATION, activates_at=NOW)
    make_key(name="ends", protect_until=NOW)
    assert apply(NOW + timedelta(seconds=seconds)) == (count, count)


@db
def test_each_change_is_dated_and_leaves_its_event():
    waiting = make_key(name="waiting", state=State.PRE_ACTIVATION, activates_at=NOW - HOUR)
    ending = make_key(name="ending", protect_until=NOW - HOUR)
    seal()
    number = last_number()
    assert apply() == (1, 1)
    assert actions_since(number) == ["key.activated", "key.deactivated"]
    (event,) = events_of("key.activated")
    assert event.said.reason == "the date has come on which it was to come into use"
    (subject,) = event.said.subjects
    assert (subject.ref, subject.label, subject.before) == (waiting.ref, "waiting", {"state": "pre_activation"})
    assert subject.after == {"state": "active", "activates_at": (NOW - HOUR).isoformat()}
    assert waiting.versions.get().activated_at == NOW
    assert ending.versions.get().deactivated_at == NOW
    assert Key.objects.get(pk=waiting.pk).revision == waiting.revision + 1


@db
def test_a_second_run_and_a_clock_set_back_do_nothing():
    key = make_key(state=State.PRE_ACTIVATION, activates_at=NOW, protect_until=NOW + HOUR)
    assert [apply(NOW), apply(NOW), apply(NOW - HOUR), apply(NOW)] == [(1, 0), (0, 0), (0, 0), (0, 0)]
    assert [apply(NOW + HOUR), apply(NOW), apply(NOW + HOUR)] == [(0, 1), (0, 0), (0, 0)]
    assert told_of(key) == ["key.registered", "key.activated", "key.deactivated"]


@db
def test_a_late_run_catches_up_with_both_steps():
    key = make_key(state=State.PRE_ACTIVATION, activates_at=NOW, protect_until=NOW + HOUR)
    assert apply(NOW + timedelta(days=30)) == (1, 1)
    assert Key.objects.get(pk=key.pk).state == State.DEACTIVATED


@db
def test_many_keys_take_one_event_for_a_thousand():
    count = 1_001
    keys = Key.objects.bulk_create(
        Key(name=f"key {number}", kind="api_token", activates_at=NOW) for number in range(count)
    )
    KeyVersion.objects.bulk_create(KeyVersion(key=key, number=1) for key in keys)
    with CaptureQueriesContext(connection) as asked:
        done = services.apply_due_transitions(actor=ACTOR, now=NOW)
    assert (done.activated, done.deactivated) == (count, 0)
    assert len(asked) <= 3 + 2 * 6 + (5 + 2 * 8) + 2  # the findings of 1,000 and of one; and the savepoint
    seal()
    assert [len(event.said.subjects) for event in events_of("key.activated")] == [1_000, 1]
    assert Key.objects.filter(state=State.ACTIVE).count() == count


def test_two_runs_at_once_do_it_once(committed_db):
    key = make_key(state=State.PRE_ACTIVATION, activates_at=NOW)

    def run(_):
        done = services.apply_due_transitions(actor=ACTOR, now=NOW)
        connection.close()
        return done.activated

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(run, range(8))) == 1
    assert told_of(key) == ["key.registered", "key.activated"]


@db
def test_the_task_and_the_command_do_it_as_their_roles(as_role):
    now = timezone.now()
    key = make_key(state=State.PRE_ACTIVATION, activates_at=now - HOUR, now=now)
    other = make_key(name="other", protect_until=now - HOUR, now=now)
    seal()
    said = StringIO()
    with as_role("command"):
        call_command("apply_due_transitions", "--dry-run", stdout=said)
    assert said.getvalue().splitlines() == [
        "nothing was written (--dry-run)",
        "1 keys come into use, 1 stop protecting",
    ]
    assert Key.objects.get(pk=key.pk).state == State.PRE_ACTIVATION
    with as_role("worker"):
        tasks.apply_due_transitions()
    seal()
    assert Key.objects.get(pk=key.pk).state == State.ACTIVE
    assert Key.objects.get(pk=other.pk).state == State.DEACTIVATED
    assert events_of("key.activated")[0].said.actor_id == "worker"
    with as_role("command"):
        call_command("apply_due_transitions", stdout=(again := StringIO()))
    assert again.getvalue() == "0 keys come into use, 0 stop protecting\n"


@db
def test_the_period_is_said_at_registration_and_stands_in_its_event():
    key = make_key(protect_until=NOW + HOUR, process_until=NOW + 2 * HOUR)
    seal()
    (event,) = events_of("key.registered")
    assert event.said.subjects[0].after["protect_until"] == (NOW + HOUR).isoformat()
    for name in ("activates_at", "protect_until", "process_until"):
        with pytest.raises(ValueError, match="no facts of a key"):
            services.edit_key(
                pk=key.pk, changes={name: NOW}, expected_revision=1, actor=ACTOR, reason="more time", now=NOW
            )


@db
@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"activates_at": NOW}, "activates_at"),  # it is in use already
        ({"protect_until": NOW + HOUR, "process_until": NOW}, "__all__"),
    ],
)
def test_a_period_that_cannot_be_is_refused(said, where):
    with pytest.raises(ValidationError) as caught:
        make_key(**said)
    assert where in caught.value.message_dict


@db
def test_the_database_refuses_it_too():
    key = Key(name="a", kind="api_token", activates_at=NOW, protect_until=NOW)
    with pytest.raises(IntegrityError, match="key_protects_after_activation"):
        key.save()


# So many keys in use, with a date of rotation and without an end, that every other index is long.
MANY = """
INSERT INTO inventory_key SELECT (jsonb_populate_record(NULL::inventory_key, to_jsonb(known) || jsonb_build_object(
    'id', -n, 'name', 'copy ' || n, 'state', 'active', 'activates_at', NULL,
    'rotate_by', now() + n * interval '1 hour', 'next_notice_at', now() + n * interval '1 hour'))).*
FROM inventory_key AS known, generate_series(1, 2000) AS n WHERE known.name = 'first'
"""


@db
def test_what_is_due_is_found_by_its_index(as_owner):
    make_key(name="first", state=State.PRE_ACTIVATION, activates_at=NOW)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(MANY)
        cursor.execute("ANALYZE inventory_key")
        cursor.execute("SET LOCAL enable_seqscan = off")
        for state, date, index in (
            ("= 'pre_activation'", "activates_at", "key_to_be_activated"),
            ("IN ('active', 'suspended')", "protect_until", "key_to_be_deactivated"),
        ):
            cursor.execute(f"EXPLAIN SELECT id FROM inventory_key WHERE state {state} AND {date} <= now()")
            assert index in "\n".join(line for (line,) in cursor.fetchall())
