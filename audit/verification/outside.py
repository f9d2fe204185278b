"""Checkpoints and keys that were kept outside the database: the only things its owner cannot have changed. Pure."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audit.anchors.files import SUFFIX
from audit.errors import AuditError
from audit.notes import NOTE_BYTES, Checkpoint, NoteError, Verifier, open_note, parse_checkpoint
from audit.verification.damage import Damage, Finding


class OutsideError(AuditError):
    """What was given cannot be read. The sentence is for whoever gave it."""


@dataclass(frozen=True)
class Outside:
    """A checkpoint from outside; who has signed it is not judged yet."""

    source: str  # the file it was read from
    note: str
    said: Checkpoint

    @property
    def name(self) -> str:
        """What sentences call it."""
        return f"the checkpoint over {self.said.size:,} events in {self.source}"


def read_checkpoints(paths: Iterable[Path]) -> list[Outside]:
    """Read files of one note each, or folders of them as the file anchor writes them; the smallest first.

    Raises: OutsideError.
    """
    files = [file for path in paths for file in _files(path)]
    return sorted((_read(file) for file in files), key=lambda given: (given.said.size, given.said.time))


def read_keys(texts: Iterable[str]) -> list[Verifier]:
    """Read public keys as `checkpoint --verifier` prints them, with or without the number of their epoch.

    Raises: OutsideError.
    """
    try:
        return [Verifier.parse(text.split()[-1]) for text in texts if text.strip()]
    except NoteError as error:
        raise OutsideError(f"A --key cannot be read: {error}") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise OutsideError(f"The folder {path} holds no file that ends in {SUFFIX}.")
    return found


def _read(path: Path) -> Outside:
    try:
        with path.open("rb") as file:
            raw = file.read(NOTE_BYTES + 1)
        note = raw.decode().replace("\r\n", "\n").strip("\n") + "\n"
        said = parse_checkpoint(note.partition("\n\n")[0] + "\n")
    except OSError as error:
        raise OutsideError(f"The checkpoint {path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, NoteError) as error:
        words = "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise OutsideError(f"{path} is no checkpoint of this log: {words}") from error
    return Outside(path.name, note, said)


def signer_finding(given: Outside, pinned: Sequence[Verifier], known: Sequence[Verifier]) -> Finding | None:
    """Say what is wrong with who signed it: it must be a pinned key where there are any, and one the database knows."""
    size = given.said.size
    try:
        _, signer = open_note(given.note, pinned or known)
    except NoteError as error:
        whose = "none of the keys given with --key" if pinned else "no key that the database knows"
        words = f"{given.name} is signed by {whose}: {error}"
        return Finding(size, Damage.SIGNER, words)
    if str(signer) not in {str(verifier) for verifier in known}:
        words = (
            f"{given.name} is signed by a key that was given with --key and that the database does not know (any more)"
        )
        return Finding(size, Damage.SIGNER, words)
    return None


def forked(given: Sequence[Outside]) -> Finding | None:
    """Return the first two that cannot be of one log: one size with two trees, or fewer events at a later time."""
    for before, after in itertools.pairwise(given):
        size = after.said.size
        if before.said.size == size and (before.said.root, before.said.head) != (after.said.root, after.said.head):
            words = (
                f"{before.source} and {after.source} are both over {size:,} events, and say different things of them"
            )
            return Finding(size, Damage.FORK, words)
        if before.said.time > after.said.time:
            words = f"{before.name} was signed later than {after.name}: the log was put back to an earlier state"
            return Finding(before.said.size + 1, Damage.REPLAY, words)
    return None
