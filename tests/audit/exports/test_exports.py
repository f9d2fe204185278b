"""The log as files: what is in them, who took them, and that nothing half-written is left behind."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from audit import selectors
from audit.actions import Action
from audit.actor import Actor
from audit.checkpoints import make_checkpoint
from audit.exports import files, reading
from audit.exports.files import export_log
from audit.exports.reading import Chosen, choose
from audit.models import Event, ExportCursor, SigningEpoch
from audit.standalone import verify_log

Fill = Callable[[int], None]
Role = Callable[[str], AbstractContextManager[None]]
SIGNER, COMMAND = Actor.system("signer"), Actor.system("command:test")


@pytest.fixture
def command(as_role: Role, seal_events: Callable[[], None]) -> Callable[..., str]:
    """Return a function that runs a command as the command role, and gives what it said on standard error."""

    def run(name: str, *words: object) -> str:
        said = io.StringIO()
        with as_role("command"):
            call_command(name, *map(str, words), stderr=said)
            seal_events()
        return said.getvalue()

    return run


@pytest.fixture
def sign(as_role: Role, seal_events: Callable[[], None], settings: Settings, now: datetime) -> Callable[[], str]:
    """Return a function that makes a checkpoint and gives the key to check it with."""
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = bytes(range(7, 39)), "keys.example.org/audit", []

    def make() -> str:
        with as_role("signer"):
            make_checkpoint(actor=SIGNER, now=now)
            seal_events()
        return SigningEpoch.objects.get().verifier

    return make


def last_export() -> dict:
    row = Event.objects.filter(action=Action.AUDIT_EXPORTED).order_by("-number").first()
    (event,) = selectors.read([row])
    return {"outcome": event.said.outcome, "who": event.said.actor_id, **event.said.facts}


# The command


@pytest.mark.django_db
def test_an_export_with_its_checkpoints_is_verified_by_what_lies_beside_it(
    fill: Fill, sign: Callable[[], str], command: Callable[..., str], tmp_path: Path, capsys
) -> None:
    fill(300)
    key = sign()
    fill(12)
    out, folder = tmp_path / "log.ndjson.gz", tmp_path / "notes"
    said = command("export_audit", "--out", out, "--checkpoints", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["000000000000300.checkpoint", "verify_log.py"]
    assert "1 checkpoints and verify_log.py" in said
    assert verify_log.main([str(out), "--checkpoint", str(folder), "--key", key]) == 0
    assert "events 1 to 314: numbers and digests follow" in capsys.readouterr().out
    digest = sha256(out.read_bytes()).hexdigest()
    assert f"SHA-256 {digest}" in said
    told = last_export()
    assert {
        name: told[name] for name in ("outcome", "who", "format", "events", "after", "last", "sha256", "bytes")
    } == {
        "outcome": "done",
        "who": "command:export_audit",
        "format": "ndjson",
        "events": 314,  # with those of epoch and checkpoint; those of the export itself come after it
        "after": 0,
        "last": 314,
        "sha256": digest,
        "bytes": out.stat().st_size,
    }


@pytest.mark.django_db
@pytest.mark.parametrize("after", [1, 250, 300, 301])
def test_a_later_part_begins_with_the_tree_of_what_precedes_it(
    fill: Fill, sign: Callable[[], str], command: Callable[..., str], tmp_path: Path, capsys, after: int
) -> None:
    fill(300)
    key = sign()
    fill(30)
    sign()
    command("export_audit", "--out", tmp_path / "log", "--after", after, "--checkpoints", tmp_path / "notes")
    assert verify_log.main([str(tmp_path / "log"), "--checkpoint", str(tmp_path / "notes"), "--key", key]) == 0
    said = capsys.readouterr().out
    assert said.count("signature, root and head are right") == (2 if after <= 300 else 1)


@pytest.mark.django_db
def test_a_cursor_goes_on_where_the_last_file_ended_and_notices_a_rewritten_log(
    fill: Fill, command: Callable[..., str], tmp_path: Path, as_owner: Role
) -> None:
    fill(5)
    for part in range(3):
        command("export_audit", "--out", tmp_path / f"{part}.ndjson", "--cursor", "archive")
        fill(2)
    numbers = [
        json.loads(line).get("number")
        for part in range(3)
        for line in (tmp_path / f"{part}.ndjson").read_text().splitlines()[1:]
    ]
    assert numbers == list(range(1, ExportCursor.objects.get().number + 1))
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET digest = sha256('x') WHERE number = %s", [numbers[-1]])
    with pytest.raises(CommandError, match="The log was rewritten"):
        command("export_audit", "--out", tmp_path / "no", "--cursor", "archive")
    with pytest.raises(CommandError, match="leave out --after"):
        command("export_audit", "--out", tmp_path / "no", "--cursor", "archive", "--after", 1)
    assert not (tmp_path / "no").exists()


@pytest.mark.django_db
def test_nothing_half_written_is_left_behind(
    fill: Fill, command: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(5)
    (tmp_path / "there").write_text("mine")
    with pytest.raises(CommandError, match="is there already"):
        command("export_audit", "--out", tmp_path / "there")
    with pytest.raises(CommandError, match="cannot be written: No such file"):
        command("export_audit", "--out", tmp_path / "nowhere" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "mine"
    assert not Event.objects.filter(action__startswith="audit.").exists()
    before = Event.objects.count()
    assert f"{before:,} events would be exported: 1 to {before:,}." in command(
        "export_audit", "--out", tmp_path / "dry", "--dry-run"
    )
    assert (Event.objects.count(), (tmp_path / "dry").exists()) == (before, False)


@pytest.mark.django_db
def test_names_leave_only_where_somebody_says_so(fill: Fill, command: Callable[..., str], tmp_path: Path) -> None:
    fill(2)
    for form in ("csv", "cef", "ocsf", "ndjson"):
        command("export_audit", "--out", tmp_path / form, "--format", form)
        assert b"Bob Builder" not in (tmp_path / form).read_bytes()
        assert last_export()["with_names"] is False
        if form == "ndjson":
            with pytest.raises(CommandError, match="holds no names"):
                command("export_audit", "--out", tmp_path / "named", "--format", form, "--with-names")
            continue
        command("export_audit", "--out", tmp_path / f"{form}-named", "--format", form, "--with-names")
        assert b"Bob Builder" in (tmp_path / f"{form}-named").read_bytes()
        assert last_export()["with_names"] is True
    rows = list(csv.DictReader(io.StringIO((tmp_path / "csv-named").read_text("utf-8-sig"), newline="")))
    assert rows[0]["name"] == "Bob Builder"
    assert rows[0]["what happened"] == "Bob Builder edited key 0 and key:all"


@pytest.mark.django_db
def test_a_proof_of_one_event_is_checked_without_the_log(
    fill: Fill, sign: Callable[[], str], command: Callable[..., str], tmp_path: Path, capsys
) -> None:
    fill(20)
    with pytest.raises(CommandError, match="No checkpoint covers event 7 yet"):
        command("prove_event", 7, "--out", tmp_path / "proof")
    key = sign()
    command("prove_event", 7, "--out", tmp_path / "proof")
    assert verify_log.main(["--event", str(tmp_path / "proof"), "--key", key]) == 0
    assert "event 7 (" in capsys.readouterr().out
    assert last_export()["format"] == "proof"
    with pytest.raises(CommandError, match="There is no event 999"):
        command("prove_event", 999, "--out", tmp_path / "none")


# What is chosen


@pytest.mark.django_db
def test_numbers_and_times_choose_a_part(fill: Fill, as_owner: Role) -> None:
    fill(40)
    begun = Event.objects.get(number=1).recorded_at
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET recorded_at = %s + number * interval '1 hour'", [begun])
    assert choose() == Chosen(0, 40)
    assert choose(after=5, until=9) == Chosen(5, 9)
    assert choose(after=50).count == 0
    assert choose(until=900) == Chosen(0, 40)
    assert choose(since=begun + timedelta(hours=10)) == Chosen(9, 40)
    assert choose(since=begun + timedelta(hours=10), before=begun + timedelta(hours=12)) == Chosen(9, 11)
    assert choose(since=begun + timedelta(days=9)).count == 0
    assert choose(before=begun).count == 0


@pytest.mark.django_db
def test_memory_is_one_page_and_somebody_who_stops_asking_is_told_of(
    fill: Fill, now: datetime, monkeypatch: pytest.MonkeyPatch, seal_events: Callable[[], None]
) -> None:
    monkeypatch.setattr(reading, "PAGE_EVENTS", 10)
    fill(45)
    export = export_log(chosen=choose(), file_format="ndjson", packed=True, actor=COMMAND, now=now)
    pieces = iter(export)
    next(pieces)
    pieces.close()
    seal_events()
    assert last_export()["outcome"] == "failed"
    export = export_log(chosen=Chosen(0, 45), file_format="ndjson", packed=True, actor=COMMAND, now=now)
    content = b"".join(export)
    assert gzip.decompress(content).count(b"\n") == 46
    assert (export.events, export.last, export.sha256) == (45, 45, sha256(content).hexdigest())
    assert files.GZIP == 31
