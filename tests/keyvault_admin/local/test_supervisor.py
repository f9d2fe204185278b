"""`manage.py up` as a person meets it: in a terminal, with a second one beside it."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keyvault_admin.local.conftest import Terminal, free_port, manage, processes, status, wait

NOTHING_LEFT_SECONDS = 10
SOON_SECONDS = 60  # for what takes three seconds on a machine that has nothing else to do
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def terminals(var: Path) -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        left = terminal.children()
        terminal.close()
        wait(lambda left=left: not left.keys() & processes().keys(), NOTHING_LEFT_SECONDS)


def test_up_serves_survives_deaths_and_ends_with_its_parent(var: Path, terminals: list[Terminal]) -> None:
    port = free_port()
    terminal = Terminal(var, "--port", str(port))
    terminals.append(terminal)
    terminal.shows(f"Keyvault Admin is ready: http://localhost:{port}")
    assert (status(port, "/-/live"), status(port, "/-/ready")) == (200, 200)

    for words in ("--queues=celery", "--queues=signing", "valkey-server", "bin/postgres", "gunicorn"):
        kill_and_see_it_return(terminal, words)
    wait(lambda: status(port, "/-/ready") == 200, SOON_SECONDS, terminal.text)

    again = manage(var, "up", "--port", str(port))
    assert again.returncode == 1
    assert again.stderr.startswith(f"Already running: process {terminal.process.pid}, http://localhost:{port}.")

    everything = terminal.children()
    assert len(everything) >= 9  # two engines, gunicorn and its worker, celery and its pool, the signer's, beat
    terminal.process.kill()
    wait(lambda: not everything.keys() & processes().keys(), NOTHING_LEFT_SECONDS, lambda: str(terminal.children()))


def kill_and_see_it_return(terminal: Terminal, words: str) -> None:
    before = terminal.child(words)
    os.kill(before, signal.SIGKILL)
    wait(
        lambda: words in "".join(terminal.children().values()) and terminal.child(words) != before,
        SOON_SECONDS,
        terminal.text,
    )


def test_up_stops_in_order_on_interrupt(var: Path, terminals: list[Terminal]) -> None:
    terminal = Terminal(var, "--engines")
    terminals.append(terminal)
    terminal.shows("The engines run until Ctrl-C")
    everything = terminal.children()
    assert manage(var, "showmigrations", "--plan", "audit").returncode == 0
    early = manage(var, "flag_overdue")  # nobody has migrated yet
    assert early.returncode == 1
    assert early.stderr.startswith("The database lacks tables or columns of this version.")
    asked = time.monotonic()
    terminal.process.send_signal(signal.SIGINT)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.process.wait(timeout=15) == 0
    assert time.monotonic() - asked < 10
    assert terminal.text().rstrip().endswith("Stopped.")
    assert not everything.keys() & processes().keys()
    refused = manage(var, "showmigrations", "audit")
    assert refused.returncode == 1
    assert refused.stderr == "The embedded engines are not running. Start them with: manage.py up --engines\n"


def test_up_refuses_a_taken_port_before_it_starts_anything(var: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = manage(var, "up", "--port", str(port))
    assert refused.returncode == 1
    assert refused.stderr == f"Port {port} is taken by another program. Choose another one with --port.\n"
    assert not (var / "local.env").exists()


def test_up_refuses_an_installation(var: Path) -> None:
    refused = manage(var, "up", DATABASE_URL="postgres://somewhere/else")
    assert refused.returncode == 1
    assert refused.stderr.startswith("DATABASE_URL is set: this installation has its own engines")
    assert not var.exists()


def test_manage_says_what_is_missing_in_one_sentence(var: Path) -> None:
    refused = manage(var, "check")
    assert refused.returncode == 1
    assert refused.stderr.startswith("SECRET_KEY is not set.")
    assert refused.stderr.rstrip().endswith("manage.py up")
    assert len(refused.stderr.splitlines()) == 1
