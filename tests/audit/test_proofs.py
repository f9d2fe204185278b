"""The proof of one event: it holds for what was signed, at every place of every tree, and breaks for anything else."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from hashlib import sha256

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from audit import chain, proofs, tree
from audit.actor import Actor
from audit.checkpoints import make_checkpoint
from audit.models import Event, SignedCheckpoint
from audit.proofs import proof_of

Fill = Callable[[int], None]
Owner = Callable[[], AbstractContextManager[None]]
FOLDER = "file:///var/anchored"
pytestmark = pytest.mark.django_db


@pytest.fixture
def sign(
    settings: Settings,
    as_role: Callable[[str], AbstractContextManager[None]],
    seal_events: Callable[[], None],
    now: datetime,
) -> Callable[[], int]:
    """Return a function that signs the events so far and returns how many they are."""
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = bytes(range(32)), "keys.example.org/audit", [FOLDER]

    def make() -> int:
        with as_role("signer"):
            made = make_checkpoint(actor=Actor.system("signer"), now=now)
            seal_events()
        assert made is not None
        return made.size

    return make


def leaves() -> list[bytes]:
    rows = Event.objects.order_by("number").values_list("number", "stamp", "body")
    return [sha256(b"\0" + chain.entry(number, bytes(stamp), bytes(body))).digest() for number, stamp, body in rows]


def test_every_event_is_proved_in_the_first_checkpoint_over_it(fill: Fill, sign: Callable[[], int]) -> None:
    sizes = []
    for more in (1, 6, 251, 300):  # with the events of the checkpoints: on both sides of a full tile, and beyond two
        fill(more)
        sizes.append(sign())
    expected = leaves()
    for number in (*range(1, 12), *range(250, 264), *range(sizes[-2] - 2, sizes[-2] + 4), 512, 513, sizes[-1]):
        proof = proof_of(number)
        size = next(size for size in sizes if size >= number)
        assert proof is not None
        assert proof.holds
        assert proof.covering is not None
        assert (proof.covering.size, proof.leaf, proof.index) == (size, expected[number - 1], number - 1)
        root = tree.root(expected[:size])
        assert tree.root_from_inclusion(proof.leaf, proof.index, size, proof.covering.path) == root
    later = proof_of(1, at_least=sizes[0] + 1)
    assert later is not None
    assert later.holds
    assert later.covering is not None
    assert later.covering.size == sizes[1]


def test_the_proof_costs_the_same_at_any_size(fill: Fill, sign: Callable[[], int]) -> None:
    costs = []
    for more in (2, 600):
        fill(more)
        sign()
        with CaptureQueriesContext(connection) as queries:
            proof_of(1, at_least=more)
        costs.append(len(queries))
    with CaptureQueriesContext(connection) as uncovered:
        proof = proof_of(Event.objects.order_by("-number").values_list("number", flat=True)[0])
    assert proof is not None
    assert proof.covering is None
    assert not proof.holds
    assert not proof.problem
    assert (costs, len(uncovered)) == ([5, 5], 3)  # one of the last is the test's
    assert proof_of(10_000) is None


ALTERATIONS = {
    "body": ("UPDATE audit_event SET body = body || ' ' WHERE number = 3", proofs.ALTERED),
    "stamp": ("UPDATE audit_event SET stamp = stamp || '\\x00' WHERE number = 3", proofs.ALTERED),
    "body and digest": (
        "UPDATE audit_event SET body = body || ' ', digest = sha256(digest) WHERE number = 3", proofs.ALTERED,
    ),
    "digest": ("UPDATE audit_event SET digest = sha256(digest) WHERE number = 3", proofs.UNCHAINED),
    "sibling": (
        "ALTER TABLE audit_tile DISABLE TRIGGER ALL; UPDATE audit_tile SET digests = overlay(digests placing "
        "sha256('x') from 97) WHERE level = 0; ALTER TABLE audit_tile ENABLE TRIGGER ALL", proofs.NOT_THE_TREE,
    ),
    "no tiles": ("DELETE FROM audit_tile", proofs.TREE_MISSING),
    "size of the row": ("DELETE FROM audit_anchoring; UPDATE audit_checkpoint SET size = size - 1", proofs.NOTE_OTHER),
    "note": ("UPDATE audit_checkpoint SET note = replace(note, E'\\n5\\n', E'\\n6\\n')", "does not belong to"),
    "key": ("UPDATE audit_signing_epoch SET verifier = 'x+00000000+AA=='", "cannot be trusted"),
}  # fmt: skip


@pytest.mark.parametrize("what", ALTERATIONS)
def test_an_altered_event_tree_or_checkpoint_is_no_proof(
    what: str, fill: Fill, sign: Callable[[], int], as_owner: Owner
) -> None:
    statement, said = ALTERATIONS[what]
    fill(5)
    sign()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(statement)
    proof = proof_of(3)
    assert proof is not None
    assert not proof.holds
    assert said in proof.problem


def test_the_anchors_that_the_checkpoint_reached_are_named(
    fill: Fill, sign: Callable[[], int], as_role: Callable[[str], AbstractContextManager[None]]
) -> None:
    fill(1)
    size = sign()
    proof = proof_of(1)
    assert proof is not None
    assert proof.covering is not None
    assert [(one.kind, one.state) for one in proof.covering.reached] == [("file", "waiting")]
    assert proof.covering.note == SignedCheckpoint.objects.get(size=size).note
