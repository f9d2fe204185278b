"""Files that appear whole or not at all, and what is laid beside them for an auditor."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from audit import standalone
from audit.anchors.files import file_name
from audit.exports.reading import ExportError
from audit.models import SignedCheckpoint

VERIFIER = Path(standalone.__file__).parent / "verify_log.py"


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Open a draft beside the file; it gets its name when the block ends well, and is gone when it does not.

    Raises: ExportError when the file is there already, or cannot be written.
    """
    if path.exists():
        raise ExportError(f"{path} is there already: name a file that does not exist yet.")
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a renaming, it never replaces
    except FileExistsError as error:
        raise ExportError(f"{path} is there already: name a file that does not exist yet.") from error
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        draft.unlink(missing_ok=True)


def lay_checkpoints(folder: Path, *, after: int, until: int) -> int:
    """Write the checkpoints over `after` to `until` events and the verifier into a folder; return how many.

    Files that are there already and hold the same stay. Raises: ExportError.
    """
    covering = SignedCheckpoint.objects.filter(size__gte=after, size__lte=until).order_by("size")
    written = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for size, note in covering.values_list("size", "note").iterator(500):
            _lay(folder / file_name(size), note.encode())
            written += 1
        _lay(folder / VERIFIER.name, VERIFIER.read_bytes())
    except OSError as error:
        raise ExportError(f"The folder {folder} did not take a file: {error.strerror}.") from error
    return written


def _lay(path: Path, content: bytes) -> None:
    if not path.exists():
        with appearing(path) as file:
            file.write(content)
    elif path.read_bytes() != content:
        raise ExportError(f"{path} is there already and holds something else: name another folder.")
