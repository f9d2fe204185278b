"""Reading rows for the checks: plain SQL, a server cursor, a few thousand rows in memory at a time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, LiteralString

from django.db import connection

FETCHED_ROWS = 2_000
Values = Sequence[int | str | datetime | list[str]]


def rows(statement: LiteralString, values: Values = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a statement. Runs inside the snapshot."""
    with connection.chunked_cursor() as cursor:
        cursor.cursor.itersize = FETCHED_ROWS
        cursor.execute(statement, list(values) or None)  # without values, a % is one
        yield from cursor


def one(statement: LiteralString, values: Values = ()) -> Any:  # noqa: ANN401 - a count, a time, a number
    """Return the first column of the first row, None without one."""
    with connection.cursor() as cursor:
        cursor.execute(statement, list(values) or None)
        row = cursor.fetchone()
    return row[0] if row else None
