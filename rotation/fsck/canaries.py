"""Invariant 8: no known plaintext lies in any table: patterns that somebody has planted are looked for in all."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from django.db import connection
from psycopg import sql

from rotation.fsck.results import Result
from rotation.fsck.rows import rows

SHORTEST = 8  # bytes: less is found by chance
_TABLES = """
SELECT n.nspname::text, c.relname::text, has_table_privilege(c.oid, 'SELECT')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2
"""


def read_patterns(path: Path) -> list[bytes]:
    """Return the patterns of a file, one a line. Raises: ValueError for one that is too short, OSError."""
    patterns = [line for line in path.read_bytes().splitlines() if line]
    if any(len(pattern) < SHORTEST for pattern in patterns):
        raise ValueError(f"A pattern of fewer than {SHORTEST} bytes is found by chance.")
    return patterns


def no_canaries(patterns: Sequence[bytes]) -> Result:
    """Look for patterns raw, in hexadecimal and in base64, in every table that may be read; they are never shown."""
    result = Result(number=8, title="no known plaintext lies in the database", unit="tables")
    if not patterns:
        result.notes.append("no pattern was given (--canaries FILE), so nothing was looked for")
        return result
    shapes = [(place, shape) for place, pattern in enumerate(patterns, 1) for shape in _shapes(pattern)]
    hidden = []
    for schema, table, is_readable in list(rows(_TABLES)):
        if not is_readable:
            hidden.append(table)
            continue
        result.checked += 1
        found = {place for line in _lines(schema, table) for place, shape in shapes if shape in line}
        result.take(f"pattern {place} lies in the table {table}" for place in sorted(found))
    if hidden:
        result.notes.append(f"this login may not read {len(hidden)} tables: {', '.join(hidden[:10])}")
    return result


def _shapes(pattern: bytes) -> set[bytes]:
    """Return how the bytes may stand in the text of a COPY: base64 wherever it begins."""
    found = {pattern, pattern.hex().encode(), pattern.hex().upper().encode()}
    for shift in range(3):
        plain = base64.b64encode(b"\0" * shift + pattern)
        whole = plain[-(-shift * 8 // 6) : (shift + len(pattern)) * 8 // 6]
        found |= {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}
    return {shape for shape in found if len(shape) >= SHORTEST}


def _lines(schema: str, table: str) -> Iterator[bytes]:
    statement = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(schema, table))
    with connection.cursor() as cursor, cursor.cursor.copy(statement) as copy:
        for line in copy:
            yield bytes(line)
