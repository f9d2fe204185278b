"""Custody between its callers and a store that answers as it likes: parts, refusals, wiping, too few answers."""

import os
from dataclasses import replace

import pytest

from inventory.custody import Item, Refusal, Rewrapped, check, forget_stores, rewrap, stores, wrap_new
from inventory.envelope import wipe
from inventory.kms.base import Backend, Capabilities, KeyInfo, StoreAddress, VersionInfo, VersionStatus, WrapAlgorithm
from inventory.kms.errors import Refused, WrongAnswerError

URI, KIND = "drawer:desk/k", "AES-256-KW"


class Drawer(Backend):
    """A store that "wraps" by turning bytes about, remembers what it gave out, and fails as it is told."""

    scheme = "drawer"
    capabilities = Capabilities(
        algorithms=(WrapAlgorithm.AES_256_KW,), binds_context=False, rewraps=False, most_items=3
    )

    def __init__(self, **can):
        super().__init__(StoreAddress(scheme="drawer", name="desk"))
        self.capabilities = replace(self.capabilities, **can)
        self.given, self.calls, self.refuses, self.short, self.swaps = [], [], set(), False, False

    def describe(self, key):
        version = VersionInfo(id="1", status=VersionStatus.ENABLED)
        return KeyInfo(algorithm=WrapAlgorithm.AES_256_KW, versions=(version,), newest="1")

    def wrap(self, key, version, items):
        self.calls.append(("wrap", len(items)))
        self.given += [item.dek for item in items]
        made = [version.encode() + bytes(reversed(item.dek)) for item in items]
        return made[::-1] if self.swaps else made

    def unwrap(self, key, version, items):
        self.calls.append(("unwrap", len(items)))
        opened = [
            Refused("gone") if item.ciphertext in self.refuses else bytearray(reversed(item.ciphertext[1:]))
            for item in items
        ]
        self.given += [dek for dek in opened if isinstance(dek, bytearray)]
        if self.short:
            wipe(opened.pop())
        return opened

    def rewrap(self, key, old, new, items):
        self.calls.append(("rewrap", len(items)))
        made = [new.encode() + item.ciphertext[1:] for item in items]
        return made[::-1] if self.swaps else made


@pytest.fixture
def store():
    yield from opened(Drawer())


@pytest.fixture
def able():
    yield from opened(Drawer(rewraps=True, most_items=100))


def opened(store):
    forget_stores()
    stores._OPEN[os.getpid(), "desk"] = store
    yield store
    assert all(not any(dek) for dek in store.given), "a DEK stayed in memory"
    forget_stores()


def made(count):
    items = []
    for number in range(count):
        wrapped, binding = wrap_new(URI, KIND, "1", dek_id=b"key:%d" % number, number=1)
        items.append(Item(dek_id=b"key:%d" % number, number=1, wrapped=wrapped, binding=binding))
    return items


def test_parts_are_as_large_as_the_store_takes_and_one_refusal_sinks_no_other(store):
    items = made(8)
    store.calls.clear()
    store.refuses = {items[4].wrapped[-33:]}
    moved = rewrap(URI, KIND, "1", "2", items)
    assert [place for place, one in enumerate(moved) if isinstance(one, Refusal)] == [4]
    assert moved[4] == Refusal("gone")
    assert [size for verb, size in store.calls if verb == "wrap"] == [3, 2, 2]
    assert all(one.is_verified for one in moved if isinstance(one, Rewrapped))


def test_a_store_that_answers_too_little_is_not_believed_and_leaves_nothing_in_memory(store):
    items = made(2)
    store.short = True
    for call in (lambda: check(URI, "1", items), lambda: rewrap(URI, KIND, "1", "2", items)):
        with pytest.raises(WrongAnswerError, match="asked about 2 DEKs and answered about 1"):
            call()


def test_a_store_that_mixes_deks_up_is_noticed_after_the_wrap(store):
    items = made(2)
    store.swaps = True
    assert rewrap(URI, KIND, "1", "2", items) == [Refusal("not_bound")] * 2


def test_a_move_on_the_side_of_the_store_is_looked_at_as_far_as_asked(able):
    items = made(40)
    able.calls.clear()
    moved = rewrap(URI, KIND, "1", "2", items, verify_percent=10)
    assert (sum(one.is_verified for one in moved), able.calls) == (4, [("rewrap", 40), ("unwrap", 4)])
    able.swaps = True
    assert Refusal("not_bound") in rewrap(URI, KIND, "1", "2", items, verify_percent=100)
    unknown = [item._replace(binding=None) for item in items[:2]]
    assert rewrap(URI, KIND, "1", "2", unknown, verify_percent=1) == [Refusal("not_bound")] * 2


def test_no_items_ask_nothing_of_a_store(able):
    assert (check(URI, "1", [], algorithm=KIND), rewrap(URI, KIND, "1", "2", []), able.calls) == ([], [], [])


def test_a_record_that_names_nothing_known_is_refused_as_a_whole(able):
    items = made(1)
    for algorithm, version in (("ROT-13", "1"), (KIND, ""), (KIND, "1 2"), (KIND, "9" * 65)):
        with pytest.raises(WrongAnswerError, match="as its record says"):
            check(URI, version, items, algorithm=algorithm)
