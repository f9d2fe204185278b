"""How the facts of a key, and what changed on them, read on a page."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NamedTuple

from django.core.exceptions import FieldDoesNotExist
from django.db.models import DateField, Field, Model

from audit import sentences
from audit.body import Body, Subject
from audit.canonical import JSON
from audit.selectors import ReadEvent
from inventory.findings import title_of
from inventory.models import Integration, Key, Owner, PolicyClause, Service, Tenant
from inventory.services.imports import Change
from inventory.services.keys import FACTS, REFERENCES

_RECORDS: Mapping[str, type[Model]] = {
    "owner": Owner,
    "service": Service,
    "tenant": Tenant,
    "integration": Integration,
    "key": Key,
    "clause": PolicyClause,
}
_LABELS = {
    "rotate_by": "To be rotated by",
    "winning_clause": "By the clause",
    "last_rotated_on": "Last rotated",
    "findings": "Findings",
    # what a column of a file is read as, where that is more or less than one fact
    "storage": "Kept in, location",
    "service_description": "Service and purpose",
    "access_production": "Access to production data",
    "access_customer": "Access to customer-confidential data",
}
_ORDER = {name: number for number, name in enumerate((*FACTS, "rotate_by", "winning_clause"))}


class Line(NamedTuple):
    """One fact before and after, in words; "" where there was or is none."""

    label: str
    before: str
    after: str


@dataclass(frozen=True)
class Entry:
    """One event in the timeline of a key."""

    event: ReadEvent
    did: str  # what was done, to be read after the name of who did it
    lines: Sequence[Line]
    is_first: bool  # everything that is said of the key is new: nothing was there before


def label_of(name: str) -> str:
    """Return what people call a fact; for a header that is no fact, the header itself."""
    field = _field(name)
    label = _LABELS.get(name) or str(field.verbose_name if field else name)
    return label[:1].upper() + label[1:]


def labels_of(names: str) -> str:
    """Return the labels of facts that stand in one text, as a refusal names them."""
    return ", ".join(label_of(name) for name in names.split(", ") if name)


def words_of(name: str, value: JSON, names: Mapping[str, str]) -> str:
    """Return a value as the log holds it in words; `names` tells the names of the records it may refer to."""
    if value in (None, "", {}, []):
        return ""
    if name == "findings" and isinstance(value, Sequence):
        return ", ".join(title_of(str(code)) for code in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    field = _field(name)
    text = str(value)
    if isinstance(field, DateField):
        return _day(text)
    choices = dict(field.flatchoices) if field else {}
    return names.get(text) or str(choices.get(text, text))


def names_of(references: Iterable[str]) -> dict[str, str]:
    """Return the names of records given as "owner:5". Queries: one for each kind of record among them."""
    wanted: dict[str, set[int]] = defaultdict(set)
    for reference in references:
        kind, _, number = reference.partition(":")
        if kind in _RECORDS and number.isdecimal():
            wanted[kind].add(int(number))
    return {
        f"{kind}:{record.pk}": str(record)
        for kind, numbers in wanted.items()
        for record in _RECORDS[kind]._default_manager.filter(pk__in=numbers)
    }


def entries(events: Sequence[ReadEvent], key: Key) -> list[Entry]:
    """Return events of a key as its timeline tells them. Queries: those of names_of()."""
    own = [_own(event.said, key) for event in events]
    names = names_of(reference for subject in own if subject for reference in _references(subject))
    return [_entry(event, subject, names) for event, subject in zip(events, own, strict=True)]


def _own(said: Body | None, key: Key) -> Subject | None:
    return next((subject for subject in said.subjects if subject.ref == key.ref), None) if said else None


def _references(subject: Subject) -> Iterator[str]:
    for side in (subject.before, subject.after):
        yield from (str(side[name]) for name in REFERENCES if side.get(name))


def _entry(event: ReadEvent, subject: Subject | None, names: Mapping[str, str]) -> Entry:
    if event.said is None or subject is None:
        return Entry(event=event, did=event.sentence.removeprefix(event.who).strip(), lines=(), is_first=False)
    others = len(event.said.subjects) - 1
    alone = replace(event.said, subjects=(replace(subject, label="it"),))
    did = sentences.sentence(alone, event.who).removeprefix(event.who).strip()
    if others:
        did += f", with {others:,} other{'s' if others > 1 else ''}"
    return Entry(event=event, did=did, lines=_lines(subject, names), is_first=not subject.before)


def _lines(subject: Subject, names: Mapping[str, str]) -> list[Line]:
    """Return what changed, but for the state, which the sentence tells."""
    changed = {*subject.before, *subject.after} - {"state"}
    lines = [
        Line(
            label_of(name),
            words_of(name, subject.before.get(name), names),
            words_of(name, subject.after.get(name), names),
        )
        for name in sorted(changed, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    ]
    return [line for line in lines if line.before or line.after]


def planned(changes: Sequence[Change]) -> list[tuple[Change, list[Line]]]:
    """Return what an import would change, in words. Queries: those of names_of()."""
    names = names_of(str(change.before[name]) for change in changes for name in change.fields if name in REFERENCES)
    return [(change, [_planned(change, name, names) for name in change.fields]) for change in changes]


def _planned(change: Change, name: str, names: Mapping[str, str]) -> Line:
    return Line(label_of(name), words_of(name, change.before[name], names), _now(change.key, name))


def _now(key: Key, name: str) -> str:
    value = getattr(key, name)
    if name in REFERENCES:
        return str(value or "")
    return words_of(name, value.isoformat() if isinstance(value, date) else value, {})


def _field(name: str) -> Field | None:
    try:
        field = Key._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if isinstance(field, Field) else None


def _day(text: str) -> str:
    try:
        return f"{date.fromisoformat(text[:10]):%-d %B %Y}"
    except ValueError:
        return text
