"""A table of text cells, whatever file it came from, and why a file is none."""

from dataclasses import dataclass

from inventory.errors import InventoryError

SPLIT = "Split the file into smaller ones and import them one after the other."
EXPORT_AGAIN = (
    'Export the inventory again, as CSV in UTF-8 (Excel: "CSV UTF-8"; Notion: "Markdown & CSV"), '
    "or as an Excel workbook."
)
FEWER_COLUMNS = "Export only the columns that the inventory needs."


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
    max_rows: int  # below the header, blank ones included where they are written out
    max_columns: int = 100
    max_cell_bytes: int = 8 * 1024  # in UTF-8


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A cell that has no text of its own: the result of a formula, an error, a list."""

    index: int
    problem: str
    mend: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One row under its number in a spreadsheet: the header is row 1, and a record of several lines is one row.

    Objects of a JSON file are numbered from 1. The text of a cell with a fault is never to be taken for what it says.
    """

    row: int
    cells: tuple[str, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def is_blank(self) -> bool:
        return not any(cell.strip() for cell in self.cells)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What kind of file a table was read from, to be said to the person who brought it."""

    format: str  # "CSV", "Excel workbook" or "JSON"
    encoding: str  # "UTF-8", "UTF-16" or "Windows-1252"
    sheet: str = ""
    other_sheets: tuple[str, ...] = ()  # visible ones that were not read


@dataclass(frozen=True, kw_only=True)
class Table:
    header: tuple[str, ...]
    records: tuple[Record, ...]  # without blank rows; each as wide as it was written
    source: Source


def table_of(records: tuple[Record, ...], source: Source) -> Table:
    """Take the first row that is not blank as the header of those below it."""
    filled = tuple(record for record in records if not record.is_blank)
    if not filled:
        raise TableError("The file is empty.", EXPORT_AGAIN, 0)
    if len(filled) == 1:
        raise TableError("The file has a header and no row below it.", EXPORT_AGAIN, 0)
    return Table(header=filled[0].cells, records=filled[1:], source=source)


def too_many_rows(rows: str, limits: Limits, figure: int) -> TableError:
    problem = f"The file has {rows} rows below its header; {limits.max_rows:,} is the most."
    return TableError(problem, SPLIT, figure)


def too_many_columns(row: int, width: int, limits: Limits) -> TableError:
    problem = f"Row {row:,} has {width:,} columns; {limits.max_columns:,} is the most."
    return TableError(problem, FEWER_COLUMNS, width)


def refuse_large_cell(cell: str, row: int, limits: Limits) -> None:
    most = limits.max_cell_bytes
    if len(cell) * 4 > most and (size := len(cell.encode(errors="surrogatepass"))) > most:
        raise TableError(f"A cell in row {row:,} has {size:,} bytes; {most:,} is the most.", "Shorten that cell.", size)
