"""Engines of their own for the tests of the launcher, beside those of the run."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keyvault_admin.local.places import settle

ROOT = Path(__file__).resolve().parents[3]
MANAGE = [sys.executable, "manage.py"]


def make_var() -> Path:
    """Make a `var` folder that every user of the machine can reach, unlike pytest's own."""
    home = Path(tempfile.mkdtemp(prefix="keyvault-test-"))
    home.chmod(0o755)
    return home / "var"


def remove_var(var: Path) -> None:
    if var.is_dir():
        shutil.rmtree(settle(var).engines)
    shutil.rmtree(var.parent)


@pytest.fixture
def var() -> Iterator[Path]:
    folder = make_var()
    yield folder
    remove_var(folder)


def local_environ(var: Path, **more: str) -> dict[str, str]:
    """Return the environment of a terminal in which nothing but the folder is set."""
    ours = ("KEYVAULT_", "DATABASE_URL", "SECRET_KEY", "CELERY_", "DJANGO_SETTINGS_MODULE", "PYTEST_")
    plain = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return {**plain, "KEYVAULT_LOCAL_ENV": str(var / "local.env"), **more}


def manage(var: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one manage.py command to its end."""
    return subprocess.run(
        [*MANAGE, *command],
        cwd=ROOT,
        env=local_environ(var, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Terminal:
    """A terminal in which `manage.py up` runs."""

    def __init__(self, var: Path, *options: str) -> None:
        self.output = var.parent / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*MANAGE, "up", *options], cwd=ROOT, env=local_environ(var), stdout=output, stderr=subprocess.STDOUT
            )

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def shows(self, words: str, seconds: float = 90) -> None:
        """Wait until these words are on the screen."""
        wait(lambda: words in self.text() or self.process.poll() is not None, seconds, self.text)
        assert words in self.text(), self.text()

    def children(self) -> dict[int, str]:
        """Return the process number and the command line of everything below `up`."""
        found: dict[int, str] = {}
        for pid, (parent, line) in sorted(processes().items()):
            if parent == self.process.pid or parent in found:
                found[pid] = line
        return found

    def child(self, words: str) -> int:
        """Return the process number of the direct child whose command line has these words, once there is one."""
        wait(lambda: bool(self._direct(words)), 60, self.text)
        return self._direct(words)[0]

    def _direct(self, words: str) -> list[int]:
        return [pid for pid, (up, line) in processes().items() if words in line and up == self.process.pid]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def processes() -> dict[int, tuple[int, str]]:
    """Return parent and command line of every living process of the machine."""
    listed = subprocess.run(
        ["ps", "-wweo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 3) for line in listed.splitlines()]
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if not row[2].startswith("Z")}


def wait(condition: Callable[[], bool], seconds: float = 60, story: Callable[[], str] = str) -> None:
    """Wait until a condition holds, and say how far it came when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, story()
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def status(port: int, path: str) -> int:
    """Return the status of a GET, and 0 when nobody listens."""
    try:
        with urllib.request.urlopen(f"http://localhost:{port}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0
