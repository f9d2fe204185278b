"""One row of a table → the facts it gives, and everything that is wrong with it."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import date
from functools import partial
from typing import Any, NamedTuple, TypeVar

from inventory.reading.columns import Columns, shown_header
from inventory.reading.said import DateOrder, KeyFacts, Refusal
from inventory.recognise import (
    AmbiguousDateError,
    NotUnderstoodError,
    access_of,
    algorithm_of,
    classification_of,
    clean,
    date_of,
    environment_of,
    flag_of,
    holds_key_material,
    kind_of,
    label_of,
    last_rotation_of,
    link_of,
    medium_of,
    name_of,
    person_of,
    service_of,
    several_of,
    size_of,
    storage_of,
)
from inventory.tables import Fault, Record

_FACT_OF_COLUMN = {
    "storage": "storage_location",
    "service_description": "purpose",
    "access_production": "access",
    "access_customer": "access",
}
_LABELS = {
    "vendor": "name of a vendor",
    "generation_method": "method",
    "tenant": "name of a tenant",
    "integration": "name of an integration",
    "secret_name": "name of the secret",
}
_SEVERAL = {"consumers": "service", "approved_consumers": "service", "wrapped_by": "key", "derived_from": "key"}
_NO_ROTATION: tuple[date | None, bool] = (None, False)
_NO_ALGORITHM: tuple[str, int | None] = ("", None)
_LEAKED_MEND = "Take it out of the spreadsheet. Whoever could read that may have the key, so rotate it."
_WIDTH_MEND = "Put cells that hold a delimiter or a line break in quotes, and give each column its cell."
_NOTHING: Any = object()
_LONGEST_KEPT, _MOST_KEPT = 100, 20_000
Fact = TypeVar("Fact")


class Dates(NamedTuple):
    """How the dates of the file are to be read, and the question that is asked about them, if one is."""

    today: date
    order: DateOrder | None
    question: str


class Known:
    """What cells of the file were recognised as, for the next cell of that column that says the same.

    Refused cells are not kept, nor are long ones, and no more than some thousands: memory stays bounded.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}

    def recognised(self, asked: Hashable, text: str, recognise: Callable[[str], Fact]) -> Fact:
        """Return what `recognise` makes of the cleaned text; within one file `asked` is all else that it depends on."""
        found: Fact = self._kept.get((asked, text), _NOTHING)
        if found is _NOTHING:
            found = recognise(clean(text))
            if len(text) <= _LONGEST_KEPT and len(self._kept) < _MOST_KEPT:
                self._kept[asked, text] = found
        return found


class Row:
    """One record being read: the facts it gives, and what is wrong with it.

    `facts` is None where no cell can be trusted to be what its column says; with other refusals it is incomplete.
    """

    def __init__(self, record: Record, columns: Columns, dates: Dates, known: "Known") -> None:
        self.row = record.row
        self.refusals: list[Refusal] = []
        self._cells = {name: record.cells[index] for index, name in columns.fields.items() if index < len(record.cells)}
        self._faulty: set[str] = set()
        self._dates = dates
        self._known = known
        self._refuse_key_material(record, columns)
        self._refuse_wrong_width(record, len(columns.names))
        self.facts = None if self.refusals else self._read(record.faults, columns)

    def _refuse_key_material(self, record: Record, columns: Columns) -> None:
        """Look at every cell, those of ignored columns too. Nothing else of such a row is read or quoted."""
        if not holds_key_material("\n".join(record.cells)):  # none of what it looks for goes beyond a line's end
            return
        for index, cell in enumerate(record.cells):
            if holds_key_material(cell):
                name = columns.fields.get(index) or shown_header(columns, index)
                self._refuse(name, "This cell looks like key material; the inventory never holds it.", _LEAKED_MEND)

    def _refuse_wrong_width(self, record: Record, width: int) -> None:
        cells = len(record.cells)
        if cells < width or any(cell.strip() for cell in record.cells[width:]):
            problem = f"The row has {cells} cells and the header {width}, so it is not certain which is which."
            self._refuse("", problem, _WIDTH_MEND)

    def _refuse_faults(self, faults: Iterable[Fault], columns: Columns) -> None:
        """Refuse what has no text of its own where it is read; a column that is left out may hold what it likes."""
        for fault in faults:
            if name := columns.fields.get(fault.index):
                self._faulty.add(name)
                self._refuse(name, fault.problem, fault.mend)

    def _refuse(self, name: str, problem: str, mend: str, question: str = "") -> None:
        fact = _FACT_OF_COLUMN.get(name, name)
        self.refusals.append(Refusal(row=self.row, field=fact, problem=problem, mend=mend, question=question))

    def _cell(self, name: str, recognise: Callable[[str], Fact], blank: Fact, besides: Hashable = None) -> Fact:
        if name in self._faulty:
            return blank
        try:
            return self._known.recognised((name, besides), self._cells.get(name, ""), recognise)
        except AmbiguousDateError as error:
            self._refuse(name, error.problem, error.mend, question=self._dates.question)
        except NotUnderstoodError as error:
            self._refuse(name, error.problem, error.mend)
        return blank

    def _text(self, name: str) -> str:
        return self._cell(name, str, "")

    def _read(self, faults: Iterable[Fault], columns: Columns) -> KeyFacts:
        """Read all cells, so that a person hears at once of everything that is wrong with a row."""
        self._refuse_faults(faults, columns)
        service, purpose = service_of(self._text("service"), self._text("service_description"), self._text("purpose"))
        rotated_on, never_rotated = self._cell(
            "last_rotated_on", partial(last_rotation_of, today=self._dates.today, order=self._dates.order), _NO_ROTATION
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
            storage_medium=self._cell("storage_medium", medium_of, "") or medium,
            storage_location=location,
            access=self._access(),
            classification=self._cell("classification", classification_of, ""),
            notes=self._text("notes"),
            is_shared=self._cell("is_shared", flag_of, None),
            is_exportable=self._cell("is_exportable", flag_of, None),
            runbook_url=self._cell("runbook_url", link_of, ""),
            **self._named(_LABELS, label_of, ""),
            **self._named(_SEVERAL, several_of, ()),
        )

    def _named(self, whats: Mapping[str, str], recognise: Callable[[str, str], Any], blank: object) -> dict[str, Any]:
        """Read those of the columns that the file has; KeyFacts says nothing of the others by itself."""
        here = {name: what for name, what in whats.items() if name in self._cells}
        return {name: self._cell(name, partial(recognise, what), blank) for name, what in here.items()}

    def _creation(self, rotated_on: date | None) -> date | None:
        created_on = self._cell("created_on", partial(date_of, today=self._dates.today, order=self._dates.order), None)
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
        understood = partial(access_of, production=production, customer=customer)
        return self._cell("access", understood, "", besides=(production, customer))
