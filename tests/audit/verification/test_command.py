"""manage.py verify_audit: its words and its exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from audit import selectors, tasks
from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.models import Event
from audit.services import Subject, record
from audit.verification import MEANINGS, Damage, results, verify
from audit.verification.helpers import HelperError
from tests.audit.verification.conftest import KEY, OTHER_KEY, Sign, vkey
from tests.conftest import CommittedDatabase

ROOT = Path(__file__).resolve().parents[3]


def verify_audit(database: CommittedDatabase, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "verify_audit", *arguments],
        cwd=ROOT,
        env=database.environ(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_verify_audit_exits_0_then_names_the_altered_event_and_exits_1(
    committed_db: CommittedDatabase, now: datetime, person: Actor, as_owner: Callable[[], AbstractContextManager[None]]
) -> None:
    for number in range(3):
        with transaction.atomic():
            record(Action.KEY_EDITED, actor=person, now=now, subjects=[Subject(ref=f"key:{number}")])
    digest = bytes(selectors.head().digest).hex()

    whole = verify_audit(committed_db, "--jobs", "2")
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "chain: 3 events checked, head at event 3" in whole.stdout
    assert f"head digest: {digest}" in whole.stdout
    assert "identities: 3 opened and as vouched for, 0 erased" in whole.stdout
    verified = selectors.latest_verification()
    assert verified is not None
    assert verified.said is not None
    assert (verified.number, verified.said.outcome, verified.said.actor_id) == (4, "done", "command:verify_audit")
    assert verified.said.facts["digest"] == digest

    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET actor_id = 'user:8' WHERE number = 2")
    altered = verify_audit(committed_db, "--jobs", "2")
    event_id = Event.objects.get(number=2).event_id
    assert altered.returncode == 1
    assert f"first bad: event 2 ({event_id}): altered copy: the column actor_id was altered" in altered.stdout
    assert "not what was written" in altered.stderr
    found = selectors.latest_verification()
    assert found is not None
    assert found.said is not None
    assert (found.number, found.said.outcome) == (5, Outcome.FAILED)
    assert found.sentence == "command:verify_audit verified the log and found it altered"


@pytest.mark.django_db
def test_verify_audit_raises_what_becomes_exit_code_1(
    fill: Callable[[int], None],
    as_owner: Callable[[], AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(2)
    call_command("verify_audit", jobs=1)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_event SET body = body || ' '::bytea WHERE number = 1")
    with pytest.raises(CommandError) as caught:
        call_command("verify_audit", jobs=1)
    assert caught.value.returncode == 1
    assert capsys.readouterr().out.count(" bad: event 1 ") == 2  # in the chain, and in the copies


@pytest.mark.django_db
def test_verify_audit_tells_programs_in_json_and_people_what_it_could_not_see(
    fill: Callable[[int], None], sign: Sign, keep: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(2)
    sign()
    call_command("verify_audit", jobs=1)
    printed = capsys.readouterr().out
    assert "checkpoints: 1 stored, 0 from outside, each agrees with the events" in printed
    assert f"note: {results.NOTHING_OUTSIDE}" in printed
    call_command("verify_audit", jobs=1, checkpoint=[keep()])
    assert f"note: {results.NOT_PINNED}" in capsys.readouterr().out
    call_command("verify_audit", jobs=1, checkpoint=[keep()], key=[f"1 {vkey(KEY)}"], json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["whole"], said["outside"], said["keys_given"], said["unseen"]) == (True, 1, True, "")
    with pytest.raises(CommandError):
        call_command("verify_audit", jobs=1, checkpoint=[keep()], key=[str(vkey(OTHER_KEY))], json=True)
    said = json.loads(capsys.readouterr().out)
    assert [(each["event"], each["damage"]) for each in said["findings"]] == [
        (0, "unknown signer"),
        (2, "unknown signer"),
    ]
    assert said["findings"][0]["means"] == MEANINGS[Damage.SIGNER]


@pytest.mark.django_db
@pytest.mark.parametrize("given", [{"checkpoint": [Path("/nowhere")]}, {"key": ["name+key"]}, {"jobs": 0}])
def test_verify_audit_exits_2_for_what_it_cannot_read(given: dict[str, Any]) -> None:
    with pytest.raises(CommandError) as caught:
        call_command("verify_audit", **{"jobs": 1, **given})
    assert caught.value.returncode == 2
    assert selectors.latest_verification() is None  # nothing was verified


def test_the_beat_has_the_log_verified(committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    tasks.verify_log()
    verified = selectors.latest_verification()
    assert verified is not None
    assert verified.said is not None
    assert (verified.said.outcome, verified.said.actor_id, verified.said.facts["events"]) == ("done", "beat", 0)


@pytest.mark.django_db
def test_other_processes_cannot_look_into_a_transaction(fill: Callable[[int], None]) -> None:
    fill(1)
    with pytest.raises(HelperError):
        verify(jobs=2)
