"""All rows of a file: which are taken, which repeat each other, and which contradict each other."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace

from inventory.reading.row import Row
from inventory.reading.said import KeyFacts, ReadRow, Refusal, Repeated
from inventory.recognise import PersonRef, shown

_MOST_ROWS_NAMED = 5


class _Group:
    """The rows of one name: one of them is taken and the others repeat it, or none is taken."""

    def __init__(self, name: str, rows: Sequence[Row], who: Mapping[PersonRef, PersonRef]) -> None:
        self._name = name
        self.good = [ReadRow(row=one.row, facts=one.facts) for one in rows if one.facts and not one.refusals]
        self._refused = [one.row for one in rows if one.refusals]
        several = self.good if len(self.good) > 1 else ()
        self._differing = _differing([_with_people(one.facts, who) for one in several])

    @property
    def problem(self) -> str:
        if self._differing:
            rows, facts = _numbers([one.row for one in self.good]), ", ".join(self._differing).replace("_", " ")
            return f'Rows {rows} describe "{shown(self._name)}" and differ in {facts}.'
        if self.good and self._refused:
            return f'Another row for "{shown(self._name)}" is refused: {_numbers(self._refused)}.'
        return ""

    def conflicts(self) -> Iterator[Refusal]:
        if problem := self.problem:
            for one in self.good:
                yield Refusal(row=one.row, field="name", problem=problem, mend="Keep one row, the one that is true.")

    def repeated(self) -> Iterator[Repeated]:
        for one in self.good[1:]:
            yield Repeated(row=one.row, earlier_row=self.good[0].row, name=self._name)


def told_apart(
    rows: Iterable[Row], who: Mapping[PersonRef, PersonRef]
) -> tuple[list[ReadRow], list[Repeated], list[Refusal]]:
    """Return the rows to take, those that repeat one of them, and the refusals of names described in two ways."""
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.facts and row.facts.name:
            by_name[row.facts.name].append(row)
    groups = [_Group(name, same, who) for name, same in by_name.items()]
    clear = [group for group in groups if group.good and not group.problem]
    return (
        sorted((group.good[0] for group in clear), key=lambda one: one.row),
        sorted((one for group in clear for one in group.repeated()), key=lambda one: one.row),
        [conflict for group in groups for conflict in group.conflicts()],
    )


def _with_people(facts: KeyFacts, who: Mapping[PersonRef, PersonRef]) -> KeyFacts:
    """Return the facts with each person under the fullest name that the file has for them."""
    return replace(facts, creator=facts.creator and who[facts.creator], owner=facts.owner and who[facts.owner])


def _differing(said: Sequence[KeyFacts]) -> list[str]:
    return [one.name for one in fields(KeyFacts) if len({getattr(facts, one.name) for facts in said}) > 1]


def _numbers(rows: Sequence[int]) -> str:
    named = [f"{row:,}" for row in rows[:_MOST_ROWS_NAMED]]
    more = [f"{len(rows) - len(named):,} more"] if len(rows) > len(named) else []
    listed = named + more
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
