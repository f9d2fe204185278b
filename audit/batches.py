"""How subjects are shared out over events. Pure."""

import json
from collections.abc import Iterable, Iterator

from audit.body import MAX_BYTES, MAX_SUBJECTS, Subject

# Measured with every character beyond ASCII escaped, so that the canonical bytes are fewer.
BUDGET_BYTES = MAX_BYTES // 2


def batches(subjects: Iterable[Subject]) -> Iterator[list[Subject]]:
    """Yield the subjects in order, in lists that fit into one event each. No subjects, no list."""
    batch: list[Subject] = []
    filled = 0
    for subject in subjects:
        size = len(json.dumps([subject.ref, subject.label, subject.before, subject.after], default=str))
        if batch and (len(batch) == MAX_SUBJECTS or filled + size > BUDGET_BYTES):
            yield batch
            batch, filled = [], 0
        batch.append(subject)
        filled += size
    if batch:
        yield batch
