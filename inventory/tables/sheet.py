"""One sheet of a workbook → rows of text cells. Source: ECMA-376 part 1, §18.3.1."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from inventory.tables.archive import Part
from inventory.tables.table import (
    SPLIT,
    Fault,
    Limits,
    Record,
    TableError,
    refuse_large_cell,
    too_many_columns,
    too_many_rows,
)

_TEXTS = ("v", "t", "f")  # the value of a cell, its text, its formula
_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")  # §22.9.2.19: a character that XML cannot hold
_DAY_ZERO = {False: datetime(1899, 12, 30), True: datetime(1904, 1, 1)}  # noqa: DTZ001 - days, in no time zone
_FIRST_TRUE_DAY = {False: 61, True: 0}  # 1 March 1900: before it, Excel counts a 29 February that never was
_LAST_DAY = 2_958_465
_PASTE_VALUES = 'In the spreadsheet, copy the cells and paste them as values ("Paste special"), then save it again.'
_TYPE_IT = "Type into the cell what it should say, then save the spreadsheet again."


def unescaped(text: str) -> str:
    """Return what a string of a workbook says: escaped characters restored, "\\n" as the only line end."""
    if "_x" in text:
        text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


class Sheet(Part):
    """Collects the rows that are not blank; the first of them is the header, and no row is narrower."""

    def __init__(
        self, strings: Sequence[bytes], date_styles: frozenset[int], *, is_from_1904: bool, limits: Limits
    ) -> None:
        super().__init__()
        self.records: list[Record] = []
        self._strings, self._date_styles, self._is_from_1904 = strings, date_styles, is_from_1904
        self._limits = limits
        self._row, self._column = 0, 0
        self._cells: dict[int, str] = {}
        self._faults: list[Fault] = []
        self._cell: dict[str, str] | None = None  # the attributes of the cell that is open
        self._said: dict[str, str] = {}
        self._has_formula = False
        self._is_pronounced = False  # inside a guide to pronunciation, which is no part of the text
        self._taking = ""
        self._bytes_left = 2 * limits.max_bytes  # one shared string may stand in every cell

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = self.name_of[tag]
        if name == "c":
            self._begin_cell(attributes)
        elif name in _TEXTS:
            self._taking = "" if self._is_pronounced or self._cell is None else name
            self._has_formula = self._has_formula or name == "f"
        elif name == "row":
            self._begin_row(attributes)
        elif name == "rPh":
            self._is_pronounced = True

    def end(self, tag: str) -> None:
        name = self.name_of[tag]
        if name == "c":
            self._end_cell()
        elif name in _TEXTS:
            self._taking = ""
        elif name == "row":
            self._end_row()
        elif name == "rPh":
            self._is_pronounced = False

    def text(self, text: str) -> None:
        if self._taking:
            self._said[self._taking] += text

    def _begin_row(self, attributes: dict[str, str]) -> None:
        row = int(attributes.get("r", self._row + 1))
        if row <= self._row:
            raise ValueError("rows that go back")
        self._row, self._column = row, 0

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        column = self._column + 1
        if (reference := attributes.get("r")) is not None:
            found = _REFERENCE.fullmatch(reference)
            if found is None or int(found[2]) != self._row:
                raise ValueError("a cell in another row")
            column = _column(found[1])
            if column <= self._column:
                raise ValueError("cells that go back")
        self._column, self._cell, self._has_formula = column, attributes, False
        self._said = dict.fromkeys(_TEXTS, "")

    def _end_cell(self) -> None:
        attributes, self._cell = self._cell or {}, None
        if self._has_formula:
            cell = f"={self._said['f']}"
            self._fault("holds a formula, and its result is not taken on trust", _PASTE_VALUES)
        else:
            cell = self._text_of(attributes)
        if not cell.strip():
            return
        if self._column > self._limits.max_columns:
            raise too_many_columns(self._row, self._column, self._limits)
        refuse_large_cell(cell, self._row, self._limits)
        self._bytes_left -= len(cell)
        if self._bytes_left < 0:
            raise TableError("The cells of the workbook hold more text than is read at once.", SPLIT)
        self._cells[self._column - 1] = cell

    def _fault(self, problem: str, mend: str) -> None:
        cell = f"Cell {letters_of(self._column)}{self._row}"
        self._faults.append(Fault(index=self._column - 1, problem=f"{cell} {problem}.", mend=mend))

    def _text_of(self, attributes: dict[str, str]) -> str:
        said = self._said["v"]
        match attributes.get("t", "n"):
            case "s":
                return self._strings[int(said)].decode(errors="surrogatepass") if said else ""
            case "inlineStr":
                return unescaped(self._said["t"])
            case "b":
                return {"": "", "0": "false", "1": "true"}[said]
            case "e":
                self._fault("holds an error instead of a text", _TYPE_IT)
                return said
            case "n":
                return self._number(said, attributes)
        return unescaped(said)  # "str", and "d", a date that is written out

    def _number(self, said: str, attributes: dict[str, str]) -> str:
        if said and int(attributes.get("s", "0")) in self._date_styles:
            return self._date(said)
        if not said or _WHOLE.fullmatch(said):
            return said
        number = float(said)
        return str(int(number)) if number.is_integer() and abs(number) < 10**15 else said

    def _date(self, said: str) -> str:
        """Write the number of days since the beginning of the calendar as a day, with the minute if it has one."""
        days = float(said)
        if not _FIRST_TRUE_DAY[self._is_from_1904] <= days <= _LAST_DAY:
            self._fault("is a date that no calendar has", _TYPE_IT)
            return said
        moment = _DAY_ZERO[self._is_from_1904] + timedelta(seconds=round(days * 86_400))
        return f"{moment:%Y-%m-%d}" if days == int(days) else f"{moment:%Y-%m-%d %H:%M}"

    def _end_row(self) -> None:
        if self._cells:
            if self._faults and not self.records:
                raise TableError(f"{self._faults[0].problem} It stands in the header.", self._faults[0].mend, self._row)
            if len(self.records) > self._limits.max_rows:
                raise too_many_rows(f"more than {self._limits.max_rows:,}", self._limits, len(self.records))
            width = max(self._cells) + 1 if not self.records else max(*self._cells, len(self.records[0].cells) - 1) + 1
            cells = tuple([self._cells.get(index, "") for index in range(width)])
            self.records.append(Record(row=self._row, cells=cells, faults=tuple(self._faults)))
        self._cells, self._faults = {}, []


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


@lru_cache(maxsize=1_000)
def letters_of(column: int) -> str:
    """Return the letters of a column: A for 1, AA for 27."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
