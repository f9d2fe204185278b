"""A file as somebody brought it → what it says, whether it is a table or key material."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Self

from django.conf import settings

from audit.canonical import JSON
from inventory.errors import PrivateKeyError
from inventory.findings import of_material
from inventory.material import MaterialFacts, MaterialReading, is_material, key_facts, read_material
from inventory.reading import (
    DATE_ORDERS,
    FIELDS,
    DateOrder,
    Heading,
    PersonRef,
    Question,
    ReadOptions,
    ReadRow,
    Refusal,
    TableError,
    read_inventory,
)
from inventory.services.judged import Judged
from inventory.states import State

_NUMBERED = re.compile(r"(\w+) ([\d,]+)$")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a person has answered about a file: stored with its draft, and part of what a confirmation confirms."""

    date_order: DateOrder | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)  # header → field, "" to leave the column out
    left_out: frozenset[str] = frozenset()  # new ones that are not to be registered: "owner:ann", "service:billing"

    @property
    def stored(self) -> dict[str, JSON]:
        return {"date_order": self.date_order, "mapping": dict(self.mapping), "left_out": [*sorted(self.left_out)]}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            date_order=stored.get("date_order"),
            mapping=stored.get("mapping", {}),
            left_out=frozenset(stored.get("left_out", ())),
        )

    @property
    def said(self) -> dict[str, JSON]:
        """Return for the log what was answered. Headers stay out of it: anything may stand in them."""
        said: dict[str, JSON] = {}
        if self.date_order:
            said["dates"] = self.date_order
        if fields := sorted(name for name in self.mapping.values() if name):
            said["mapped"] = [*fields]
        if self.left_out:
            said["left_out"] = len(self.left_out)
        return said


AS_IT_IS = ImportOptions()


@dataclass(frozen=True, kw_only=True)
class Warn:
    """What a person should know of a key that is taken all the same."""

    row: int
    name: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Brought:
    """What a file says: `reading.Reading` for every kind of file."""

    rows: Sequence[ReadRow]
    refusals: Sequence[Refusal]
    repeated: int
    people: frozenset[PersonRef] = frozenset()
    columns: Mapping[str, str] = field(default_factory=dict)
    ignored: Sequence[str] = ()
    headings: Sequence[Heading] = ()
    questions: Sequence[Question] = ()
    waiting_rows: int = 0  # refused by nothing but a question
    source: str  # "CSV in Windows-1252", "key material"
    place: str = "row"  # what the numbers count
    digests: Mapping[str, bytes] = field(default_factory=dict)  # name → SHA-256 of the public key
    judged: Mapping[str, Judged] = field(default_factory=dict)  # name → what is kept of its material besides
    warnings: Sequence[Warn] = ()


def read_brought(content: bytes, *, today: date, options: ImportOptions) -> Brought:
    """Read a file by what it holds.

    Raises: TableError, ColumnsError, MaterialError; PrivateKeyError before anything of such a file is kept.
    """
    if is_material(content):
        return _material(content, today)
    reading = read_inventory(
        content,
        today=today,
        max_bytes=settings.IMPORT_MAX_BYTES,
        max_rows=settings.IMPORT_MAX_ROWS,
        options=ReadOptions(date_order=options.date_order, mapping=options.mapping),
    )
    if reading.unused:
        there = ", ".join(f'"{heading.header}"' for heading in reading.headings)
        raise TableError(f'The file has no column "{reading.unused[0]}".', f"Its columns are: {there}.")
    kind = reading.source
    sheet = f', sheet "{kind.sheet}"' if kind.sheet else ""
    return Brought(
        rows=reading.rows,
        refusals=reading.refusals,
        repeated=len(reading.repeated),
        people=reading.people,
        columns=reading.columns,
        ignored=reading.ignored,
        headings=reading.headings,
        questions=reading.questions,
        waiting_rows=reading.waiting_rows,
        source=f"{kind.format}{sheet}" if kind.format == "Excel workbook" else f"{kind.format} in {kind.encoding}",
        place="object" if kind.format == "JSON" else "row",
    )


def checked(*, date_order: str, mapping: Mapping[str, str]) -> ImportOptions:
    """Return options made of texts. Raises: TableError for a field or an order that there is not."""
    for name in mapping.values():
        if name and name not in FIELDS:
            raise TableError(f'There is no field "{name}".', f"The fields are: {', '.join(FIELDS)}.")
    if date_order and date_order not in DATE_ORDERS:
        raise TableError(f'There is no order "{date_order}" of dates.', f"The orders are: {', '.join(DATE_ORDERS)}.")
    return ImportOptions(date_order=date_order or None, mapping=mapping)  # type: ignore[arg-type]  # one of the three


def _material(content: bytes, today: date) -> Brought:
    found = read_material(content, max_bytes=settings.IMPORT_MAX_BYTES, max_items=settings.IMPORT_MAX_ROWS)
    if exposed := [refusal.where for refusal in found.refusals if refusal.is_exposed]:
        raise PrivateKeyError(exposed)
    names = Counter(item.name for item in found.items)
    refusals = [_refusal(one.where, "", one.problem, one.mend) for one in found.refusals]
    taken: list[MaterialFacts] = []
    for item in found.items:
        if names[item.name] > 1:
            mend = "Import one of them, and register the other by hand."
            refusals.append(_refusal(item.where, "name", f'Two different keys go by the name "{item.name}".', mend))
        elif item.created_on and item.created_on > today:
            problem = f"Its period of use begins on {item.created_on}, after today, {today}."
            refusals.append(_refusal(item.where, "created_on", problem, "Import it when it has begun."))
        else:
            taken.append(item)
    return Brought(
        rows=[ReadRow(row=_number(item.where), facts=key_facts(item)) for item in taken],
        refusals=refusals,
        repeated=found.repeated,
        source="key material",
        place=_place(found),
        digests={item.name: item.spki_sha256 for item in taken},
        judged={item.name: Judged(tuple(sorted(item.weaknesses)), item.ends_on) for item in taken},
        warnings=[one for item in taken for one in _warnings(item, today)],
    )


def _warnings(item: MaterialFacts, today: date) -> Iterator[Warn]:
    for finding in of_material(State.ACTIVE, item.weaknesses, item.ends_on, today):
        yield Warn(row=_number(item.where), name=item.name, sentence=finding.sentence)


def _refusal(where: str, field_name: str, problem: str, mend: str) -> Refusal:
    return Refusal(row=_number(where), field=field_name, problem=problem, mend=mend)


def _number(where: str) -> int:
    """Return the number of a place: 3 for "block 3", 2 for "block 1, certificate 2", 1 for "the file"."""
    found = _NUMBERED.search(where)
    return int(found[2].replace(",", "")) if found else 1


def _place(found: MaterialReading) -> str:
    places = [*(item.where for item in found.items), *(refusal.where for refusal in found.refusals), ""]
    numbered = _NUMBERED.search(places[0])
    return numbered[1] if numbered else "key"
