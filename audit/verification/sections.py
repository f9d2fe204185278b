"""A section of the log: up to 65,536 events that anybody can check alone, and what the others need to know of it.

Sections end where a subtree of height 16 does, so each gives one node of the tree to whoever joins them. A section
begins with the digest of the event before as it is stored: that it is the right one, the section before has found out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from audit import chain
from audit.chain import Position
from audit.errors import AuditError
from audit.models import Event, SignedCheckpoint, Tile
from audit.tree import DIGEST_BYTES, TILE_HEIGHT, TILE_WIDTH
from audit.verification import reading
from audit.verification.copies import Keys, Tally, check_copies
from audit.verification.damage import Damage, Finding
from audit.verification.leaves import Rows
from audit.verification.links import Walk

ROWS = 2  # of tiles inside a section, which gives its size: 256 to that power


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is to be checked: the events after `begin` up to `last`."""

    begin: Position
    last: int
    signed: int  # events that the stored tiles are for
    rows: int  # of tiles inside it
    marks: tuple[int, ...] = ()  # sizes in it of which the root is asked, besides those of stored checkpoints


@dataclass(frozen=True)
class Mark:
    """The log at one size, as computed: the digest of its last event, and the section's part of its tree."""

    size: int
    head: bytes
    peaks: tuple[bytes, ...]


@dataclass
class Checked:
    """What was found."""

    end: Position  # as far as the chain holds
    nodes: list[bytes] = field(default_factory=list)  # the root of the section, when it is full
    peaks: list[bytes] = field(default_factory=list)  # what is left when it is not
    marks: list[Mark] = field(default_factory=list)
    tile: Finding | None = None
    copy: Finding | None = None
    tally: Tally = field(default_factory=Tally)


def plan(begin: Position, last: int, signed: int, marks: Sequence[int]) -> Iterator[Section]:
    """Yield the sections of the events after `begin` up to `last`, in order."""
    width = 1 << TILE_HEIGHT * ROWS
    while begin.number < last:
        end = min((begin.number // width + 1) * width, last)
        asked = tuple(sorted({size for size in marks if begin.number < size <= end}))
        yield Section(begin=begin, last=end, signed=signed, rows=ROWS, marks=asked)
        begin = Position(end, _digest_of(end))


def check(section: Section, keys: Keys) -> Checked:
    """Check a section in both passes, in the snapshot at hand."""
    checked = check_chain(section)
    written = _written(section.begin.number)
    rows = reading.rows(section.begin.number, section.last)
    checked.copy = check_copies(rows, keys, checked.tally, written)
    return checked


def check_chain(section: Section) -> Checked:
    """Check a section in the first pass alone."""
    walk, tree = Walk(section.begin), _tree_at(section)
    sizes = iter(_sizes(section))
    size = next(sizes, None)
    marks: list[Mark] = []
    for block in reading.blocks(section.begin.number, section.last):
        if walk.is_broken:
            continue  # read to the end, or the server would have to be stopped
        done = walk.position.number
        digests, leaves = walk.follow(block)
        begin = 0
        while size is not None and size <= done + len(leaves):
            tree.add(leaves[begin : size - done])
            begin = size - done
            marks.append(Mark(size, digests[begin - 1], tuple(tree.peaks())))
            size = next(sizes, None)
        tree.add(leaves[begin:])
    if not walk.is_broken and walk.position.number == section.last:
        tree.end()
    return Checked(walk.position, tree.above, tree.peaks(), marks, tile=_altered_tile(tree))


def _sizes(section: Section) -> list[int]:
    stored = SignedCheckpoint.objects.filter(size__gt=section.begin.number, size__lte=section.last)
    return sorted({*section.marks, *stored.values_list("size", flat=True)})


def _tree_at(section: Section) -> Rows:
    """Return the tree where the section begins: empty rows, unless the log was dropped up to the middle of a tile."""
    size = section.begin.number
    stored = _stored_tiles(section)
    prefixes = []
    for row in range(section.rows):
        nodes = size >> TILE_HEIGHT * row
        prefixes.append(stored.get((row, nodes // TILE_WIDTH), b"")[: nodes % TILE_WIDTH * DIGEST_BYTES])
    return Rows(0, prefixes, size, lambda row, index: stored.get((row, index), b""), section.signed)


def _stored_tiles(section: Section) -> dict[tuple[int, int], bytes]:
    """Return the tiles over the section: two megabytes."""
    found: dict[tuple[int, int], bytes] = {}
    for row in range(section.rows):
        first, last = (at >> TILE_HEIGHT * (row + 1) for at in (section.begin.number, section.last - 1))
        rows = Tile.objects.filter(level=row, index__gte=first, index__lte=last).values_list("index", "digests")
        found |= {(row, index): bytes(digests) for index, digests in rows}
    return found


def _altered_tile(tree: Rows) -> Finding | None:
    if tree.altered is None:
        return None
    row, index, leaf = tree.altered
    return Finding(leaf, Damage.TILE, f"tile {row}/{index} is not that of the events")


def _digest_of(number: int) -> bytes:
    digest = Event.objects.filter(number=number).values_list("digest", flat=True).first()
    return b"" if digest is None else bytes(digest)  # where it is missing, the section before says so


def _written(number: int) -> datetime | None:
    stamp = Event.objects.filter(number=number).values_list("stamp", flat=True).first()
    try:
        return chain.parse_stamp(bytes(stamp)).recorded_at if stamp is not None else None
    except AuditError:
        return None


# As text, for other processes


def section_to(section: Section) -> dict[str, Any]:
    """Return what JSON can hold of a section: all of it."""
    return asdict(section) | {"begin": [section.begin.number, section.begin.digest.hex()]}


def section_from(said: dict[str, Any]) -> Section:
    """Read what `section_to` made."""
    return Section(**{**said, "begin": _position(said["begin"]), "marks": tuple(said["marks"])})


def checked_to(checked: Checked) -> dict[str, Any]:
    """Return what JSON can hold of a result: all of it."""
    tally = checked.tally
    return {
        "end": [checked.end.number, checked.end.digest.hex()],
        "nodes": [node.hex() for node in checked.nodes],
        "peaks": [peak.hex() for peak in checked.peaks],
        "marks": [[mark.size, mark.head.hex(), [peak.hex() for peak in mark.peaks]] for mark in checked.marks],
        "tile": _finding_to(checked.tile),
        "copy": _finding_to(checked.copy),
        "tally": [tally.subjects, tally.identities, tally.erased, tally.jumps],
    }


def checked_from(said: dict[str, Any]) -> Checked:
    """Read what `checked_to` made."""
    return Checked(
        end=_position(said["end"]),
        nodes=[bytes.fromhex(node) for node in said["nodes"]],
        peaks=[bytes.fromhex(peak) for peak in said["peaks"]],
        marks=[
            Mark(size, bytes.fromhex(head), tuple(bytes.fromhex(peak) for peak in peaks))
            for size, head, peaks in said["marks"]
        ],
        tile=_finding_from(said["tile"]),
        copy=_finding_from(said["copy"]),
        tally=Tally(*said["tally"]),
    )


def _position(said: list[Any]) -> Position:
    return Position(said[0], bytes.fromhex(said[1]))


def _finding_to(finding: Finding | None) -> list[Any] | None:
    if finding is None:
        return None
    return [finding.number, finding.damage, finding.words, str(finding.event_id) if finding.event_id else None]


def _finding_from(said: list[Any] | None) -> Finding | None:
    if said is None:
        return None
    number, damage, words, event_id = said
    return Finding(number, Damage(damage), words, UUID(event_id) if event_id else None)
