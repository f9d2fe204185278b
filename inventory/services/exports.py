"""The inventory as a file: every key that was chosen, once, by order of registration, and what leaves is recorded."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime

from django.db import transaction
from django.db.models import QuerySet

from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.canonical import JSON
from audit.counting import count_up_to
from audit.services import record
from inventory.errors import ExportTooLongError
from inventory.exporting import MOST_XLSX_ROWS, csv_stream, json_stream, xlsx_stream
from inventory.models import Key
from inventory.recognise import is_short_name, written
from inventory.terms import Relation

STREAMS: Mapping[str, Callable[[Iterable[list[str]]], Iterator[bytes]]] = {
    "csv": csv_stream,
    "json": json_stream,
    "xlsx": xlsx_stream,
}
PAGE_ROWS = 1_000
_RELATED = ("creator", "owner", "service", "vendor", "tenant", "integration", "winning_clause")


def _above(key: Key, relation: Relation) -> str:
    """Return the names of the keys that stand so above a key; its links are read along with the page."""
    return written(link.parent.name for link in key.parent_links.all() if link.relation == relation)


def _users(key: Key, *, approved_only: bool) -> str:
    """Return the names of the services that use a key; they are read along with the page."""
    return written(used.service.name for used in key.consumers.all() if used.is_approved or not approved_only)


# Headers as an import reads them; the rest is for people and is left out by an import.
COLUMNS: Mapping[str, Callable[[Key], object]] = {
    "Name": lambda key: key.name,
    "Kind": lambda key: key.kind,
    "Created by": lambda key: key.creator,
    "Owner": lambda key: key.owner,
    "Service": lambda key: written([key.service.name], is_short_name) if key.service else "",
    "Vendor": lambda key: key.vendor,
    "Purpose": lambda key: key.purpose,
    "Creation date": lambda key: key.created_on,
    "Last rotated": lambda key: "never" if key.never_rotated else key.last_rotated_on,
    "Environment": lambda key: key.environment,
    "Data classification": lambda key: key.classification,
    "Access": lambda key: key.access,
    "Shared": lambda key: key.is_shared,
    "Algorithm": lambda key: key.algorithm,
    "Size in bits": lambda key: key.size_bits,
    "Where stored": lambda key: key.storage_location,
    "Medium": lambda key: key.get_storage_medium_display(),
    "Exportable": lambda key: key.is_exportable,
    "Generation method": lambda key: key.generation_method,
    "Tenant": lambda key: key.tenant,
    "Integration": lambda key: key.integration,
    "Name of the secret": lambda key: key.secret_name,
    "Used by": lambda key: _users(key, approved_only=False),
    "Approved to use it": lambda key: _users(key, approved_only=True),
    "Wrapped by": lambda key: _above(key, Relation.WRAPPED_BY),
    "Derived from": lambda key: _above(key, Relation.DERIVED_FROM),
    "Runbook": lambda key: key.runbook_url,
    "Notes": lambda key: key.notes,
    "State": lambda key: key.state,
    "Rotate by": lambda key: key.rotate_by,
    "By the clause": lambda key: key.winning_clause,
    "Accepted until": lambda key: key.accepted_until,
    "Record": lambda key: key.ref,
}


def export_keys(
    *, keys: QuerySet[Key], chosen: Mapping[str, JSON], file_format: str, actor: Actor, now: datetime
) -> Iterator[bytes]:
    """Return the bytes of a file that holds the keys; `chosen` says in the log how they were chosen.

    Nothing is read before the first byte is asked for, but the events are: inventory.export_begun at once, and
    inventory.exported with rows, bytes and SHA-256 after the last byte, or as failed when somebody stops asking.
    Memory is constant; each statement reads PAGE_ROWS keys, and no transaction stays open while bytes travel.

    Raises: ExportTooLongError, when a sheet cannot hold so many rows.
    """
    if file_format == "xlsx" and count_up_to(keys, MOST_XLSX_ROWS) >= MOST_XLSX_ROWS:
        raise ExportTooLongError(MOST_XLSX_ROWS - 1)
    facts: dict[str, JSON] = {"format": file_format, "chosen": dict(chosen)}
    with transaction.atomic():
        begun = record(Action.INVENTORY_EXPORT_BEGUN, actor=actor, now=now, facts=facts)
    return _recorded(keys, facts | {"export": str(begun)}, file_format, actor=actor, now=now)


def _recorded(
    keys: QuerySet[Key], facts: Mapping[str, JSON], file_format: str, *, actor: Actor, now: datetime
) -> Iterator[bytes]:
    """Yield the bytes, and record how it ended: this runs while they travel, and is closed when nobody wants more."""
    rows, size, digest, outcome = _Counted(_rows(keys)), 0, hashlib.sha256(), Outcome.FAILED
    try:
        for piece in STREAMS[file_format](rows):
            digest.update(piece)
            size += len(piece)
            yield piece
        outcome = Outcome.DONE
    finally:
        ended: dict[str, JSON] = {"keys": max(rows.count - 1, 0), "bytes": size, "sha256": digest.hexdigest()}
        with transaction.atomic():
            record(Action.INVENTORY_EXPORTED, actor=actor, now=now, facts={**facts, **ended}, outcome=outcome)


class _Counted:
    """Rows, counted as they pass."""

    def __init__(self, rows: Iterator[list[str]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[list[str]]:
        for row in self._rows:
            self.count += 1
            yield row


def _rows(keys: QuerySet[Key]) -> Iterator[list[str]]:
    yield list(COLUMNS)
    for key in in_pages(keys):
        yield [_text(of(key)) for of in COLUMNS.values()]


def in_pages(keys: QuerySet[Key]) -> Iterator[Key]:
    """Yield the keys by primary key, PAGE_ROWS a statement: a key that exists all the while comes exactly once."""
    whole = keys.select_related(None).select_related(*_RELATED)
    ordered, last = whole.prefetch_related("parent_links__parent", "consumers__service").order_by("pk"), 0
    while found := list(ordered.filter(pk__gt=last)[:PAGE_ROWS]):
        yield from found
        last = found[-1].pk


def _text(fact: object) -> str:
    if fact is None:
        return ""
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    return fact.isoformat() if isinstance(fact, date) else str(fact)
