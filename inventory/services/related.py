"""What a file says of relations, by the names of the records: compared, tried for circles, and refused where it must.

A cell that names somebody says all of them; a blank one says nothing and takes nothing away.
"""

from collections import ChainMap, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inventory.circles import circles
from inventory.models import Key, KeyConsumer, KeyParent, Service
from inventory.reading import KeyFacts, ReadRow, Refusal
from inventory.recognise import shown
from inventory.services.mentioned import Mentioned
from inventory.services.relations import RELATIONS, Relations, steps_above, take_turns
from inventory.terms import Relation

if TYPE_CHECKING:
    from inventory.services.plan import Plan

_MOST_NAMED = 3
_UNKNOWN_MEND = (
    'Bring that key in the same file, or register it first; put a name that holds "," or ";" in double quotes.'
)
_CIRCLE_MEND = "Correct the rows. To turn two keys round, take the old one away on its page first."
_STRANGER_MEND = "Name it among those that use the key as well."


@dataclass(frozen=True, kw_only=True)
class Related:
    """The relations of one key, as Relations has them by number."""

    consumers: Mapping[str, bool] = field(default_factory=dict)
    parents: frozenset[tuple[str, str]] = frozenset()

    @property
    def named(self) -> dict[str, list[str]]:
        """Return the names under each word for a relation, in order."""
        above = {relation.value: sorted(n for n, how in self.parents if how == relation) for relation in Relation}
        return above | {
            "consumers": sorted(self.consumers),
            "approved_consumers": sorted(name for name, may in self.consumers.items() if may),
        }


@dataclass(frozen=True, kw_only=True)
class Relating:
    """What a row changes of the relations of its key."""

    before: Related
    after: Related

    @property
    def fields(self) -> tuple[str, ...]:
        was, now = self.before.named, self.after.named
        return tuple(name for name in RELATIONS if was[name] != now[name])

    @property
    def new_parents(self) -> set[str]:
        return {name for name, _ in self.after.parents - self.before.parents}


class FileRelations:
    """The relations that the rows of a file change, by the name of the key. Queries: 0, or up to 4.

    With `lock` nobody else makes a key a parent until the end of the transaction; the keys are locked already.
    """

    def __init__(
        self, rows: Sequence[ReadRow], known: Mapping[str, Key], services: Mentioned[Service], *, lock: bool
    ) -> None:
        saying = [read for read in rows if any(getattr(read.facts, name) for name in RELATIONS)]
        parents = {name for read in saying for name in (*read.facts.wrapped_by, *read.facts.derived_from)}
        if parents and lock:
            take_turns()
        self.names = {read.facts.name for read in rows}
        self._services = services
        self._stored: defaultdict[int, Related] = defaultdict(Related)
        self._service_numbers: dict[str, int] = {}
        self._numbers = {name: key.pk for name, key in known.items()}
        self._read_stored([known[read.facts.name].pk for read in saying if read.facts.name in known])
        if missing := parents - self._numbers.keys():
            self._numbers |= dict(Key.objects.filter(name__in=missing).values_list("name", "pk"))
        self.refused: dict[int, Refusal] = {}  # by row
        self.changes: dict[str, Relating] = {}
        for read in saying:
            self._compare(read, known.get(read.facts.name))

    def _read_stored(self, pks: Sequence[int]) -> None:
        if not pks:
            return
        consumers: defaultdict[int, dict[str, bool]] = defaultdict(dict)
        parents: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
        used = KeyConsumer.objects.filter(key__in=pks).order_by()
        for pk, number, name, may in used.values_list("key_id", "service_id", "service__name", "is_approved"):
            consumers[pk][name] = may
            self._service_numbers[name] = number
        above = KeyParent.objects.filter(child__in=pks).order_by()
        for pk, number, name, relation in above.values_list("child_id", "parent_id", "parent__name", "relation"):
            parents[pk].add((name, relation))
            self._numbers[name] = number
        for pk in {*consumers, *parents}:
            self._stored[pk] = Related(consumers=consumers[pk], parents=frozenset(parents[pk]))

    def _compare(self, read: ReadRow, key: Key | None) -> None:
        before = self._stored[key.pk] if key else Related()
        after = self._after(read.facts, before)
        left_out = {name for name in read.facts.consumers if self._services.find(name) is None}
        if strangers := sorted(set(read.facts.approved_consumers) - after.consumers.keys() - left_out):
            problem = f"Approved to use it, and not said to use it: {_some(strangers)}."
            self.refused[read.row] = Refusal(
                row=read.row, field="approved_consumers", problem=problem, mend=_STRANGER_MEND
            )
        elif before != after:
            self.changes[read.facts.name] = Relating(before=before, after=after)

    def _after(self, facts: KeyFacts, before: Related) -> Related:
        consumers, parents = before.consumers, before.parents
        if facts.consumers:
            users = [name for name in facts.consumers if self._services.find(name)]
            consumers = {name: before.consumers.get(name, False) for name in users}
        if facts.approved_consumers:
            consumers = {name: name in facts.approved_consumers for name in consumers}
        for relation in Relation:
            if names := getattr(facts, relation.value):
                parents = frozenset(one for one in parents if one[1] != relation)
                parents |= {(name, relation.value) for name in names}
        return Related(consumers=consumers, parents=parents)

    def is_stored(self, name: str) -> bool:
        """Say whether a key of that name is in the inventory already."""
        return name in self._numbers

    @property
    def no_longer_above(self) -> set[int]:
        """Return the keys that lose one below them."""
        changes = self.changes.values()
        return {self._numbers[name] for one in changes for name, _ in one.before.parents - one.after.parents}

    def stored_above(self, names: Iterable[str]) -> Mapping[str, set[str]]:
        """Return every step above these keys, and above those, as the inventory knows it. Queries: 1, or 0."""
        numbers = [self._numbers[name] for name in names if name in self._numbers]
        return steps_above(numbers) if numbers else {}

    def written(self, name: str, numbers: dict[str, int]) -> tuple[Relations, Relations]:
        """Return a change by numbers; `numbers` are those of the keys that were registered with the file."""
        change, by_name = self.changes[name], ChainMap(numbers, self._numbers)
        return self._numbered(change.before, by_name), self._numbered(change.after, by_name)

    def _numbered(self, related: Related, numbers: Mapping[str, int]) -> Relations:
        return Relations(
            consumers={self._service_number(name): may for name, may in related.consumers.items()},
            parents=frozenset((numbers[name], relation) for name, relation in related.parents),
        )

    def _service_number(self, name: str) -> int:
        found = self._services.find(name)
        return found.pk if found else self._service_numbers[name]


def refuse_wrong_parents(plan: "Plan") -> None:
    """Take rows out of a plan and refuse them: those that close a circle, and those under a key that there is not.

    A circle is looked for among what the file says and what the inventory knows together, whatever else of the file
    is refused then. Queries: 1, none where no row names a key above its own.
    """
    rows = {key.name: row for row, key in plan.new} | {change.key.name: change.row for change in plan.changed}
    above = {name: one.new_parents for name in rows if (one := plan.related.changes.get(name)) and one.new_parents}
    problems = _circular(plan, above)
    _add_orphans(problems, plan, above)
    for name, (problem, mend) in problems.items():
        fields = ", ".join(one for one in plan.related.changes[name].fields if one in set(Relation))
        plan.refused.append(Refusal(row=rows[name], field=fields, problem=problem, mend=mend))
    plan.new = [(row, key) for row, key in plan.new if key.name not in problems]
    plan.changed = [change for change in plan.changed if change.key.name not in problems]


_Problems = dict[str, tuple[str, str]]  # name of a key → what is wrong with its row, and how to mend it


def _circular(plan: "Plan", above: Mapping[str, set[str]]) -> _Problems:
    if not above:
        return {}
    known = plan.related.stored_above({*above, *(parent for parents in above.values() for parent in parents)})
    every = {name: known.get(name, set()) | above.get(name, set()) for name in {*known, *above}}
    problems: _Problems = {}
    for group in circles(every):
        closing = {name for name in group & above.keys() if above[name] & group}
        problem = f"Each of these would stand above itself: {_some(sorted(group))}."
        problems |= dict.fromkeys(closing, (problem, _CIRCLE_MEND))
    return problems


def _add_orphans(problems: _Problems, plan: "Plan", above: Mapping[str, set[str]]) -> None:
    """Add those under a key that is not there, and those under them: none of them can go in."""
    coming = {key.name for _, key in plan.new} - problems.keys()
    below: defaultdict[str, set[str]] = defaultdict(set)
    for name, parents in above.items():
        for parent in parents:
            below[parent].add(name)
    lost = [parent for parent in below if parent not in coming and not plan.related.is_stored(parent)]
    while lost:
        parent = lost.pop()
        said = f'There is no key named "{shown(parent)}" in the inventory, and this file brings none.'
        if parent in plan.related.names:
            said = f'The row of "{shown(parent)}", which is to stand above it, is refused.'
        for name in below[parent] - problems.keys():
            problems[name] = (said, _UNKNOWN_MEND)
            if name in coming:
                lost.append(name)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(shown(name) for name in names[:_MOST_NAMED]) + more
