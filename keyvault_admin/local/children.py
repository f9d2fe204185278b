"""The processes that `up` keeps alive: each with a name before its lines and a limit to its restarts."""

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from keyvault_admin.local.engine import Engine
from keyvault_admin.local.errors import LocalError
from keyvault_admin.local.processes import launch, stop

PAUSES = (1.0, 2.0, 4.0)  # seconds before the first, second and third restart
STEADY_SECONDS = 60.0  # whoever ran that long has earned its restarts back
_LAST_LINES = 12
SIGNING_KEY, CHECKPOINTS = "signing_key", "checkpoints"  # in a folder that `application` is told of
MASTER_KEY, RING = "master_key", "ring"  # in another one


class Ward(ABC):
    """Something that should run for as long as `up` does."""

    name: str

    def __init__(self) -> None:
        self._restarts = 0
        self._started_at = 0.0
        self._due_at: float | None = None

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def is_alive(self) -> bool: ...

    @abstractmethod
    def last_words(self) -> str: ...

    def begin(self) -> None:
        self._started_at, self._due_at = time.monotonic(), None
        self.start()

    def tend(self, say: Callable[[str], None]) -> None:
        """Notice a death, and bring it back when its pause is over.

        Raises: LocalError with its last words when it has died once too often.
        """
        if self._due_at is not None:
            if time.monotonic() >= self._due_at:
                self._begin_again(say)
        elif not self.is_alive():
            self._mourn(say)

    def _begin_again(self, say: Callable[[str], None]) -> None:
        try:
            self.begin()
        except LocalError as error:
            say(str(error))
            self._mourn(say)

    def _mourn(self, say: Callable[[str], None]) -> None:
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self._restarts = 0
        if self._restarts == len(PAUSES):
            raise LocalError(
                f"{self.name} stopped again after {self._restarts} restarts. Its last words:\n{self.last_words()}"
            )
        pause = PAUSES[self._restarts]
        self._restarts += 1
        self._due_at = time.monotonic() + pause
        say(f"{self.name} stopped. Restart {self._restarts} of {len(PAUSES)} in {pause:.0f} s.")


class EngineWard(Ward):
    """An engine; it writes its own log."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.name = engine.title
        self._engine = engine
        self._started_at = time.monotonic()

    def start(self) -> None:
        self._engine.start()

    def stop(self) -> None:
        self._engine.stop()

    def is_alive(self) -> bool:
        return self._engine.is_alive()

    def last_words(self) -> str:
        return self._engine.last_words()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to start and to end one process of the application."""

    name: str
    argv: Sequence[str | Path]
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL  # when `up` was killed: a busy worker survives every other signal
    patience: float = 2.0
    env: Mapping[str, str] = field(default_factory=dict)


class Child(Ward):
    """A process of the application, whose lines are passed on with its name before them."""

    def __init__(self, recipe: Recipe, *, cwd: Path, show: Callable[[str], None]) -> None:
        super().__init__()
        self.name = recipe.name
        self._recipe = recipe
        self._cwd = cwd
        self._show = show
        self._rest = b""
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._drain()
        self._close()
        self._lines.clear()
        self._process = launch(
            self._recipe.argv,
            death_signal=self._recipe.death_signal,
            env={**os.environ, **self._recipe.env, "PYTHONUNBUFFERED": "1"},
            output=subprocess.PIPE,
            cwd=self._cwd,
        )
        os.set_blocking(self.fileno(), False)

    def fileno(self) -> int:
        assert self._process is not None  # noqa: S101 - only a started child is asked
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        return self._process.stdout.fileno()

    @property
    def is_readable(self) -> bool:
        return self._process is not None and self._process.stdout is not None and not self._process.stdout.closed

    def pump(self) -> bool:
        """Pass on what it has written since, and close the pipe at its end; tell whether there was anything."""
        try:
            written = os.read(self.fileno(), 65_536)
        except BlockingIOError:
            return False
        *whole, self._rest = (self._rest + written).split(b"\n")
        if not written:
            self._close()
            whole, self._rest = [self._rest] if self._rest else [], b""
        for line in whole:
            text = line.decode("utf-8", errors="replace").rstrip()
            self._lines.append(text)
            self._show(f"{self.name:<6} | {text}")
        return True

    def _drain(self) -> None:
        """Pass on what is left in the pipe; a grandchild may still hold its other end."""
        while self.is_readable and self.pump():
            pass

    def _close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def last_words(self) -> str:
        self._drain()
        return "\n".join(self._lines) or "It wrote nothing."

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process, self._recipe.stop_signal, patience=self._recipe.patience)
            self._drain()
            self._close()


def named_stores(keys: Path) -> dict[str, str]:
    """Return what every process that shows or uses key stores is told: where they are, and no secret."""
    return {"KEYVAULT_KMS": f"local://{quote(str(keys / RING))}#house"}


def worker_environ(keys: Path | None) -> dict[str, str]:
    """Return what the worker is told, and whoever runs a command in its place: where the master key is, too."""
    if keys is None:
        return {"KEYVAULT_ROLE": "worker"}
    return {"KEYVAULT_ROLE": "worker", "KEYVAULT_MASTER_KEY_FILE": str(keys / MASTER_KEY), **named_stores(keys)}


def application(port: int, var: Path, signing: Path, keys: Path | None = None) -> tuple[Recipe, ...]:
    """Return the processes of the application in the order in which they are stopped, each with its own login role.

    SIGNING holds the signing key, which one of them is told of, and the checkpoints that leave the database. KEYS holds
    a local key store and the master key, which another one is told of; without it there is no key store.
    """
    python = sys.executable
    celery = [python, "-m", "celery", "--app=keyvault_admin"]
    return (
        Recipe(
            name="web",
            argv=[
                *(python, "-m", "gunicorn", "keyvault_admin.wsgi:application", f"--bind=127.0.0.1:{port}"),
                *("--worker-class=gthread", "--workers=1", "--threads=8", "--graceful-timeout=2"),
                *("--no-control-socket", "--log-level=warning"),
            ],
            death_signal=signal.SIGQUIT,
            env={"KEYVAULT_ROLE": "web", **(named_stores(keys) if keys else {})},
        ),
        Recipe(
            name="worker",
            argv=[
                *celery,
                "worker",
                "--pool=prefork",
                "--concurrency=2",
                "--queues=celery",
                "--loglevel=INFO",
                "--without-mingle",
                "--without-gossip",
            ],
            env=worker_environ(keys),
        ),
        Recipe(
            name="signer",
            argv=[
                *(*celery, "worker", "--pool=prefork", "--concurrency=1", "--queues=signing", "--hostname=signer@%h"),
                *("--loglevel=INFO", "--without-mingle", "--without-gossip"),
            ],
            env={
                "KEYVAULT_ROLE": "signer",
                "KEYVAULT_SIGNING_KEY_FILE": str(signing / SIGNING_KEY),
                "KEYVAULT_ANCHORS": (signing / CHECKPOINTS).as_uri(),
            },
        ),
        Recipe(
            name="beat",
            argv=[*celery, "beat", f"--schedule={var / 'beat-schedule'}", "--pidfile=", "--loglevel=INFO"],
            patience=1.0,
            env={"KEYVAULT_ROLE": "beat"},
        ),
    )
