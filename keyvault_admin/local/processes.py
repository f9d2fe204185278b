"""Start programs that cannot outlive us, and stop them in good order."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1  # Source: prctl(2)
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The unprivileged user that runs the engines when we are root."""

    name: str
    uid: int
    gid: int

    def options(self) -> dict[str, Any]:
        """Return what subprocess needs to become this user and to drop every group of ours."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def lifeline(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what a child runs before exec so that the kernel sends it DEATH_SIGNAL when we die, even by kill -9.

    The kernel forgets the request when the user changes, so it must come after that: subprocess runs `preexec_fn` last.
    It fires when the *thread* that forked ends, so children are started by the main thread. Linux only; elsewhere the
    next start ends what was left behind.
    """
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # we died between fork and the request
            os._exit(1)

    return ask_the_kernel


def launch(
    argv: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    env: Mapping[str, str],
    output: int | IO[bytes],
    account: Account | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own: Ctrl-C in our terminal reaches us alone, and we decide the order."""
    return subprocess.Popen(  # noqa: S603 - our own arguments
        [str(part) for part in argv],
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=dict(env),
        start_new_session=True,
        umask=0o077,
        preexec_fn=lifeline(death_signal),  # noqa: PLW1509 - one system call, and we run no threads
        **(account.options() if account else {}),
    )


def stop(process: subprocess.Popen[bytes], ask_with: signal.Signals, *, patience: float) -> None:
    """Ask a child to end; after PATIENCE seconds end it and whatever it started."""
    if process.poll() is None:
        process.send_signal(ask_with)
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        _kill_group(process.pid)
        process.wait()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def end_leftover(pid_file: Path, *, home: Path, ask_with: signal.Signals) -> None:
    """End the server that an earlier start left behind in HOME, as its PID_FILE tells.

    The caller holds the lock, so whoever still works there has lost its parent. A stranger that merely carries the
    recorded number is left alone, and the file, which would keep the server from starting, is removed. The file of a
    dead process stays: PostgreSQL learns from it whether parts of the old server still run.
    """
    pid = _recorded(pid_file)
    if pid is None or not _signal(pid, None):
        return
    if not _works_in(pid, home):
        pid_file.unlink(missing_ok=True)
        return
    deadline = time.monotonic() + 10
    while _works_in(pid, home):
        _signal(pid, ask_with if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.1)


def _recorded(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text(encoding="utf-8").split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _works_in(pid: int, home: Path) -> bool:
    if _libc is None:  # no /proc to ask: somebody with this number lives, and it is taken for ours
        return _signal(pid, None)
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == home.resolve()
    except OSError:  # gone, or another user's
        return False


def _signal(pid: int, signum: signal.Signals | None) -> bool:
    try:
        os.kill(pid, signum or 0)
    except OSError:
        return False
    return True


def last_lines(path: Path, count: int = 8) -> str:
    """Return the end of a log, or a sentence when it is empty."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n".join(line for line in lines[-count:] if line.strip()) or "It wrote nothing."
