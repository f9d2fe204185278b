"""A section of the log on its way into a file and back: followed event by event, as chain and as tree."""

import json
from base64 import b64decode
from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from audit import chain
from audit.errors import PeriodError
from audit.exports import ndjson
from audit.models import Event
from audit.tree import Frontier, leaf_digest

READ_AT_ONCE = 5_000  # events: a few megabytes


class Link(NamedTuple):
    """What of an event is exported. Not the sealed identity: it stays where a person's key can still be destroyed."""

    number: int
    id: UUID
    stamp: bytes
    body: bytes
    digest: bytes


class Follower:
    """Goes along events from a place in the chain and the tree; whatever does not follow is refused."""

    def __init__(self, begin: chain.Position, peaks: list[bytes]) -> None:
        self.position = begin
        self._frontier = Frontier(begin.number, peaks)

    def follow(self, link: Link) -> None:
        """Go one event further. Raises: PeriodError."""
        digest = chain.chain_digest(self.position.digest, link.number, link.stamp, link.body)
        if link.number != self.position.number + 1 or digest != link.digest:
            raise PeriodError(
                f"Event {self.position.number + 1:,} does not follow on the one before it. Run verify_audit."
            )
        self.position = chain.Position(link.number, digest)
        self._frontier.add(leaf_digest(chain.entry(link.number, link.stamp, link.body)))

    def root(self) -> bytes:
        """Return the root of the tree up to here."""
        return self._frontier.root()


def stored_links(first: int, last: int) -> Iterator[Link]:
    """Yield the events of the log from `first` to `last`, a page at a time and without a long transaction."""
    begin = first
    while begin <= last:
        rows = Event.objects.filter(number__gte=begin, number__lte=last).order_by("number")[:READ_AT_ONCE]
        page = list(rows.values_list("number", "event_id", "stamp", "body", "digest"))
        if not page:
            raise PeriodError(f"Event {begin:,} is missing. Run verify_audit.")
        for number, event_id, stamp, body, digest in page:
            yield Link(number, event_id, bytes(stamp), bytes(body), bytes(digest))
        begin = page[-1][0] + 1


def line_of(link: Link) -> bytes:
    """Return the line of the event in the file."""
    return ndjson.line(link.number, link.id, link.stamp, link.body, link.digest)


def header_of(origin: str, begin: chain.Position, peaks: list[bytes]) -> bytes:
    """Return the first line of the file."""
    return ndjson.header(origin=origin, after=begin.number, digest=begin.digest, peaks=peaks)


def read_header(line: bytes) -> tuple[chain.Position, list[bytes]]:
    """Read the first line of a file: where its events begin. Raises: PeriodError."""
    said = _read(line)
    try:
        if said["format"] != ndjson.FORMAT:
            raise PeriodError(f"The file has the format {said['format']!r}, which this version does not read.")
        begin = chain.Position(int(said["after"]), bytes.fromhex(said["digest"]))
        return begin, [bytes.fromhex(peak) for peak in said["peaks"]]
    except (KeyError, TypeError, ValueError) as error:
        raise PeriodError("The first line of the file does not say where its events begin.") from error


def read_link(line: bytes) -> Link:
    """Read the line of an event. Raises: PeriodError."""
    said = _read(line)
    try:
        raw = said["body"].encode() if "body" in said else b64decode(said["body_base64"], validate=True)
        stamp = b64decode(said["stamp"], validate=True)
        return Link(int(said["number"]), UUID(said["id"]), stamp, raw, bytes.fromhex(said["digest"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PeriodError("A line of the file is not that of an event.") from error


def _read(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError as error:
        raise PeriodError("A line of the file is no JSON.") from error
    if not isinstance(said, dict):
        raise PeriodError("A line of the file is no JSON object.")
    return said
