"""Which column holds what: by its header, or by what a person has said of it."""

from collections.abc import Iterator, Mapping, Sequence

from inventory.reading.said import Heading
from inventory.recognise import FIELDS, field_of, shown, suggested_field
from inventory.recognise.text import folded
from inventory.tables import Table, TableError

_NEEDED = {"name": "the name of a key", "kind": "the kind of a key"}
_SAMPLES = 3
_ROWS_LOOKED_AT = 50


class ColumnsError(TableError):
    """A table whose columns are not clear. `headings` are all of them, for a person to say what each holds."""

    def __init__(self, problem: str, mend: str, headings: tuple[Heading, ...]) -> None:
        self.headings = headings
        super().__init__(problem, mend)


class Columns:
    """The columns of one table: `fields` gives the index of each that is read, with its field.

    What a person has said of a header counts more than what we read in it: a column that we take for a field which is
    given to another one is left out.
    """

    def __init__(self, table: Table, mapping: Mapping[str, str]) -> None:
        self._table = table
        self._said = {folded(header): name for header, name in mapping.items()}
        self._refuse_unknown_fields()
        self.names = tuple(_shown(table.header, index) for index in range(len(table.header)))
        self._all = {index: name for index in range(len(table.header)) if (name := self._field_of(index))}
        self._refuse_unclear()
        self.fields: Mapping[int, str] = self._all
        places = map(numbered, range(len(table.header)))
        found = {folded(header) for header in (*table.header, *self.names, *places)}
        self.unused = tuple(shown(header) for header in mapping if folded(header) not in found)

    def headings(self) -> tuple[Heading, ...]:
        return tuple(
            Heading(
                header=name,
                field=self._all.get(index, ""),
                suggestion="" if index in self._all else suggested_field(self._table.header[index], self._all.values()),
                samples=tuple(self._samples(index)),
            )
            for index, name in enumerate(self.names)
        )

    def _answer(self, index: int) -> str | None:
        for header in (numbered(index), self._table.header[index], self.names[index]):
            if (name := self._said.get(folded(header))) is not None:
                return name
        return None

    def _field_of(self, index: int) -> str:
        answer = self._answer(index)
        if answer is not None:
            return answer
        name = field_of(self._table.header[index])
        return "" if name in self._said.values() else name

    def _refuse_unknown_fields(self) -> None:
        for name in self._said.values():
            if name and name not in FIELDS:
                raise TableError(f'There is no field "{shown(name)}".', f"The fields are: {', '.join(FIELDS)}.")

    def _refuse_unclear(self) -> None:
        indexes: dict[str, int] = {}
        for index, name in self._all.items():
            if name in indexes:
                both = f'"{self.names[indexes[name]]}" and "{self.names[index]}"'
                mend = "Keep one of them, or rename the other."
                raise ColumnsError(f"Two columns hold the same: {both}.", mend, self.headings())
            indexes[name] = index
        for name, what in _NEEDED.items():
            if name not in indexes:
                mend = f'The first row must name the columns; call that one "{name.capitalize()}".'
                raise ColumnsError(f"No column holds {what}.", mend, self.headings())

    def _samples(self, index: int) -> Iterator[str]:
        cells = (record.cells[index] for record in self._table.records[:_ROWS_LOOKED_AT] if index < len(record.cells))
        filled = dict.fromkeys(shown(cell) for cell in cells if cell.strip())
        yield from list(filled)[:_SAMPLES]


def _shown(header: Sequence[str], index: int) -> str:
    """Return a header as it may be shown; a column without one goes by its number."""
    text = header[index] if index < len(header) else ""
    return shown(text) or numbered(index)


def numbered(index: int) -> str:
    """Return the place of a column as its header, for a mapping too: it tells two columns of one header apart."""
    return f"column {index + 1}"


def shown_header(columns: Columns, index: int) -> str:
    return columns.names[index] if index < len(columns.names) else numbered(index)
