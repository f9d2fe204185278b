"""How subjects are shared out over events. Pure."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice

from audit.body import MAX_BYTES, MAX_SUBJECTS, Subject

# Measured with every character beyond ASCII escaped, so that the canonical bytes are fewer.
BUDGET_BYTES = MAX_BYTES // 2


def batches(subjects: Iterable[Subject]) -> Iterator[list[Subject]]:
    """Yield the subjects in order, in lists that fit into one event each. No subjects, no list."""
    rest = iter(subjects)
    while batch := list(islice(rest, MAX_SUBJECTS)):
        yield from _fitting(batch)


def _fitting(batch: list[Subject]) -> Iterator[list[Subject]]:
    """Yield the batch, in halves where it is too much for one event; measured whole, which is seldom more than once."""
    if len(batch) == 1 or _bytes(batch) <= BUDGET_BYTES:
        yield batch
        return
    middle = len(batch) // 2
    yield from _fitting(batch[:middle])
    yield from _fitting(batch[middle:])


def _bytes(batch: list[Subject]) -> int:
    return len(json.dumps([(each.ref, each.label, each.before, each.after) for each in batch], default=str))
