"""JSON: an array of flat objects, or such an array as the only member "keys" of an object."""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from inventory.tables.table import (
    FEWER_COLUMNS,
    Fault,
    Limits,
    Record,
    Source,
    Table,
    TableError,
    refuse_large_cell,
    too_many_columns,
    too_many_rows,
)

_JSON = re.compile(r'\s*+[\[{]\s*+["\[\]{}\d-]')
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # also one that is never closed: the pattern never goes back
_NO_STRUCTURE = str.maketrans(dict.fromkeys(map(chr, range(128))) | {one: one for one in "[]{}:,"})
_OPENING = re.compile(r'\s*+(?:\{\s*+"keys"\s*+:\s*+)?+\[\s*+')
_SEPARATOR = re.compile(r"\s*+([,\]])\s*+")
_DEEPEST = 6
_FORM = 'Write an array of objects, [{"name": …}, …], or {"keys": [{"name": …}, …]}.'
_FLAT = "Write text, a number, true, false or null."
_WORDS = {True: "true", False: "false", None: ""}


class _UnclearError(Exception):
    """What JSON allows and no two programs read alike."""


def is_json(text: str) -> bool:
    return _JSON.match(text) is not None


def read_objects(text: str, *, encoding: str, limits: Limits) -> Table:
    """Read each object as a row and each member name as a header, in the order in which they first appear.

    A member of the same name twice, NaN and infinities are refused; a list or an object is a fault of its cell.
    Raises: TableError.
    """
    _refuse_shape(text, limits)
    objects = list(_objects(text, limits))
    header = tuple(dict.fromkeys(name for members in objects for name in members))
    if len(header) > limits.max_columns:
        raise too_many_columns(1, len(header), limits)
    for name in header:
        refuse_large_cell(name, 1, limits)
    if not header:
        raise TableError("The JSON holds no object with a member.", _FORM, 0)
    records = (_record(row, members, header, limits) for row, members in enumerate(objects, 1))
    filled = tuple(record for record in records if not record.is_blank)
    if not filled:
        raise TableError("Every object of the JSON is empty.", _FORM, 0)
    return Table(header=header, records=filled, source=Source(format="JSON", encoding=encoding))


def _refuse_shape(text: str, limits: Limits) -> None:
    """Look at brackets and commas only, before any object is made: their number is what costs time and memory."""
    structure = _STRING.sub("", text).translate(_NO_STRUCTURE)
    objects = structure.count("{")
    if objects > 2 * limits.max_rows + 1:
        raise too_many_rows(f"{objects:,}", limits, objects)
    if structure.count("[") > 2 * limits.max_rows + 1:
        raise TableError("The JSON holds more lists than rows are allowed.", _FORM)
    widest = max((len(run) for run in re.split(r"[\[\]{}]", structure)), default=0)
    if widest > 2 * limits.max_columns + 1:
        raise TableError(
            f"An object or a list of the JSON has more than {limits.max_columns:,} members.", FEWER_COLUMNS, widest
        )
    _refuse_depth(structure)


def _refuse_depth(structure: str) -> None:
    depth = 0
    for character in re.sub("[,:]+", "", structure):
        depth += 1 if character in "[{" else -1
        if depth > _DEEPEST:
            raise TableError(f"The JSON is nested more than {_DEEPEST} deep.", _FORM, depth)


def _objects(text: str, limits: Limits) -> Iterator[dict[str, Any]]:
    """Read one object after the other, so that only rows are ever in memory."""
    opening = _OPENING.match(text)
    if opening is None:
        raise TableError("The JSON is no array of objects.", _FORM)
    # Numbers stay the text that they are: never rounded, and never turned into one that is huge.
    decoder = json.JSONDecoder(object_pairs_hook=_members, parse_int=str, parse_float=str, parse_constant=_not_a_number)
    row, position = 0, opening.end()
    is_done = text.startswith("]", position)
    position += is_done
    while not is_done:
        row += 1
        if row > limits.max_rows:
            raise too_many_rows(f"more than {limits.max_rows:,}", limits, row)
        members, position = _one(decoder, text, position, row)
        yield members
        separator = _SEPARATOR.match(text, position)
        if separator is None:
            raise _broken(row, position)
        is_done, position = separator[1] == "]", separator.end()
    ends = "}" if "{" in opening[0] else ""
    if text[position:].strip() != ends:
        raise TableError("Something stands behind the array of the JSON.", _FORM, position)


def _one(decoder: json.JSONDecoder, text: str, position: int, row: int) -> tuple[dict[str, Any], int]:
    try:
        members, end = decoder.raw_decode(text, position)
    except _UnclearError as error:
        raise TableError(f"Object {row:,} of the JSON {error}.", "Correct that object.", row) from error
    except (ValueError, RecursionError) as error:
        raise _broken(row, position) from error
    if not isinstance(members, dict):
        raise TableError(f"Entry {row:,} of the JSON is no object.", _FORM, row)
    return members, end


def _broken(row: int, position: int) -> TableError:
    return TableError(
        f"The JSON breaks off or cannot be read in object {row:,}, which begins near character {position:,}.",
        "Export the file again.",
        row,
    )


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _UnclearError("has a member of the same name twice")
    return members


def _not_a_number(_word: str) -> NoReturn:
    raise _UnclearError("holds NaN or an infinity, which is no JSON")


def _record(row: int, members: dict[str, Any], header: tuple[str, ...], limits: Limits) -> Record:
    cells, faults = [], []
    for index, name in enumerate(header):
        member = members.get(name)
        if isinstance(member, dict | list):
            faults.append(Fault(index=index, problem="This member is a list or an object.", mend=_FLAT))
            cell = json.dumps(member, ensure_ascii=False)
        else:
            cell = str(member) if isinstance(member, str) else _WORDS[member]
        refuse_large_cell(cell, row, limits)
        cells.append(cell.replace("\r\n", "\n").replace("\r", "\n"))
    return Record(row=row, cells=tuple(cells), faults=tuple(faults))
