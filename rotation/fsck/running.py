"""All invariants in one snapshot, and what is told of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Outcome, record
from audit.verification import verify
from audit.verification.reading import snapshot
from rotation.fsck import opening, wrappings
from rotation.fsck.canaries import no_canaries
from rotation.fsck.decisions import decided
from rotation.fsck.results import KEPT, Result
from rotation.fsck.states import states_follow
from rotation.fsck.waiting import nothing_lies
from rotation.operations import operations


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is looked at besides the database."""

    opens: bool = True  # wrappings, in their stores; for a process that has the master key
    sample: int | None = None  # about so many of them; none: all
    patterns: Sequence[bytes] = ()  # known plaintext
    only: frozenset[int] = frozenset()  # numbers of invariants; none: all


@dataclass(frozen=True)
class Report:
    """What all of them came to."""

    results: Sequence[Result]

    @property
    def first_break(self) -> str:
        return next((one.breaks[0] for one in self.results if one.breaks), "")

    @property
    def is_whole(self) -> bool:
        return not self.first_break

    @property
    def is_complete(self) -> bool:
        """Whether everything that was asked for could be looked at."""
        return not any(one.is_skipped for one in self.results)

    def lines(self) -> Iterator[str]:
        for one in self.results:
            yield from one.lines()

    def as_json(self) -> dict[str, Any]:
        return {
            "whole": self.is_whole,
            "complete": self.is_complete,
            "first_break": self.first_break,
            "invariants": [one.as_json() for one in self.results],
        }


def run(options: Options, *, now: datetime, tell: Callable[[Result], None] = lambda _result: None) -> Report:
    """Derive all invariants from one moment of the database; nothing is written, nothing is locked.

    Store calls are made while the snapshot stands: it locks nothing that anybody waits for. `tell` gets each result as
    it is there.
    """
    checks = _checks(options, now)
    results = []
    with snapshot(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        for number, check in checks.items():
            if options.only and number not in options.only:
                continue
            began = time.monotonic()
            result = check()
            result.seconds = time.monotonic() - began
            results.append(result)
            tell(result)
    return Report(results)


def _checks(options: Options, now: datetime) -> dict[int, Callable[[], Result]]:
    at_machine = [operation.code for operation in operations() if operation.at_machine]
    return {
        1: wrappings.all_wrapped,
        2: lambda: opening.all_open(opens=options.opens, sample=options.sample),
        3: wrappings.none_misplaced,
        4: _log_whole,
        5: states_follow,
        6: decided,
        7: lambda: nothing_lies(now=now, at_machine=at_machine),
        8: lambda: no_canaries(options.patterns),
    }


def _log_whole() -> Result:
    """Check the log as verify_audit does, in this snapshot and this process."""
    verdict = verify(jobs=1)
    result = Result(number=4, title="the audit log is whole", unit="events", checked=verdict.events)
    result.take(str(finding) for finding in verdict.findings)
    result.notes.append("against checkpoints from outside only verify_audit --checkpoint compares")
    return result


@transaction.atomic
def keep(report: Report, *, actor: Actor, now: datetime) -> None:
    """Record the result, in a transaction of its own after the snapshot. Event: census.checked."""
    facts: dict[str, JSON] = {
        "first_break": report.first_break[:500],
        "complete": report.is_complete,
        "invariants": [_told(one) for one in report.results],
    }
    outcome = Outcome.DONE if report.is_whole else Outcome.FAILED
    record(Action.CENSUS_CHECKED, actor=actor, now=now, facts=facts, outcome=outcome)


def _told(result: Result) -> dict[str, JSON]:
    return {
        "number": result.number,
        "checked": result.checked,
        "broken": result.broken,
        "breaks": [words[:300] for words in result.breaks[: KEPT // 4]],
        "skipped": result.is_skipped,
        "notes": [note[:300] for note in result.notes[:5]],
    }
