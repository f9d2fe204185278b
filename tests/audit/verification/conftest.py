"""A log with checkpoints, and somebody who owns the database and rewrites it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection
from pytest_django import Settings

from audit import chain, notes
from audit.actor import Actor
from audit.anchors.files import file_name
from audit.checkpoints import make_checkpoint
from audit.models import Event, SignedCheckpoint
from audit.tiles import GrowingTree
from audit.tree import leaf_digest

SIGNER = Actor.system("signer")
KEY, OTHER_KEY = bytes(range(7, 39)), bytes(range(90, 122))
NAME = "keys.example.org/audit"
Sign = Callable[..., notes.Checkpoint]


def signer(key: bytes) -> notes.Signer:
    return notes.Signer(NAME, Ed25519PrivateKey.from_private_bytes(key))


def vkey(key: bytes) -> notes.Verifier:
    return signer(key).verifier


@pytest.fixture
def sign(
    as_role: Callable[[str], AbstractContextManager[None]],
    seal_events: Callable[[], None],
    now: datetime,
    settings: Settings,
) -> Sign:
    """Return a function that makes a checkpoint as the signer."""
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = KEY, NAME, []

    def make(at: datetime = now) -> notes.Checkpoint:
        with as_role("signer"):
            made = make_checkpoint(actor=SIGNER, now=at)
            seal_events()
        assert made is not None
        return made

    return make


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that keeps stored checkpoints outside, as the file anchor does; it returns the folder."""

    def write(*sizes: int) -> Path:
        rows = SignedCheckpoint.objects.filter(size__in=sizes) if sizes else SignedCheckpoint.objects.all()
        for row in rows:
            (tmp_path / file_name(row.size)).write_text(row.note, encoding="utf-8")
        return tmp_path

    return write


def rewrite(sizes: Sequence[int], key: bytes, altered: int) -> None:
    """Do what the owner of the database can do with everything in it: alter an event and make all the rest fit it.

    The bodies that speak of the checkpoints are rewritten too; the notes are signed with the key that the owner has.
    """
    old = dict(SignedCheckpoint.objects.values_list("size", "note"))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_anchoring")
        cursor.execute("DELETE FROM audit_checkpoint")
        cursor.execute("DELETE FROM audit_tile")
        cursor.execute("UPDATE audit_signing_epoch SET verifier = %s", [str(vkey(key))])
    tree, digest, previous = GrowingTree(0), chain.GENESIS, notes.FIRST
    replaced: list[tuple[bytes, bytes]] = [(str(vkey(KEY)).encode(), str(vkey(key)).encode())]
    for event in Event.objects.order_by("number"):
        body = bytes(event.body)
        for before, after in replaced:
            body = body.replace(before, after)
        if event.number == altered:
            body = body.replace(b'"why"', b'"who"')
        digest = chain.chain_digest(digest, event.number, bytes(event.stamp), body)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE audit_event SET body = %s, digest = %s WHERE number = %s", [body, digest, event.number]
            )
        tree.add(leaf_digest(chain.entry(event.number, bytes(event.stamp), body)))
        if event.number in sizes:
            said = notes.parse_checkpoint(old[event.number].partition("\n\n")[0] + "\n")
            made = notes.Checkpoint(
                origin=NAME, size=said.size, root=tree.root(), time=said.time, head=digest, previous=previous, epoch=1
            )
            tree.save()
            SignedCheckpoint(
                size=made.size,
                epoch_id=1,
                root=made.root,
                head=made.head,
                made_at=made.time,
                note=notes.sign(made.text, signer(key)),
                digest=made.digest,
            ).save(force_insert=True)
            previous = made.digest
            parts = ("root", "head", "digest")
            replaced += [(getattr(said, part).hex().encode(), getattr(made, part).hex().encode()) for part in parts]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_head SET digest = %s", [digest])
