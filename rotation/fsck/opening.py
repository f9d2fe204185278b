"""Invariant 2: every wrapping opens under exactly the version that its row names, and is bound to that row.

The database is read at one moment, and the key stores answer later: by then a job may have brought a DEK under another
version, and the old one may be disabled or destroyed. So whatever does not open is looked up once more as it is now.
What still lies there is broken, for rows of such a version keep it alive; what has moved is opened where it is.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import LiteralString, NamedTuple

from inventory.custody import BackendError, Item, Refusal, check
from rotation.fsck.results import KEPT, Result
from rotation.fsck.rows import FETCHED_ROWS, one, present, rows

LOOKS = 3  # at a DEK that moves again while it is looked at
_WRAPPINGS: LiteralString = """
SELECT w.kek_version_id, k.uri, k.algorithm, v.store_id, w.dek_version_id, d.key_id, d.number, w.wrapped, d.binding,
       d.context
  FROM inventory_wrapping w
  JOIN inventory_kekversion v ON v.version_id = w.kek_version_id JOIN inventory_kek k ON k.key_id = v.kek_id
  JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
"""
_ALL: LiteralString = " ORDER BY w.kek_version_id, w.dek_version_id"
_SOME: LiteralString = " WHERE w.dek_version_id %% %s = %s" + _ALL
_NOW: LiteralString = " WHERE w.dek_version_id = ANY(%s)" + _ALL
_CLEARED: LiteralString = """
SELECT version_id FROM inventory_dekversion WHERE version_id = ANY(%s) AND cleared_at IS NOT NULL
"""


class _Found(NamedTuple):
    """A wrapping, as it was read."""

    kek_version: int
    uri: str
    algorithm: str
    store_id: str
    dek_version: int
    key: int
    number: int
    wrapped: bytes
    binding: bytes | None
    context: bytes

    @property
    def item(self) -> Item:
        return Item(
            dek_id=f"key:{self.key}".encode(),
            number=self.number,
            wrapped=bytes(self.wrapped),
            binding=None if self.binding is None else bytes(self.binding),
            context=bytes(self.context),
        )

    @property
    def itself(self) -> tuple[int, int, bytes]:
        return self.kek_version, self.dek_version, bytes(self.wrapped)

    def __str__(self) -> str:
        return f"key:{self.key} version {self.number}"


class _Present(NamedTuple):
    """What there is now of some DEKs."""

    wrappings: Sequence[_Found]
    cleared: frozenset[int]


def all_open(*, opens: bool, sample: int | None) -> Result:
    """Open wrappings under exactly the versions that their rows name, and compare what is bound.

    `sample`: about so many of them, chosen by chance. Without `opens` none: the result says so.
    """
    result = Result(number=2, title="every wrapping opens and is bound to its row", unit="wrappings")
    total = one("SELECT count(*) FROM inventory_wrapping")
    if not opens:
        result.notes.append(f"none of {total:,} wrappings was opened (--no-stores)")
        return result
    opening = _Opening(result)
    for _, group in groupby(_found(total, sample), key=attrgetter("kek_version")):
        for batch in _batches(group):
            opening.open(batch)
    if result.checked < total:
        result.notes.append(f"{total - result.checked:,} of {total:,} wrappings were not opened")
    opening.tell()
    return result


def _found(total: int, sample: int | None) -> Iterator[_Found]:
    """Yield wrappings, those of a KEK version after each other."""
    if sample is None or sample >= total:
        found = rows(_WRAPPINGS + _ALL)
    else:
        every = -(-total // max(sample, 1))
        found = rows(_WRAPPINGS + _SOME, [every, one("SELECT floor(random() * %s)::int", [every])])
    return (_Found(*row) for row in found)


def _batches(found: Iterator[_Found]) -> Iterator[list[_Found]]:
    batch: list[_Found] = []
    for each in found:
        batch.append(each)
        if len(batch) == FETCHED_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _there_now(deks: Sequence[int]) -> _Present:
    with present() as cursor:
        cursor.execute(_WRAPPINGS + _NOW, [list(deks)])
        wrappings = [_Found(*row) for row in cursor.fetchall()]
        cursor.execute(_CLEARED, [list(deks)])
        return _Present(wrappings, frozenset(pk for (pk,) in cursor.fetchall()))


class _Opening:
    """Opens batches of wrappings, and keeps in mind what is worth telling of them."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.unbound = self.moved = self.cleared = 0

    def open(self, batch: Sequence[_Found], *, looks: int = LOOKS) -> None:
        """Open wrappings of one version. What does not open is looked up as it is now."""
        first, why = batch[0], ""
        answers: Sequence[bytes | Refusal | None] = [None] * len(batch)
        try:
            answers = check(first.uri, first.store_id, [found.item for found in batch], algorithm=first.algorithm)
        except BackendError as error:
            why = f"version {first.store_id} of {first.uri} could not be asked: {error}"
        opened, refused = [], []
        for found, answer in zip(batch, answers, strict=True):
            if isinstance(answer, bytes):
                opened.append(found)
            else:
                refused.append((found, answer.reason if answer else ""))
        self.result.checked += len(opened)
        self.unbound += sum(found.binding is None for found in opened)
        self.moved += len(opened) if looks < LOOKS else 0
        if refused:
            self._look_again(refused, why, looks)

    def _look_again(self, refused: Sequence[tuple[_Found, str]], why: str, looks: int) -> None:
        """Tell what is still as it was; open what has moved, where it is by now."""
        there, cleared = _there_now([found.dek_version for found, _ in refused])
        unchanged = {found.itself for found in there}
        gone: set[int] = set()
        for found, reason in refused:
            if found.itself in unchanged or not looks:
                self._tell_refused(found, reason, why)
            else:
                gone.add(found.dek_version)
        self.cleared += len(gone & cleared)
        moved = [found for found in there if found.dek_version in gone]
        lost = gone - cleared - {found.dek_version for found in moved}
        self.result.take(
            f"{found} was wrapped a moment ago, and is not now" for found, _ in refused if found.dek_version in lost
        )
        for _, group in groupby(moved, key=attrgetter("kek_version")):
            self.open(list(group), looks=looks - 1)

    def _tell_refused(self, found: _Found, reason: str, why: str) -> None:
        if reason:
            self.result.add(f"{found} under version {found.store_id} of {found.uri} is refused ({reason})")
            return
        self.result.is_skipped = True
        if why not in self.result.notes and len(self.result.notes) < KEPT:
            self.result.notes.append(why)

    def tell(self) -> None:
        """Note what else was seen."""
        if self.moved:
            self.result.notes.append(f"{self.moved:,} were brought under another version meanwhile, and opened there")
        if self.cleared:
            self.result.notes.append(f"{self.cleared:,} were cleared meanwhile")
        if self.unbound:
            words = "have no binding digest yet: they open, and nothing says whose they are"
            self.result.notes.append(f"{self.unbound:,} {words}")
