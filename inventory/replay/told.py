"""What the log tells of one record, and how one event goes into it. Pure but for the names of fields.

Values are as the log writes them: records by reference ("owner:5"), days as text, moments as text in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from audit.body import Body, Subject

Fields = dict[str, Any]


class Happened(NamedTuple):
    """One event, read."""

    number: int
    said: Body

    @property
    def at(self) -> str:
        return moment(self.said.at)


@dataclass(slots=True)
class Told:
    """One record. A field that is not there has its default, as long as the record is known from its beginning."""

    ref: str
    begins: int  # the number of the first event about it
    is_whole: bool  # whether that one registers it; otherwise what was said before is not in the log any more
    label: str = ""
    number: int = 0  # of the last event about it, with its time and who acted
    at: str = ""
    who: str = ""
    fields: Fields = field(default_factory=dict)
    parts: dict[str, Fields] = field(default_factory=dict)  # "version 2", "evidence:7" …
    epoch: int = -1  # of the clauses under which its date was last worked out

    def saw(self, happened: Happened, subject: Subject) -> None:
        """Note that an event speaks of the record."""
        said = happened.said
        self.number, self.at, self.who = happened.number, happened.at, said.actor_id
        self.label = subject.label or self.label


def moment(when: datetime | str) -> str:
    """Return a moment in the one form in which moments are compared."""
    parsed = datetime.fromisoformat(when) if isinstance(when, str) else when
    return parsed.astimezone(UTC).isoformat()


def count_up(fields: Fields) -> None:
    """Count the revision up, where it is known."""
    if "revision" in fields:
        fields["revision"] += 1


def number_of(ref: str) -> int:
    """Return 12 for "key:12"; 0 for what is no such reference."""
    _, _, number = ref.partition(":")
    return int(number) if number.isascii() and number.isdecimal() else 0


def person(ref: str) -> str | None:
    """Return the reference of a person, None for whoever is none."""
    return ref if ref.startswith("user:") else None


def without(said: Mapping[str, Any], names: frozenset[str]) -> Fields:
    return {name: value for name, value in said.items() if name not in names}
