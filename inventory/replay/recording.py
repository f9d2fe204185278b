"""One comparison of the tables with the log, its result kept as an event: what the pages show of it is that event."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.selectors import ReadEvent, latest_each
from audit.services import Subject, record
from inventory.errors import ReplayError
from inventory.replay.comparing import Difference
from inventory.replay.running import Run, snapshot

RECORDED = 1_000  # differences that the event of a run tells; the rest are counted
WHOLE_RECORD = "the record"
Tell = Callable[[Difference], None]


@dataclass(frozen=True)
class Asked:
    """The last time that somebody asked for a run, and the last run."""

    asked: ReadEvent | None
    ran: ReadEvent | None

    @property
    def is_waiting(self) -> bool:
        """Whether a worker has still to do what was asked."""
        return self.asked is not None and (self.ran is None or self.ran.number < self.asked.number)


def quietly(_difference: Difference) -> None:
    """Tell nobody."""


def compare_inventory(*, actor: Actor, now: datetime, keys: Collection[int] = (), tell: Tell = quietly) -> Run:
    """Compare the tables, or a few keys, with the log; `tell` hears of each difference as it is found.

    Log and tables are those of one moment. Afterwards, in a transaction of its own, an event with the counts and the
    first differences: inventory.replayed, or key.replayed for a few keys; it failed where they differ.
    Raises: ReplayError, after an event that says so.
    """
    run = Run()
    told: list[Difference] = []
    try:
        with snapshot():
            found = run.differences_of_some(frozenset(keys)) if keys else run.differences()
            for difference in found:
                tell(difference)
                if len(told) < RECORDED:
                    told.append(difference)
    except ReplayError as error:
        _record(run, told, keys, actor, now, problem=str(error))
        raise
    _record(run, told, keys, actor, now)
    return run


@transaction.atomic
def ask_for_comparison(*, actor: Actor, now: datetime) -> UUID:
    """Ask that a worker compares the inventory with the log soon. Event: inventory.replay_asked."""
    return record(Action.INVENTORY_REPLAY_ASKED, actor=actor, now=now)


def latest() -> Asked:
    """Return the last run and whether another one is asked for; two queries at most."""
    events = latest_each((Action.INVENTORY_REPLAY_ASKED, Action.INVENTORY_REPLAYED))
    return Asked(events.get(Action.INVENTORY_REPLAY_ASKED), events.get(Action.INVENTORY_REPLAYED))


def compare_if_asked(*, actor: Actor, now: datetime) -> Run | None:
    """Do what somebody has asked for and nobody has done; one at a time. Raises: ReplayError."""
    if not latest().is_waiting:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('inventory.replay'))")
        (is_ours,) = cursor.fetchone()
        if not is_ours:
            return None
        try:
            return compare_inventory(actor=actor, now=now)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('inventory.replay'))")


def _record(
    run: Run,
    told: Collection[Difference],
    keys: Collection[int],
    actor: Actor,
    now: datetime,
    problem: str = "",
) -> None:
    subjects = next(batches(_subjects(told)), [])
    facts: dict[str, JSON] = {
        "first_event": run.first,
        "last_event": run.last,
        "events": run.events,
        "keys": run.keys,
        "records": run.others,
        "differences": run.differing,
        "listed": sum(len(subject.before) for subject in subjects),
        "partly_known": run.partly_known,
        "passes": run.passes,
    }
    if problem:
        facts["problem"] = problem
    is_well = not (run.differing or problem)
    with transaction.atomic():
        record(
            Action.KEY_REPLAYED if keys else Action.INVENTORY_REPLAYED,
            actor=actor,
            now=now,
            subjects=subjects,
            facts=facts,
            outcome=Outcome.DONE if is_well else Outcome.FAILED,
        )


def _subjects(told: Collection[Difference]) -> list[Subject]:
    """Say of each record what the log says as what was before, and what the table says as what is now."""
    by_ref: dict[str, list[Difference]] = {}
    for difference in told:
        by_ref.setdefault(difference.ref, []).append(difference)
    return [
        Subject(
            ref=ref,
            label=some[0].label,
            before={one.field or WHOLE_RECORD: one.logged for one in some},
            after={one.field or WHOLE_RECORD: one.stored for one in some},
        )
        for ref, some in by_ref.items()
    ]
