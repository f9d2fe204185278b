"""Excel workbooks (XLSX), read as text: nothing in them is computed, and no computed result is believed.

The reader is our own, because memory and time have to hold for a stranger's file: openpyxl 3.1.5 took 334 MB for 8 kB
of a hostile workbook, and four times as long for a good one. Source: ECMA-376 part 1, §18.2 to §18.8.
"""

import posixpath
import re

from inventory.tables.archive import Archive, Part
from inventory.tables.sheet import Sheet, unescaped
from inventory.tables.table import EXPORT_AGAIN, SPLIT, Limits, Source, Table, TableError, table_of

_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_WORKBOOK = "xl/workbook.xml"
_SMALL_PART_BYTES = 2 * 1024 * 1024
_STRINGS_BYTES = 24 * 1024 * 1024
_SHEET_BYTES = 48 * 1024 * 1024
_MOST_STRINGS = 300_000
_LONGEST_SHEET_NAME = 31
_BUILT_IN_DATES = frozenset({14, 15, 16, 17, 22, 27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58})  # §18.8.30
_NO_FORMAT = re.compile(r'"[^"]*"?|\[[^\]]*\]?|[\\_*].')  # text, colours and locales, and escaped characters


def is_workbook(content: bytes) -> bool:
    return content.startswith(_ZIP_MARKS)


def read_workbook(content: bytes, *, limits: Limits) -> Table:
    """Read the first visible sheet; dates come out as year-month-day. Raises: TableError.

    A formula or an error is a fault of its cell. Blank cells at the end of a row are filled up to the header's width.
    """
    archive = Archive(content)
    if _WORKBOOK not in archive:
        raise TableError("The file is a ZIP archive, but no Excel workbook.", EXPORT_AGAIN)
    book, relations = _Book(), _Relations()
    archive.parse(_WORKBOOK, book, max_bytes=_SMALL_PART_BYTES)
    archive.parse("xl/_rels/workbook.xml.rels", relations, max_bytes=_SMALL_PART_BYTES)
    strings, styles = _Strings(limits), _Styles()
    if path := relations.path_of_kind("sharedStrings"):
        archive.parse(path, strings, max_bytes=_STRINGS_BYTES)
    if path := relations.path_of_kind("styles"):
        archive.parse(path, styles, max_bytes=_SMALL_PART_BYTES)
    visible = [(name, relations.sheets[relation]) for name, relation in book.visible if relation in relations.sheets]
    if not visible:
        raise TableError("The workbook has no sheet that can be seen.", EXPORT_AGAIN)
    sheet = Sheet(strings.texts, styles.dates, is_from_1904=book.is_from_1904, limits=limits)
    archive.parse(visible[0][1], sheet, max_bytes=_SHEET_BYTES)
    name, *others = (name for name, _ in visible)
    source = Source(format="Excel workbook", encoding="UTF-8", sheet=name, other_sheets=tuple(others))
    return table_of(tuple(sheet.records), source)


class _Book(Part):
    """The sheets by name and relation, and where the calendar begins (§18.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.visible: list[tuple[str, str]] = []
        self.is_from_1904 = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self.name_of[tag]
        if name == "workbookPr":
            self.is_from_1904 = attributes.get("date1904", "0") in {"1", "true"}
        elif name == "sheet" and attributes.get("state", "visible") == "visible":
            target = next((text for key, text in attributes.items() if key.endswith(":id")), "")
            self.visible.append((attributes.get("name", "")[:_LONGEST_SHEET_NAME], target))


class _Relations(Part):
    """Which part is which. Source: ECMA-376 part 2, §8.3 (relationships)."""

    def __init__(self) -> None:
        super().__init__()
        self.sheets: dict[str, str] = {}  # relation → path
        self._by_kind: dict[str, str] = {}

    def path_of_kind(self, kind: str) -> str:
        return self._by_kind.get(kind, "")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self.name_of[tag] != "Relationship" or attributes.get("TargetMode") == "External":
            return
        path = posixpath.normpath(posixpath.join("/xl", attributes.get("Target", ""))).lstrip("/")
        kind = attributes.get("Type", "").rpartition("/")[2]
        self._by_kind.setdefault(kind, path)
        if kind == "worksheet":
            self.sheets[attributes.get("Id", "")] = path


class _Strings(Part):
    """The table of shared strings, in UTF-8 to keep it small (§18.4). What it says in italics is part of a string."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.texts: list[bytes] = []
        self._limits = limits
        self._pieces: list[str] = []
        self._length = 0
        self._taking = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self.name_of[tag]
        if name == "si":
            self._pieces, self._length = [], 0
        elif name == "rPh" or (name == "t" and not self._taking):
            self._taking = name

    def end(self, tag: str) -> None:
        name = self.name_of[tag]
        if name == self._taking:
            self._taking = ""
        elif name == "si":
            self._keep(unescaped("".join(self._pieces)).encode(errors="surrogatepass"))

    def text(self, text: str) -> None:
        if (
            self._taking == "t" and self._length <= self._limits.max_cell_bytes
        ):  # past that it is refused where it stands
            self._pieces.append(text)
            self._length += len(text)

    def _keep(self, text: bytes) -> None:
        if len(self.texts) == _MOST_STRINGS:
            raise TableError(f"The workbook holds more than {_MOST_STRINGS:,} different texts.", SPLIT, _MOST_STRINGS)
        self.texts.append(text)


class _Styles(Part):
    """Which styles show a number as a date (§18.8)."""

    def __init__(self) -> None:
        super().__init__()
        self._formats: list[int] = []
        self._custom: dict[int, str] = {}
        self._in_cells = False

    @property
    def dates(self) -> frozenset[int]:
        return frozenset(style for style, number in enumerate(self._formats) if self._is_date(number))

    def _is_date(self, number: int) -> bool:
        if number not in self._custom:
            return number in _BUILT_IN_DATES
        letters = set(_NO_FORMAT.sub("", self._custom[number].partition(";")[0]).lower())
        return bool(letters & {"y", "d"}) or ("m" in letters and not letters & {"h", "s"})

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self.name_of[tag]
        if name == "numFmt":
            self._custom[int(attributes["numFmtId"])] = attributes["formatCode"]
        elif name == "cellXfs":
            self._in_cells = True
        elif name == "xf" and self._in_cells:
            self._formats.append(int(attributes.get("numFmtId", "0")))

    def end(self, tag: str) -> None:
        if self.name_of[tag] == "cellXfs":
            self._in_cells = False
