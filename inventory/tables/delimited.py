"""CSV after RFC 4180, in any of four delimiters, read once from front to back."""

import re
from collections.abc import Iterator

from audit.exports.formulas import plain
from inventory.tables.table import (
    EXPORT_AGAIN,
    Limits,
    Record,
    Source,
    Table,
    TableError,
    refuse_large_cell,
    table_of,
    too_many_columns,
    too_many_rows,
)

_DELIMITERS = (",", ";", "\t", "|")
_NO_STRUCTURE = bytes(set(range(256)) - set(b'",;\t|\n'))
_OUTLINED_AT_ONCE = 64 * 1024
_REST_OF_QUOTED_CELL = re.compile(r'(?:[^"]++|"")*+"')
_MARKUP = re.compile(r"\s*<[!?a-zA-Z]")


def read_delimited(text: str, *, encoding: str, limits: Limits) -> Table:
    """Read CSV with commas, semicolons, tabs or bars, whichever the header has most of.

    Strict about quotes: one that is not closed, or that stands inside a bare cell, is refused, because whatever follows
    could be read in two ways. The apostrophe with which `formulas.neutralise` disarms a formula is taken off again.
    Raises: TableError.
    """
    if _MARKUP.match(text):
        raise TableError("The file is no CSV table but HTML or XML.", EXPORT_AGAIN)
    records = _Scanner(text, _outline(text), limits).records()
    return table_of(tuple(records), Source(format="CSV", encoding=encoding))


def _outline(text: str) -> bytes:
    """Return only the delimiters and line ends outside quotes: what counting needs, at a speed that any file allows.

    Every second piece between quotes lies outside; a doubled quote changes nothing about that. Piece by piece, because
    a file of nothing but quotes would fill the memory with pieces.
    """
    structure = text.encode().translate(None, _NO_STRUCTURE)
    outside, is_quoted = bytearray(), 0
    for start in range(0, len(structure), _OUTLINED_AT_ONCE):
        pieces = structure[start : start + _OUTLINED_AT_ONCE].split(b'"')
        outside += b"".join(pieces[is_quoted::2])
        is_quoted = (is_quoted + len(pieces) - 1) % 2
    return bytes(outside)


def _sniff(text: str, outline: bytes) -> str:
    """Return the delimiter that the header has most of; a comma where it has none."""
    blank_lines = text.count("\n", 0, len(text) - len(text.lstrip(" \n")))
    header = _line(outline, blank_lines + 1)
    return max(_DELIMITERS, key=lambda delimiter: header.count(delimiter.encode()))


def _line(outline: bytes, row: int) -> bytes:
    return outline.split(b"\n", row)[row - 1]


class _Scanner:
    """Walks through the text once, cell by cell, and stops at the first thing that is too large or ambiguous."""

    def __init__(self, text: str, outline: bytes, limits: Limits) -> None:
        self._text, self._outline, self._limits = text, outline, limits
        self._refuse_too_many_rows()  # before the text is walked through: the number is exact
        self._delimiter = _sniff(text, outline)
        self._end_of_bare_cell = re.compile(f'[{re.escape(self._delimiter)}\n"]')
        self._position = 0
        self._row = 0

    def records(self) -> Iterator[Record]:
        while self._position < len(self._text):
            self._row += 1
            yield Record(row=self._row, cells=tuple(self._cells()))

    def _refuse_too_many_rows(self) -> None:
        rows = self._outline.count(b"\n")
        if rows > self._limits.max_rows:
            raise too_many_rows(f"{rows:,}", self._limits, rows)

    def _cells(self) -> list[str]:
        cells = [self._cell()]
        while self._takes(self._delimiter):
            if len(cells) == self._limits.max_columns:
                raise too_many_columns(self._row, self._width(), self._limits)
            cells.append(self._cell())
        if not self._takes("\n") and self._position < len(self._text):
            raise TableError(
                f"Row {self._row:,} cannot be cut into cells: a quote stands in one, or text behind a closing quote.",
                'Put the whole cell in quotes and double each quote in it: "5"" disk".',
                self._row,
            )
        return cells

    def _takes(self, character: str) -> bool:
        taken = self._text.startswith(character, self._position)
        self._position += taken
        return taken

    def _cell(self) -> str:
        if self._text.startswith('"', self._position):
            start, end = self._position + 1, self._closing_quote()
            self._position = end + 1
        else:
            found = self._end_of_bare_cell.search(self._text, self._position)
            start, end = self._position, found.start() if found else len(self._text)
            self._position = end
        cell = self._text[start:end].replace('""', '"')
        refuse_large_cell(cell, self._row, self._limits)
        return plain(cell)

    def _closing_quote(self) -> int:
        """Return where the quoted cell ends that begins here; a doubled quote belongs to its text."""
        found = _REST_OF_QUOTED_CELL.match(self._text, self._position + 1)
        if found is None:
            raise TableError(
                f"A quote opens in row {self._row:,} and is never closed.",
                "Close it, or double it if it belongs to the text.",
                self._row,
            )
        return found.end() - 1

    def _width(self) -> int:
        return _line(self._outline, self._row).count(self._delimiter.encode()) + 1
