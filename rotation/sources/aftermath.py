"""What somebody swapped elsewhere and did not live to tell: worked out from the intents in our log.

Each intent says how many rows were to be swapped, and how many of its range were under the target before. A swap is one
statement there: what has come under the target since the intent, and no more than it meant to, was swapped by it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from audit import selectors
from audit.actions import Action
from audit.services import Subject

LOOKED_BACK = 1_000  # events of the job: a range whose worker is dead is the next one to be claimed


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What was about to be written to a range."""

    count: int
    verified: int
    unbound: int  # of these: had no binding digest before
    there: int  # rows of the range that were under the target already
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class Before:
    """What of a range was swapped by those who were at it before."""

    rewrapped: int = 0
    verified: int = 0
    bound: int = 0
    digests: tuple[bytes, ...] = ()


NOTHING = Before()


def swapped_before(job: Subject, batch: int, *, there: int) -> Before:
    """Return what the intents of a batch have brought about. `there`: rows of it under the target now. Queries: 2."""
    intents = _intents(job, batch)
    if not intents:
        return NOTHING
    reached = [*(intent.there for intent in intents[1:]), there]
    swapped = [min(max(after - intent.there, 0), intent.count) for intent, after in zip(intents, reached, strict=True)]
    done = [(intent, rows) for intent, rows in zip(intents, swapped, strict=True) if rows]
    return Before(
        rewrapped=sum(swapped),
        verified=sum(min(intent.verified, rows) for intent, rows in done),
        bound=sum(min(intent.unbound, rows) for intent, rows in done),
        digests=tuple(intent.digest for intent, _ in done),
    )


def digest_of(digests: Sequence[bytes]) -> bytes:
    """Return the digest of a batch: that of its one part, else SHA-256 over those of its parts in order."""
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()


def _intents(job: Subject, batch: int) -> list[Intent]:
    """Return the intents of a batch, the oldest first."""
    bodies = [event.said for event in selectors.timeline(job.ref, LOOKED_BACK)]
    said = [one.facts for one in reversed(bodies) if one and one.action == Action.SOURCE_BATCH_BEGUN]
    numbers = ("count", "verified", "unbound", "there")
    return [
        Intent(digest=bytes.fromhex(str(facts["digest"])), **{name: int(str(facts[name])) for name in numbers})
        for facts in said
        if facts.get("batch") == batch and "digest" in facts
    ]
