"""Logs made without a database: events that are chained, their exports and signed checkpoints."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit import body, chain, notes, tree
from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.canonical import timestamp
from audit.exports import ndjson
from audit.services import Subject

ORIGIN = "keys.example.org/audit"
SIGNER = notes.Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39))))
NEXT_SIGNER = notes.Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(90, 122))))
BEGUN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PERSON = Actor(kind="person", id="user:7", role="DevOps+Security", path="POST /inventory/key/12/edit/")

Made = tuple[int, UUID, bytes, bytes, bytes]  # number, id, stamp, body, digest


def event(number: int, previous: bytes, *, text: str = "why", at: datetime | None = None) -> Made:
    moment = at or BEGUN + timedelta(seconds=number)
    event_id = UUID(int=number << 64 | 4 << 76 | 2 << 62)
    change = Subject(ref=f"key:{number % 50}", label=f"key {text}", before={"name": text}, after={"name": "b"})
    raw = body.compose(
        event_id, Action.KEY_EDITED, Outcome.DONE,
        actor=PERSON, identity_digest="", at=moment, subjects=[change], reason=text, facts={"text": text},
    )  # fmt: skip
    stamp = b"\0".join((chain.STAMP_LABEL, b"keyvault_web", b"100", b"700", timestamp(moment).encode(), b""))
    return number, event_id, stamp, raw, chain.chain_digest(previous, number, stamp, raw)


def log(count: int, texts: Sequence[str] = ("why",)) -> list[Made]:
    events: list[Made] = []
    for number in range(1, count + 1):
        previous = events[-1][4] if events else chain.GENESIS
        events.append(event(number, previous, text=texts[number % len(texts)]))
    return events


def leaf(made: Made) -> bytes:
    return tree.leaf_digest(chain.entry(made[0], made[2], made[3]))


def export(events: Sequence[Made], after: int = 0) -> bytes:
    """Return the export of what follows on `after`."""
    frontier = tree.Frontier()
    for made in events[:after]:
        frontier.add(leaf(made))
    digest = events[after - 1][4] if after else chain.GENESIS
    head = ndjson.header(origin=ORIGIN, after=after, digest=digest, peaks=frontier.peaks)
    return head + b"".join(ndjson.line(*made) for made in events[after:])


def checkpoint(
    events: Sequence[Made],
    size: int,
    *,
    previous: bytes = notes.FIRST,
    epoch: int = 1,
    signer: notes.Signer = SIGNER,
    minutes: int | None = None,
) -> str:
    made = notes.Checkpoint(
        origin=ORIGIN,
        size=size,
        root=tree.root(map(leaf, events[:size])),
        time=BEGUN + timedelta(minutes=size if minutes is None else minutes),
        head=events[size - 1][4],
        previous=previous,
        epoch=epoch,
    )
    return notes.sign(made.text, signer)


def digest_of(note: str) -> bytes:
    return sha256((note.rpartition("\n\n")[0] + "\n").encode()).digest()
