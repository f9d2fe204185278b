"""What `make demo` shows of key stores is made as in earnest: asked, voted on, and carried out by the worker."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.models import Certificate, Event
from inventory.models import DekVersion, HandOut, Kek, Wrapping
from keyvault_admin.local import demo
from keyvault_admin.local.children import MASTER_KEY, RING, named_stores, worker_environ
from rotation.models import JobState, Order, OrderState, Request, RequestState, RewrapJob, Vote
from tests.conftest import CommittedDatabase
from tests.engines import ROOT

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def turn(committed_db: CommittedDatabase, tmp_path: Path) -> Callable[..., None]:
    """Return a function that runs a command of the demo in the place of one of its processes."""
    keys = tmp_path / "keys"
    (keys / RING).mkdir(mode=0o700, parents=True)
    (keys / MASTER_KEY).write_text("A" * 43 + "=\n")
    (keys / MASTER_KEY).chmod(0o600)
    environs = {
        "command": named_stores(keys),
        "web": {"KEYVAULT_ROLE": "web", **named_stores(keys)},
        "worker": worker_environ(keys),
    }

    def run(role: str, command: str) -> None:
        environ = committed_db.environ(**environs[role])
        done = subprocess.run(
            [sys.executable, "manage.py", command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]

    return run


def test_the_demo_has_a_kek_that_was_rotated_and_its_deks(turn: Callable[..., None]) -> None:
    turn("command", "seed_demo")
    for role in ("web", "worker", "web", "worker"):
        turn(role, "seed_demo_keys")
    kek = Kek.objects.select_related("key", "primary__version").get()
    assert (kek.key.name, kek.key.current_number, kek.primary and kek.primary.version.number) == (demo.KEK, 2, 2)
    count = len(demo.TENANTS) * len(demo.INTEGRATIONS)
    assert DekVersion.objects.count() == count
    assert set(Wrapping.objects.values_list("kek_version", flat=True)) == {kek.primary_id}
    job = RewrapJob.objects.get()
    assert (job.state, job.total) == (JobState.DONE, count - len(demo.TENANTS))
    assert Certificate.objects.get(pk=job.certificate_id)
    assert HandOut.objects.get().kek_version.store_id == "1"
    assert not Order.objects.exclude(state=OrderState.DONE).exists()
    executed = Request.objects.filter(operation__startswith="kek.", state=RequestState.EXECUTED)
    assert {vote.role for vote in Vote.objects.filter(request__in=executed)} == {"Security"}
    waiting = Request.objects.get(operation="kek.create", state=RequestState.OPEN)
    assert "identity" in waiting.title
    assert not Event.objects.filter(action="dek.opened").exists()  # nothing was refused
