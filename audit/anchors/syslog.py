"""Anchors `syslog://host:port` (TCP), `syslog+tls://host:port` and `syslog+unix:///path` (a local socket).

One message of RFC 5424 for each checkpoint, facility "log audit", severity "notice":

    <109>1 2026-11-21T09:30:00.000000Z HOST keyvault-admin - checkpoint - size=1234 sha256=HEX note=BASE64

The note is in base64, because it has several lines. Over TCP messages are framed by octet counting (RFC 6587 §3.4.1,
RFC 5425 §4.3). Syslog acknowledges nothing: "delivered" means that the other side took the bytes and closed in order.
"""

import base64
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from urllib.parse import unquote

from audit.anchors.base import SECONDS, Anchor, AnchorError, SentCheckpoint, parts_of
from audit.canonical import timestamp

PRIORITY = 13 * 8 + 5
PORTS = {"syslog": 514, "syslog+tls": 6514}
UNIX = "syslog+unix"
_WRITTEN = "An anchor syslog of KEYVAULT_ANCHORS is written as syslog://host:514, syslog+tls://host:6514 or "


def message(sent: SentCheckpoint) -> bytes:
    """Return the message of RFC 5424, without frame."""
    note = base64.b64encode(sent.note.encode()).decode()
    said = f"size={sent.size} sha256={sent.digest.hex()} note={note}"
    host = socket.gethostname().encode("ascii", "replace").decode()[:255] or "-"
    head = f"<{PRIORITY}>1 {timestamp(sent.made_at)} {host} keyvault-admin - checkpoint - "
    return head.encode() + said.encode()


class SyslogAnchor(Anchor):
    """A collector of logs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        parts = parts_of(name)
        self.scheme, self.path = parts.scheme, unquote(parts.path)
        self.host, self.port = parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)
        is_local = self.scheme == UNIX
        if is_local != bool(self.path.strip("/")) or is_local == bool(self.host):
            raise AnchorError(f"{_WRITTEN}{UNIX}:///path.")

    def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
        """Send one message; return where to."""
        said = message(sent)
        try:
            if self.scheme == UNIX:
                self._send_local(said)
            else:
                self._send(b"%d " % len(said) + said)
        except ssl.SSLError as error:
            raise AnchorError(f"No TLS with {self.name}: {error.reason or type(error).__name__}.") from error
        except OSError as error:
            raise AnchorError(f"{self.name} did not take it: {error.strerror or type(error).__name__}.") from error
        return f"sent to {self.name}"

    def _send(self, framed: bytes) -> None:
        with self._connected() as there:
            there.sendall(framed)
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

    def _send_local(self, said: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.settimeout(SECONDS)
            there.connect(self.path)
            there.send(said)
