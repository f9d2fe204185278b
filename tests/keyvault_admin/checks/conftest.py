"""Servers that are hostile, open, or silent, on loopback."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

Talk = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Talk], int]]:
    """Return a function that starts a server which does this with every connection, and returns its port."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(talk: Talk) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:  # the test is over
                    return
                caller.settimeout(10)
                with caller:
                    try:
                        talk(caller)
                    except OSError:  # the caller has gone
                        continue

        thread = threading.Thread(target=accept, daemon=True)
        threads.append(thread)
        thread.start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(15)


def say_nothing(caller: socket.socket) -> None:
    """Take whatever comes, answer nothing, until the caller goes."""
    while caller.recv(4096):
        pass
