"""Reading rows for the checks: plain SQL, a server cursor, a few thousand rows in memory at a time."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, LiteralString

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.utils import CursorWrapper

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


@contextmanager
def present() -> Iterator[CursorWrapper]:
    """Yield a cursor that sees what is committed by now, by a login of its own; the snapshot sees one moment alone.

    Inside a transaction of somebody who sees the present anyway, it is that one's.
    """
    if one("SHOW transaction_isolation") == "read committed":
        with connection.cursor() as cursor:
            yield cursor
        return
    with closing(connections.create_connection(DEFAULT_DB_ALIAS)) as other, other.cursor() as cursor:
        yield cursor
