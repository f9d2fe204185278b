"""Re-wrapping where the DEKs are: a range of rows is read, its intent told here, its cells swapped there.

    read     rows of the range that are under an older version than the target; nothing is written
    move     custody, outside any transaction: bound where a binding digest is known, opened again before anything is
             written
    intent   source.batch_begun, committed here: whoever takes the range over learns from it what was swapped
    swap     one statement there: each row that still holds what was read gets the new cell, version and binding
    tell     progress and result here: the job's (rotation.rewrap), from what carry() returns

Dying anywhere between these loses nothing: what was swapped is not under an old version any more, so that the next
one who takes the range reads only the rest. Rows that others write meanwhile are not what was read, or come in the next
pass.
"""

import hashlib
import struct
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import psycopg
from django.db import transaction
from psycopg import sql

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import custody
from inventory.custody import Item, Refusal, Rewrapped
from inventory.models import KekVersion
from rotation.models import RewrapSource
from rotation.sources.aftermath import NOTHING, digest_of, swapped_before
from rotation.sources.connecting import reading, writing
from rotation.sources.errors import UnlikeError
from rotation.sources.forms import Cell, FormError, Row, cell_of, item_of
from rotation.sources.looking import LONGEST_ID, id_type
from rotation.sources.tables import Columns, columns_of

BAD_FORM = "altered"  # of the closed list of reasons: its cell is not in the registered form
_NEXT: LiteralString = """
SELECT (pg_catalog.array_agg(id ORDER BY id))[1]::text, (pg_catalog.array_agg(id ORDER BY id DESC))[1]::text,
       pg_catalog.count(*)
  FROM (SELECT {id} AS id FROM {relation} t
         WHERE {version}::text <> ALL(%(keep)s::text[]) AND (%(after)s::text IS NULL OR {id} > %(after)s::text::{type})
           AND NOT {id}::text = ANY(%(skip)s::text[])
         ORDER BY {id} LIMIT %(size)s) AS range
"""
_READ: LiteralString = """
SELECT {id}::text, {version}::text, {wrapped}, {context}, {binding} FROM {relation} t
 WHERE {id} >= %(first)s::text::{type} AND {id} <= %(last)s::text::{type} AND {version}::text <> ALL(%(keep)s::text[])
   AND NOT {id}::text = ANY(%(skip)s::text[])
 ORDER BY {id} LIMIT %(most)s
"""
_LEFT: LiteralString = """
SELECT pg_catalog.count(*) FROM {relation} t
 WHERE {version}::text <> ALL(%(keep)s::text[]) AND NOT {id}::text = ANY(%(skip)s::text[])
"""
_THERE: LiteralString = """
SELECT pg_catalog.count(*) FROM {relation} t
 WHERE {id} >= %(first)s::text::{type} AND {id} <= %(last)s::text::{type} AND {version}::text = %(target)s
"""
_SWAP: LiteralString = """
UPDATE {relation} AS t SET {set}
  FROM (SELECT pg_catalog.unnest(%(ids)s::text[])::{type} AS id, pg_catalog.unnest(%(versions)s::text[]) AS version,
               pg_catalog.unnest(%(old)s::{cell}[]) AS old, pg_catalog.unnest(%(new)s::{cell}[]) AS new,
               pg_catalog.unnest(%(bindings)s::bytea[]) AS binding) AS swap
 WHERE {id} = swap.id AND {wrapped} = swap.old AND {version}::text = swap.version {bound}
RETURNING {id}::text
"""


class Range(NamedTuple):
    """Rows from one id to another, both with it."""

    first: str
    last: str
    rows: int  # that were to be brought over when it was found


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a range."""

    rewrapped: int = 0  # by us
    verified: int = 0  # with what was before
    bound: int = 0  # got their binding digest, which the other table now holds; with what was before
    before: int = 0  # swapped by somebody who did not live to tell
    missed: int = 0  # were changed by others between reading and swapping: the next pass reads them again
    refused: dict[str, str] = field(default_factory=dict)  # row → reason
    under: dict[str, str] = field(default_factory=dict)  # of these: row → the version that it says it is under
    versions: dict[str, int] = field(default_factory=dict)  # under which version how many were
    digest: bytes = b""  # over (row, old, new)


class _Span(NamedTuple):
    """A range as somebody has taken it: which batch of the job it is, and from whose to which version."""

    job: Subject
    batch: int
    first: str
    last: str


@dataclass(frozen=True)
class _Move:
    """A row on its way."""

    row: Row
    item: Item
    new: Rewrapped


def next_range(
    source: RewrapSource, target: KekVersion, *, after: str = "", size: int, skip: Collection[str] = ()
) -> Range | None:
    """Return the next rows that are not under the target version or a later one, by their ids; None after the last.

    `skip`: rows that are quarantined. Outside any transaction of ours. Raises: SourceError.
    """
    columns = columns_of(source)
    asked = {"keep": _kept(source, target), "after": after or None, "size": size, "skip": list(skip)}
    with reading(source) as connection:
        statement = sql.SQL(_NEXT).format(type=id_type(connection, columns), **columns.names())
        first, last, rows = connection.execute(statement, asked).fetchone() or (None, None, 0)
    if first is None:
        return None
    if max(len(first), len(last)) > LONGEST_ID:
        raise UnlikeError(f"The source {source.name} has rows whose id is longer than {LONGEST_ID} characters.")
    return Range(first, last, rows)


def left(source: RewrapSource, target: KekVersion, *, skip: Collection[str] = ()) -> int:
    """Return how many rows next_range() would still find. Outside any transaction of ours. Raises: SourceError."""
    asked = {"keep": _kept(source, target), "skip": list(skip)}
    statement = sql.SQL(_LEFT).format(**columns_of(source).names())
    with reading(source) as connection:
        row = connection.execute(statement, asked).fetchone()
    return int(row[0]) if row else 0


def _kept(source: RewrapSource, target: KekVersion) -> list[str]:
    """Return the versions that rows stay under: a job never brings one back from a later version. Queries: 1."""
    found = KekVersion.objects.filter(kek=source.kek_id, pk__gte=target.pk)
    return list(found.values_list("store_id", flat=True))


def carry(  # noqa: PLR0913 - a range, from where to where, and who says so
    source: RewrapSource,
    target: KekVersion,
    *,
    job: Subject,
    first: str,
    last: str,
    most: int,
    batch: int = 0,
    is_again: bool = False,
    skip: Collection[str] = (),
    verify_percent: int = 100,
    actor: Actor,
    now: datetime,
) -> Result:
    """Bring the rows of a range under the target version; whoever calls tells the result. Outside any transaction.

    `most`: rows at once; a range that others have filled meanwhile is left for the next pass. `batch`: its number in
    the job. `is_again`: it was begun before. Event: source.batch_begun. Raises: SourceError, BackendError; nothing is
    half done then.
    """
    columns = columns_of(source)
    rows, there = _read(source, columns, target, first=first, last=last, skip=skip, most=most)
    before = swapped_before(job, batch, there=there) if is_again else NOTHING
    moves, refused = _moved(source, target, rows, verify_percent)
    if moves:
        _tell_intent(source, target, _Span(job, batch, first, last), moves, there, actor, now)
    swapped = _swap(source, columns, target, moves) if moves else set()
    done = [move for move in moves if move.row.id in swapped]
    bound = sum(move.row.binding is None for move in done) if columns.binding else 0
    return Result(
        rewrapped=len(done),
        verified=sum(move.new.is_verified for move in done) + before.verified,
        bound=bound + (before.bound if columns.binding else 0),
        before=before.rewrapped,
        missed=len(moves) - len(done),
        refused=refused,
        under={row.id: row.version for row in rows if row.id in refused},
        versions=_counted(move.row.version for move in done),
        digest=digest_of([*before.digests, *([_digest(done)] if done or not before.digests else [])]),
    )


def _read(
    source: RewrapSource, columns: Columns, target: KekVersion, *, skip: Collection[str], **span: object
) -> tuple[list[Row], int]:
    """Return the rows of a range that are to be brought over, and how many are under the target; of one moment."""
    asked = {**span, "target": target.store_id, "skip": list(skip), "keep": _kept(source, target)}
    with reading(source) as connection:
        names = {"type": id_type(connection, columns), **columns.names()}
        rows = [_row(*found) for found in connection.execute(sql.SQL(_READ).format(**names), asked).fetchall()]
        there = connection.execute(sql.SQL(_THERE).format(**names), asked).fetchone()
    return rows, int(there[0]) if there else 0


@transaction.atomic
def _tell_intent(
    source: RewrapSource,
    target: KekVersion,
    span: _Span,
    moves: Sequence[_Move],
    there: int,
    actor: Actor,
    now: datetime,
) -> None:
    """Say what is about to be written elsewhere, before it is: after a crash the log knows what to look for."""
    facts: dict[str, JSON] = {
        "batch": span.batch,
        "first": span.first,
        "last": span.last,
        "count": len(moves),
        "verified": sum(move.new.is_verified for move in moves),
        "unbound": sum(move.row.binding is None for move in moves),
        "there": there,
        "versions": dict(_counted(move.row.version for move in moves)),
        "target": target.store_id,
        "digest": _digest(moves).hex(),
    }
    subjects = [span.job, Subject(ref=source.ref, label=source.name)]
    record(Action.SOURCE_BATCH_BEGUN, actor=actor, now=now, subjects=subjects, facts=facts)


def _row(row_id: str, version: str, cell: Any, context: Any, binding: Any) -> Row:  # noqa: ANN401 - as it comes
    return Row(
        id=row_id,
        version=version,
        cell=cell if isinstance(cell, str) else bytes(cell or b""),
        context=context.encode() if isinstance(context, str) else bytes(context or b""),
        binding=None if binding is None else bytes(binding),
    )


def _moved(
    source: RewrapSource, target: KekVersion, rows: Sequence[Row], verify_percent: int
) -> tuple[list[_Move], dict[str, str]]:
    """Let custody move what can be moved, a version at a time; the others with the reason why not."""
    refused: dict[str, str] = {}
    groups: defaultdict[str, list[tuple[Row, Item]]] = defaultdict(list)
    known = set(KekVersion.objects.filter(kek=source.kek_id).values_list("store_id", flat=True))
    for row in rows:
        try:
            item = item_of(source, row)
        except FormError:
            refused[row.id] = BAD_FORM
            continue
        if row.version in known:
            groups[row.version].append((row, item))
        else:
            refused[row.id] = "other_version"
    moves = []
    for version, group in groups.items():
        results = custody.rewrap(
            source.kek.uri,
            source.kek.algorithm,
            version,
            target.store_id,
            [item for _, item in group],
            verify_percent=verify_percent,
        )
        for (row, item), result in zip(group, results, strict=True):
            if isinstance(result, Refusal):
                refused[row.id] = result.reason
            else:
                moves.append(_Move(row, item, result))
    return moves, refused


def _swap(source: RewrapSource, columns: Columns, target: KekVersion, moves: Sequence[_Move]) -> set[str]:
    """Write what still is what was read; return which rows. One statement, one commit."""
    old: list[Cell] = [move.row.cell for move in moves]
    asked = {
        "ids": [move.row.id for move in moves],
        "versions": [move.row.version for move in moves],
        "old": old,
        "new": [cell_of(source, move.new.wrapped) for move in moves],
        "bindings": [move.new.binding for move in moves],
        "target": target.store_id,
    }
    kind = sql.SQL("text") if isinstance(old[0], str) else sql.SQL("bytea")
    with writing(source) as connection:
        names = {**columns.names(), "type": id_type(connection, columns), "cell": kind}
        names |= {"set": _set(connection, columns), "bound": _bound(columns)}
        return {row_id for (row_id,) in connection.execute(sql.SQL(_SWAP).format(**names), asked).fetchall()}


def _set(connection: psycopg.Connection, columns: Columns) -> sql.Composable:
    """Say what is written: the version in the type of its column."""
    found = connection.execute(
        "SELECT udt_name::text FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s AND column_name = %s",
        [columns.schema, columns.table, columns.version],
    ).fetchone()
    whole = found is not None and found[0] in {"int2", "int4", "int8"}
    version = sql.SQL("%(target)s::text::int8") if whole else sql.SQL("%(target)s::text")
    parts = [
        sql.SQL("{} = swap.new").format(sql.Identifier(columns.wrapped)),
        sql.SQL("{} = {}").format(sql.Identifier(columns.version), version),
    ]
    if columns.binding:
        parts.append(sql.SQL("{0} = COALESCE(t.{0}, swap.binding)").format(sql.Identifier(columns.binding)))
    return sql.SQL(", ").join(parts)


def _bound(columns: Columns) -> sql.Composable:
    """Whoever fills in another binding meanwhile has another DEK in that row."""
    if not columns.binding:
        return sql.SQL("")
    return sql.SQL("AND (t.{0} IS NULL OR t.{0} = swap.binding)").format(sql.Identifier(columns.binding))


def _counted(versions: Iterable[str]) -> dict[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for version in versions:
        found[version] += 1
    return dict(found)


def _digest(moves: Sequence[_Move]) -> bytes:
    """Return SHA-256 over row, old and new blob of each, every part behind its length of 8 bytes."""
    digest = hashlib.sha256()
    for move in moves:
        for part in (move.item.dek_id, move.item.wrapped, move.new.wrapped):
            digest.update(struct.pack(">Q", len(part)) + part)
    return digest.digest()
