"""Where the log is shipped to, piece by piece: addresses in KEYVAULT_SIEM, with white space between them.

    syslog+tls://host:6514?format=cef       RFC 5424 over TLS, the certificate verified (also syslog://, syslog+unix://)
    file:///folder?format=ocsf              files of 100,000 events each, named by the first number they may hold

`format` is cef, ocsf or ndjson, for files csv too; `names=yes` shows the names of people where they can still be read.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.conf import settings

from audit import chain, syslog
from audit.errors import AuditError
from audit.exports.formats import Format, format_named
from audit.exports.reading import ExportError
from audit.models import Event
from audit.syslog import PORTS, UNIX, Collector

FILE_EVENTS = 100_000
DIGITS = 15  # of the number in a name, so that names sort
FORMATS_OF = {"file": {"ndjson", "csv", "cef", "ocsf"}, "syslog": {"ndjson", "cef", "ocsf"}}


class SinkError(AuditError):
    """The sink did not take it. The sentence is kept with the cursor and shown; it holds no secret."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Events on their way, that follow on one number; a sink gets at most what it takes in one go."""

    after: int
    length: int  # of the file so far, as the cursor says it
    begin: bytes  # what stands before the first event of a file
    rows: Sequence[Event]
    lines: Sequence[bytes]


class Sink(ABC):
    """One place. Its name is its address in the settings, which holds no password."""

    def __init__(self, name: str, parts: SplitResult, form: Format, *, with_names: bool) -> None:
        self.name, self.kind, self.form, self.with_names = name, parts.scheme, form, with_names

    def takes_until(self, after: int) -> int:
        """Return the number of the last event that may come in one piece with the one after `after`."""
        return 2**63 - 1

    def begins_file(self, after: int, length: int) -> bool:
        """Whether the event after that number is the first one of a file."""
        return False

    @abstractmethod
    def deliver(self, piece: Piece) -> int:
        """Hand it over; return how long the file is with it, 0 where there is none. Raises: SinkError."""


class FileSink(Sink):
    """A folder of files to which events are appended, and in which nothing is ever changed.

    What stands behind the length that the cursor names was written before a crash: the same events make the same bytes,
    so only those that are missing are added, and nothing comes twice.
    """

    def __init__(self, name: str, parts: SplitResult, form: Format, *, with_names: bool) -> None:
        super().__init__(name, parts, form, with_names=with_names)
        self.folder = Path(unquote(parts.path))
        if parts.netloc or not self.folder.is_absolute():
            raise SinkError("A file: of KEYVAULT_SIEM is written as file:///path/of/a/folder?format=ocsf.")

    def takes_until(self, after: int) -> int:
        return (after // FILE_EVENTS + 1) * FILE_EVENTS

    def begins_file(self, after: int, length: int) -> bool:
        return after % FILE_EVENTS == 0 or length == 0

    def path_after(self, after: int) -> Path:
        """Return the file in which the event after that number stands."""
        return self.folder / f"{after // FILE_EVENTS * FILE_EVENTS + 1:0{DIGITS}}.{self.form.suffix}"

    def deliver(self, piece: Piece) -> int:
        path = self.path_after(piece.after)
        kept = 0 if self.begins_file(piece.after, piece.length) else piece.length
        content = piece.begin + b"".join(piece.lines)
        try:
            _append(path, kept, content)
        except OSError as error:
            raise SinkError(f"{path} did not take it: {error.strerror}.") from error
        return kept + len(content)


class SyslogSink(Sink):
    """A collector of logs. It acknowledges nothing, so a crash before the cursor moved sends a piece once more."""

    def __init__(self, name: str, parts: SplitResult, form: Format, *, with_names: bool) -> None:
        super().__init__(name, parts, form, with_names=with_names)
        port = parts.port or PORTS.get(parts.scheme, 0)
        self.collector = Collector(parts.scheme, parts.hostname or "", port, unquote(parts.path))
        if not self.collector.is_named:
            raise SinkError(f"A syslog of KEYVAULT_SIEM is written as syslog+tls://host:6514?format=cef or {UNIX}:///…")

    def deliver(self, piece: Piece) -> int:
        pairs = zip(piece.rows, piece.lines, strict=True)
        try:
            self.collector.send(
                syslog.message(line.rstrip(b"\n"), kind="event", at=_written(row)) for row, line in pairs
            )
        except OSError as error:
            raise SinkError(syslog.why(error, self.name.partition("?")[0])) from error
        return 0


KINDS: dict[str, type[Sink]] = {"file": FileSink, **dict.fromkeys((*PORTS, UNIX), SyslogSink)}


def configured_sinks() -> dict[str, Sink]:
    """Return the sinks of the settings by their names, in their order.

    Raises: SinkError, with a sentence for whoever writes the settings.
    """
    return {address: _sink(address) for address in settings.SIEM}


def _sink(address: str) -> Sink:
    parts = _parts(address)
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    kind, with_names = parts.scheme.partition("+")[0], said.get("names") == "yes"
    if set(said) - {"format", "names"} or said.get("names", "no") not in {"yes", "no"}:
        raise SinkError("Behind the ? of an address of KEYVAULT_SIEM stand format= and names=yes, and nothing else.")
    if said.get("format", "") not in FORMATS_OF[kind]:
        raise SinkError(f"A {kind} of KEYVAULT_SIEM needs ?format=, one of {', '.join(sorted(FORMATS_OF[kind]))}.")
    try:
        form = format_named(said["format"], with_names=with_names)
    except ExportError as error:
        raise SinkError(str(error)) from error
    return KINDS[parts.scheme](address, parts, form, with_names=with_names)


def _parts(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise SinkError("An address of KEYVAULT_SIEM cannot be read.") from error
    if parts.scheme not in KINDS:
        raise SinkError(
            f"An address of KEYVAULT_SIEM begins with an unknown word; known are {', '.join(sorted(KINDS))}."
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise SinkError(f"An address {parts.scheme}: of KEYVAULT_SIEM holds a password or a #; leave them out.")
    return parts


def _append(path: Path, kept: int, content: bytes) -> None:
    """Have the content behind the first bytes of the file, on disk before this returns."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | (0 if kept else os.O_CREAT), 0o640)
    with os.fdopen(handle, "r+b") as file:
        if os.fstat(handle).st_size < kept:
            raise SinkError(f"{path} is shorter than what was delivered into it. {_MEND}")
        file.seek(kept)
        found = file.read(len(content))
        if not content.startswith(found):
            raise SinkError(f"{path} holds something else than this log behind its first {kept:,} bytes. {_MEND}")
        file.write(content[len(found) :])
        file.flush()
        os.fsync(handle)
    if not kept:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


_MEND = (
    "If the file was changed, put it back; if an older copy of the database was, keep the file, run verify_audit, and "
    "name another folder in KEYVAULT_SIEM, which begins at the first event."
)


def _written(row: Event) -> datetime:
    """Return when the event was written, as its stamp says; the epoch when that cannot be read."""
    try:
        return chain.parse_stamp(bytes(row.stamp)).recorded_at
    except AuditError:
        return datetime.fromtimestamp(0, UTC)
