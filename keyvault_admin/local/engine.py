"""What PostgreSQL and Valkey have in common: started, watched, stopped, never left behind."""

import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from keyvault_admin.local.errors import LocalError
from keyvault_admin.local.places import Places
from keyvault_admin.local.processes import last_lines, launch, stop

HOST = "127.0.0.1"
READY_WITHIN_SECONDS = 60  # recovery after a crash takes longest


def is_free(port: int) -> bool:
    """Tell whether a server of ours could listen on PORT."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose_port(wanted: int | None) -> int:
    """Return WANTED when it is free, so that addresses survive a restart, and any free port otherwise."""
    if wanted and is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Engine(ABC):
    """One server on loopback, bound to the life of this process."""

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    patience: ClassVar[float] = 1.5

    def __init__(self, places: Places, *, port: int, password: str) -> None:
        self.places = places
        self.port = port
        self.password = password
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.places.log(self.name)

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises: LocalError with the last lines of its log when it does not.
        """
        self.prepare()
        argv, cwd, configuration = self.command()
        with self.log.open("wb") as output:
            self.process = launch(
                argv,
                death_signal=self.stop_signal,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                output=output,
                account=self.places.account,
                cwd=cwd,
                stdin=subprocess.PIPE,
            )
        assert self.process.stdin  # noqa: S101 - asked for above
        with self.process.stdin as pipe:
            pipe.write(configuration)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not self.answers():
            if not self.is_alive():
                raise LocalError(f"{self.title} stopped at its start. Its last words:\n{self.last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise LocalError(
                    f"{self.title} does not answer on port {self.port}. Its last words:\n{self.last_words()}"
                )
            time.sleep(0.02)

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_words(self) -> str:
        return last_lines(self.log)

    def stop(self) -> None:
        """Stop the server within a few seconds; what it holds is on disk."""
        if self.process is not None:
            stop(self.process, self.stop_signal, patience=self.patience)

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder, and end a server that was left behind in it."""

    @abstractmethod
    def command(self) -> tuple[list[str | Path], Path, bytes]:
        """Return the command line, the folder to work in and what is written to its standard input."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server serves."""
