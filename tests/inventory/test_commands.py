"""`import_inventory`: what it prints, what it leaves, how it exits."""

import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from audit.models import Event
from inventory.models import Key, Owner
from inventory.states import State
from rotation.models import Request
from tests.inventory.test_imports import SAMPLE, file_of, row
from tests.inventory.world import events_of, key_in, make_key, seal

pytestmark = pytest.mark.django_db


@pytest.fixture
def command(as_role):
    """Log in as the role that people's commands have."""
    with as_role("command"):
        yield


def run(path, *options):
    """Return the exit code and the lines that were printed."""
    from io import StringIO

    out = StringIO()
    try:
        call_command("import_inventory", str(path), *options, stdout=out)
        code = 0
    except SystemExit as stop:
        code = stop.code
    return code, out.getvalue().splitlines()


def write(tmp_path, content):
    path = tmp_path / "inventory.csv"
    path.write_bytes(content)
    return path


def test_the_sample_twice(command):
    code, lines = run(SAMPLE)
    assert code == 0
    assert lines[0] == "registered with it: 15 owners, 15 services"
    assert lines[1].startswith("findings on the new and changed records: ")
    assert lines[-1] == "240 new, 0 changed, 1 unchanged, 0 refused"
    assert run(SAMPLE) == (0, ["0 new, 0 changed, 241 unchanged, 0 refused"])


def test_a_dry_run_says_the_same_and_writes_nothing(command):
    code, lines = run(SAMPLE, "--dry-run")
    assert code == 0
    assert lines[-2:] == ["nothing was written (--dry-run)", "240 new, 0 changed, 1 unchanged, 0 refused"]
    seal()
    assert not Key.objects.exists()
    assert not Owner.objects.exists()
    assert not Event.objects.exists()


def test_refused_and_held_rows_are_named_with_their_fields(tmp_path):
    make_key(name="late")
    content = (
        file_of(
            row("late", Last_rotated="2026-11-01"),
            row("b", Created="someday"),
            row("c"),
            {"Name": "d", "Type": "magic"},
        )
        + b"\ne,API token\n"
    )
    code, lines = run(write(tmp_path, content))
    assert code == 2
    assert lines[-1] == "1 new, 0 changed, 0 unchanged, 3 refused, 1 held"
    refusals = [line for line in lines if line.startswith("row ")]
    assert [line.partition(":")[0] for line in refusals] == [
        "row 3, created_on",
        "row 5, kind",
        "row 6",
        "row 2, last_rotated_on",
    ]
    assert f"would give late more time; {Request.objects.get().ref} waits from now on for somebody" in refusals[-1]
    for line in refusals:
        assert line.endswith(".")
        assert ".." not in line
    code, lines = run(write(tmp_path, content), "--dry-run")
    assert (code, lines[-1]) == (2, "0 new, 0 changed, 1 unchanged, 3 refused, 1 held")
    assert run(write(tmp_path, file_of(row("late", Last_rotated="2026-11-01"))))[0] == 0


def test_the_reason_is_kept(command, tmp_path):
    run(write(tmp_path, file_of(row("a"))), "--reason", "the yearly audit")
    run(write(tmp_path, file_of(row("b"))))
    seal()
    first, second = events_of("key.imported")
    assert (first.said.reason, second.said.reason) == ("the yearly audit", "import of inventory.csv")
    assert first.said.actor_id == "command:import_inventory"
    assert str(tmp_path) not in first.raw.decode()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x00\x01\x02", b"<html>", b"Name\na\n", b"Type\nx\n"])
def test_no_table_is_an_error_that_says_so(content, tmp_path):
    with pytest.raises(CommandError) as caught:
        run(write(tmp_path, content))
    assert caught.value.returncode == 1
    assert str(caught.value).endswith(".")
    assert not Key.objects.exists()


def test_a_file_that_is_too_large_is_refused_with_its_number(tmp_path, settings):
    settings.IMPORT_MAX_BYTES = 1_000
    path = write(tmp_path, b"x" * 1_234_567)
    with pytest.raises(CommandError, match="has 1,234,567 bytes; at most 1,000 are read"):
        run(path)


def test_a_file_without_an_end_is_refused(settings):
    settings.IMPORT_MAX_BYTES = 1_000
    with pytest.raises(CommandError, match="at most 1,000 are read"):
        run(Path("/dev/zero"))


def test_a_path_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(CommandError, match=r"missing\.csv cannot be read: No such file or directory\."):
        run(tmp_path / "missing.csv")
    with pytest.raises(CommandError, match="cannot be read: Is a directory"):
        run(tmp_path)


def test_a_name_that_is_no_text_is_recorded_legibly(command, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/invent\xff.csv"))
    path.write_bytes(file_of(row("a")))
    assert run(path)[0] == 0
    seal()
    assert events_of("inventory.imported")[0].said.facts["file"] == "invent\N{REPLACEMENT CHARACTER}.csv"


def test_a_log_that_takes_nothing_stops_the_import(tmp_path, as_owner):
    path = write(tmp_path, file_of(row("a")))
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION audit_append FROM keyvault_app")
    with pytest.raises(CommandError, match="nothing was changed"):
        run(path)
    assert not Key.objects.exists()


def test_an_import_changes_no_state(command, tmp_path):
    key = key_in(State.SUSPENDED)
    run(write(tmp_path, file_of(row(key.name, Notes="active again"))))
    assert Key.objects.get().state == State.SUSPENDED
