"""Rows of text → CSV, an Excel workbook or JSON, as a stream of bytes that no spreadsheet will run.

The first row is the header, and every row is as wide. `inventory.tables` reads all three back to the same texts, with
three exceptions: a line end inside a cell comes back as "\\n", blanks alone as nothing from a workbook, and what CSV or
UTF-8 cannot hold as U+FFFD or "?".
"""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final
from xml.sax.saxutils import escape

from audit.exports.delimited import csv_stream
from audit.exports.formulas import neutralise
from inventory.tables.sheet import letters_of

__all__ = ["MEDIA_TYPES", "MOST_XLSX_ROWS", "csv_stream", "json_stream", "neutralise", "xlsx_stream"]

MEDIA_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "json": "application/json",
}
MOST_XLSX_ROWS: Final = 1_048_576  # with the header: a sheet has no more
_ROWS_AT_ONCE = 500
# What XML cannot hold, and text that looks like the escape for it (ECMA-376 part 1, §22.9.2.19).
_TO_ESCAPE = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_SPREADSHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SPREADSHEET}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SPREADSHEET}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}">'
    '<sheets><sheet name="Keys" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
_SHEET_BEGINS = (
    f'{_DECLARATION}<worksheet xmlns="{_SHEET}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
)
_SHEET_ENDS = "</sheetData></worksheet>"
Row = Sequence[str]


def json_stream(rows: Iterable[Row]) -> Iterator[bytes]:
    """Write an array of objects, one a line, with the header's cells as names."""
    remaining = iter(rows)
    header = next(remaining, ())
    begin = "[\n"
    for batch in _batches(remaining):
        lines = (json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) for row in batch)
        yield (begin + ",\n".join(lines)).encode(errors="replace")
        begin = ",\n"
    yield b"[]\n" if begin == "[\n" else b"\n]\n"


def xlsx_stream(rows: Iterable[Row]) -> Iterator[bytes]:
    """Write a workbook of one sheet whose cells are all typed as text, so that none is ever run.

    At most MOST_XLSX_ROWS rows: the caller counts before it begins.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _PARTS.items():
            archive.writestr(_part(name), _DECLARATION + text)
        with archive.open(_part("xl/worksheets/sheet1.xml"), "w") as sheet:
            sheet.write(_SHEET_BEGINS.encode())
            first = 1
            for batch in _batches(rows):
                sheet.write("".join(_xml_row(number, row) for number, row in enumerate(batch, first)).encode())
                first += len(batch)
                yield sink.taken()
            sheet.write(_SHEET_ENDS.encode())
    yield sink.taken()


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, _ROWS_AT_ONCE)):
        yield batch


def _part(name: str) -> zipfile.ZipInfo:
    """Return a part dated 1980: the same rows make the same bytes."""
    part = zipfile.ZipInfo(name)
    part.compress_type = zipfile.ZIP_DEFLATED
    return part


def _xml_row(number: int, row: Row) -> str:
    cells = "".join(_xml_cell(f"{letters_of(column)}{number}", cell) for column, cell in enumerate(row, 1) if cell)
    return f'<row r="{number}">{cells}</row>'


def _xml_cell(reference: str, cell: str) -> str:
    text = escape(_TO_ESCAPE.sub(lambda found: f"_x{ord(found[0]):04X}_", cell))
    return f'<c r="{reference}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


class _Sink:
    """Keeps what the archive writes until somebody takes it; it cannot seek, so nothing is ever rewritten."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes, /) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Do nothing: what was written waits in memory."""

    def close(self) -> None:
        """Do nothing, for the same reason."""

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
