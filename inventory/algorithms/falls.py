"""What falls when: the days on which keys in use change their status, and how many on each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from inventory.algorithms.judgement import Facts, Judgement, judge
from inventory.algorithms.table import AlgorithmRow


@dataclass(frozen=True, kw_only=True)
class InUse:
    """Keys that are the same to the table, and the ids of those who answer for them."""

    facts: Facts
    keys: int
    owners: frozenset[int]
    without_owner: int


@dataclass(frozen=True, kw_only=True)
class Falling:
    """Keys that change their status together: from what, to what."""

    in_use: InUse
    before: Judgement
    after: Judgement


@dataclass(frozen=True, kw_only=True)
class Fall:
    """A day on which keys have another status than on the day before. The rows with most keys come first."""

    on: date
    changes: Sequence[Falling] = field(repr=False)

    @property
    def keys(self) -> int:
        return sum(change.in_use.keys for change in self.changes)

    @property
    def owners(self) -> int:
        """How many people and teams answer for these keys; each counts once."""
        return len(frozenset[int]().union(*(change.in_use.owners for change in self.changes)))

    @property
    def without_owner(self) -> int:
        return sum(change.in_use.without_owner for change in self.changes)

    @property
    def is_draft(self) -> bool:
        """Whether no final source stands behind this day for any of the keys."""
        return all(change.before.is_draft for change in self.changes)


def falls(in_use: Iterable[InUse], rows: Sequence[AlgorithmRow], today: date) -> list[Fall]:
    """Return every day after `today` on which a key in use changes its status, in order."""
    by_day: dict[date, list[Falling]] = {}
    for used in in_use:
        for day, change in _changes(used, rows, today):
            by_day.setdefault(day, []).append(change)
    return [
        Fall(on=day, changes=sorted(changes, key=lambda change: (-change.in_use.keys, change.in_use.facts.algorithm)))
        for day, changes in sorted(by_day.items())
    ]


def _changes(used: InUse, rows: Sequence[AlgorithmRow], today: date) -> Iterator[tuple[date, Falling]]:
    """Follow one algorithm through all its future days. What changes for new keys alone is no fall of a key."""
    before = judge(used.facts, rows, today)
    while (day := before.changes_on) is not None:
        after = judge(used.facts, rows, day)
        if after.status != before.status:
            yield day, Falling(in_use=used, before=before, after=after)
        before = after
