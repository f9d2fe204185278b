"""An exported inventory → typed facts of each key, or what is wrong with its row and how to mend it (R209)."""

from datetime import date

from inventory.reading.columns import Columns, ColumnsError, numbered
from inventory.reading.questions import DATE_CHOICES, date_question
from inventory.reading.row import Dates, Known, Row
from inventory.reading.rows import told_apart
from inventory.reading.said import (
    Choice,
    DateOrder,
    Heading,
    KeyFacts,
    Question,
    Reading,
    ReadOptions,
    ReadRow,
    Refusal,
    Repeated,
)
from inventory.recognise import DATE_ORDERS, FIELDS, PersonRef, merge_people
from inventory.tables import Limits, Source, TableError, read_table

__all__ = [
    "DATE_CHOICES",
    "DATE_ORDERS",
    "FIELDS",
    "Choice",
    "ColumnsError",
    "DateOrder",
    "Heading",
    "KeyFacts",
    "PersonRef",
    "Question",
    "ReadOptions",
    "ReadRow",
    "Reading",
    "Refusal",
    "Repeated",
    "Source",
    "TableError",
    "numbered",
    "read_inventory",
]


def read_inventory(
    content: bytes, *, today: date, max_bytes: int, max_rows: int, options: ReadOptions | None = None
) -> Reading:
    """Read a CSV, XLSX or JSON file, each row for itself: what is not understood is refused with its mend.

    Raises: TableError when the file is no table or is too large; ColumnsError, a TableError with which a person can say
    what each column holds, when none holds names or kinds, or two hold the same.
    """
    options = options or ReadOptions()
    table = read_table(content, limits=Limits(max_bytes=max_bytes, max_rows=max_rows))
    columns = Columns(table, options.mapping)
    question = None if options.date_order else date_question(table, columns.fields)
    dates = Dates(today, options.date_order, question.kind if question else "")
    known = Known()
    rows = [Row(record, columns, dates, known) for record in table.records]
    people = frozenset(ref for row in rows if row.facts for ref in (row.facts.creator, row.facts.owner) if ref)
    read, repeated, conflicts = told_apart(rows, merge_people(people, {}))
    refusals = [refusal for row in rows for refusal in row.refusals] + conflicts
    return Reading(
        rows=tuple(read),
        refusals=tuple(sorted(refusals, key=lambda refusal: refusal.row)),
        columns={columns.names[index]: name for index, name in columns.fields.items()},
        ignored=tuple(name for index, name in enumerate(columns.names) if index not in columns.fields),
        repeated=tuple(repeated),
        people=people,
        headings=columns.headings(),
        unused=columns.unused,
        questions=(question,) if question else (),
        source=table.source,
    )
