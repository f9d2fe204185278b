"""How the facts of a key, and what changed on them, read on a page."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import NamedTuple, cast

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import DateField, Field, Model

from audit import sentences
from audit.actions import Action
from audit.body import Body, Subject
from audit.canonical import JSON
from audit.selectors import ReadEvent
from inventory.findings import title_of
from inventory.models import Integration, Key, Owner, PolicyClause, Service, Tenant, Vendor
from inventory.services.keys import FACTS, PERIOD, REFERENCES
from inventory.services.plan import Change, Held
from inventory.services.related import Relating
from inventory.services.relations import RELATIONS
from inventory.states import Act, Permit, RevocationReason, State, allows

_RECORDS: Mapping[str, type[Model]] = {
    "owner": Owner,
    "service": Service,
    "tenant": Tenant,
    "vendor": Vendor,
    "integration": Integration,
    "key": Key,
    "clause": PolicyClause,
    "user": get_user_model(),
}
# What the sentence of an event says, or nobody would look for.
_TOLD_ELSEWHERE = frozenset({"state", "held_change", "exception", "exceptions", "longest_days"})
_LABELS = {
    "rotate_by": "To be rotated by",
    "accepted_until": "Accepted until",
    "excepted_from": "Excepted from",
    "excepted_until": "Until",
    "compensating_control": "Instead",
    "residual_risk": "Risk that remains",
    "winning_clause": "By the clause",
    "last_rotated_on": "Last rotated",
    "consumers": "Used by",
    "approved_consumers": "Approved to use it",
    "wrapped_by": "Wrapped by",
    "derived_from": "Derived from",
    "version": "Version",
    "findings": "Open findings",
    "expires_on": "Certificate valid until",
    "rotated_on": "Rotated on",
    "revocation_reason": "Revoked because of",
    # what a column of a file is read as, where that is more or less than one fact
    "storage": "Kept in, location",
    "service_description": "Service and purpose",
    "access_production": "Access to production data",
    "access_customer": "Access to customer-confidential data",
}
_ORDER = {name: number for number, name in enumerate((*FACTS, *PERIOD, *RELATIONS, "rotate_by", "winning_clause"))}


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
    is_asked: bool = False  # the lines are what was asked for, not what was done


def label_of(name: str) -> str:
    """Return what people call a fact; for a header that is no fact, the header itself."""
    field = _field(name)
    label = _LABELS.get(name) or str(field.verbose_name if field else name)
    return label[:1].upper() + label[1:]


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of facts in the order in which pages show them."""
    return sorted(names, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))


def labels_of(names: str) -> str:
    """Return the labels of facts that stand in one text, as a refusal names them."""
    return ", ".join(label_of(name) for name in names.split(", ") if name)


def words_of(name: str, value: JSON, names: Mapping[str, str]) -> str:
    """Return a value as the log holds it in words; `names` tells the names of the records it may refer to."""
    if value in (None, "", {}, []):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in {"findings", "weaknesses"} and isinstance(value, list):
        return ", ".join(title_of(str(code)) for code in value)
    if isinstance(value, list):
        return ", ".join(names.get(str(one), str(one)) for one in value)
    field = _field(name)
    text = str(value)
    if isinstance(field, DateField) or name in {"expires_on", "rotated_on", "excepted_until"}:
        return _day(text)
    choices = dict(field.flatchoices if field else RevocationReason.choices if name == "revocation_reason" else ())
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
    wishes = [event.said.on_behalf_of for event in events if event.said]
    names = names_of([*wishes, *(reference for subject in own if subject for reference in _references(subject))])
    return [_entry(event, subject, names) for event, subject in zip(events, own, strict=True)]


def _own(said: Body | None, key: Key) -> Subject | None:
    found = next((subject for subject in said.subjects if subject.ref == key.ref), None) if said else None
    if found is None:
        return None
    asked, proof = found.after.get("held_change"), found.after.get("evidence")
    if isinstance(asked, dict):
        return replace(
            found, before=cast("dict[str, JSON]", asked["before"]), after=cast("dict[str, JSON]", asked["after"])
        )
    if isinstance(proof, dict):
        told = {"rotated_on": proof["rotated_on"], "evidence": proof["text"], "link": proof["url"]}
        return replace(found, before={}, after=cast("dict[str, JSON]", told))
    return found


def _references(subject: Subject) -> Iterator[str]:
    for side in (subject.before, subject.after):
        yield from (str(side[name]) for name in REFERENCES if side.get(name))
        for name in (*RELATIONS, "excepted_from"):
            related = side.get(name)
            yield from map(str, related if isinstance(related, list) else [related] if related else ())


def _entry(event: ReadEvent, subject: Subject | None, names: Mapping[str, str]) -> Entry:
    if event.said is None or subject is None:
        return Entry(event=event, did=event.sentence.removeprefix(event.who).strip(), lines=(), is_first=False)
    asked = _requests_of(event.said, subject)
    others = sum(not one.ref.startswith("request:") for one in event.said.subjects) - 1
    wish = event.said.on_behalf_of
    shown = (*asked, replace(subject, label="it"))
    alone = replace(event.said, subjects=shown, on_behalf_of=names.get(wish, wish))
    did = sentences.sentence(alone, event.who).removeprefix(event.who).strip()
    if others:
        did += f", with {others:,} other{'s' if others > 1 else ''}"
    is_asked = event.said.action == Action.KEY_CHANGE_HELD
    return Entry(event=event, did=did, lines=_lines(subject, names), is_first=not subject.before, is_asked=is_asked)


def _requests_of(said: Body, subject: Subject) -> tuple[Subject, ...]:
    """Return the request that an event is about, where it names one: it stands before the records of it."""
    before = None
    for one in said.subjects:
        if one.ref.startswith("request:"):
            before = one
        elif one.ref == subject.ref:
            break
    return (before,) if before else ()


def _lines(subject: Subject, names: Mapping[str, str]) -> list[Line]:
    """Return what changed, but for what the sentence tells."""
    changed = {*subject.before, *subject.after} - _TOLD_ELSEWHERE
    lines = [
        Line(
            label_of(name),
            words_of(name, subject.before.get(name), names),
            words_of(name, subject.after.get(name), names),
        )
        for name in in_order(changed)
    ]
    return [line for line in lines if line.before or line.after]


def planned(changes: Sequence[Change]) -> list[tuple[Change, list[Line]]]:
    """Return what an import would change or ask for, in words. Queries: those of names_of()."""
    names = names_of(str(change.before[name]) for change in changes for name in change.fields if name in REFERENCES)
    return [
        (change, [*(_planned(change, name, names) for name in _shown(change)), *related_lines(change.relating)])
        for change in changes
    ]


def related_lines(relating: Relating | None) -> Iterator[Line]:
    """Yield what an import changes of relations, in words."""
    if relating:
        was, now = relating.before.named, relating.after.named
        for name in relating.fields:
            yield Line(label_of(name), ", ".join(was[name]), ", ".join(now[name]))


def _shown(change: Change) -> Sequence[str]:
    return (*change.fields, "rotate_by") if isinstance(change, Held) else change.fields


def _planned(change: Change, name: str, names: Mapping[str, str]) -> Line:
    return Line(label_of(name), words_of(name, change.before[name], names), _now(change.key, name))


def _now(key: Key, name: str) -> str:
    value = getattr(key, name)
    if name in REFERENCES:
        return str(value or "")
    return words_of(name, value.isoformat() if isinstance(value, date) else value, {})


def permitted(key: Key, now: datetime) -> list[tuple[str, Permit]]:
    """Return what a key may do at an instant, in words and in the order of the acts."""
    gone = {
        "past_protecting": key.protect_until is not None and key.protect_until <= now,
        "past_processing": key.process_until is not None and key.process_until <= now,
    }
    return [(str(act.label), allows(State(key.state), act, **gone)) for act in Act if act != Act.BE_OVERDUE]


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
