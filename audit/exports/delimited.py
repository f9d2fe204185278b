"""Rows of text → CSV, as a stream of bytes that no spreadsheet will run. Pure."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from audit.exports.formulas import neutralise

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # without it, Excel takes UTF-8 for Windows-1252
_ROWS_AT_ONCE = 500


def csv_stream(rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """Write CSV after RFC 4180, in UTF-8 with a byte order mark, formulas disarmed."""
    yield BYTE_ORDER_MARK
    remaining = iter(rows)
    while batch := list(islice(remaining, _ROWS_AT_ONCE)):
        yield csv_lines(batch)


def csv_lines(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as lines of CSV, without a byte order mark."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(
        [neutralise(cell.replace("\0", "\N{REPLACEMENT CHARACTER}")) for cell in row] for row in rows
    )
    return text.getvalue().encode(errors="replace")
