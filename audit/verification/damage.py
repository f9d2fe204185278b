"""What can be wrong with a log, in words for whoever has to do something about it. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Damage(StrEnum):
    """What the first bad event looks like. The values are for programs too (`verify_audit --json`): never renamed."""

    EDIT = "edit"
    DELETE = "delete"
    INSERT = "insert"
    REORDER = "reorder"
    TRUNCATION = "truncation"
    HEAD = "altered head"
    REWRITE = "rewrite"
    REPLAY = "replayed checkpoint"
    FORK = "split view"
    SIGNER = "unknown signer"
    CHECKPOINT = "altered checkpoint"
    TILE = "altered tile"
    COPY = "altered copy"
    IDENTITY = "altered identity"
    CLOCK = "clock jump"


MEANINGS: dict[Damage, str] = {
    Damage.EDIT: "The bytes of an event are not those that were written.",
    Damage.DELETE: "One or more events were taken out of the middle of the log.",
    Damage.INSERT: "One or more events were put between others after these had been written.",
    Damage.REORDER: "Events stand in another order than they were written in.",
    Damage.TRUNCATION: "The log is shorter than it has been: events at its end were cut off.",
    Damage.HEAD: "The place where the log says it ends is not where its events end.",
    Damage.REWRITE: "The events fit each other, but they are not the ones that were signed: the log was written anew.",
    Damage.REPLAY: "Checkpoints that were made are gone: an older one has been put in the place of the newest.",
    Damage.FORK: "Two checkpoints say different things of the same log: it has been shown in two versions.",
    Damage.SIGNER: "A checkpoint is signed by a key that is not one of this log, or not signed at all.",
    Damage.CHECKPOINT: "A stored checkpoint is not as it was signed.",
    Damage.TILE: "The stored tree is not the tree of the events; proofs made from it would fail.",
    Damage.COPY: "A column or the subject index does not say what its event says: searches were misled, pages not.",
    Damage.IDENTITY: "Who acted cannot be shown as it was recorded; the event itself is as it was.",
    Damage.CLOCK: "A later event or checkpoint carries an earlier time: a clock was set back, or one of them is false.",
}


@dataclass(frozen=True)
class Finding:
    """The first thing that is not as it was written: at which event (0: none of them), what it looks like, and why."""

    number: int
    damage: Damage
    words: str
    event_id: UUID | None = None

    def __str__(self) -> str:
        which = f" ({self.event_id})" if self.event_id else ""
        where = f"event {self.number}{which}" if self.number else "the log as a whole"
        return f"{where}: {self.damage}: {self.words}"
