"""Bytes of an exported spreadsheet → a table of text cells, or one sentence that says why they are none."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from inventory.errors import InventoryError

_DELIMITERS = (",", ";", "\t")
_NO_STRUCTURE = bytes(set(range(256)) - set(b'",;\t\n'))
_QUOTED = re.compile(rb'"[^"]*"?')
_REST_OF_QUOTED_CELL = re.compile(r'(?:[^"]++|"")*+"')
_EXPORT_AGAIN = 'Export the inventory again, as CSV in UTF-8 (Excel: "CSV UTF-8"; Notion: "Markdown & CSV").'
_SPLIT = "Split the file into smaller ones and import them one after the other."
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_FORMATS = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
    (b"-----BEGIN", "a PEM file"),
)
_MARKUP = re.compile(r"\s*<[!?a-zA-Z]")
_JSON = re.compile(r'\s*[\[{]\s*["\[\]{}\d-]')


class TableError(InventoryError):
    """A file that is no table, or one that is too large.

    `figure` is the number that the problem names, if any: bytes, rows, columns, the offset of a byte, a row.
    """

    def __init__(self, problem: str, mend: str, figure: int | None = None) -> None:
        self.problem, self.mend, self.figure = problem, mend, figure
        super().__init__(f"{problem} {mend}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_bytes: int
    max_rows: int  # below the header, blank ones included
    max_columns: int = 100
    max_cell_bytes: int = 8 * 1024  # in UTF-8


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One row under its number in a spreadsheet: the header is row 1, and a record of several lines is one row."""

    row: int
    cells: tuple[str, ...]

    @property
    def is_blank(self) -> bool:
        return not any(cell.strip() for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class Table:
    header: tuple[str, ...]
    records: tuple[Record, ...]  # without blank rows; each as wide as it was written


def read_table(content: bytes, *, limits: Limits) -> Table:
    """Read CSV after RFC 4180: UTF-8 with or without a byte order mark, comma, semicolon or tab, any line ends.

    Strict about quotes: one that is not closed, or that stands inside a bare cell, is refused, because whatever follows
    could be read in two ways. Line breaks inside cells come out as "\\n". Raises: TableError.
    """
    if len(content) > limits.max_bytes:
        raise TableError(
            f"The file has {len(content):,} bytes; {limits.max_bytes:,} is the most.", _SPLIT, len(content)
        )
    text = _decode(content)
    _refuse_other_formats(text)
    records = _Scanner(text, _outline(text), limits).records()
    filled = tuple(record for record in records if not record.is_blank)
    if not filled:
        raise TableError("The file is empty.", _EXPORT_AGAIN, 0)
    if len(filled) == 1:
        raise TableError("The file has a header and no row below it.", _EXPORT_AGAIN, 0)
    return Table(header=filled[0].cells, records=filled[1:])


def _decode(content: bytes) -> str:
    for mark, what in _FORMATS:
        if content.startswith(mark):
            raise TableError(f"The file is no CSV table but {what}.", _EXPORT_AGAIN)
    if content.startswith(_UTF16_MARKS):
        raise TableError("The file is in UTF-16, not in UTF-8.", _EXPORT_AGAIN, 0)
    if (zero := content.find(0)) >= 0:
        raise TableError(f"The file is no CSV table: byte {zero:,} is zero.", _EXPORT_AGAIN, zero)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if content.startswith(b"\xef\xbb\xbf") else 0)  # the codec counts behind the mark
        raise TableError(f"The file is not in UTF-8: byte {start:,} cannot be read.", _EXPORT_AGAIN, start) from error
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def _refuse_other_formats(text: str) -> None:
    if _MARKUP.match(text):
        raise TableError("The file is no CSV table but HTML or XML.", _EXPORT_AGAIN)
    if _JSON.match(text):
        raise TableError("The file is no CSV table but JSON.", _EXPORT_AGAIN)


def _outline(text: str) -> bytes:
    """Return only the delimiters and line ends outside quotes: what counting needs, at a speed that any file allows.

    Two quotes side by side change nothing outside them, so they go first; few are left for the pattern.
    """
    structure = text.encode().translate(None, _NO_STRUCTURE)
    return _QUOTED.sub(b"", structure.replace(b'""', b""))


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
        self._end_of_bare_cell = re.compile(rf'[{self._delimiter}\n"]')
        self._position = 0
        self._row = 0

    def records(self) -> Iterator[Record]:
        while self._position < len(self._text):
            self._row += 1
            yield Record(row=self._row, cells=tuple(self._cells()))

    def _refuse_too_many_rows(self) -> None:
        rows = self._outline.count(b"\n")
        if rows > self._limits.max_rows:
            raise TableError(
                f"The file has {rows:,} rows below its header; {self._limits.max_rows:,} is the most.", _SPLIT, rows
            )

    def _cells(self) -> list[str]:
        cells = [self._cell()]
        while self._takes(self._delimiter):
            if len(cells) == self._limits.max_columns:
                self._refuse_columns()
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
        self._refuse_large(cell)
        return cell

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

    def _refuse_large(self, cell: str) -> None:
        most = self._limits.max_cell_bytes
        if len(cell) * 4 <= most or (size := len(cell.encode())) <= most:
            return
        raise TableError(
            f"A cell in row {self._row:,} has {size:,} bytes; {most:,} is the most.", "Shorten that cell.", size
        )

    def _refuse_columns(self) -> None:
        width = _line(self._outline, self._row).count(self._delimiter.encode()) + 1
        raise TableError(
            f"Row {self._row:,} has {width:,} columns; {self._limits.max_columns:,} is the most.",
            "Export only the columns that the inventory needs.",
            width,
        )
