"""Where the DEKs of a job lie that are not in our own table: a source elsewhere, re-wrapped in place.

A package that can do that says so once, with `register`. A job whose `source` is set then goes through its ranges; what
leases, passes, pauses and finishes is the same for all jobs.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from audit.actor import Actor
from rotation.models import RewrapBatch, RewrapJob
from rotation.rewrap.errors import NoSourcesError


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What came of one range. What is refused stays as it was there, and goes into quarantine here."""

    rewrapped: int = 0
    verified: int = 0
    bound: int = 0  # got their binding digest at this, their first opening
    refused: tuple[tuple[str, str], ...] = ()  # row id, reason
    digest: bytes = field(default=b"", repr=False)  # SHA-256 over (row, old, new), in order


class Ranges(Protocol):
    """The rows of a source that are under old versions, in the order of their ids (as text, opaque to us).

    Raises, each of them: custody.BackendError for the key store, RotationError for what stands in the way at the
    source; `transient` on either says that trying again may help.
    """

    def next_range(self, job: RewrapJob, *, after: str, size: int) -> tuple[str, str] | None:
        """Return first and last id of the next rows to re-wrap behind `after` ("" from the start); None at the end.

        Rows in quarantine for this job are left out. Outside any transaction of ours.
        """

    def run(self, job: RewrapJob, batch: RewrapBatch, *, actor: Actor, now: datetime) -> Carried:
        """Re-wrap the rows from batch.first to batch.last there and commit; doing it twice changes nothing more.

        It writes its own intent (source.batch_begun) first. Outside any transaction of ours.
        """

    def left(self, job: RewrapJob) -> int:
        """Return how many rows are still under old versions, those in quarantine for this job not counted."""

    def count(self, job: RewrapJob, *, actor: Actor, now: datetime) -> None:
        """Count the source afresh for its page, after a job; a source that cannot be asked says so there."""


_RANGES: list[Ranges] = []


def register(ranges: Ranges) -> None:
    """Say who goes through the rows of sources elsewhere; the last one counts."""
    _RANGES[:] = [ranges]


def ranges() -> Ranges:
    """Raises: NoSourcesError."""
    if not _RANGES:
        raise NoSourcesError
    return _RANGES[0]
