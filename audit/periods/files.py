"""Files of periods: on disk, whole and under their own name before anybody hears of them; never written over."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from audit.errors import PeriodError


@dataclass(frozen=True)
class Written:
    """A file as it stands on disk."""

    path: Path
    size: int
    digest: bytes  # SHA-256


def write_once(path: Path, lines: Iterable[bytes]) -> Written:
    """Write a file beside its place, have it on disk, and put it there under its name.

    A file that is there already stays: with the same bytes it is taken as ours, from a run that was stopped.
    Raises: PeriodError, also for a file of that name with other bytes.
    """
    with _said(path), _aside(path.parent) as aside:
        size, digest = 0, sha256()
        with aside.open("wb") as file:
            for line in lines:
                file.write(line)
                digest.update(line)
                size += len(line)
            file.flush()
            os.fsync(file.fileno())
        _put(aside, path, digest.digest())
    return Written(path, size, digest.digest())


def digest_of(path: Path) -> bytes:
    """Return the SHA-256 of a file. Raises: PeriodError."""
    with _said(path), path.open("rb") as file:
        return file_digest(file, "sha256").digest()


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file as they stand there. Raises: PeriodError."""
    with _said(path), path.open("rb") as file:
        yield from file


def _put(aside: Path, path: Path, digest: bytes) -> None:
    """Give the file its name, unless a file has it. One process at a time comes here (audit.periods.closing)."""
    if not path.exists():
        aside.rename(path)
    elif digest_of(path) != digest:
        raise PeriodError(f"{path} is there already and holds something else. Choose another folder, or move it away.")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Give a new file in the same folder, readable by nobody else until it has its name, and take it away again."""
    handle, name = tempfile.mkstemp(prefix=".period-", suffix=".part", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PeriodError(f"{path}: {error.strerror or error}.") from error
