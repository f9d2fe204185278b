"""The Merkle tree of RFC 6962 over the events, and its proofs. Pure.

    leaf  = SHA-256(00 ‖ entry)           §2.1
    node  = SHA-256(01 ‖ left ‖ right)    §2.1

A *full* node covers 2^level leaves from index · 2^level on: it never changes once its last leaf stands. `Nodes` reads
them, wherever they are kept; proofs ask for O(log n) of them. Full nodes are kept in tiles as in C2SP tlog-tiles: tile
(level, index) holds up to 256 digests, in order, of the full nodes at height 8 · level from index · 256 on.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

Nodes = Callable[[int, int], bytes]  # (level, index) → digest of a full node

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
DIGEST_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_digest(entry: bytes) -> bytes:
    """Return the digest of a leaf. Source: RFC 6962 §2.1."""
    return sha256(b"\x00" + entry).digest()


def node_digest(left: bytes, right: bytes) -> bytes:
    """Return the digest of an inner node. Source: RFC 6962 §2.1."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The full subtrees at the right edge of a growing tree: all that is needed to go on adding leaves.

    It holds O(log n) digests. A frontier made from the peaks of a tree of some size continues that tree.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Begin at a size, with the digests of its full subtrees from the highest to the lowest."""
        if len(peaks) != size.bit_count():
            raise ValueError(f"A tree of {size} leaves has {size.bit_count()} peaks, not {len(peaks)}.")
        self.size = size
        self.peaks = list(peaks)

    def add(self, leaf: bytes) -> None:
        """Append the digest of one leaf."""
        digest, size = leaf, self.size
        while size & 1:
            digest, size = node_digest(self.peaks.pop(), digest), size >> 1
        self.peaks.append(digest)
        self.size += 1

    def root(self) -> bytes:
        """Return the Merkle tree hash of all leaves so far; of none, the SHA-256 of nothing."""
        return _folded(self.peaks) if self.peaks else EMPTY_ROOT


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash over leaf digests, holding O(log n) of them. Source: RFC 6962 §2.1."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.add(leaf)
    return frontier.root()


def root_of(nodes: Nodes, size: int) -> bytes:
    """Return the root over the first `size` leaves, from full nodes."""
    return _folded(peaks_of(nodes, size)) if size else EMPTY_ROOT


def peaks_of(nodes: Nodes, size: int, begin: int = 0) -> list[bytes]:
    """Return the full subtrees of `size` leaves from `begin` on, the highest first, as `Frontier` takes them.

    `begin` is a place where a subtree of that size may stand.
    """
    peaks = []
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(nodes(level, begin >> level))
            begin += 1 << level
    return peaks


# Proofs


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """Return the audit path of the leaf at `index` (from 0) in the tree of `size`. Source: RFC 6962 §2.1.1.

    Raises: ValueError when the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}.")
    path, begin = [], 0
    while size > 1:
        half = _largest_power_below(size)
        if index - begin < half:
            path.append(_range(nodes, begin + half, size - half))
            size = half
        else:
            path.append(_range(nodes, begin, half))
            begin, size = begin + half, size - half
    return path[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of `old` leaves is the beginning of that of `new`. Source: RFC 6962 §2.1.2.

    Raises: ValueError unless 0 < old ≤ new.
    """
    if not 0 < old <= new:
        raise ValueError("Consistency is between a tree that is not empty and one at least as large.")
    proof: list[bytes] = []
    begin, size, is_whole = 0, new, True
    while old - begin != size:
        half = _largest_power_below(size)
        if old - begin <= half:
            proof.append(_range(nodes, begin + half, size - half))
            size = half
        else:
            proof.append(_range(nodes, begin, half))
            begin, size, is_whole = begin + half, size - half, False
    return ([] if is_whole else [_range(nodes, begin, size)]) + proof[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that the proof leads to, None when it cannot be one. Source: RFC 9162 §2.1.3.2."""
    if not 0 <= index < size:
        return None
    place, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            digest = node_digest(sibling, digest)
            place, last = _past_lone_nodes(place, last)
        else:
            digest = node_digest(digest, sibling)
        place, last = place >> 1, last >> 1
    return digest if last == 0 else None


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the one tree begins the other. Source: RFC 9162 §2.1.4.2."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0]
    for digest in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            first, second = node_digest(digest, first), node_digest(digest, second)
            place, last = _past_lone_nodes(place, last)
        else:
            second = node_digest(second, digest)
        place, last = place >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _past_lone_nodes(place: int, last: int) -> tuple[int, int]:
    """Climb while the node stands at the right edge without a sibling, so that nothing is hashed to it."""
    while place and not place & 1:
        place, last = place >> 1, last >> 1
    return place, last


# Tiles


def tiled(read: Callable[[int, int], bytes]) -> Nodes:
    """Return a reader of full nodes over a reader of tiles: (level, index) → the digests of that tile, in order."""

    def node(level: int, index: int) -> bytes:
        row, height = divmod(level, TILE_HEIGHT)
        place = index << height
        tile = read(row, place // TILE_WIDTH)
        begin = place % TILE_WIDTH
        digests = [tile[DIGEST_BYTES * at : DIGEST_BYTES * (at + 1)] for at in range(begin, begin + (1 << height))]
        if len(digests[-1]) != DIGEST_BYTES:
            raise LookupError(f"Tile {row}/{place // TILE_WIDTH} does not reach node {level}/{index}.")
        return root(digests)  # of a full subtree

    return node


def _range(nodes: Nodes, begin: int, size: int) -> bytes:
    return _folded(peaks_of(nodes, size, begin))


def _folded(peaks: Sequence[bytes]) -> bytes:
    digest = peaks[-1]
    for peak in reversed(peaks[:-1]):
        digest = node_digest(peak, digest)
    return digest


def _largest_power_below(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1
