"""The stored checkpoints: each note against its row, its key, the one before it, and what the events are now."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audit import body
from audit.actions import Action, Outcome
from audit.chain import Position
from audit.errors import AuditError
from audit.models import Event, SignedCheckpoint, SigningEpoch
from audit.notes import FIRST, Checkpoint, NoteError, Verifier, open_note, parse_checkpoint
from audit.verification.damage import Damage, Finding

FETCHED_ROWS = 500


@dataclass(frozen=True)
class Computed:
    """What the events are at one size."""

    root: bytes
    head: bytes


class StoredCheckpoints:
    """The stored checkpoints in the order of their sizes; each `judge` goes on from the one before."""

    def __init__(self, epochs: Mapping[int, Verifier], head: int) -> None:
        self._epochs = epochs
        self._head = head
        self._before: Checkpoint | None = None
        self._agreed = 0  # the largest size at which a checkpoint and the events agree
        self.agreeing = 0  # how many do
        self.finding: Finding | None = None
        self.last: Checkpoint | None = None

    def judge(self, row: SignedCheckpoint, computed: Computed | None) -> None:
        """Keep the first thing that is wrong; `computed` is None where the events are gone or broken before."""
        found = self._found(row, computed)
        self.finding = self.finding or found
        if found is None and computed:
            self.agreeing += 1
            self._agreed = row.size

    def _found(self, row: SignedCheckpoint, computed: Computed | None) -> Finding | None:
        try:
            said = self._said(row)
        except NoteError as error:
            return Finding(row.size, Damage.CHECKPOINT, f"the stored checkpoint over {row.size:,} events: {error}")
        before, self._before, self.last = self._before, said, said
        if row.size > self._head:
            words = f"a checkpoint over {row.size:,} events is stored, and the log ends at event {self._head}"
            return Finding(self._head + 1, Damage.TRUNCATION, words)
        return self._out_of_line(said, before) or differs("the stored checkpoint", said, computed, self._agreed)

    def _said(self, row: SignedCheckpoint) -> Checkpoint:
        """Return what the note says. Raises: NoteError when it is not signed as its row says."""
        verifier = self._epochs.get(row.epoch_id)
        text, _ = open_note(row.note, [verifier] if verifier else [])
        said = parse_checkpoint(text)
        copies = (row.size, row.epoch_id, bytes(row.root), bytes(row.head), row.made_at, bytes(row.digest))
        if copies != (said.size, said.epoch, said.root, said.head, said.time, said.digest):
            raise NoteError("the note says something else than its row.")
        if verifier and said.origin != verifier.name:
            raise NoteError("the note is of a log with another name.")
        return said

    def _out_of_line(self, said: Checkpoint, before: Checkpoint | None) -> Finding | None:
        """Compare a checkpoint with the one before it. The first of all follows on nothing."""
        name = f"the stored checkpoint over {said.size:,} events"
        if said.previous != (before.digest if before else FIRST):
            words = f"{name} does not follow on the one stored before it"
            return Finding(said.size, Damage.FORK, words)
        if before and said.time < before.time:
            return Finding(said.size, Damage.CLOCK, f"{name} was signed at an earlier time than the one before")
        if before and said.epoch < before.epoch:
            return Finding(said.size, Damage.SIGNER, f"{name} is signed by the key of an epoch that had ended")
        return None


def differs(name: str, said: Checkpoint, computed: Computed | None, agreed: int) -> Finding | None:
    """Say that the events are not those of a checkpoint; `agreed` is the largest size at which another one agrees."""
    if computed is None or (said.root, said.head) == (computed.root, computed.head):
        return None
    part = "head" if said.root == computed.root else "root"
    words = (
        f"{name} over {said.size:,} events has another {part} than these events have now: "
        f"one of the events {agreed + 1:,} to {said.size:,} is not the one that was signed"
    )
    return Finding(agreed + 1, Damage.REWRITE, words)


def stored_epochs(begin: Position) -> tuple[dict[int, Verifier], Finding | None]:
    """Return the public keys that the database names, and what is wrong with them by what the log says of them."""
    epochs: dict[int, Verifier] = {}
    found = None
    for epoch, text in SigningEpoch.objects.order_by("epoch").values_list("epoch", "verifier"):
        try:
            epochs[epoch] = Verifier.parse(text)
        except NoteError as error:
            found = found or Finding(0, Damage.SIGNER, f"the public key of epoch {epoch} cannot be read: {error}")
    begun = {said["epoch"]: said for said in _said_in(Action.SIGNING_KEY_EPOCH_BEGUN, begin, _begun)}
    for epoch, said in begun.items():
        if epoch not in epochs or str(epochs[epoch]) != said["verifier"]:
            words = f"the public key stored for epoch {epoch} is not the one that this event began it with"
            found = found or Finding(said["number"], Damage.SIGNER, words)
    unknown = sorted(set(epochs) - set(begun))
    if unknown and not begin.number:
        words = f"a public key is stored for epoch {unknown[0]}, and no event says that it has begun"
        found = found or Finding(0, Damage.SIGNER, words)
    return epochs, found


def missing_or_unknown(begin: Position) -> Finding | None:
    """Compare the stored checkpoints with the events that say they were made."""
    rows = SignedCheckpoint.objects.order_by("size").values_list("size", "digest").iterator(FETCHED_ROWS)
    row = next(rows, None)
    for made in _said_in(Action.CHECKPOINT_MADE, begin, _made):
        while row and row[0] < made["size"] and row[0] <= begin.number:
            row = next(rows, None)  # its event was dropped with the period
        if row is None or row[0] > made["size"]:
            words = f"it says that a checkpoint over {made['size']:,} events was made, and there is none"
            return Finding(made["number"], Damage.REPLAY, words)
        if row[0] < made["size"] or bytes(row[1]).hex() != made["digest"]:
            return _unknown(row[0])
        row = next(rows, None)
    while row and row[0] <= begin.number:
        row = next(rows, None)
    return _unknown(row[0]) if row else None


def _unknown(size: int) -> Finding:
    words = f"the stored checkpoint over {size:,} events is none that an event of the log says was made"
    return Finding(size, Damage.FORK, words)


def _said_in(action: Action, begin: Position, read: Callable[[body.Body], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    events = Event.objects.filter(action=action, outcome=Outcome.DONE, number__gt=begin.number).order_by("number")
    for number, raw in events.values_list("number", "body").iterator(FETCHED_ROWS):
        try:
            yield {"number": number, **read(body.parse(bytes(raw)))}
        except (AuditError, KeyError, IndexError, ValueError):
            continue  # the second pass reports it


def _begun(said: body.Body) -> dict[str, Any]:
    return {"epoch": int(said.subjects[0].ref.rpartition(":")[2]), "verifier": said.facts["verifier"]}


def _made(said: body.Body) -> dict[str, Any]:
    return {"size": said.facts["size"], "digest": said.facts["digest"]}
