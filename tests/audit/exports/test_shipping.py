"""A SIEM misses and repeats nothing: cursors, sinks, kills, and a log that is not what was delivered."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from audit import alerts, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.exports import shipping, sinks
from audit.exports.shipping import Shipped
from audit.exports.sinks import SinkError, configured_sinks
from audit.models import Event, ExportCursor
from audit.services import Subject, record
from audit.standalone import verify_log
from tests.audit.collectors import Collector, make_authority, messages_in
from tests.conftest import CommittedDatabase
from tests.engines import ROOT

Fill = Callable[[int], None]
Role = Callable[[str], AbstractContextManager[None]]
WORKER = Actor.system("worker")


@pytest.fixture
def ship(as_role: Role, seal_events: Callable[[], None], now: datetime) -> Callable[..., list[Shipped]]:
    """Return a function that ships as the worker does."""

    def run(at: datetime = now) -> list[Shipped]:
        with as_role("worker"):
            shipped = shipping.ship(actor=WORKER, now=at)
            seal_events()
        return shipped

    return run


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers in the files of a sink, in their order."""
    lines = [line for path in sorted(folder.glob("*")) for line in path.read_bytes().splitlines()]
    said = [json.loads(line) for line in lines]
    return [each.get("number") or each["metadata"]["sequence"] for each in said if "format" not in each]


# Files


@pytest.mark.django_db
def test_a_folder_gets_each_event_once_and_its_files_verify(
    fill: Fill, ship: Callable, settings: Settings, tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "FILE_EVENTS", 10)
    settings.SIEM = [f"{tmp_path.as_uri()}?format=ndjson"]
    fill(25)
    assert ship() == [Shipped(settings.SIEM[0], 25)]
    assert numbers_in(tmp_path) == list(range(1, 26))
    assert ship(now + timedelta(minutes=1)) == [Shipped(settings.SIEM[0], 0)]  # its own events are no news
    fill(1)
    assert ship(now + timedelta(minutes=2))[0].events == 4  # those of three pieces, and the new one
    assert numbers_in(tmp_path) == list(range(1, 30))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"{first:015}.ndjson" for first in (1, 11, 21)]
    for path in tmp_path.iterdir():
        assert verify_log.main([str(path)]) == 0
    cursor = ExportCursor.objects.get()
    assert (cursor.number, cursor.length, cursor.kind) == (29, path_size(tmp_path / f"{21:015}.ndjson"), "file")
    told = [event.said for event in selectors.events() if event.said and event.said.action == Action.AUDIT_SHIPPED]
    assert [(said.facts["after"], said.facts["number"]) for said in told] == [(25, 29), (20, 25), (10, 20), (0, 10)]


def path_size(path: Path) -> int:
    return path.stat().st_size


@pytest.mark.django_db
@pytest.mark.parametrize("kept", [0, 1, 700, 5_000, None])
def test_a_crash_between_file_and_cursor_repeats_nothing(
    fill: Fill, ship: Callable, settings: Settings, tmp_path: Path, as_owner: Role, now: datetime, kept: int | None
) -> None:
    """As after a kill: the file has a part of the piece, or all of it, and the cursor does not know."""
    settings.SIEM = [f"{tmp_path.as_uri()}?format=ocsf"]
    fill(3)
    ship()
    (path,) = tmp_path.iterdir()
    before, size = ExportCursor.objects.values().get(), path_size(path)
    fill(30)
    with transaction.atomic():
        ship(now + timedelta(minutes=1))
        transaction.set_rollback(True)
    assert ExportCursor.objects.values().get() == before
    if kept is not None:
        os.truncate(path, min(size + kept, path_size(path)))
    fill(2)
    assert ship(now + timedelta(minutes=2))[0].error == ""
    assert numbers_in(tmp_path) == list(range(1, ExportCursor.objects.get().number + 1))


@pytest.mark.django_db
def test_a_file_that_was_changed_is_not_written_on(
    fill: Fill, ship: Callable, settings: Settings, tmp_path: Path, now: datetime
) -> None:
    settings.SIEM = [f"{tmp_path.as_uri()}?format=cef"]
    fill(3)
    ship()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    fill(1)
    path.write_bytes(whole + b"something else")
    assert "holds something else than this log" in ship(now + timedelta(minutes=1))[0].error
    path.write_bytes(whole[:-1])
    assert "is shorter than what was delivered" in ship(now + timedelta(minutes=2))[0].error
    path.write_bytes(whole)
    assert ship(now + timedelta(minutes=3))[0].error == ""
    assert path.read_bytes().startswith(whole)
    cursor = ExportCursor.objects.get()
    assert (cursor.failing_since, cursor.error) == (None, "")
    outcomes = [event.said.outcome for event in selectors.timeline(f"export_cursor:{cursor.name}")[::-1]]
    assert outcomes == ["done", "failed", "done"]  # one event when it begins to fail, not one a minute


# What was delivered, and what is in the log


@pytest.mark.django_db
def test_a_log_that_was_rewritten_is_not_shipped(
    fill: Fill, ship: Callable, settings: Settings, tmp_path: Path, as_owner: Role, now: datetime
) -> None:
    settings.SIEM = [f"{tmp_path.as_uri()}?format=ndjson"]
    fill(5)
    ship()
    content = [path.read_bytes() for path in tmp_path.iterdir()]
    fill(3)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET body = body || ' ' WHERE number = 8")
    assert "Event 8 does not follow" in ship(now + timedelta(minutes=1))[0].error
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET digest = sha256('another') WHERE number = 5")
    error = ship(now + timedelta(minutes=2))[0].error
    assert error.startswith("The log was rewritten: event 5 is not the one that was delivered. Nothing is sent.")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == content
    assert ExportCursor.objects.get().error == error


@pytest.mark.django_db
def test_a_cursor_never_goes_back_and_web_cannot_touch_it(
    fill: Fill, ship: Callable, settings: Settings, tmp_path: Path, as_role: Role, now: datetime
) -> None:
    settings.SIEM = [f"{tmp_path.as_uri()}?format=ndjson"]
    fill(5)
    ship()
    for statement in (
        "UPDATE audit_export_cursor SET number = 3, revision = revision + 1",
        "UPDATE audit_export_cursor SET length = 0",
        "UPDATE audit_export_cursor SET digest = sha256('another')",
        "DELETE FROM audit_export_cursor",
        "UPDATE audit_export_cursor SET name = 'another'",
    ):
        with as_role("worker"), pytest.raises(DatabaseError), transaction.atomic():
            connection.cursor().execute(statement)
    for role in ("web", "beat", "signer"):
        with as_role(role), pytest.raises(DatabaseError), transaction.atomic():
            connection.cursor().execute("UPDATE audit_export_cursor SET error = ''")
    stale = ExportCursor.objects.get()
    stale.revision -= 1
    with as_role("worker"), pytest.raises(shipping.CursorMovedError), transaction.atomic():
        shipping.move(stale, number=9, digest=bytes(32), length=0, facts={}, actor=WORKER, now=now)


@pytest.mark.django_db
def test_a_sink_that_takes_nothing_for_an_hour_is_an_alert(
    fill: Fill, ship: Callable, settings: Settings, tmp_path: Path, as_owner: Role, now: datetime
) -> None:
    folder = tmp_path / "later"
    settings.SIEM = [f"{folder.as_uri()}?format=ndjson", f"{tmp_path.as_uri()}?format=ocsf"]
    fill(2)
    written = Event.objects.get(number=2).recorded_at
    runs = ship(written)
    assert [run.events for run in runs] == [0, 2]  # one that is down does not stop the others
    assert "No such file or directory" in runs[0].error
    assert alerts.not_shipped(written + timedelta(minutes=59)) is None
    alert = alerts.not_shipped(written + timedelta(minutes=61))
    assert alert is not None
    assert alert.said.startswith(f"The audit log has not left for {folder.as_uri()} since ")
    assert "did not take it" in alert.mend
    folder.mkdir()
    ship(written + timedelta(hours=2))
    assert alerts.not_shipped(written + timedelta(days=9)) is None
    settings.SIEM = []
    ship(written + timedelta(hours=3))
    assert set(ExportCursor.objects.values_list("retired_at", flat=True)) == {written + timedelta(hours=3)}


def test_addresses_are_read_and_what_is_wrong_is_said(settings: Settings) -> None:
    for address, said in (
        ("kafka://host", "unknown word"),
        ("syslog+tls://host:6514", "needs \\?format="),
        ("syslog://host?format=csv", "needs \\?format="),
        ("syslog://user:secret@host?format=cef", "holds a password"),
        ("file:///x?format=ndjson&names=yes", "holds no names"),
        ("file:///x?format=ocsf&token=1", "and nothing else"),
        ("file://host/x?format=ocsf", "is written as"),
        ("syslog+tls://?format=cef", "is written as"),
        ("syslog://host:x?format=cef", "cannot be read"),
    ):
        settings.SIEM = [address]
        with pytest.raises(SinkError, match=said) as raised:
            configured_sinks()
        assert "secret" not in str(raised.value)
    settings.SIEM = ["syslog+tls://host?format=cef&names=yes"]
    (sink,) = configured_sinks().values()
    assert (sink.kind, sink.form.name, sink.with_names) == ("syslog+tls", "cef", True)
    assert isinstance(sink, sinks.SyslogSink)
    assert sink.collector.port == 6514


# Killed in the middle, against a TLS receiver


def something_happens(count: int, now: datetime) -> None:
    with transaction.atomic():
        for number in range(count):
            subject = Subject(ref=f"key:{number}", label="x")
            record(Action.KEY_EDITED, actor=WORKER, now=now, subjects=[subject], reason="a=b|c\n")
    connection.close()


@pytest.mark.timeout(300)
def test_a_shipper_that_is_killed_loses_nothing_and_repeats_one_piece_at_most(
    committed_db: CommittedDatabase, tmp_path: Path, now: datetime
) -> None:
    """Each kill may repeat the piece that was on its way; each message says by number and id which event it is."""
    path, context = make_authority(tmp_path)
    server, folder = Collector(context), tmp_path / "files"
    folder.mkdir()
    siem = f"syslog+tls://127.0.0.1:{server.port}?format=cef {folder.as_uri()}?format=ocsf"
    environ = committed_db.environ(KEYVAULT_ROLE="worker", KEYVAULT_SIEM=siem, SSL_CERT_FILE=str(path))
    command = [sys.executable, "manage.py", "ship_audit"]
    try:
        for seconds in (0.0, 0.1):
            something_happens(1_500, now)
            already = _connections(server)
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            _wait_for_more(already, server)
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        both = [subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE) for _ in range(2)]
        said = [one.communicate(timeout=120)[0] for one in both]
        assert [one.returncode for one in both] == [0, 0], said
    finally:
        server.close()
    _check_what_arrived(server, folder)


def _connections(server: Collector) -> int:
    return server.heard.qsize() + server.broken.qsize()


def _wait_for_more(already: int, server: Collector) -> None:
    ends = time.monotonic() + 60
    while _connections(server) == already:
        assert time.monotonic() < ends
        time.sleep(0.005)


def _check_what_arrived(server: Collector, folder: Path) -> None:
    cursors = {cursor.kind: cursor.number for cursor in ExportCursor.objects.all()}
    said = b"".join(
        b"".join(messages_in(each)) + b"\0" for queue in (server.heard, server.broken) for each in queue.queue
    )
    arrived = Counter(int(text) for text in _between(said.decode(), "|cn1=", " "))
    assert set(arrived) == set(range(1, cursors["syslog+tls"] + 1))
    repeated = [number for number, times in arrived.items() if times > 1]
    assert max(arrived.values()) <= 3
    assert len(repeated) <= 2 * 1_000  # a piece for each kill
    assert len(set(_between(said.decode(), " externalId=", " "))) == len(arrived)
    assert numbers_in(folder) == list(range(1, cursors["file"] + 1))


def _between(text: str, begin: str, end: str) -> list[str]:
    return [part.partition(end)[0] for part in text.split(begin)[1:]]
