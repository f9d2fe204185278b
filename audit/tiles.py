"""The tree over the events as it is kept: tiles are read, and grown to the right by the signer.

Growing costs O(log n) for a leaf: a frontier of full subtrees, and one open tile for each eighth level (audit/tree.py).
"""

from django.db import connection

from audit.errors import AuditError
from audit.models import Tile
from audit.tree import DIGEST_BYTES, TILE_HEIGHT, TILE_WIDTH, Frontier, Nodes, peaks_of, root, tiled

TILE_BYTES = TILE_WIDTH * DIGEST_BYTES
WRITTEN_AT_ONCE = 64  # full tiles that wait in memory: half a megabyte


class TreeError(AuditError):
    """The tiles are not those of the tree that was signed: a checkpoint over them would be of something else."""


def read_tile(level: int, index: int) -> bytes:
    """Return the digests of a tile, as many as there are yet. One query. Raises: LookupError when there is none."""
    found = Tile.objects.filter(level=level, index=index).values_list("digests", flat=True).first()
    if found is None:
        raise LookupError(f"Tile {level}/{index} is missing.")
    return bytes(found)


def stored_nodes() -> Nodes:
    """Return a reader of the full nodes of the stored tree; each tile is asked for once."""
    known: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        if (level, index) not in known:
            known[level, index] = read_tile(level, index)
        return known[level, index]

    return tiled(read)


class GrowingTree:
    """The stored tree of some size, to which leaves are added; `save` writes what is not written yet."""

    def __init__(self, size: int) -> None:
        """Read what is needed to go on: at most one tile for each eighth level.

        Raises: TreeError when tiles are missing or hold more or less than a tree of this size.
        """
        self._full: list[tuple[int, int, bytes]] = []
        self._open: list[bytearray] = []
        self._indexes: list[int] = []
        try:
            self._frontier = Frontier(size, peaks_of(stored_nodes(), size))
            self._read_open_tiles(size)
        except LookupError as error:
            raise TreeError(f"The tiles of the tree of {size} events are not whole: {error}") from error

    def _read_open_tiles(self, size: int) -> None:
        while size:
            index, held = divmod(size, TILE_WIDTH)
            level = len(self._open)
            tile = read_tile(level, index) if held else b""
            if len(tile) != held * DIGEST_BYTES:
                raise LookupError(f"Tile {level}/{index} holds {len(tile)} bytes.")
            self._open.append(bytearray(tile))
            self._indexes.append(index)
            size >>= TILE_HEIGHT

    @property
    def size(self) -> int:
        return self._frontier.size

    def root(self) -> bytes:
        return self._frontier.root()

    def add(self, leaf: bytes) -> None:
        """Append the digest of one leaf."""
        self._frontier.add(leaf)
        self._append(0, leaf)

    def _append(self, level: int, digest: bytes) -> None:
        if level == len(self._open):
            self._open.append(bytearray())
            self._indexes.append(0)
        tile = self._open[level]
        tile += digest
        if len(tile) == TILE_BYTES:
            self._close(level, bytes(tile))

    def _close(self, level: int, tile: bytes) -> None:
        """Put a full tile aside, begin the next one, and hand its root to the level above."""
        self._full.append((level, self._indexes[level], tile))
        self._open[level] = bytearray()
        self._indexes[level] += 1
        self._append(level + 1, root(tile[at : at + DIGEST_BYTES] for at in range(0, TILE_BYTES, DIGEST_BYTES)))
        if len(self._full) >= WRITTEN_AT_ONCE:
            self._write(self._full)
            self._full = []

    def save(self) -> None:
        """Write every tile that has changed. The database refuses one that would not grow to the right."""
        places = zip(range(len(self._open)), self._indexes, self._open, strict=True)
        self._write([*self._full, *((level, index, bytes(tile)) for level, index, tile in places if tile)])
        self._full = []

    def _write(self, tiles: list[tuple[int, int, bytes]]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO audit_tile (level, index, digests) VALUES (%s, %s, %s) "
                "ON CONFLICT (level, index) DO UPDATE SET digests = EXCLUDED.digests "
                "WHERE audit_tile.digests <> EXCLUDED.digests",
                tiles,
            )
