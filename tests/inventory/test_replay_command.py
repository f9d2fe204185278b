"""`replay_inventory`: what it prints, how it exits, what it leaves in the log, and the inventory as of a moment."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Max
from django.utils import timezone

from audit.actions import Action
from audit.body import Subject
from inventory import services
from inventory.models import Key
from inventory.replay.past import COLUMNS, rows_of
from inventory.replay.running import Run
from inventory.services import exports
from tests.inventory.test_exports import bytes_of
from tests.inventory.test_replay import rich  # noqa: F401 - a fixture
from tests.inventory.world import ACTOR, NOW, events_of, make_key, make_owner, seal

pytestmark = pytest.mark.django_db


def replay(*words):
    out = StringIO()
    try:
        call_command("replay_inventory", *words, stdout=out, stderr=StringIO())
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()


def tamper(as_owner, statement, *values):
    seal()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_equal_tables_exit_0_and_leave_an_event_with_counts():
    make_key()
    seal()
    code, said = replay()
    seal()
    assert (code, said.splitlines()[-1]) == (0, "the tables hold what the log says")
    (event,) = events_of(Action.INVENTORY_REPLAYED)
    assert (event.said.outcome, event.said.facts["keys"], event.said.facts["differences"]) == ("done", 1, 0)


def test_a_difference_exits_1_and_stands_in_the_log_under_its_key(as_owner):
    key = make_key()
    tamper(as_owner, "UPDATE inventory_key SET storage_location = 'https://evil'")
    code, said = replay()
    seal()
    assert code == 1
    assert "storage_location was changed outside the application: the log says nothing, the table says" in said
    assert said.endswith("1 field was changed outside the application.")
    (event,) = events_of(Action.INVENTORY_REPLAYED)
    assert event.said.outcome == "failed"
    before, after = {"storage_location": "nothing"}, {"storage_location": "https://evil"}
    assert event.said.subjects == (Subject(ref=key.ref, label=key.name, before=before, after=after),)
    assert replay()[0] == 1  # what a replay found is no change of the key


def test_a_few_keys_are_compared_alone(as_owner):
    one, other = make_key(name="one"), make_key(name="other")
    tamper(as_owner, "UPDATE inventory_key SET notes = 'z' WHERE id = %s", other.pk)
    assert [replay("--key", ref)[0] for ref in (one.ref, "one", str(other.pk), "other")] == [0, 0, 1, 1]
    seal()
    assert events_of(Action.INVENTORY_REPLAYED) == []
    assert len(events_of(Action.KEY_REPLAYED)) == 4


def test_json_has_one_object_for_each_difference(as_owner):
    key = make_key()
    tamper(as_owner, "UPDATE inventory_key SET notes = 'z', purpose = 'z'")
    said = replay("--json")[1].splitlines()
    found = [json.loads(line) for line in said if line.startswith("{")]
    assert [(one["ref"], one["field"], one["stored"]) for one in found] == [
        (key.ref, "purpose", "z"),
        (key.ref, "notes", "z"),
    ]


@pytest.mark.parametrize("words", [["--key", "nobody"], ["--as-of", "yesterday"], ["--as-of", "2026-11-20", "--json"]])
def test_what_cannot_be_understood_exits_2(words):
    code, said = replay(*words)
    assert (code, "Traceback" in said) == (2, False)


def test_the_inventory_of_now_is_the_export(rich):  # noqa: F811
    assert list(COLUMNS) == list(exports.COLUMNS)
    a_third = Key.objects.aggregate(last=Max("pk"))["last"] // 3 + 1
    rows = list(rows_of(Run(keys_at_once=a_third)))
    told = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert told == json.loads(bytes_of("json"))
    assert len(told) == Key.objects.count()


def test_the_inventory_of_a_moment_is_as_it_was_then(tmp_path):
    ann = make_owner("ann")
    key = make_key(owner=ann)
    seal()
    then = timezone.now()
    services.edit_key(
        pk=key.pk, changes={"notes": "later", "owner": None}, expected_revision=1, actor=ACTOR, reason="r", now=NOW
    )
    seal()
    file = tmp_path / "then.json"
    assert replay("--as-of", then.isoformat(), "--out", str(file), "--format", "json")[0] == 0
    (row,) = json.loads(file.read_bytes())
    assert (row["Name"], row["Owner"], row["Notes"]) == ("billing/stripe", "ann", "")
    assert replay("--as-of", then.isoformat(), "--out", str(file))[0] == 2  # nothing is overwritten
    (now,) = list(rows_of(Run(until=timezone.now() + timedelta(days=1))))[1:]
    assert dict(zip(COLUMNS, now, strict=True))["Notes"] == "later"
    seal()
    assert len(events_of(Action.INVENTORY_RECONSTRUCTED)) == 1
