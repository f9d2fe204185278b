"""LEAK-05: the running processes write no core file, and their memory is shut to others of their user."""

import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

import pytest

from keyvault_admin.local.children import SIGNING_KEY, application
from keyvault_admin.local.engine import choose_port
from tests.conftest import CommittedDatabase
from tests.engines import ROOT, run_values

pytestmark = [pytest.mark.timeout(300), pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")]
PATIENCE_SECONDS = 90
ASK = """
import ctypes, os, resource
from keyvault_admin.hardening import harden
if os.geteuid() == 0:  # as another user, whose processes /proc gives to that user
    os.setgid(65534), os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
me = os.geteuid()
before = os.stat("/proc/self/environ").st_uid == me
harden()
print(before, os.stat("/proc/self/environ").st_uid == 0, *resource.getrlimit(resource.RLIMIT_CORE))
"""


def test_harden_shuts_memory_and_environment_and_forbids_core_files() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "True", "0", "0"], done.stderr


def tree(pid: int) -> list[int]:
    """Return a process and all it started."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(other for child in below for other in tree(int(child)))]


def is_hardened(pid: int) -> bool:
    """Whether it may write no core file and, where we are not root ourselves, whether the kernel gave /proc to root."""
    limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    return core.split()[4:6] == ["0", "0"] and Path(f"/proc/{pid}/environ").stat().st_uid == 0


PLACES = {"web": 0, "worker": 1, "signer": 2, "beat": 3} if "tests.full" in sys.modules else {"web": 0, "signer": 2}


@pytest.mark.parametrize("place", PLACES.values(), ids=list(PLACES))
def test_running_processes_are_hardened(committed_db: CommittedDatabase, tmp_path: Path, place: int) -> None:
    (tmp_path / SIGNING_KEY).write_text(b64encode(bytes(range(7, 39))).decode())
    recipe = application(choose_port(None), tmp_path, tmp_path)[place]
    environ = committed_db.environ(**recipe.env)
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(recipe.argv, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            ends = time.monotonic() + PATIENCE_SECONDS
            enough = {0: 2, 1: 3, 2: 2, 3: 1}[place]
            while time.monotonic() < ends and process.poll() is None:
                family = tree(process.pid)
                holders = family[1:] if place == 0 else family  # gunicorn's master loads no application and no keys
                if len(family) >= enough and all(is_hardened(pid) for pid in holders):
                    break
                time.sleep(0.2)
            else:
                pytest.fail((tmp_path / "log").read_text(encoding="utf-8")[-2000:])
            secret = run_values()["KEYVAULT_SEALING_KEY"].encode()
            for pid in family:
                assert secret not in Path(f"/proc/{pid}/cmdline").read_bytes()
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_SECONDS)
