"""Whether a source is what was registered: its columns and their types, and a login that may do that and no more."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from rotation.models import RewrapSource
from rotation.sources.connecting import reading
from rotation.sources.errors import UnlikeError
from rotation.sources.tables import CONTEXT_TYPES, ID_TYPES, VERSION_TYPES, WRAPPED_TYPES, Columns, columns_of

LONGEST_ID = 100  # of a row: RewrapBatch.first, Quarantined.row
_TABLE: LiteralString = """
SELECT c.oid, pg_catalog.row_security_active(c.oid), c.relkind::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s
"""
_COLUMNS: LiteralString = """
SELECT column_name::text, udt_name::text, is_nullable = 'YES', is_generated <> 'NEVER'
  FROM information_schema.columns WHERE table_schema = %s AND table_name = %s
"""
# One column that alone says which row it is, for all rows, by an index that is in use.
_UNIQUE: LiteralString = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid = %s AND a.attname = %s AND i.indisunique AND i.indisvalid AND i.indimmediate
       AND i.indnkeyatts = 1 AND i.indpred IS NULL)
"""
_ROLE: LiteralString = """
SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
       EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = r.oid)
  FROM pg_catalog.pg_roles r WHERE r.rolname = session_user
"""
_RIGHTS: LiteralString = """
SELECT a.attname::text, pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE'),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT, REFERENCES')
  FROM pg_catalog.pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
"""
_WHOLE_TABLE: LiteralString = "SELECT pg_catalog.has_table_privilege(%s::oid, 'INSERT, DELETE, TRUNCATE, TRIGGER')"
_ELSEWHERE: LiteralString = """
SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid <> %s
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_t%%'
   AND c.oid NOT IN (SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = %s)
   AND (pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
        OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE'))
"""
_POWERS = (
    "is a superuser",
    "may make roles",
    "may make databases",
    "may replicate",
    "sees through row security",
    "is a member of other roles",
)


@dataclass(frozen=True)
class _Column:
    kind: str
    is_nullable: bool
    is_generated: bool


def look(source: RewrapSource) -> None:
    """Look whether the table is there as registered, and whether the login's rights are exactly what is needed.

    Outside of what a page waits for: it takes a connection elsewhere, 5 seconds at most until it stands.
    Raises: SourceError; UnlikeError says all that is wrong in one go.
    """
    columns = columns_of(source)
    with reading(source) as connection:
        flaws = list(_flaws(connection, source, columns))
    if flaws:
        raise UnlikeError(
            f"The source {source.name} is not as it was said to be: {'; '.join(flaws)}. Mend that there and try again, "
            "or ask for it as it is."
        )


def id_type(connection: psycopg.Connection, columns: Columns) -> sql.SQL:
    """Return the type of the id, as one of our own words. Raises: UnlikeError."""
    found = _columns(connection, columns).get(columns.id)
    for kind in ID_TYPES:
        if found is not None and found.kind == kind:
            return sql.SQL(kind)
    raise UnlikeError(f"The column {columns.id} is not there any more, or cannot tell rows apart.")


def _flaws(connection: psycopg.Connection, source: RewrapSource, columns: Columns) -> Iterator[str]:
    table = connection.execute(_TABLE, [columns.schema, columns.table]).fetchone()
    if table is None or table[2] not in {"r", "p"}:
        yield f"{columns.schema}.{columns.table} is no table that this login can see"
        return
    oid, has_row_security, _ = table
    if has_row_security:
        yield "row security hides rows from this login, which then could not be counted"
    found = _columns(connection, columns)
    yield from _flaws_of_columns(source, columns, found)
    if columns.id in found and not _is(connection, _UNIQUE, [oid, columns.id]):
        yield f"{columns.id} has no unique index of its own"
    yield from _flaws_of_role(connection)
    yield from _flaws_of_rights(connection, oid, columns)


def _columns(connection: psycopg.Connection, columns: Columns) -> dict[str, _Column]:
    rows = connection.execute(_COLUMNS, [columns.schema, columns.table]).fetchall()
    return {name: _Column(*facts) for name, *facts in rows}


def _flaws_of_columns(source: RewrapSource, columns: Columns, found: dict[str, _Column]) -> Iterator[str]:
    wanted: list[tuple[str, Sequence[str]]] = [
        (columns.id, ID_TYPES),
        (columns.wrapped, WRAPPED_TYPES[source.form]),
        (columns.version, VERSION_TYPES),
        (columns.context, CONTEXT_TYPES),
        (columns.binding, ("bytea",)),
    ]
    for name, kinds in wanted:
        column = found.get(name)
        if not name:
            continue
        if column is None:
            yield f"it has no column {name} that this login may read"
        elif column.kind not in kinds:
            yield f"{name} is of the type {column.kind[:63]}, and not {' or '.join(kinds)}"
        elif column.is_generated:
            yield f"{name} is generated from other columns"
        elif column.is_nullable and name in {columns.id, columns.wrapped, columns.version}:
            yield f"{name} may be NULL"


def _flaws_of_role(connection: psycopg.Connection) -> Iterator[str]:
    row = connection.execute(_ROLE).fetchone() or (True,) * len(_POWERS)
    for has_power, words in zip(row, _POWERS, strict=True):
        if has_power:
            yield f"the login {words}"


def _flaws_of_rights(connection: psycopg.Connection, oid: int, columns: Columns) -> Iterator[str]:
    for name, selects, updates, more in connection.execute(_RIGHTS, [oid]).fetchall():
        if name in columns.written and not updates:
            yield f"the login may not UPDATE {name}"
        if (selects and name not in columns.named) or (updates and name not in columns.written) or more:
            yield f"the login may do more with the column {name[:63]} than it needs"
    if _is(connection, _WHOLE_TABLE, [oid]):
        yield "the login may INSERT, DELETE, TRUNCATE or add triggers"
    if _is(connection, _ELSEWHERE, [oid, oid]):
        yield "the login has rights on other tables: it needs a role of its own"


def _is(connection: psycopg.Connection, question: LiteralString, values: list[object]) -> bool:
    row = connection.execute(question, values).fetchone()
    return bool(row and row[0])
