"""The signer as a process: nudged through the broker, and as a command; others cannot take its place."""

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.db import connection, transaction

from audit import notes, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.models import Anchoring, SignedCheckpoint
from audit.services import record
from keyvault_admin.local.children import CHECKPOINTS, SIGNING_KEY, application
from tests.conftest import CommittedDatabase
from tests.engines import ROOT, run_values

pytestmark = pytest.mark.timeout(300)
PATIENCE_SECONDS = 90


@pytest.fixture
def environ(committed_db: CommittedDatabase, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return a function that gives the environment of a process, with a broker that no other test listens to."""
    broker = run_values()["CELERY_BROKER_URL"].rpartition("/")[0] + "/7"
    (tmp_path / CHECKPOINTS).mkdir()
    new_key(tmp_path, 7)
    return lambda **more: committed_db.environ(CELERY_BROKER_URL=broker, **more)


def new_key(folder: Path, first: int) -> None:
    (folder / SIGNING_KEY).write_text(base64.b64encode(bytes(range(first, first + 32))).decode())


def manage(environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *words]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)


def something_happens() -> None:
    with transaction.atomic():
        record(Action.DEMO_SEEDED, actor=Actor.system("command:test"), now=datetime.now(UTC))
    connection.close()


@contextmanager
def signer(environ: Callable[..., dict[str, str]], tmp_path: Path) -> Iterator[None]:
    recipe = next(recipe for recipe in application(1, tmp_path, tmp_path) if recipe.name == "signer")
    with (tmp_path / "signer.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(recipe.argv, cwd=ROOT, env=environ(**recipe.env), stdout=log, stderr=log)
        try:
            ends = time.monotonic() + PATIENCE_SECONDS
            while "ready." not in (tmp_path / "signer.log").read_text(encoding="utf-8"):
                if time.monotonic() > ends or process.poll() is not None:
                    pytest.fail((tmp_path / "signer.log").read_text(encoding="utf-8")[-2000:])
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_SECONDS)


def test_the_command_asks_and_the_signer_signs(environ: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    something_happens()
    with signer(environ, tmp_path):
        done = manage(environ(), "checkpoint", "--wait", "60")
    assert (done.returncode, done.stderr) == (0, "")
    row = SignedCheckpoint.objects.get()
    assert done.stdout == row.note
    printed = manage(environ(), "checkpoint", "--verifier").stdout.split()
    assert printed[0] == "1"
    said = notes.parse_checkpoint(notes.open_note(done.stdout, [notes.Verifier.parse(printed[1])])[0])
    assert (said.size, said.origin) == (1, "localhost/audit")
    assert [path.read_text() for path in (tmp_path / CHECKPOINTS).iterdir()] == [row.note]
    assert Anchoring.objects.get().state == Anchoring.State.DELIVERED
    key = (tmp_path / SIGNING_KEY).read_text().encode()
    assert key not in (tmp_path / "signer.log").read_bytes()


def test_without_a_signer_the_command_says_so(environ: Callable[..., dict[str, str]]) -> None:
    something_happens()
    done = manage(environ(), "checkpoint", "--wait", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "The signer made none within 1 s." in done.stderr


def test_the_signer_itself_signs_and_begins_epochs(environ: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    something_happens()
    own = {"KEYVAULT_ROLE": "signer", "KEYVAULT_SIGNING_KEY_FILE": str(tmp_path / SIGNING_KEY)}
    first = manage(environ(**own), "checkpoint")
    assert (first.returncode, first.stderr) == (0, "")
    new_key(tmp_path, 90)
    refused = manage(environ(**own), "checkpoint")
    assert refused.returncode == 1
    assert "another one than that of epoch 1" in refused.stderr
    begun = manage(environ(**own), "begin_signing_epoch", "--reason", "yearly")
    assert (begun.returncode, begun.stderr) == (0, "")
    assert begun.stdout.startswith("Epoch 2 has begun with the checkpoint of 3 events.")
    assert list(selectors.signing_epochs()) == [1, 2]
    elsewhere = manage(environ(), "begin_signing_epoch", "--reason", "by the wrong process")
    assert "holds no signing key" in elsewhere.stderr


def test_the_signer_does_not_start_with_anchors_that_are_none(
    environ: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    own = {"KEYVAULT_ROLE": "signer", "KEYVAULT_SIGNING_KEY_FILE": str(tmp_path / SIGNING_KEY)}
    done = manage(environ(**own, KEYVAULT_ANCHORS="ftp://pw@host"), "checkpoint")
    assert done.returncode == 1
    assert done.stderr.startswith("An anchor of KEYVAULT_ANCHORS begins with an unknown word; known are: file, mail")
