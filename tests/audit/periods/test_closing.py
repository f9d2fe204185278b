"""Closing a period: what leaves, what is written down, and what is refused."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from audit import chain, notes, selectors
from audit.actions import Action
from audit.errors import AuditError, PeriodError
from audit.models import Event, Period, SignedCheckpoint
from audit.periods import closing
from audit.periods.demands import DEMANDS, STRICTEST, TooShortError, retention
from audit.periods.section import Follower, read_header, read_link
from audit.services import Subject, record
from audit.tree import is_consistent
from tests.audit.periods.conftest import A_YEAR, CLOSER, owner_connection
from tests.conftest import CommittedDatabase

Role = Callable[[str], AbstractContextManager[None]]


def closings() -> list[int]:
    return list(Event.objects.filter(action=Action.AUDIT_PERIOD_CLOSED).values_list("number", flat=True))


def test_closing_exports_a_whole_partition_and_writes_down_its_stub(
    old_log: CommittedDatabase, close: Callable[..., Period], tmp_path: Path, now: datetime
) -> None:
    period = close()
    file = tmp_path / "audit-period-000001-events-1-20.ndjson"
    content = file.read_bytes()
    assert (period.number, period.first, period.last, period.closed_by) == (1, 1, 20, CLOSER.id)
    assert (period.export_name, period.export_bytes) == (file.name, len(content))
    assert bytes(period.export_digest) == sha256(content).digest()
    assert (bytes(period.digest_before), bytes(period.digest_after)) == (
        chain.GENESIS, bytes(Event.objects.get(number=20).digest),
    )  # fmt: skip
    assert period.newest_at == Event.objects.get(number=20).recorded_at
    # what a stranger computes from the file leads to what was signed
    lines = content.splitlines(keepends=True)
    follower = Follower(*read_header(lines[0]))
    for line in lines[1:]:
        follower.follow(read_link(line))
    text, _ = notes.open_note(
        (tmp_path / file.name).with_suffix(".checkpoint").read_text(), selectors.signing_epochs().values()
    )
    signed = notes.parse_checkpoint(text)
    assert follower.root() == bytes(period.root)
    assert is_consistent(20, follower.root(), signed.size, signed.root, period.proof_digests)
    manifest = json.loads(file.with_suffix(".manifest.json").read_text())
    assert (manifest["sha256"], manifest["last"], manifest["checkpoint"]) == (
        sha256(content).hexdigest(),
        20,
        signed.size,
    )
    # sealed identities, and keys that open them, stay where they can be erased
    sealed = [
        bytes(found)
        for found in Event.objects.filter(identity__isnull=False, number__lte=20).values_list("identity", flat=True)
    ]
    assert sealed
    assert not any(one.hex().encode() in content or one in content for one in sealed)
    assert b"identity_key" not in content
    # the events are still there, and so is the second period
    assert selectors.beginning() == chain.BEGINNING
    assert (closings(), signed.size, period.proof_digests) == ([50], 20, [])
    with owner_connection(old_log.name) as owner:  # where none was signed at the border, a later one proves it
        owner.execute("DELETE FROM audit_checkpoint WHERE size = 40")
    second = close()
    assert (second.checkpoint_id, bool(second.proof_digests)) == (48, True)
    assert (second.number, second.first, second.last, bytes(second.digest_before)) == (
        2,
        21,
        40,
        bytes(period.digest_after),
    )
    assert close() is None  # the rest is not full


def test_what_cannot_be_closed_yet_says_why(
    old_log: CommittedDatabase, close: Callable[..., Period], as_role: Role
) -> None:
    newest = Event.objects.get(number=20).recorded_at
    with pytest.raises(PeriodError, match=r"must be kept until .* kept for 2,557 days"):
        close(retention=timedelta(days=2557), now=newest + timedelta(days=2556))
    with pytest.raises(PeriodError, match="must be kept until"):  # the clock of this machine was set back
        close(now=newest)
    with pytest.raises(PeriodError, match="which is after 1 May 2018"):
        close(until=date(2018, 5, 1))
    with pytest.raises(PeriodError, match="By the clock of the database"):  # ours is years ahead
        close(retention=timedelta(days=20_000), now=newest + timedelta(days=20_001))
    assert close(until=newest.date()).number == 1
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_anchoring")
        cursor.execute("DELETE FROM audit_period")
        cursor.execute("DELETE FROM audit_checkpoint")
    with pytest.raises(PeriodError, match="No checkpoint covers event 20"):
        close()


def test_altered_events_and_files_are_refused_and_nothing_is_written_down(
    old_log: CommittedDatabase, close: Callable[..., Period], as_role: Role, tmp_path: Path
) -> None:
    tamperings = {
        "UPDATE audit_event SET body = body || ' ' WHERE number = 7": "Event 7 does not follow",
        "DELETE FROM audit_event WHERE number = 20": "Event 20 is missing",
        "UPDATE audit_checkpoint SET note = replace(note, 'epoch 1', 'epoch 2')": "signature",
    }
    with owner_connection(old_log.name) as owner:
        owner.execute("CREATE TABLE spare_event AS SELECT * FROM audit_event WHERE number IN (7, 20)")
        owner.execute("CREATE TABLE spare_note AS SELECT size, note FROM audit_checkpoint")
        for statement, said in tamperings.items():
            owner.execute(statement)
            owner.commit()
            with pytest.raises(AuditError, match=said):
                close()
            owner.execute("DELETE FROM audit_event WHERE number IN (7, 20)")
            owner.execute("INSERT INTO audit_event SELECT * FROM spare_event")
            owner.execute("UPDATE audit_checkpoint c SET note = s.note FROM spare_note s WHERE s.size = c.size")
            owner.commit()
    assert list(tmp_path.glob("*.ndjson")) == list(tmp_path.glob(".period-*")) == []
    (tmp_path / "audit-period-000001-events-1-20.ndjson").write_text("of another installation")
    with pytest.raises(PeriodError, match="holds something else"):
        close()
    assert (tmp_path / "audit-period-000001-events-1-20.ndjson").read_text() == "of another installation"
    with pytest.raises(PeriodError, match="No such file"):
        close(out=tmp_path / "nowhere")
    assert (Period.objects.count(), closings()) == (0, [])


def test_a_run_that_was_killed_leaves_a_file_and_the_next_one_goes_on(
    old_log: CommittedDatabase,
    close: Callable[..., Period],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    now: datetime,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(closing, "_write_down", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            close()
    assert (Period.objects.count(), closings()) == (0, [])
    files = {path.name: path.read_bytes() for path in tmp_path.glob("audit-period-*")}
    assert len(files) == 3
    assert close(now=now + timedelta(hours=1)).number == 1
    assert {path.name: path.read_bytes() for path in tmp_path.glob("audit-period-*")} == files


def test_two_people_at_once_close_one_period(
    old_log: CommittedDatabase, close: Callable[..., Period], as_role: Role, tmp_path: Path, now: datetime
) -> None:
    ready = Barrier(2)

    def one(folder: str) -> object:
        out = tmp_path / folder
        out.mkdir()
        ready.wait()
        try:
            return closing.close_period(out=out, retention=A_YEAR, until=None, actor=CLOSER, now=now).number
        except PeriodError as error:
            return str(error)
        finally:
            connection.close()

    with as_role("command"), ThreadPoolExecutor(2) as pool:
        done = sorted(map(str, pool.map(one, "ab")))
    assert done in (
        ["1", "2"],
        ["1", "Somebody else is closing a period at this moment. Try again when they are done."],
    )
    assert Period.objects.count() == len(closings()) == sum(one.isdigit() for one in done)


def test_the_database_closes_only_what_the_log_says(old_log: CommittedDatabase, as_role: Role, now: datetime) -> None:
    """Whoever has the command's login and calls the function by hand."""
    size = SignedCheckpoint.objects.get(size=20).size
    call = "SELECT audit_close_period({number}, sha256(''), {size}, '', {days}, 'file', 1, sha256(''))"

    def tried(number: int = 1, days: int = 365, *, records: bool = True) -> str:
        with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:  # noqa: PT012
            if records:
                record(
                    Action.AUDIT_PERIOD_CLOSED, actor=CLOSER, now=now, subjects=[Subject(ref=f"audit_period:{number}")]
                )
            cursor.execute(call.format(number=number, size=size, days=days))
        return str(caught.value.__cause__.sqlstate)

    with as_role("command"):
        assert tried(records=False) == "42501"
        assert tried(number=2) == "KA002"
        assert tried(days=20_000) == "KA002"
        assert tried(days=364) == "23514"  # a constraint, whatever the settings say
    for role in ("web", "worker", "beat", "signer"):
        with as_role(role):
            assert tried() == "42501"


def test_the_retention_is_never_below_the_strictest_policy() -> None:
    assert retention(365) == timedelta(days=365)
    with pytest.raises(TooShortError, match=r"kept for 364 days, and SmartPresence .*R183 demands at least 365"):
        retention(364)
    assert STRICTEST.days == max(demand.days for demand in DEMANDS) == 365  # as the constraint of audit_period has it


def test_the_command_says_what_it_did_or_would_do(
    old_log: CommittedDatabase, as_role: Role, tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.AUDIT_RETENTION_DAYS = 364
    with as_role("command"):
        with pytest.raises(CommandError, match="R183"):
            call_command("close_audit_period", out=tmp_path)
        settings.AUDIT_RETENTION_DAYS = 365 * 200
        call_command("close_audit_period", out=tmp_path)
        assert "Nothing to close. Period 1 (events 1 to 20) must be kept until" in capsys.readouterr().out
        settings.AUDIT_RETENTION_DAYS = 365
        call_command("close_audit_period", "--dry-run", out=tmp_path)
        assert "would be closed; the checkpoint of 20 events covers it" in capsys.readouterr().out
        assert list(tmp_path.glob("audit-period-*")) == []
        call_command("close_audit_period", out=tmp_path)
        said = capsys.readouterr().out
        assert "Period 1 is closed: events 1 to 20." in said
        assert sha256((tmp_path / "audit-period-000001-events-1-20.ndjson").read_bytes()).hexdigest() in said
        call_command("close_audit_period", out=tmp_path)
        call_command("close_audit_period", out=tmp_path)
        assert "no period of the log is full" in capsys.readouterr().out
