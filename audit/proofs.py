"""The proof of one event: from its stored bytes through the stored tree to the root that the signer signed.

Everything is computed anew from what is hashed; no column is believed. What no look at this database alone can show is
that the checkpoint is the one that was signed at the time: for that, compare it with the one an anchor holds.
"""

from dataclasses import dataclass, field
from datetime import datetime

from audit import chain, notes, selectors
from audit.errors import AuditError
from audit.models import Anchoring, Event, SignedCheckpoint, Tile
from audit.notes import Checkpoint
from audit.tiles import TILE_BYTES
from audit.tree import Nodes, inclusion_proof, leaf_digest, root_from_inclusion, tiled

ALTERED = "The bytes of this event are not those that were signed: it was changed afterwards."
NOT_THE_TREE = "The stored tree does not lead to the root that was signed, so it was changed afterwards."
TREE_MISSING = "Parts of the stored tree are missing, so there is no proof. Run verify_audit."
NOTE_WRONG = "The checkpoint cannot be trusted: {}"
NOTE_OTHER = "The signed note of the checkpoint says another size than its row."
UNCHAINED = "The digest of this event does not follow from its bytes and the event before: one of them was changed."


@dataclass(frozen=True, kw_only=True)
class Covering:
    """The first checkpoint over an event, and the way from the event's leaf to the root that it signs."""

    size: int
    note: str  # text and signatures, as signed
    checkpoint: Checkpoint | None  # what the note says; None when no key of this log has signed it
    path: tuple[bytes, ...]  # RFC 6962 §2.1.1: the sibling beside the leaf first
    reached: tuple["Delivery", ...]  # its ways to the anchors, by name


@dataclass(frozen=True)
class Delivery:
    """One anchor of a checkpoint, and whether it has it."""

    kind: str  # "file", "mailto"; the rest of its address may be a person's
    state: str
    delivered_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """An event with what shows that it is the one that was signed. `stamp` and `body` are all that is hashed."""

    number: int
    digest: bytes  # of the chain, as stored
    stamp: bytes = field(repr=False)
    body: bytes = field(repr=False)
    covering: Covering | None  # None while no checkpoint covers the event
    problem: str = ""  # a sentence; empty when nothing is wrong

    @property
    def leaf(self) -> bytes:
        """The digest of the event in the tree, from its bytes."""
        return leaf_digest(chain.entry(self.number, self.stamp, self.body))

    @property
    def index(self) -> int:
        """The place of the leaf in the tree, counted from 0."""
        return self.number - 1

    @property
    def holds(self) -> bool:
        """Whether a signed checkpoint covers the event as it stands."""
        return self.covering is not None and not self.problem


def proof_of(number: int, *, at_least: int = 0) -> Proof | None:
    """Return the proof of an event in the first checkpoint over it and over `at_least` events; None without the event.

    Queries: 5, however long the log is; 2 while no checkpoint covers it.
    """
    rows = {row.number: row for row in Event.objects.filter(number__in=(number - 1, number))}
    row = rows.get(number)
    if row is None:
        return None
    before, digest, stamp, raw = rows.get(number - 1), bytes(row.digest), bytes(row.stamp), bytes(row.body)
    covering, signed_leaf, problem = _covering(number, max(number, at_least))
    if covering is not None:
        leaf = leaf_digest(chain.entry(number, stamp, raw))
        problem = problem or _mismatch(number, leaf, signed_leaf, covering)
    problem = problem or ("" if _follows(row, before) else UNCHAINED)
    return Proof(number=number, digest=digest, stamp=stamp, body=raw, covering=covering, problem=problem)


def _follows(row: Event, before: Event | None) -> bool:
    """Whether the digest follows from the bytes; so it does where the event before has left with its period."""
    if before is None and row.number > 1:
        return True
    previous = bytes(before.digest) if before else chain.GENESIS
    return chain.chain_digest(previous, row.number, bytes(row.stamp), bytes(row.body)) == bytes(row.digest)


def _covering(number: int, size: int) -> tuple[Covering | None, bytes, str]:
    """Return the checkpoint with its path, the leaf as the tree holds it, and what is wrong with either."""
    row = SignedCheckpoint.objects.filter(size__gte=size).order_by("size").first()
    if row is None:
        return None, b"", ""
    checkpoint, problem = _opened(row)
    path: tuple[bytes, ...] = ()
    leaf = b""
    try:
        nodes = _nodes(number - 1, row.size)
        path, leaf = tuple(inclusion_proof(nodes, number - 1, row.size)), nodes(0, number - 1)
    except LookupError:
        problem = problem or TREE_MISSING
    anchored = Anchoring.objects.filter(checkpoint_id=row.size).order_by("anchor")
    reached = tuple(Delivery(one.anchor.partition(":")[0], one.state, one.delivered_at) for one in anchored)
    covering = Covering(size=row.size, note=row.note, checkpoint=checkpoint, path=path, reached=reached)
    return covering, leaf, problem


def _opened(row: SignedCheckpoint) -> tuple[Checkpoint | None, str]:
    """Return what the note says, as the keys of this log have signed it."""
    try:
        text, _ = notes.open_note(row.note, selectors.signing_epochs().values())
        said = notes.parse_checkpoint(text)
    except AuditError as error:
        return None, NOTE_WRONG.format(error)
    return (said, "") if said.size == row.size else (None, NOTE_OTHER)


def _mismatch(number: int, leaf: bytes, signed_leaf: bytes, covering: Covering) -> str:
    """Say where the way from the leaf to the signed root breaks; "" when it does not."""
    if covering.checkpoint is None:
        return ""
    root = covering.checkpoint.root
    if root_from_inclusion(leaf, number - 1, covering.size, covering.path) == root:
        return ""
    was_signed = root_from_inclusion(signed_leaf, number - 1, covering.size, covering.path) == root
    return ALTERED if was_signed else NOT_THE_TREE


def _nodes(index: int, size: int) -> Nodes:
    """Return a reader of the full nodes that the proof of a leaf asks for, from one query.

    A rehearsal over empty tiles says which these are. Raises: LookupError while proving, where one is missing.
    """
    asked: set[tuple[int, int]] = set()

    def rehearsed(level: int, place: int) -> bytes:
        asked.add((level, place))
        return bytes(TILE_BYTES)

    rehearsal = tiled(rehearsed)
    inclusion_proof(rehearsal, index, size)
    rehearsal(0, index)
    stored = {(tile.level, tile.index): bytes(tile.digests) for tile in Tile.objects.filter(pk__in=sorted(asked))}
    return tiled(lambda level, place: stored[level, place])
