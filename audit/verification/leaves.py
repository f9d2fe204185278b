"""The tree over the events, computed from the leaves and compared with the stored tiles on the way. Pure.

Rows of tiles are kept from some row on: a section of the log has the rows 0 and 1 of its 65,536 leaves, whoever joins
the sections has those above (audit/tree.py says what a tile is). Nothing is kept but the open tile of each row.
"""

from collections.abc import Callable, Sequence

from audit.tree import DIGEST_BYTES, TILE_HEIGHT, TILE_WIDTH, Frontier
from audit.verification.links import tile_root

TILE_BYTES = TILE_WIDTH * DIGEST_BYTES
Stored = Callable[[int, int], bytes]  # (row, index) → the digests of that tile as stored, b"" when there is none


class Rows:
    """Consecutive rows of tiles that grow to the right."""

    def __init__(self, first: int, prefixes: Sequence[bytes], size: int, stored: Stored, signed: int) -> None:
        """Go on at a tree of `size` leaves, whose open tiles hold `prefixes`; tiles are stored for `signed` leaves."""
        self._first = first
        self._open = [bytearray(prefix) for prefix in prefixes]
        self._indexes = [(size >> TILE_HEIGHT * (first + place)) // TILE_WIDTH for place in range(len(prefixes))]
        self._stored = stored
        self._signed = signed
        self.above: list[bytes] = []  # roots of the full tiles of the last row
        self.altered: tuple[int, int, int] | None = None  # row and index of the first stored tile that differs, leaf

    def add(self, digests: Sequence[bytes], place: int = 0) -> None:
        """Append nodes to a row, and the roots of the tiles they fill to the next one."""
        while digests:
            tile = self._open[place]
            room = TILE_WIDTH - len(tile) // DIGEST_BYTES
            tile += b"".join(digests[:room])
            digests = digests[room:]
            if len(tile) == TILE_BYTES:
                self._close(place)

    def _close(self, place: int) -> None:
        tile = bytes(self._open[place])
        self._compare(place, tile)
        self._open[place] = bytearray()
        self._indexes[place] += 1
        if place + 1 < len(self._open):
            self.add([tile_root(tile)], place + 1)
        else:
            self.above.append(tile_root(tile))

    def end(self) -> None:
        """Compare the tiles that are open."""
        for place, tile in enumerate(self._open):
            if tile:
                self._compare(place, bytes(tile))

    def _compare(self, place: int, tile: bytes) -> None:
        row, index = self._first + place, self._indexes[place]
        held = (self._signed >> TILE_HEIGHT * row) - index * TILE_WIDTH
        expected = tile[: DIGEST_BYTES * max(held, 0)]
        stored = self._stored(row, index)
        if stored == expected:
            return
        same = next((at for at in range(0, TILE_BYTES, 32) if stored[at : at + 32] != expected[at : at + 32]), 0)
        leaf = ((index * TILE_WIDTH + same // DIGEST_BYTES) << TILE_HEIGHT * row) + 1
        if self.altered is None or leaf < self.altered[2]:
            self.altered = (row, index, leaf)

    def peaks(self) -> list[bytes]:
        """Return the full subtrees in these rows, the highest first."""
        found = []
        for tile in reversed(self._open):
            frontier = Frontier()
            for at in range(0, len(tile), DIGEST_BYTES):
                frontier.add(bytes(tile[at : at + DIGEST_BYTES]))
            found += frontier.peaks
        return found
