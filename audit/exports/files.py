"""Exports as files: what leaves is recorded before its first byte, and how it ended after the last one."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.canonical import JSON
from audit.exports.formats import Format, format_named
from audit.exports.reading import Beginning, Chosen, beginning_at, in_pages
from audit.services import record

GZIP = 16 + zlib.MAX_WBITS


@dataclass
class Export:
    """An export on its way. Iterate it once for its bytes; afterwards it knows what they were.

    It writes into the log how it ended, as failed also when somebody stops asking for its bytes.
    """

    chosen: Chosen
    form: Format
    begin: Beginning
    with_names: bool
    packed: bool
    told: dict[str, JSON]  # what the log was told when it began
    actor: Actor
    now: datetime
    events: int = 0
    size: int = 0
    sha256: str = ""
    last: int = 0
    last_digest: bytes = b""

    def __iter__(self) -> Iterator[bytes]:
        self.last, self.last_digest = self.begin.after, self.begin.digest
        digest, outcome = hashlib.sha256(), Outcome.FAILED
        try:
            for piece in _packed(self._content()) if self.packed else self._content():
                digest.update(piece)
                self.size += len(piece)
                yield piece
            outcome = Outcome.DONE
        finally:
            self.sha256 = digest.hexdigest()
            self._record(outcome)

    def _content(self) -> Iterator[bytes]:
        yield self.form.begin(self.begin)
        for page in filter(None, in_pages(self.chosen)):
            self.events += len(page)
            self.last, self.last_digest = page[-1].number, bytes(page[-1].digest)
            yield b"".join(self.form.lines(page, self.with_names, self.begin.origin))

    @transaction.atomic
    def _record(self, outcome: Outcome) -> None:
        ended: dict[str, JSON] = {"events": self.events, "last": self.last, "bytes": self.size, "sha256": self.sha256}
        record(Action.AUDIT_EXPORTED, actor=self.actor, now=self.now, facts={**self.told, **ended}, outcome=outcome)


def export_log(
    *, chosen: Chosen, file_format: str, with_names: bool = False, packed: bool = False, actor: Actor, now: datetime
) -> Export:
    """Begin an export; iterating what is returned reads the log and yields the bytes.

    Events: audit.export_begun at once; audit.exported with events, bytes and SHA-256 after the last byte, or as failed.
    Memory is constant. Raises: ExportError.
    """
    form = format_named(file_format, with_names=with_names)
    begin = beginning_at(chosen.after)
    told: dict[str, JSON] = {
        "format": form.name,
        "after": chosen.after,
        "until": chosen.until,
        "with_names": with_names,
        "packed": packed,
    }
    with transaction.atomic():
        begun = record(Action.AUDIT_EXPORT_BEGUN, actor=actor, now=now, facts=told)
    told = {**told, "export": str(begun)}
    return Export(chosen, form, begin, with_names, packed, told, actor, now)


def _packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pack by gzip, without name and time: the same events make the same bytes."""
    packer = zlib.compressobj(wbits=GZIP)
    for piece in pieces:
        if made := packer.compress(piece):
            yield made
    yield packer.flush()
