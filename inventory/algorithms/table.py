"""The table of algorithms as data, and what a row says on a day.

A row was read from its source on `read_on` and says what holds on that day, apart for what is made new (`status_new`)
and for what exists already (`status_existing`). From there its dates carry it to every other day D:

    D                                                   new             existing
    --------------------------------------------------  --------------  ---------------------------------------
    before effective_from                               not-yet         not-yet
    within the dates, or the row has none               as the table    as the table
    up to effective_to, when that was over at read_on   one milder      one milder
    after effective_to, when that was over at read_on   as the table    as the table
    after effective_to, when that was to come           prohibited      approved, exception → legacy;
                                                                        legacy, prohibited → prohibited

Both dates belong to the period. "One milder" is legacy for prohibited and approved for legacy: a row whose end is over
is described as it stands after it, and the table does not say what held before. A row that says "not-yet"
says so on every day: nothing becomes approved by the calendar. docs/algorithms.md says the same with examples.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

DAY = timedelta(days=1)


class TableError(Exception):
    """A line of the table that cannot be read; `line` counts from 1, the header."""

    def __init__(self, line: int, problem: str) -> None:
        self.line, self.problem = line, problem
        super().__init__(f"Line {line} of the table of algorithms: {problem}.")


class Status(StrEnum):
    """What an algorithm is on a day. The last two never stand in the table."""

    APPROVED = "approved"
    EXCEPTION = "exception"  # approved for who has an exception
    LEGACY = "legacy"
    NOT_YET = "not-yet"
    PROHIBITED = "prohibited"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"


class SourceStatus(StrEnum):
    """How firm the source is."""

    FINAL = "final"
    POLICY = "policy"  # one of our own policies
    DRAFT = "draft"  # the whole row comes from a draft
    DRAFT_DATE = "draft-date"  # only its end does

    @property
    def is_draft(self) -> bool:
        return self in {SourceStatus.DRAFT, SourceStatus.DRAFT_DATE}


IN_TABLE = (Status.APPROVED, Status.EXCEPTION, Status.LEGACY, Status.NOT_YET, Status.PROHIBITED)
_MILDER = {Status.PROHIBITED: Status.LEGACY, Status.LEGACY: Status.APPROVED}
_ENDED_EXISTING = {
    Status.APPROVED: Status.LEGACY,
    Status.EXCEPTION: Status.LEGACY,
    Status.LEGACY: Status.PROHIBITED,
    Status.NOT_YET: Status.NOT_YET,
    Status.PROHIBITED: Status.PROHIBITED,
}


class Statuses(NamedTuple):
    new: Status
    existing: Status


@dataclass(frozen=True, kw_only=True)
class AlgorithmRow:
    """One line of the table. A "|" in `algorithm`, `parameters` or `use` separates what the line speaks of alike."""

    algorithm: str
    parameters: str
    use: str
    status_new: Status
    status_existing: Status
    classical_bits: int | None
    pq_safe: str  # "yes", "no", "category1", or "" where it does not apply
    effective_from: date | None
    effective_to: date | None
    source: str
    source_status: SourceStatus
    read_on: date

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.algorithm, self.parameters) if part)

    @property
    def words(self) -> str:
        """Return the label as people read it: the table separates what it speaks of by "|"."""
        return self.label.replace("|", ", ")

    @property
    def changes_on(self) -> tuple[date, ...]:
        """Return the days on which what the row says may become another thing, in order."""
        ended = [self.effective_to + DAY] if self.effective_to else []
        return (*([self.effective_from] if self.effective_from else []), *ended)

    def has_ended(self, day: date) -> bool:
        return self.effective_to is not None and day > self.effective_to

    def statuses(self, day: date) -> Statuses:
        """Return what the row says on a day, by the rule of this module."""
        if self.effective_from is not None and day < self.effective_from:
            return Statuses(Status.NOT_YET, Status.NOT_YET)
        said = Statuses(self.status_new, self.status_existing)
        if self.has_ended(day) == self.has_ended(self.read_on):
            return said
        if self.has_ended(day):
            new = Status.NOT_YET if said.new == Status.NOT_YET else Status.PROHIBITED
            return Statuses(new, _ENDED_EXISTING[said.existing])
        return Statuses(_MILDER.get(said.new, said.new), _MILDER.get(said.existing, said.existing))


def read_table(text: str, *, read_on: date) -> list[AlgorithmRow]:
    """Read the table from CSV with a header; dates as 2030-12-31, empty for what is not said. Raises: TableError."""
    lines = csv.DictReader(text.splitlines(), strict=True)
    rows = [_row(number, cells, read_on) for number, cells in enumerate(lines, start=2)]
    seen: set[tuple[str, str, str]] = set()
    for number, row in enumerate(rows, start=2):
        identity = (row.algorithm, row.parameters, row.use)
        if identity in seen:
            raise TableError(number, f"{row.label} stands there twice for {row.use}")
        seen.add(identity)
    return rows


def _row(number: int, cells: Mapping[str, str], read_on: date) -> AlgorithmRow:
    try:
        row = AlgorithmRow(
            algorithm=cells["algorithm"],
            parameters=cells["parameters"],
            use=cells["use"],
            status_new=Status(cells["status_new"]),
            status_existing=Status(cells["status_existing"]),
            classical_bits=int(cells["classical_bits"]) if cells["classical_bits"] else None,
            pq_safe=cells["pq_safe"],
            effective_from=_day(cells["effective_from"]),
            effective_to=_day(cells["effective_to"]),
            source=cells["source"],
            source_status=SourceStatus(cells["source_status"]),
            read_on=read_on,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(number, str(error)) from error
    if not {row.status_new, row.status_existing} <= set(IN_TABLE) or not row.algorithm or not row.use:
        raise TableError(number, "a status, the algorithm or the use is none that the table may hold")
    return row


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None
