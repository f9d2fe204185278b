"""What a file leaves open as a whole: asked once, with what speaks for an answer, and never answered by us."""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from inventory.reading.said import Choice, Question
from inventory.recognise import order_shown, shown
from inventory.tables import Table

_DATE_FIELDS = ("created_on", "last_rotated_on")
_EXAMPLES = 3
DATE_CHOICES: Final = (
    Choice(value="dmy", label="day first: 05/06/2025 is 5 June 2025"),
    Choice(value="mdy", label="month first: 05/06/2025 is 6 May 2025"),
)


class _Dated(NamedTuple):
    """A date of three numbers: what it says about the order, where it stands."""

    order: str  # "dmy", "mdy" or "either"
    text: str
    row: int
    header: str


def date_question(table: Table, columns: Mapping[int, str]) -> Question | None:
    """Ask in which order the file writes its dates, if some of them can be read as two days.

    None too where the file's own dates prove both orders: then no one answer could be right.
    """
    dates = list(_dates(table, columns))
    unclear = [one for one in dates if one.order == "either"]
    proofs = {one.order: one for one in reversed(dates) if one.order != "either"}
    if not unclear or len(proofs) > 1:
        return None
    suggested, because = _suggestion(unclear, next(iter(proofs.values()), None))
    return Question(
        kind="date_order",
        text="In some dates either day or month may come first. Which one does this file write first?",
        examples=tuple(f"{one.text} in row {one.row:,}" for one in unclear[:_EXAMPLES]),
        cells=len(unclear),
        choices=DATE_CHOICES,
        suggested=suggested,
        because=because,
    )


def _dates(table: Table, columns: Mapping[int, str]) -> Iterator[_Dated]:
    for index in (index for index, name in columns.items() if name in _DATE_FIELDS):
        header = shown(table.header[index])
        for record in table.records:
            cell = record.cells[index].strip() if index < len(record.cells) else ""
            if order := order_shown(cell):
                yield _Dated(order, shown(cell), record.row, header)


def _suggestion(unclear: list[_Dated], proof: _Dated | None) -> tuple[str, str]:
    if proof is not None:
        first = "day" if proof.order == "dmy" else "month"
        return proof.order, f'"{proof.text}" in row {proof.row:,} of "{proof.header}" has the {first} first.'
    if all("." in one.text for one in unclear):
        return "dmy", "Dates with dots are written day first wherever they are used."
    return "", ""
