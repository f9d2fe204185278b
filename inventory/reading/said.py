"""What a file says, as it leaves the reading: facts of keys, refusals, repetitions, and questions about the whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from inventory.recognise import PersonRef
from inventory.tables import Source

DateOrder = Literal["dmy", "mdy", "ymd"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What a person has answered about a file. The mapping names headers of the file, and "" leaves a column out."""

    date_order: DateOrder | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)


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
    vendor: str = ""
    is_shared: bool | None = None
    is_exportable: bool | None = None
    generation_method: str = ""
    tenant: str = ""
    integration: str = ""
    secret_name: str = ""
    runbook_url: str = ""
    consumers: tuple[str, ...] = ()  # services
    approved_consumers: tuple[str, ...] = ()  # of those
    wrapped_by: tuple[str, ...] = ()  # keys
    derived_from: tuple[str, ...] = ()  # keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a row is not taken. `row` is its number in a spreadsheet, where the header is row 1 and each record one row.

    `field` is one of KeyFacts, or the header of a column without one, or "" for the row as a whole. `question` is the
    kind of the question whose answer makes the refusal go away, if there is one: the pages ask it once instead.
    """

    row: int
    field: str
    problem: str
    mend: str
    question: str = ""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """A column: its header as it may be shown (the key of a mapping), its field, and a sample of what stands in it.

    Without a field the column is left out; `suggestion` is then a field that it may mean, for a person to confirm.
    """

    header: str
    field: str
    suggestion: str
    samples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    value: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the file leaves open as a whole. `suggested` is never taken without a person, whatever speaks for it."""

    kind: str  # the option that answers it: "date_order"
    text: str
    examples: tuple[str, ...]  # as "05/06/2025 in row 7"
    cells: int  # how many wait for the answer
    choices: tuple[Choice, ...]
    suggested: str
    because: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a file says. Each row that is not blank is in `rows`, in `repeated`, or has refusals; all three by row."""

    rows: tuple[ReadRow, ...]
    refusals: tuple[Refusal, ...]
    columns: Mapping[str, str]  # header → what the column is read as
    ignored: tuple[str, ...]  # headers that are not understood, as they may be shown
    repeated: tuple[Repeated, ...]
    people: frozenset[PersonRef]  # everybody the file names, in refused rows too: for merge_people()
    headings: tuple[Heading, ...]  # every column, in order
    unused: tuple[str, ...]  # headers of the mapping that the file does not have
    questions: tuple[Question, ...]
    source: Source

    @property
    def refused_rows(self) -> int:
        return len({refusal.row for refusal in self.refusals})

    @property
    def waiting_rows(self) -> int:
        """Return how many rows are refused by nothing but a question."""
        rows = {refusal.row for refusal in self.refusals}
        return len(rows - {refusal.row for refusal in self.refusals if not refusal.question})
