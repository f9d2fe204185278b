"""AUD-02 in memory, in numbers that a database would take long for: the first pass, and what the first bad event is."""

import random
from hashlib import sha256
from uuid import UUID

import pytest

from audit import chain
from audit.tree import Frontier, leaf_digest
from audit.verification import Damage, Finding, Position
from audit.verification.diagnosis import first_bad
from audit.verification.leaves import Rows
from audit.verification.links import BLOCK, Link, Walk, block_of, tile_root

GENESIS = Position(0, chain.GENESIS)
LENGTH = 2_000


def links(count: int) -> list[Link]:
    made, last = [], chain.GENESIS
    for number in range(1, count + 1):
        moment = f"2026-11-21T09:00:00.{number:06}Z"
        stamp = b"\0".join((chain.STAMP_LABEL, b"keyvault_web", b"1", str(number).encode(), moment.encode(), b""))
        body = f'{{"number":{number}}}'.encode() * (number % 7)
        last = chain.chain_digest(last, number, stamp, body)
        made.append(Link(number, last, stamp, body, UUID(int=number).bytes))
    return made


def end_of(events: list[Link]) -> Position:
    return Position(events[-1].number, events[-1].digest)


def walked(events: list[Link], begin: Position = GENESIS) -> tuple[Walk, list[bytes]]:
    """Follow the events as a section does: in blocks, up to where the chain breaks."""
    walk, leaves = Walk(begin), []
    for place in range(0, len(events), BLOCK):
        if not walk.is_broken:
            leaves += walk.follow(block_of(events[place : place + BLOCK]))[1]
    return walk, leaves


def flipped(blob: bytes, chance: random.Random) -> bytes:
    altered = bytearray(blob)
    altered[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    return bytes(altered)


def mutate(events: list[Link], chance: random.Random) -> tuple[list[Link], int, set[Damage]]:
    """Return the events after one random mutation, the number of the first that is wrong then, and what it may be."""
    place = chance.randrange(len(events))
    link, changed = events[place], list(events)
    is_last = link.number == len(events)
    kind = chance.choice(["body", "stamp", "digest", "delete", "duplicate", "swap", "cut", "renumber", "put in"])
    if kind in {"body", "stamp", "digest"}:
        changed[place] = link._replace(**{kind: flipped(getattr(link, kind) or b"\0", chance)})
        return changed, link.number, {Damage.EDIT}
    if kind in {"delete", "cut"}:
        del changed[place : None if kind == "cut" else place + 1]
        cut = kind == "cut" or is_last
        return changed, link.number, {Damage.TRUNCATION if cut else Damage.DELETE}
    if kind == "renumber":
        changed.append(changed.pop(place)._replace(number=len(events) + 1))
        return changed, link.number, {Damage.REORDER}
    if kind == "duplicate":
        changed.insert(place + 1, link)
        return changed, link.number + 1, {Damage.INSERT}
    if kind == "put in":
        later = [other._replace(number=other.number + 1) for other in events[place:]]
        return [*events[:place], link._replace(body=b"{}"), *later], link.number, {Damage.INSERT, Damage.HEAD}
    other = chance.choice([number for number in range(len(events)) if number != place])
    changed[place] = events[other]._replace(number=place + 1)
    changed[other] = link._replace(number=other + 1)
    return changed, min(place, other) + 1, {Damage.REORDER}


def test_a_thousand_random_mutations_are_found_placed_and_named() -> None:
    chance = random.Random(20261121)  # noqa: S311 - the same mutations every time
    events = links(LENGTH)
    for _ in range(1_000):
        begin = max(chance.randrange(LENGTH) - 100, 0)
        part, before = events[begin : begin + 100], end_of(events[:begin]) if begin else GENESIS
        moved = [link._replace(number=link.number - begin) for link in part]  # mutate() counts from 1
        changed, number, damages = mutate(moved, chance)
        changed = [link._replace(number=link.number + begin) for link in changed]
        finding = first_bad(changed, before, end_of(part))
        assert finding is not None
        assert (finding.number, finding.damage in damages) == (number + begin, True), finding
        walk, _ = walked(changed, before)
        assert walk.position.number == number + begin - 1 or finding.damage == Damage.HEAD


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        (lambda events: [*events[:4], events[4]._replace(body=b"{}"), *events[5:]], (5, Damage.EDIT)),
        (lambda events: events[:4] + events[5:], (5, Damage.DELETE)),
        (
            lambda events: [
                *events[:4],
                events[0]._replace(number=5),
                *(link._replace(number=link.number + 1) for link in events[4:]),
            ],
            (5, Damage.INSERT),
        ),
        (
            lambda events: [
                *events[:4],
                events[5]._replace(number=5),
                events[4]._replace(number=6),
                *events[6:],
            ],
            (5, Damage.REORDER),
        ),
        (lambda events: events[:1_500], (1_501, Damage.TRUNCATION)),
        (lambda events: [*events, events[-1]._replace(number=LENGTH + 1)], (LENGTH + 1, Damage.HEAD)),
    ],
    ids=["edit", "delete", "insert", "reorder", "cut tail", "behind the head"],
)
def test_named_attacks_on_two_thousand_events(changed: object, finding: tuple[int, Damage]) -> None:
    events = links(LENGTH)
    found = first_bad(changed(events), GENESIS, end_of(events))
    assert found is not None
    assert (found.number, found.damage) == finding


def test_twenty_clean_logs_raise_no_alarm() -> None:
    for size in range(1, 21):
        events = links(size * 37)
        assert first_bad(events, GENESIS, end_of(events)) is None
        walk, leaves = walked(events)
        assert (walk.position, walk.is_broken) == (end_of(events), False)
        assert leaves == [leaf_digest(chain.entry(link.number, link.stamp, link.body)) for link in events]


def test_a_later_part_verifies_from_where_it_begins() -> None:
    events = links(150)
    begin = end_of(events[:20])
    assert first_bad(events[20:], begin, end_of(events)) is None
    assert walked(events[20:], begin)[0].position == end_of(events)
    assert first_bad(events[21:], begin, end_of(events)) == Finding(
        21, Damage.DELETE, "it is missing, the next event is 22"
    )


def test_a_digest_of_another_length_breaks_the_chain_and_nothing_else() -> None:
    for length in (0, 31, 33, 500):
        events = links(100)
        events[40] = events[40]._replace(digest=bytes(length))
        walk, leaves = walked(events)
        assert (walk.is_broken, walk.position, len(leaves)) == (True, end_of(events[:40]), 40)


def test_a_log_that_is_rewritten_as_a_whole_is_not_found_without_a_digest_from_outside() -> None:
    events, noted = links(20), end_of(links(20))
    rewritten, last = [], chain.GENESIS
    for link in events:
        last = chain.chain_digest(last, link.number, link.stamp, b"{}")
        rewritten.append(link._replace(body=b"{}", digest=last))
    assert first_bad(rewritten, GENESIS, end_of(rewritten)) is None  # what checkpoints are for
    assert first_bad(rewritten, GENESIS, noted) is not None


# The tree


def leaves(count: int) -> list[bytes]:
    return [sha256(str(number).encode()).digest() for number in range(count)]


def test_the_root_of_a_tile_is_that_of_the_tree() -> None:
    frontier = Frontier()
    for leaf in leaves(256):
        frontier.add(leaf)
    assert tile_root(b"".join(leaves(256))) == frontier.root()


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_536, 65_537, 70_001])
def test_rows_of_tiles_grow_into_the_same_tree(size: int) -> None:
    frontier, added, kept = Frontier(), leaves(size), {}
    for leaf in added:
        frontier.add(leaf)
    rows = Rows(0, [b"", b"", b""], 0, lambda row, index: kept.get((row, index), b""), 0)
    for place in range(0, size, 1_000):
        rows.add(added[place : place + 1_000])
    assert rows.peaks() == frontier.peaks
    assert rows.altered is None


def test_a_stored_tile_that_differs_is_named_by_its_first_leaf() -> None:
    added = leaves(600)
    stored = {(0, 0): b"".join(added[:256]), (0, 1): b"".join(added[256:512]), (0, 2): b"".join(added[512:580])}
    stored[1, 0] = tile_root(stored[0, 0]) + tile_root(stored[0, 1])
    for altered, expected in (
        (None, None),
        ((0, 1, 32 * 7), (0, 1, 264)),
        ((0, 2, 0), (0, 2, 513)),
        ((1, 0, 40), (1, 0, 257)),
    ):
        kept = dict(stored)
        if altered:
            row, index, place = altered
            tile = bytearray(kept[row, index])
            tile[place] ^= 1
            kept[row, index] = bytes(tile)
        rows = Rows(0, [b"", b""], 0, lambda row, index, kept=kept: kept.get((row, index), b""), 580)
        rows.add(added)
        rows.end()
        assert rows.altered == expected
