"""The tree of RFC 6962 with its published vectors, and proofs of every size against the tree itself."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import tree

# Source: reference tests of certificate-transparency's `merkletree`: eight inputs, the roots over the first n of them.
RFC6962_INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
RFC6962_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_root_is_that_of_the_published_vectors(size: int) -> None:
    leaves = [tree.leaf_digest(entry) for entry in RFC6962_INPUTS[:size]]
    assert tree.root(leaves).hex() == RFC6962_ROOTS[size - 1]


def test_root_of_an_empty_tree_is_the_digest_of_nothing() -> None:
    assert tree.root([]).hex() == EMPTY_ROOT


LEAVES = [tree.leaf_digest(bytes([number])) for number in range(70)]


def nodes(level: int, index: int) -> bytes:
    """Full nodes, from the leaves each time: slow, and nothing to get wrong."""
    begin = index << level
    part = LEAVES[begin : begin + (1 << level)]
    assert len(part) == 1 << level, "only full nodes may be asked for"
    return tree.root(part)


def definition(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 §2.1 defines it, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = max(power for power in (1, 2, 4, 8, 16, 32, 64) if power < len(leaves))
    return tree.node_digest(definition(leaves[:half]), definition(leaves[half:]))


@pytest.mark.parametrize("size", range(70))
def test_root_is_the_recursive_definition_whichever_way_it_is_computed(size: int) -> None:
    assert tree.root(LEAVES[:size]) == definition(LEAVES[:size]) == tree.root_of(nodes, size)


@pytest.mark.parametrize("size", range(70))
def test_frontier_goes_on_from_the_peaks_of_any_size(size: int) -> None:
    frontier = tree.Frontier(size, tree.peaks_of(nodes, size))
    for leaf in LEAVES[size:]:
        frontier.add(leaf)
    assert frontier.root() == tree.root(LEAVES)


def test_frontier_refuses_peaks_that_do_not_fit_the_size() -> None:
    with pytest.raises(ValueError, match="3 leaves has 2 peaks"):
        tree.Frontier(3, [b""])


@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 64, 70])
def test_inclusion_is_proved_for_every_leaf_and_for_no_other_place(size: int) -> None:
    root = tree.root(LEAVES[:size])
    for index in range(size):
        proof = tree.inclusion_proof(nodes, index, size)
        assert tree.root_from_inclusion(LEAVES[index], index, size, proof) == root
        for wrong in range(size):
            if wrong != index:
                assert tree.root_from_inclusion(LEAVES[index], wrong, size, proof) != root
        assert tree.root_from_inclusion(LEAVES[index], index, size, [*proof, proof[0] if proof else root]) != root
        if proof:
            assert tree.root_from_inclusion(LEAVES[index], index, size, proof[:-1]) != root


@pytest.mark.parametrize("new", [*range(1, 20), 31, 32, 33, 64, 70])
def test_consistency_is_proved_for_every_earlier_size_and_no_other_tree(new: int) -> None:
    new_root = tree.root(LEAVES[:new])
    for old in range(1, new + 1):
        old_root = tree.root(LEAVES[:old])
        proof = tree.consistency_proof(nodes, old, new)
        assert tree.is_consistent(old, old_root, new, new_root, proof)
        other = tree.root([*LEAVES[: old - 1], b"x" * 32])
        assert not tree.is_consistent(old, other, new, new_root, proof)
        assert not tree.is_consistent(old, old_root, new, other, proof)
        assert not tree.is_consistent(old, old_root, new, new_root, [*proof, new_root])
        if proof:
            assert not tree.is_consistent(old, old_root, new, new_root, proof[:-1])


@given(st.integers(1, 70), st.integers(1, 70), st.lists(st.binary(min_size=32, max_size=32), max_size=8))
def test_made_up_proofs_prove_nothing(old: int, new: int, proof: list[bytes]) -> None:
    made_up = sha256(b"made up").digest()
    if old != new:
        assert not tree.is_consistent(old, made_up, new, tree.root(LEAVES[:new]), proof)
    assert tree.root_from_inclusion(made_up, old - 1, new, proof) != tree.root(LEAVES[:new])


def test_proofs_are_refused_for_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="no leaf 5"):
        tree.inclusion_proof(nodes, 5, 5)
    with pytest.raises(ValueError, match="not empty"):
        tree.consistency_proof(nodes, 0, 5)
    assert tree.root_from_inclusion(LEAVES[0], 5, 5, []) is None
    assert not tree.is_consistent(0, tree.EMPTY_ROOT, 5, tree.root(LEAVES[:5]), [])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700, 65_600])
def test_tiles_give_the_same_nodes(size: int) -> None:
    leaves = [tree.leaf_digest(number.to_bytes(4)) for number in range(size)]
    tiles = tiles_over(leaves)
    read = tree.tiled(lambda level, index: tiles[level, index])
    assert tree.root_of(read, size) == tree.root(leaves)
    for index in (0, size // 2, size - 1):
        proof = tree.inclusion_proof(read, index, size)
        assert tree.root_from_inclusion(leaves[index], index, size, proof) == tree.root(leaves)


def test_tiles_refuse_a_node_that_is_not_full() -> None:
    read = tree.tiled(lambda level, index: b"".join(LEAVES[:3]))
    with pytest.raises(LookupError, match="0/0 does not reach node 1/1"):
        read(1, 1)


def tiles_over(digests: list[bytes], level: int = 0) -> dict[tuple[int, int], bytes]:
    """All tiles over these leaves, made the plain way."""
    width = tree.TILE_WIDTH
    rows = [digests[begin : begin + width] for begin in range(0, len(digests), width)]
    tiles = {(level, index): b"".join(row) for index, row in enumerate(rows)}
    above = [tree.root(row) for row in rows if len(row) == width]
    return tiles | (tiles_over(above, level + 1) if above else {})
