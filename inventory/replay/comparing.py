"""What the log tells of a record beside what the tables say of it: each field in which they differ."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inventory.recognise import holds_key_material
from inventory.replay.tables import Stored, defaults, other_defaults, part_defaults
from inventory.replay.told import Fields, Told

CHANGED = "changed outside the application"
SHOWN_CHARACTERS = 200
NOTHING = "nothing"
A_RECORD = "a record"
_BY_CLAUSES = frozenset({"rotate_by", "winning_clause", "accepted_until", "flagged_overdue_at"})
_MOMENT = re.compile(r"^(\d{4}-\d\d-\d\d)T([\d:.]+)\+00:00$")
_HIDDEN = "(looks like key material and is not shown)"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One field of one record; `field` is "" where the whole record is there and not in the log, or the other way."""

    ref: str
    label: str
    field: str  # "notes", "version 2: state"
    logged: str
    stored: str
    number: int  # of the last event about the record, 0 if there is none
    at: str
    who: str

    def __str__(self) -> str:
        named = f"{self.label} ({self.ref})" if self.label else self.ref
        what = f"{named}: {self.field or 'the record'} was {CHANGED}"
        last = f"event {self.number} of {shown(self.at)} by {self.who}" if self.number else "none"
        return f"{what}: the log says {self.logged}, the table says {self.stored}; last event about it: {last}"


def compare(told: Told | None, stored: Stored | None, *, is_cut: bool) -> Iterator[Difference]:
    """Yield where the two differ; of a record whose beginning is not in the log, only in what was said since."""
    if stored is None:
        if told is not None:
            yield _difference(told, None, "", A_RECORD, NOTHING)
    elif told is None:
        if not is_cut:
            yield _difference(None, stored, "", NOTHING, A_RECORD)
    else:
        yield from _of_record(told, stored, is_cut=is_cut)


def expected(told: Told, *, is_cut: bool) -> Fields:
    """Return the fields of a record as the log tells them, with what nobody has said where its beginning is known."""
    if not told.is_whole:
        return told.fields
    kind = told.ref.partition(":")[0]
    fields = (defaults() if kind == "key" else other_defaults()[kind]) | told.fields
    if is_cut and kind == "key":  # the clauses of the day are not known
        fields = {name: fields[name] for name in fields if name not in _BY_CLAUSES}
    return fields


def expected_part(name: str, fields: Fields, *, is_whole: bool) -> Fields:
    kind = name.replace(":", " ").partition(" ")[0]
    return part_defaults()[kind] | fields if is_whole else fields


def _of_record(told: Told, stored: Stored, *, is_cut: bool) -> Iterator[Difference]:
    for name, before, after in _differing(expected(told, is_cut=is_cut), stored.fields):
        yield _difference(told, stored, name, before, after)
    for part in sorted(told.parts.keys() | stored.parts.keys()):
        if not told.is_whole and (part.startswith("finding") or part not in told.parts):
            continue  # how many there were before the log begins is not known
        if part not in stored.parts:
            yield _difference(told, stored, part, A_RECORD, NOTHING)
        elif part not in told.parts:
            yield _difference(told, stored, part, NOTHING, A_RECORD)
        else:
            fields = expected_part(part, told.parts[part], is_whole=told.is_whole)
            for name, before, after in _differing(fields, stored.parts[part]):
                yield _difference(told, stored, f"{part}: {name}", before, after)


def _differing(logged: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, said in logged.items():
        if name in stored and stored[name] != said:
            yield name, shown(said), shown(stored[name])


def shown(value: Any) -> str:  # noqa: ANN401 - as the log has it
    """Return a value in words that may be printed and recorded: never long, and never key material."""
    if value in (None, "", [], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(str(one) for one in value) if isinstance(value, list) else _MOMENT.sub(r"\1 \2 UTC", str(value))
    if holds_key_material(text):
        return _HIDDEN
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… ({len(text):,} characters)"


def _difference(told: Told | None, stored: Stored | None, name: str, logged: str, said: str) -> Difference:
    return Difference(
        ref=told.ref if told else stored.ref if stored else "",
        label=(stored.label if stored else "") or (told.label if told else ""),
        field=name,
        logged=logged,
        stored=said,
        number=told.number if told else 0,
        at=told.at if told else "",
        who=told.who if told else "",
    )
