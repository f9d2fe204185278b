"""Anchor `file:///path`: a folder of its own, one file for each checkpoint, written once and never replaced.

Mount it from another machine, append-only or write-once, so that whoever owns the database does not own the files.
"""

import os
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote

from audit.anchors.base import Anchor, AnchorError, SentCheckpoint, parts_of
from audit.notes import NoteError, parse_checkpoint

DIGITS = 15  # of the size in a name, so that names sort
SUFFIX = ".checkpoint"
READ_BYTES = 64 * 1024


def file_name(size: int) -> str:
    """Return the name of the file for a checkpoint over so many events."""
    return f"{size:0{DIGITS}}{SUFFIX}"


class FileAnchor(Anchor):
    """A folder of checkpoints."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        parts = parts_of(name)
        self.folder = Path(unquote(parts.path))
        if parts.netloc or not self.folder.is_absolute():
            raise AnchorError("An anchor file: of KEYVAULT_ANCHORS is written as file:///path/of/a/folder.")

    def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
        """Write the file, on disk before this returns; return its path."""
        path = self.folder / file_name(sent.size)
        try:
            self._refuse_older(sent)
            if not path.exists():
                self._write(path, sent.note.encode())
            if _read(path) != sent.note.encode():
                raise AnchorError(
                    f"{path.name} is there already and holds another checkpoint: this log, or that folder, is not what "
                    "it was. Compare both with what other anchors hold."
                )
        except OSError as error:
            raise AnchorError(f"The folder {self.folder} did not take the file: {error.strerror}.") from error
        return str(path)

    def _refuse_older(self, sent: SentCheckpoint) -> None:
        """Refuse a checkpoint over fewer events than one that was made before it: the log was cut or put back."""
        last = max(self.folder.glob(f"*{SUFFIX}"), default=None)
        if last is None or last.name <= file_name(sent.size):
            return
        try:
            kept = parse_checkpoint(_read(last).decode().partition("\n\n")[0] + "\n")
        except (NoteError, UnicodeDecodeError) as error:
            raise AnchorError(f"{last.name} in {self.folder} is no checkpoint: keep nothing else there.") from error
        if kept.time < sent.made_at:
            raise AnchorError(
                f"{last.name} was made earlier over more events ({kept.size:,} instead of {sent.size:,}): the log was "
                "cut, or an older copy of it put back. Run verify_audit, and keep that file."
            )

    def _write(self, path: Path, content: bytes) -> None:
        draft = self.folder / f".{path.name}.draft"
        draft.unlink(missing_ok=True)  # a crash left it behind
        with draft.open("xb") as file:
            os.fchmod(file.fileno(), 0o444)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a renaming, it never replaces
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(READ_BYTES)
