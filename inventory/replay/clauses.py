"""The clauses and the threat level as the log tells them, and the dates that follow from them at each moment.

The clauses that a release ships stand in its migrations and in no event: they are read from there, so that nobody who
owns the database alone can have written them otherwise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import cache
from importlib import import_module
from typing import Any

from inventory.models import ExceptionState, PolicyClause, ThreatLevel
from inventory.policy import Facts, Rule, accepted_until, judge
from inventory.replay.told import Fields, Told
from inventory.services.clauses import CLAUSE_FACTS, LEVEL_FACTS

SHIPPED_BY = ("0003_rotation_clauses", "0006_clauses")
_LOOKED_AT = ("kind", "environment", "classification", "access")


@cache
def shipped() -> Mapping[str, Fields]:
    """Return what the releases ship: clauses by their codes."""
    found = {}
    for name in SHIPPED_BY:
        for clause in import_module(f"inventory.migrations.{name}").CLAUSES:
            source, document = clause["of"]
            said = {fact: value for fact, value in clause.items() if fact != "of"}
            found[clause["code"]] = said | {"source": source, "document": document, "is_in_force": True, "revision": 1}
    return found


def shipped_records(pks: Mapping[str, int]) -> Iterator[Told]:
    """Yield these clauses and the threat level as records that were there before the first event.

    `pks` says under which number the database has each code.
    """
    for code, said in shipped().items():
        if code in pks:
            yield Told(ref=f"clause:{pks[code]}", begins=0, is_whole=True, label=code, fields=dict(said))
    level = {name: getattr(ThreatLevel(), name) for name in LEVEL_FACTS} | {"revision": 1}
    yield Told(ref="threat_level:1", begins=0, is_whole=True, label="the threat level", fields=level)


class Rulebook:
    """The rules that held, one list for each time that a clause or the threat level changed.

    An epoch is the number of such a list. Which clause decides depends on four facts, so it is kept for each set.
    """

    def __init__(self) -> None:
        self._epochs: list[list[Rule]] = []
        self._winning: dict[tuple[Any, ...], Rule | None] = {}

    @property
    def epoch(self) -> int:
        return len(self._epochs) - 1

    def turn(self, clauses: Mapping[str, Told], threat: Told) -> None:
        """Begin an epoch with the clauses as they are told now."""
        percent = ThreatLevel(**{name: threat.fields[name] for name in LEVEL_FACTS}).percent
        stored = sorted((clause_of(told) for told in clauses.values()), key=lambda clause: clause.code)
        ageing = (one for one in stored if one.is_in_force and one.longest_age_days is not None)
        self._epochs.append([one.rule(percent) for one in ageing])

    def derive(self, told: Told, epoch: int) -> None:
        """Set the date, the clause and what was accepted, as they followed in an epoch.

        A new date, or another day until which it is accepted, takes a flag of lateness away.
        """
        fields = told.fields
        looked_at: dict[str, Any] = {name: fields.get(name) or "" for name in _LOOKED_AT}
        facts = Facts(
            **looked_at,
            created_on=_day(fields.get("created_on")),
            last_rotated_on=_day(fields.get("last_rotated_on")),
        )
        winning = self._winner(facts, epoch)
        due = judge(facts, [winning]).rotate_by if winning else None
        rotate_by = due.isoformat() if due else None
        accepted = self._accepted(told, facts, epoch) if due else None
        if (fields.get("rotate_by"), fields.get("accepted_until")) != (rotate_by, accepted):
            fields["flagged_overdue_at"] = None
        fields["rotate_by"], fields["accepted_until"] = rotate_by, accepted
        fields["winning_clause"] = f"clause:{winning.clause_id}" if winning and due else None
        told.epoch = epoch

    def catch_up(self, told: Told) -> None:
        """Work the date out for each epoch that has begun since the record was last looked at."""
        for epoch in range(told.epoch + 1, len(self._epochs)):
            self.derive(told, epoch)

    def _accepted(self, told: Told, facts: Facts, epoch: int) -> str | None:
        """Return until when the key was accepted, by the exceptions that stood."""
        standing = {
            part["clause"]: datetime.fromisoformat(part["until"])
            for name, part in told.parts.items()
            if name.startswith("exception:") and part.get("state") == ExceptionState.STANDING
        }
        if not standing:
            return None
        excepted = [
            replace(rule, excepted={0: standing[ref]}) if (ref := f"clause:{rule.clause_id}") in standing else rule
            for rule in self._epochs[epoch]
        ]
        until = accepted_until(facts, excepted, 0)
        return until.isoformat() if until else None

    def _winner(self, facts: Facts, epoch: int) -> Rule | None:
        looked_at = (epoch, *(getattr(facts, name) for name in _LOOKED_AT))
        if looked_at not in self._winning:
            self._winning[looked_at] = judge(facts, self._epochs[epoch]).winning
        return self._winning[looked_at]


def clause_of(told: Told) -> PolicyClause:
    """Return a clause as it is told; it is not saved."""
    said = {name: told.fields[name] for name in (*CLAUSE_FACTS, "code", "is_in_force") if name in told.fields}
    return PolicyClause(pk=int(told.ref.removeprefix("clause:")), **said)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def level_facts(said: Mapping[str, Any]) -> Fields:
    """Return what an event says of the threat level, as the record has it: percentages are written as text."""
    return {name: value if name == "level" else int(str(value)) for name, value in said.items()}
