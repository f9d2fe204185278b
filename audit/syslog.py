"""Messages to a collector of logs: RFC 5424 over TCP, TLS or a local socket. It acknowledges nothing.

Facility is "log audit". Over TCP messages are framed by octet counting (RFC 6587 §3.4.1, RFC 5425 §4.3). Sending ends
with an orderly close: whoever has read our farewell has read all that came before it.
"""

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from audit.canonical import timestamp

FACILITY = 13
NOTICE, WARNING, ERROR = 5, 4, 3
PORTS = {"syslog": 514, "syslog+tls": 6514}
UNIX = "syslog+unix"
SECONDS = 10  # for each step of the conversation


def message(said: bytes, *, kind: str, at: datetime, severity: int = NOTICE) -> bytes:
    """Return one message of RFC 5424 without frame; `said` is UTF-8 without line ends."""
    host = socket.gethostname().encode("ascii", "replace").decode()[:255] or "-"
    return f"<{FACILITY * 8 + severity}>1 {timestamp(at)} {host} keyvault-admin - {kind} - ".encode() + said


@dataclass(frozen=True)
class Collector:
    """Where messages go: host and port, or the path of a socket."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_named(self) -> bool:
        """Whether the address has what its scheme needs, and nothing of the other."""
        is_local = self.scheme == UNIX
        return is_local == bool(self.path.strip("/")) and is_local != bool(self.host)

    def send(self, messages: Iterable[bytes]) -> None:
        """Send messages over one connection. Raises: OSError, and ssl.SSLError as one of them."""
        if self.scheme == UNIX:
            self._send_local(messages)
            return
        with self._connected() as there:
            for said in messages:
                there.sendall(b"%d " % len(said) + said)
            if isinstance(there, ssl.SSLSocket):
                with suppress(ssl.SSLEOFError):  # closed without a word of farewell, as many do; an alert is an error
                    there.unwrap()
            else:
                there.shutdown(socket.SHUT_WR)
                while there.recv(1024):  # until the other side has read to the end and closed
                    pass

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection((self.host, self.port), timeout=SECONDS) as plain:
            if self.scheme == "syslog":
                yield plain
                return
            with ssl.create_default_context().wrap_socket(plain, server_hostname=self.host) as wrapped:
                yield wrapped

    def _send_local(self, messages: Iterable[bytes]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.settimeout(SECONDS)
            there.connect(self.path)
            for said in messages:
                there.send(said)


def why(error: OSError, name: str) -> str:
    """Return a sentence on why a collector did not take it; `name` is its address."""
    if isinstance(error, ssl.SSLError):
        return f"No TLS with {name}: {error.reason or type(error).__name__}."
    return f"{name} did not take it: {error.strerror or type(error).__name__}."
