"""Reading the whole log once for each range of keys, in one snapshot, and comparing what it tells with the tables.

Memory is that of KEYS_AT_ONCE keys as the log tells them, and of all owners, services and other records, which are few;
and 16 bytes an event: which keys it is about, so that later passes read only the events that concern them.
"""

from array import array
from collections.abc import Collection, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction

from audit.streaming import begins_at, stream, stream_about
from inventory.models import PolicyClause
from inventory.replay import tables
from inventory.replay.clauses import shipped, shipped_records
from inventory.replay.comparing import Difference, compare
from inventory.replay.folding import ACTIONS, POLICY_ACTIONS, Fold
from inventory.replay.told import Told

KEYS_AT_ONCE = 100_000  # about 350 MB


@dataclass(kw_only=True)
class Run:
    """One replay: what it has read so far. `until` ends the log there, for the inventory as of a moment."""

    until: datetime | int | None = None
    keys_at_once: int = KEYS_AT_ONCE
    first: int = 1  # number of the first event that is still in the log
    last: int = 0
    events: int = 0  # that change the inventory
    keys: int = 0
    others: int = 0
    partly_known: int = 0  # keys whose beginning is not in the log any more
    passes: int = 0
    differing: int = 0
    _lowest: "array[int]" = field(default_factory=lambda: array("q"))
    _highest: "array[int]" = field(default_factory=lambda: array("q"))

    @property
    def is_cut(self) -> bool:
        return self.first > 1

    def folds(self) -> Iterator[Fold]:
        """Yield what the log tells, a range of keys at a time. Runs inside snapshot(). Raises: ReplayError."""
        self.first = begins_at()
        first, highest = 1, tables.highest_key()
        while not self.passes or first <= highest:
            window = range(first, first + self.keys_at_once)
            fold = self._pass(window)
            highest = max(highest, fold.highest)
            yield fold
            first = window.stop

    def _pass(self, window: range) -> Fold:
        fold = Fold(window=window, is_cut=self.is_cut, standing=self._standing())
        for event in stream(until=self.until):
            place = event.number - self.first
            if self.passes and not self._concerns(place, event.action, window):
                continue
            lowest, highest = fold.take(event)
            if not self.passes:
                self._note(event.number, event.action, lowest, highest)
        fold.finish()
        self.passes += 1
        self.keys += len(fold.keys)
        self.partly_known += sum(not told.is_whole for told in fold.keys.values())
        return fold

    def _standing(self) -> Iterator[Told]:
        codes = PolicyClause.objects.filter(code__in=shipped()).values_list("code", "pk")
        return shipped_records(dict(codes))

    def _note(self, number: int, action: str, lowest: int, highest: int) -> None:
        """Keep which keys an event is about; numbers have no gaps, and a gap that is there is about no key."""
        missing = number - self.first - len(self._lowest)
        self._lowest.extend([0] * missing)
        self._highest.extend([0] * missing)
        self._lowest.append(lowest)
        self._highest.append(highest)
        self.last = number
        self.events += action in ACTIONS

    def _concerns(self, place: int, action: str, window: range) -> bool:
        if action in POLICY_ACTIONS:
            return True
        return self._highest[place] >= window.start and self._lowest[place] < window.stop

    def differences(self) -> Iterator[Difference]:
        """Yield every field in which tables and log differ. Runs inside snapshot(). Raises: ReplayError."""
        for number, fold in enumerate(self.folds()):
            if number == 0:
                yield from self._counted(self._of_others(fold))
            yield from self._counted(self._of_keys(fold))

    def _of_others(self, fold: Fold) -> Iterator[Difference]:
        told = {one.ref: one for one in fold.records}
        self.others = len(told)
        if self.is_cut:  # whether the clauses that were shipped have been changed before, nobody can say
            told = {ref: one for ref, one in told.items() if one.begins}
        for stored in tables.others():
            yield from compare(told.pop(stored.ref, None), stored, is_cut=self.is_cut)
        for gone in told.values():
            yield from compare(gone, None, is_cut=self.is_cut)

    def _of_keys(self, fold: Fold) -> Iterator[Difference]:
        window = fold.window
        first, last = (window.start, window.stop - 1) if isinstance(window, range) else (0, None)
        told = fold.keys
        pks = None if isinstance(window, range) else _listed(window)
        for stored in tables.keys(pks, first=first, last=last):
            one = told.pop(int(stored.ref.removeprefix("key:")), None)
            yield from compare(one, stored, is_cut=self.is_cut)
        for gone in told.values():
            yield from compare(gone, None, is_cut=self.is_cut)

    def _counted(self, found: Iterator[Difference]) -> Iterator[Difference]:
        for difference in found:
            self.differing += 1
            yield difference

    def of_some(self, pks: Collection[int]) -> Fold:
        """Return what the log tells of a few keys, whose events are found by the index. Raises: ReplayError."""
        self.first = begins_at()
        fold = Fold(window=frozenset(pks), is_cut=self.is_cut, standing=self._standing())
        for event in stream_about([f"key:{pk}" for pk in pks], actions=POLICY_ACTIONS, until=self.until):
            fold.take(event)
            self.last, self.events = event.number, self.events + 1
        fold.finish()
        self.keys, self.passes = len(fold.keys), 1
        return fold

    def differences_of_some(self, pks: Collection[int]) -> Iterator[Difference]:
        """Yield the differences of a few keys, as differences() does of all. Raises: ReplayError."""
        yield from self._counted(self._of_keys(self.of_some(pks)))


def _listed(window: Container[int]) -> Collection[int]:
    return window if isinstance(window, frozenset) else ()


@contextmanager
def snapshot() -> Iterator[None]:
    """Make log and tables those of one moment; inside a transaction, that one decides."""
    nested = connection.in_atomic_block
    with transaction.atomic():
        if not nested:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
