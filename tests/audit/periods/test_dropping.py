"""Dropping a period: by whom, with what in hand, what stays, and how the log goes on."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from pytest_django import Settings

from audit import chain, selectors, tiles, tree, verification
from audit.actions import Action
from audit.actor import Actor
from audit.checkpoints import make_checkpoint
from audit.errors import PeriodError
from audit.models import Event, EventSubject, Period
from audit.periods import dropping
from audit.services import Subject, record
from audit.stubs import stub_damage
from rotation import approvals
from rotation.models import RequestState
from tests.audit.periods.conftest import A_YEAR, DROPPER, fill, owner_connection
from tests.conftest import CommittedDatabase, make_person
from tests.rotation.approval_world import actor_for, again, vote

Role = Callable[[str], AbstractContextManager[None]]
Close, Drop = Callable[..., Period], Callable[..., Period]


def dropped() -> int:
    return Event.objects.filter(action=Action.AUDIT_PERIOD_DROPPED).count()


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT child FROM audit_partitions()")
        return {name for (name,) in cursor.fetchall()}


def test_a_dropped_period_leaves_a_stub_from_which_the_log_verifies(
    old_log: CommittedDatabase, close: Close, drop: Drop, as_role: Role, now: datetime
) -> None:
    with as_role("migrator"):
        before = verification.verify()
    assert before.is_whole
    period = close()
    done = drop(1)
    assert (done.dropped_by, done.is_dropped) == (DROPPER.id, True)
    assert selectors.beginning() == (20, bytes(period.digest_after))
    assert (Event.objects.order_by("number").first().number, EventSubject.objects.filter(number__lte=20).count()) == (
        21,
        0,
    )
    assert not {"audit_event_a_000000", "audit_event_subject_a_000000"} & partitions()
    verdict = verification.verify()
    assert verdict.is_whole, verdict.findings
    assert verdict.events == verdict.end.number - 20
    # the tree stays: proofs of what is left, and the next checkpoint
    fill(old_log.name, 3)
    with as_role("signer"):
        signed = make_checkpoint(actor=Actor.system("signer"), now=now)
    proof = tree.inclusion_proof(tiles.stored_nodes(), 24, signed.size)
    event = Event.objects.get(number=25)
    leaf = tree.leaf_digest(chain.entry(25, bytes(event.stamp), bytes(event.body)))
    assert tree.root_from_inclusion(leaf, 24, signed.size, proof) == signed.root
    # and the second one goes the same way
    close()
    drop(2)
    assert selectors.beginning().number == 40
    assert verification.verify().findings == ()
    assert dropped() == 2
    told = selectors.timeline("audit_period:2")
    assert [event.said.action for event in told] == [Action.AUDIT_PERIOD_DROPPED, Action.AUDIT_PERIOD_CLOSED]
    assert told[0].said.reason == "seven years are over"
    assert told[0].stamped.session_user == "keyvault_migrator"


def test_what_may_not_be_dropped_stays(
    old_log: CommittedDatabase, close: Close, drop: Drop, as_role: Role, tmp_path: Path, now: datetime
) -> None:
    with pytest.raises(PeriodError, match="Period 1 was not closed"):
        drop(1)
    first, second = close(), close()
    for role in ("command", "web", "worker"):
        with as_role(role), pytest.raises(PeriodError, match="KEYVAULT_ROLE=migrator"):
            dropping.drop_period(
                number=1,
                export=tmp_path / first.export_name,
                retention=A_YEAR,
                permit={},
                actor=DROPPER,
                reason="mine",
                now=now,
            )
    with pytest.raises(PeriodError, match="before period 2 must be dropped first"):
        drop(2)
    with pytest.raises(PeriodError, match="No such file"):
        drop(1, export=tmp_path / "lost")
    with pytest.raises(PeriodError, match="not the file that was exported"):
        drop(1, export=tmp_path / second.export_name)
    altered = tmp_path / "altered"
    content = (tmp_path / first.export_name).read_bytes()
    altered.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    with pytest.raises(PeriodError, match="not the file that was exported"):
        drop(1, export=altered)
    with pytest.raises(PeriodError, match="must be kept until"):  # the clock was set back
        drop(1, now=first.newest_at + timedelta(days=364))
    with pytest.raises(PeriodError, match="must be kept until"):  # longer than when it was closed
        drop(1, retention=timedelta(days=20_000))
    with owner_connection(old_log.name) as reader:  # a long verification
        reader.execute("SELECT FROM audit_event")
        with pytest.raises(PeriodError, match="The log was in use all the while, by verify_audit"):
            drop(1)
    with owner_connection(old_log.name) as owner:
        owner.execute("UPDATE audit_event SET body = body || ' ' WHERE number = 9")
    with pytest.raises(PeriodError, match="Event 9 does not follow"):
        drop(1)
    assert (dropped(), Event.objects.filter(number__lte=20).count(), selectors.beginning().number) == (0, 20, 0)


def test_the_guard_of_the_database_holds_by_itself(
    old_log: CommittedDatabase, close: Close, drop: Drop, as_role: Role, now: datetime
) -> None:
    """The owner who calls the function by hand, without our checks."""
    digest = bytes(close().export_digest)
    close()

    def tried(number: int = 1, given: bytes = digest, *, records: bool = True, before: str = "") -> str:
        with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:  # noqa: PT012
            if records:
                subject = Subject(ref=f"audit_period:{number}")
                record(Action.AUDIT_PERIOD_DROPPED, actor=DROPPER, now=now, subjects=[subject])
            if before:
                cursor.execute(before)
            cursor.execute("SELECT audit_drop_period(%s, %s)", [number, given])
        return str(caught.value.__cause__)

    with as_role("migrator"):
        assert "needs its event" in tried(records=False)
        assert "was not closed" in tried(3)
        assert "No request that is being carried out permits to drop period 4" in tried(4)
        assert "must be dropped first" in tried(2)
        assert "not the export" in tried(given=sha256(b"").digest())
        for age in (
            "UPDATE audit_event SET recorded_at = now() - interval '364 days' WHERE number = 3",
            "UPDATE audit_period SET newest_at = now() - interval '364 days' WHERE number = 1",
            "UPDATE audit_period SET retention_days = 20000 WHERE number = 1",
            "UPDATE audit_period SET closed_at = now() + interval '1 day' WHERE number = 1",
        ):
            assert "must still be kept" in tried(before=age)
        for change in (
            "DELETE FROM audit_event WHERE number = 3",
            "UPDATE audit_event SET digest = sha256(digest) WHERE number = 20",
        ):
            assert "not those that were closed" in tried(before=change)
    for role in ("web", "worker", "beat", "signer", "command"):
        with as_role(role):
            assert "permission denied" in tried()
    drop(1)
    with as_role("migrator"):
        assert "dropped already" in tried()


def test_two_people_at_once_drop_one_period_while_others_write(
    old_log: CommittedDatabase, close: Close, as_role: Role, tmp_path: Path, now: datetime
) -> None:
    export = tmp_path / close().export_name
    ready = Barrier(2)

    def one(_: int) -> str:
        ready.wait()
        try:
            return str(
                dropping.drop_period(
                    number=1, export=export, retention=A_YEAR, permit={}, actor=DROPPER, reason="over", now=now
                )
            )
        except PeriodError as error:
            return str(error)
        finally:
            connection.close()

    def write(_: int) -> None:
        for _ in range(15):
            with transaction.atomic():
                selectors.events(limit=3)
                record(Action.KEY_EDITED, actor=Actor.system("beat"), now=now)
        connection.close()

    with as_role("migrator"), ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, number) for number in range(2)]
        done = sorted(pool.map(one, range(2)))
        for writer in writers:
            writer.result()
    assert done[1] == "period 1"
    assert "dropped already" in done[0] or "missing" in done[0]
    assert dropped() == 1
    assert verification.verify().is_whole


def test_killed_before_the_commit_nothing_is_dropped(
    old_log: CommittedDatabase, close: Close, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    close()
    with monkeypatch.context() as patched:
        patched.setattr(transaction.Atomic, "__exit__", _killed)
        with pytest.raises(KeyboardInterrupt):
            drop(1)
    connection.close()
    assert (dropped(), Event.objects.filter(number__lte=20).count(), selectors.beginning().number) == (0, 20, 0)
    assert drop(1).is_dropped


def _killed(self: transaction.Atomic, *_: object) -> None:
    """End as a process that is killed: the server sees the connection go."""
    connection.connection.close()
    connection.in_atomic_block, connection.needs_rollback, connection.savepoint_ids = False, False, []
    connection.connection = None
    raise KeyboardInterrupt


def test_a_period_stays_until_every_sink_has_it(
    old_log: CommittedDatabase, close: Close, drop: Drop, now: datetime
) -> None:
    close()
    with owner_connection(old_log.name) as owner:
        owner.execute(
            "INSERT INTO audit_export_cursor (name, kind, number, digest, length, revision, begun_at, error)"
            " VALUES ('syslog+tls://siem:6514?format=cef', 'syslog+tls', 19, sha256(''), 0, 0, %s, '')",
            [now],
        )
        owner.commit()
        with pytest.raises(PeriodError, match=r"^syslog\+tls://siem:6514 has not got all events of period 1 yet"):
            drop(1)
        assert selectors.beginning().number == 0
        owner.execute("UPDATE audit_export_cursor SET number = 20, revision = 1")
        owner.commit()
    assert drop(1).is_dropped


CHANGED_STUBS = [
    ("UPDATE audit_period SET digest_after = sha256(digest_after)", "edit"),
    ("UPDATE audit_period SET root = sha256(root)", "the stub of period .* another root"),
    ("UPDATE audit_period SET proof = proof || sha256('')", "the stub of period .* does not lead"),
    ("UPDATE audit_period SET dropped_at = NULL, dropped_by = ''", "missing"),
    ("UPDATE audit_period SET last = last + 1, checkpoint = 48", "missing|another root"),
    ("UPDATE audit_period SET number = 2", "the stub of period .* does not go on"),
    ("UPDATE audit_period SET digest_before = sha256('')", "the stub of period .* does not go on"),
    ("UPDATE audit_checkpoint SET note = replace(note, 'epoch 1', 'epoch 2')", "the stub of period .* signature"),
]


def test_a_stub_that_was_changed_is_found(old_log: CommittedDatabase, close: Close, drop: Drop) -> None:
    close()
    drop(1)
    assert stub_damage() == ""
    with owner_connection(old_log.name) as owner:
        for change, words in CHANGED_STUBS:
            owner.execute("CREATE TABLE spare AS SELECT * FROM audit_period")
            owner.execute("CREATE TABLE spare_note AS SELECT size, note FROM audit_checkpoint")
            owner.execute(change)
            owner.commit()
            verdict = verification.verify()
            assert not verdict.is_whole, change
            assert any(re.search(words, str(finding)) for finding in verdict.findings), (change, verdict.findings)
            owner.execute("TRUNCATE audit_period")
            owner.execute("INSERT INTO audit_period SELECT * FROM spare")
            owner.execute("UPDATE audit_checkpoint c SET note = s.note FROM spare_note s WHERE s.size = c.size")
            owner.execute("DROP TABLE spare, spare_note")
            owner.commit()
    assert verification.verify().is_whole


def test_the_command_drops_what_people_have_voted_for(  # noqa: PLR0915 - one story
    old_log: CommittedDatabase,
    close: Close,
    as_role: Role,
    tmp_path: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings.AUDIT_RETENTION_DAYS = 365
    export = tmp_path / "kept elsewhere.ndjson"
    shutil.copyfile(tmp_path / close().export_name, export)
    with owner_connection(old_log.name) as owner:  # what the fixture has put there
        owner.execute("DELETE FROM rotation_request")
    people = [make_person(name, role) for name, role in (("s1", "Security"), ("s2", "Security"), ("d1", "DevOps"))]
    now = timezone.now()
    how = {"actor": actor_for(people[0]), "reason": "over", "now": now}
    asked = approvals.ask(operation="period.drop", parameters={"period": 1}, **how)
    words = ["drop_audit_period", "1", "--export", str(export), "--request", str(asked.pk)]
    with as_role("command"), pytest.raises(CommandError, match="only the owner of the database"):
        call_command(*words, "--yes")
    with as_role("migrator"):
        with pytest.raises(CommandError, match="still waits for votes: 1 of Security and 1 of DevOps"):
            call_command(*words, "--yes")
        with pytest.raises(CommandError, match="does not permit this"):
            call_command(*words[:-1], "0", "--yes")
    for voter in people[1:]:
        vote(voter, asked)
    with as_role("migrator"):
        settings.AUDIT_RETENTION_DAYS = 90
        with pytest.raises(CommandError, match="R183"):
            call_command(*words, "--yes")
        settings.AUDIT_RETENTION_DAYS = 365
        call_command(*words)
        assert "Nothing was dropped. With --yes, events 1 to 20 leave" in capsys.readouterr().out
        assert selectors.beginning().number == 0
        call_command(*words, "--yes")
        assert "The log begins behind event 20, digest" in capsys.readouterr().out
        assert again(asked).state == RequestState.EXECUTED
        with pytest.raises(CommandError, match="was dropped already"):
            call_command(*words, "--yes")
    facts = selectors.timeline("audit_period:1")[0].said.facts
    assert facts["request"] == asked.ref
    with as_role("command"):
        call_command("verify_audit")
    assert "chain: " in capsys.readouterr().out


def test_without_a_request_not_even_the_owner_drops_by_the_function(
    old_log: CommittedDatabase, close: Close, drop: Drop
) -> None:
    close()
    with owner_connection(old_log.name) as owner:
        owner.execute("DELETE FROM rotation_request WHERE subject_ref = 'audit_period:1'")
    with pytest.raises(PeriodError, match="No request that is being carried out permits to drop period 1"):
        drop(1)
    assert selectors.beginning().number == 0
