"""The first pass over events in blocks: numbers, digests, leaves. Pure.

A block is what the database joins for consecutive events (reading.BLOCKS), each of them as

    rest ‖ digest        where rest = int64 number ‖ int64 len(stamp) ‖ stamp ‖ int64 len(body) ‖ body

`rest` is what follows the label in the entry of an event, and the digest of the event before in its chain
(audit/chain.py). So both are hashed from one slice of the block and nothing is taken apart or put together first: at a
million events the slices and calls cost more than SHA-256 itself.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from audit.chain import LABEL, Position
from audit.tree import DIGEST_BYTES

BLOCK = 64  # events; divides a tile, and holds 64 MB at the very most
_TWO_INT64 = struct.Struct(">qq")
_INT64 = struct.Struct(">q")
# Copies of a state that has taken the label already: half the time of making a new one for each event.
_CHAIN = sha256(LABEL).copy
_LEAF = sha256(b"\0" + LABEL).copy
_NODE = sha256(b"\1").copy


class Link(NamedTuple):
    """One event as the chain sees it."""

    number: int
    digest: bytes
    stamp: bytes
    body: bytes
    id: bytes  # the sixteen bytes of the UUID


@dataclass
class Walk:
    """How far the chain has been followed."""

    position: Position
    is_broken: bool = False

    def follow(self, block: bytes) -> tuple[list[bytes], list[bytes]]:
        """Follow the events of a block; return their digests and those of their leaves, up to where the chain breaks.

        The loop that everything waits for: it slices, hashes and compares, and leaves all words to others.
        """
        number, digest = self.position.number, self.position.digest
        digests: list[bytes] = []
        leaves: list[bytes] = []
        two_numbers, one_number = _TWO_INT64.unpack_from, _INT64.unpack_from
        place, size = 0, len(block)
        try:
            while place < size:
                here, stamped = two_numbers(block, place)
                body = place + 16 + stamped
                ends = body + 8 + one_number(block, body)[0]
                rest = block[place:ends]
                place = ends + DIGEST_BYTES
                chained = _CHAIN()
                chained.update(digest + rest)
                if here != number + 1 or chained.digest() != block[ends:place]:
                    self.is_broken = True
                    break
                leaf = _LEAF()
                leaf.update(rest)
                leaves.append(leaf.digest())
                number, digest = here, block[ends:place]
                digests.append(digest)
        except struct.error:  # a digest of another length has moved what stands behind it
            self.is_broken = True
        self.position = Position(number, digest)
        return digests, leaves


def tile_root(tile: bytes) -> bytes:
    """Return the root over the 256 digests of a full tile. The same as tree.root, in half the time."""
    while len(tile) > DIGEST_BYTES:
        above = []
        for place in range(0, len(tile), 2 * DIGEST_BYTES):
            node = _NODE()
            node.update(tile[place : place + 2 * DIGEST_BYTES])
            above.append(node.digest())
        tile = b"".join(above)
    return tile


def block_of(links: Iterable[Link]) -> bytes:
    """Return the block of events that the database would make of them."""
    parts = []
    for number, digest, stamp, body, _ in links:
        parts += [_TWO_INT64.pack(number, len(stamp)), stamp, _INT64.pack(len(body)), body, digest]
    return b"".join(parts)
