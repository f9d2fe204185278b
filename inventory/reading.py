"""An exported inventory → typed facts of each key, or what is wrong with its row and how to mend it (R209)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import partial
from typing import TypeVar

from inventory.recognise import (
    NotUnderstoodError,
    PersonRef,
    access_of,
    algorithm_of,
    classification_of,
    clean,
    date_of,
    environment_of,
    field_of,
    flag_of,
    holds_key_material,
    kind_of,
    last_rotation_of,
    merge_people,
    name_of,
    person_of,
    service_of,
    shown,
    size_of,
    storage_of,
)
from inventory.tables import Limits, Record, Table, TableError, read_table

__all__ = ["KeyFacts", "PersonRef", "ReadRow", "Reading", "Refusal", "Repeated", "TableError", "read_inventory"]

_NEEDED = {"name": "the name of a key", "kind": "the kind of a key"}
_FACT_OF_COLUMN = {
    "storage": "storage_location",
    "service_description": "purpose",
    "access_production": "access",
    "access_customer": "access",
}
_MOST_ROWS_NAMED = 5
_NO_ROTATION: tuple[date | None, bool] = (None, False)
_NO_ALGORITHM: tuple[str, int | None] = ("", None)
_LEAKED_MEND = "Take it out of the spreadsheet. Whoever could read that may have the key, so rotate it."
_WIDTH_MEND = "Put cells that hold a delimiter or a line break in quotes, and give each column its cell."
Fact = TypeVar("Fact")


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFacts:
    """What one row says. "" and None mean that it says nothing; choices are values of `inventory.terms`."""

    name: str
    kind: str
    creator: PersonRef | None
    owner: PersonRef | None
    service: str
    purpose: str
    created_on: date | None
    last_rotated_on: date | None
    never_rotated: bool
    environment: str
    algorithm: str
    size_bits: int | None
    storage_medium: str
    storage_location: str  # the words of the file, whatever the medium
    access: str
    classification: str
    notes: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a row is not taken. `row` is its number in a spreadsheet, where the header is row 1 and each record one row.

    `field` is one of KeyFacts, or the header of a column without one, or "" for the row as a whole.
    """

    row: int
    field: str
    problem: str
    mend: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRow:
    row: int
    facts: KeyFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """A row that says the same as an earlier one, word for word or with other words for the same facts."""

    row: int
    earlier_row: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a file says. Each row that is not blank is in `rows`, in `repeated`, or has refusals; all three by row."""

    rows: tuple[ReadRow, ...]
    refusals: tuple[Refusal, ...]
    columns: Mapping[str, str]  # header → what the column is read as
    ignored: tuple[str, ...]  # headers that are not understood, as they may be shown
    repeated: tuple[Repeated, ...]
    people: frozenset[PersonRef]  # everybody the file names, in refused rows too: for merge_people()

    @property
    def refused_rows(self) -> int:
        return len({refusal.row for refusal in self.refusals})


def read_inventory(content: bytes, *, today: date, max_bytes: int, max_rows: int) -> Reading:
    """Read a CSV file, each row for itself: what is not understood is refused with its mend, never guessed.

    Raises: TableError when the file is no table, is too large, or has no columns for name and kind.
    """
    table = read_table(content, limits=Limits(max_bytes=max_bytes, max_rows=max_rows))
    columns = _columns(table)
    rows = [_Row(record, table.header, columns, today) for record in table.records]
    people = frozenset(ref for row in rows if row.facts for ref in (row.facts.creator, row.facts.owner) if ref)
    read, repeated, conflicts = _told_apart(rows, merge_people(people, {}))
    refusals = [refusal for row in rows for refusal in row.refusals] + conflicts
    return Reading(
        rows=tuple(read),
        refusals=tuple(sorted(refusals, key=lambda refusal: refusal.row)),
        columns={" ".join(table.header[index].split()): name for index, name in columns.items()},
        ignored=tuple(_header(table.header, index) for index in range(len(table.header)) if index not in columns),
        repeated=tuple(repeated),
        people=people,
    )


def _columns(table: Table) -> dict[int, str]:
    """Return the index of each column that is understood, with its field."""
    indexes: dict[str, int] = {}
    for index, header in enumerate(table.header):
        name = field_of(header)
        if name in indexes:
            both = f'"{shown(table.header[indexes[name]])}" and "{shown(header)}"'
            raise TableError(f"Two columns hold the same: {both}.", "Keep one of them, or rename the other.")
        if name:
            indexes[name] = index
    for name, what in _NEEDED.items():
        if name not in indexes:
            raise TableError(
                f"No column holds {what}.", f'The first row must name the columns; call that one "{name.capitalize()}".'
            )
    return {index: name for name, index in indexes.items()}


def _header(header: Sequence[str], index: int) -> str:
    """Return a header as it may be shown; a column without one goes by its number."""
    text = header[index] if index < len(header) else ""
    return shown(text) or f"column {index + 1}"


class _Row:
    """One record being read: the facts it gives, and what is wrong with it.

    `facts` is None where no cell can be trusted to be what its column says; with other refusals it is incomplete.
    """

    def __init__(self, record: Record, header: Sequence[str], columns: Mapping[int, str], today: date) -> None:
        self.row = record.row
        self.refusals: list[Refusal] = []
        self._cells = {name: record.cells[index] for index, name in columns.items() if index < len(record.cells)}
        self._today = today
        self._refuse_key_material(record, header, columns)
        self._refuse_wrong_width(record, header)
        self.facts = None if self.refusals else self._read()

    def _refuse_key_material(self, record: Record, header: Sequence[str], columns: Mapping[int, str]) -> None:
        """Look at every cell, those of ignored columns too. Nothing else of such a row is read or quoted."""
        for index, cell in enumerate(record.cells):
            if holds_key_material(cell):
                name = columns[index] if index in columns else _header(header, index)
                self._refuse(name, "This cell looks like key material; the inventory never holds it.", _LEAKED_MEND)

    def _refuse_wrong_width(self, record: Record, header: Sequence[str]) -> None:
        cells = len(record.cells)
        if cells < len(header) or any(cell.strip() for cell in record.cells[len(header) :]):
            problem = f"The row has {cells} cells and the header {len(header)}, so it is not certain which is which."
            self._refuse("", problem, _WIDTH_MEND)

    def _refuse(self, name: str, problem: str, mend: str) -> None:
        fact = _FACT_OF_COLUMN.get(name, name)
        self.refusals.append(Refusal(row=self.row, field=fact, problem=problem, mend=mend))

    def _cell(self, name: str, recognise: Callable[[str], Fact], blank: Fact) -> Fact:
        try:
            return recognise(clean(self._cells.get(name, "")))
        except NotUnderstoodError as error:
            self._refuse(name, error.problem, error.mend)
            return blank

    def _text(self, name: str) -> str:
        return self._cell(name, str, "")

    def _read(self) -> KeyFacts:
        """Read all cells, so that a person hears at once of everything that is wrong with a row."""
        service, purpose = service_of(self._text("service"), self._text("service_description"), self._text("purpose"))
        rotated_on, never_rotated = self._cell(
            "last_rotated_on", partial(last_rotation_of, today=self._today), _NO_ROTATION
        )
        algorithm, bits = self._cell("algorithm", algorithm_of, _NO_ALGORITHM)
        medium, location = self._cell("storage", storage_of, ("", ""))
        return KeyFacts(
            name=self._cell("name", name_of, ""),
            kind=self._cell("kind", kind_of, ""),
            creator=self._cell("creator", person_of, None),
            owner=self._cell("owner", person_of, None),
            service=service,
            purpose=purpose,
            created_on=self._creation(rotated_on),
            last_rotated_on=rotated_on,
            never_rotated=never_rotated,
            environment=self._cell("environment", environment_of, ""),
            algorithm=algorithm,
            size_bits=self._size(algorithm, bits),
            storage_medium=medium,
            storage_location=location,
            access=self._access(),
            classification=self._cell("classification", classification_of, ""),
            notes=self._text("notes"),
        )

    def _creation(self, rotated_on: date | None) -> date | None:
        created_on = self._cell("created_on", partial(date_of, today=self._today), None)
        if created_on and rotated_on and rotated_on < created_on:
            problem = f"The key was last rotated on {rotated_on}, before it was created on {created_on}."
            self._refuse("last_rotated_on", problem, "Correct the date that is wrong.")
        return created_on

    def _size(self, algorithm: str, bits: int | None) -> int | None:
        said = self._cell("size_bits", size_of, None)
        if said and bits and said != bits:
            self._refuse("size_bits", f"{algorithm} has {bits} bits, not {said}.", "Correct the one that is wrong.")
        return bits if said is None else said

    def _access(self) -> str:
        production = self._cell("access_production", flag_of, None)
        customer = self._cell("access_customer", flag_of, None)
        return self._cell("access", partial(access_of, production=production, customer=customer), "")


class _Group:
    """The rows of one name: one of them is taken and the others repeat it, or none is taken."""

    def __init__(self, name: str, rows: Sequence[_Row], who: Mapping[PersonRef, PersonRef]) -> None:
        self._name = name
        self.good = [ReadRow(row=one.row, facts=one.facts) for one in rows if one.facts and not one.refusals]
        self._refused = [one.row for one in rows if one.refusals]
        self._differing = _differing([_with_people(one.facts, who) for one in self.good])

    @property
    def problem(self) -> str:
        if self._differing:
            rows, facts = _numbers([one.row for one in self.good]), ", ".join(self._differing).replace("_", " ")
            return f'Rows {rows} describe "{shown(self._name)}" and differ in {facts}.'
        if self.good and self._refused:
            return f'Another row for "{shown(self._name)}" is refused: {_numbers(self._refused)}.'
        return ""

    def conflicts(self) -> Iterator[Refusal]:
        if problem := self.problem:
            for one in self.good:
                yield Refusal(row=one.row, field="name", problem=problem, mend="Keep one row, the one that is true.")

    def repeated(self) -> Iterator[Repeated]:
        for one in self.good[1:]:
            yield Repeated(row=one.row, earlier_row=self.good[0].row, name=self._name)


def _told_apart(
    rows: Iterable[_Row], who: Mapping[PersonRef, PersonRef]
) -> tuple[list[ReadRow], list[Repeated], list[Refusal]]:
    """Return the rows to take, those that repeat one of them, and the refusals of names described in two ways."""
    by_name: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        if row.facts and row.facts.name:
            by_name[row.facts.name].append(row)
    groups = [_Group(name, same, who) for name, same in by_name.items()]
    clear = [group for group in groups if group.good and not group.problem]
    return (
        sorted((group.good[0] for group in clear), key=lambda one: one.row),
        sorted((one for group in clear for one in group.repeated()), key=lambda one: one.row),
        [conflict for group in groups for conflict in group.conflicts()],
    )


def _with_people(facts: KeyFacts, who: Mapping[PersonRef, PersonRef]) -> KeyFacts:
    """Return the facts with each person under the fullest name that the file has for them."""
    return replace(facts, creator=facts.creator and who[facts.creator], owner=facts.owner and who[facts.owner])


def _differing(said: Sequence[KeyFacts]) -> list[str]:
    return [one.name for one in fields(KeyFacts) if len({getattr(facts, one.name) for facts in said}) > 1]


def _numbers(rows: Sequence[int]) -> str:
    named = [f"{row:,}" for row in rows[:_MOST_ROWS_NAMED]]
    more = [f"{len(rows) - len(named):,} more"] if len(rows) > len(named) else []
    listed = named + more
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
