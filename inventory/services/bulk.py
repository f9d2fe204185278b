"""Many rows of one table in one statement: one JSON text, which PostgreSQL takes apart by the types of the columns."""

import json
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, TypeVar

from django.db import connection, models
from psycopg import sql

from inventory.errors import StaleError

ROWS_AT_ONCE = 1_000
Row = TypeVar("Row", bound=models.Model)


def insert_rows(rows: Sequence[Row], *, by: str, without: Sequence[str] = ()) -> None:
    """Insert new records and set their primary keys.

    `by` is the column that tells them apart, such as "name"; columns in `without` are left to the database. The rows
    are not validated. Queries: 1 for each 1,000. Raises: IntegrityError.
    """
    for some in _batches(rows):
        left = {"id", *without}
        columns = [str(field.column) for field in some[0]._meta.concrete_fields if field.column not in left]
        statement = sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %s) "
            "RETURNING {by}, id"
        ).format(table=_table(some[0]), columns=_listed(columns), by=sql.Identifier(by))
        with connection.cursor() as cursor:
            cursor.execute(statement, [_text(some, columns)])
            numbers = dict(cursor.fetchall())
        for row in some:
            row.pk = numbers[getattr(row, by)]


def update_rows(rows: Sequence[Row], fields: Sequence[str]) -> None:
    """Write these fields of records that count revisions, each record over the revision before its own only.

    Queries: 1 for each 1,000. Raises: StaleError when one of them is not that any more; IntegrityError.
    """
    for some in _batches(rows):
        columns = [str(some[0]._meta.get_field(name).column) for name in fields]  # type: ignore[union-attr]
        statement = sql.SQL(
            "UPDATE {table} SET ({columns}) = ROW ({said}) FROM jsonb_populate_recordset(NULL::{table}, %s) AS said "
            "WHERE {table}.id = said.id AND {table}.revision = said.revision - 1"
        ).format(table=_table(some[0]), columns=_listed(columns), said=_listed(columns, of="said"))
        with connection.cursor() as cursor:
            cursor.execute(statement, [_text(some, ["id", *columns])])
            if cursor.rowcount != len(some):
                raise StaleError("The inventory")


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE))


def _table(row: models.Model) -> sql.Identifier:
    return sql.Identifier(row._meta.db_table)


def _listed(columns: Sequence[str], *, of: str | None = None) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(of, column) if of else sql.Identifier(column) for column in columns)


def _text(rows: Sequence[models.Model], columns: Sequence[str]) -> str:
    attributes = {field.column: field.attname for field in rows[0]._meta.concrete_fields}
    pairs = [(column, attributes[column]) for column in columns]
    said = [{column: getattr(row, name) for column, name in pairs} for row in rows]
    return json.dumps(said, default=_plain)


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(f"{type(value).__name__} has no form here")
