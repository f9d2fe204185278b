"""Anchors `syslog://host:port` (TCP), `syslog+tls://host:port` and `syslog+unix:///path` (a local socket).

One message of RFC 5424 for each checkpoint, facility "log audit", severity "notice":

    <109>1 2026-11-21T09:30:00.000000Z HOST keyvault-admin - checkpoint - size=1234 sha256=HEX note=BASE64

The note is in base64, because it has several lines. Syslog acknowledges nothing: "delivered" means that the other side
took the bytes and closed in order (audit/syslog.py).
"""

import base64
from datetime import datetime
from urllib.parse import unquote

from audit import syslog
from audit.anchors.base import Anchor, AnchorError, SentCheckpoint, parts_of
from audit.syslog import PORTS, UNIX, Collector

_WRITTEN = "An anchor syslog of KEYVAULT_ANCHORS is written as syslog://host:514, syslog+tls://host:6514 or "


def message(sent: SentCheckpoint) -> bytes:
    """Return the message of RFC 5424, without frame."""
    note = base64.b64encode(sent.note.encode()).decode()
    said = f"size={sent.size} sha256={sent.digest.hex()} note={note}"
    return syslog.message(said.encode(), kind="checkpoint", at=sent.made_at)


class SyslogAnchor(Anchor):
    """A collector of logs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        parts = parts_of(name)
        port = parts.port or PORTS.get(parts.scheme, 0)
        self.collector = Collector(parts.scheme, parts.hostname or "", port, unquote(parts.path))
        if not self.collector.is_named:
            raise AnchorError(f"{_WRITTEN}{UNIX}:///path.")

    def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
        """Send one message; return where to."""
        try:
            self.collector.send([message(sent)])
        except OSError as error:
            raise AnchorError(syslog.why(error, self.name)) from error
        return f"sent to {self.name}"
