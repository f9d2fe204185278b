"""Events in the order of their numbers → what the log tells of each record."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from itertools import chain
from typing import Any

from audit import body
from audit.actions import Action, Outcome
from audit.body import Subject
from audit.errors import AuditError
from audit.streaming import Streamed
from inventory.errors import ReplayError
from inventory.replay.clauses import Rulebook, level_facts
from inventory.replay.of_keys import BEGINNINGS, DERIVING, STEPS
from inventory.replay.told import Fields, Happened, Told, count_up, number_of

# Records besides the keys: by which event each begins, and by which it changes.
_BEGINS = frozenset({
    Action.OWNER_REGISTERED,
    Action.SERVICE_REGISTERED,
    Action.TENANT_REGISTERED,
    Action.INTEGRATION_REGISTERED,
    Action.VENDOR_REGISTERED,
    Action.CLAUSE_REGISTERED,
})  # fmt: skip
_CHANGES = frozenset({
    Action.OWNER_EDITED,
    Action.SERVICE_EDITED,
    Action.VENDOR_EDITED,
    Action.CLAUSE_EDITED,
    Action.CLAUSE_RETIRED,
    Action.THREAT_LEVEL_CHANGED,
})  # fmt: skip
POLICY_ACTIONS = frozenset({
    Action.CLAUSE_REGISTERED, Action.CLAUSE_EDITED, Action.CLAUSE_RETIRED, Action.THREAT_LEVEL_CHANGED
})  # fmt: skip
_NAMED = frozenset({"tenant", "integration", "vendor"})  # an import says their name in the label alone
_COUNTED = frozenset({"owner", "service", "vendor", "clause"})  # have a revision
ACTIONS = frozenset({*STEPS, *_BEGINS, *_CHANGES})


class Fold:
    """What the log tells, of keys only those in a window, as far as it was given events."""

    def __init__(self, *, window: Container[int], is_cut: bool, standing: Iterable[Told] = ()) -> None:
        """Begin. `is_cut` says that the first events are not in the log any more, `standing` what needs none."""
        self.window = window
        self.is_cut = is_cut
        self.keys: dict[int, Told] = {}
        self.others: defaultdict[str, dict[str, Told]] = defaultdict(dict)  # kind → reference → record
        self.highest = 0  # number of a key in the log
        self.rules = Rulebook()
        if not is_cut:
            for told in standing:
                self.others[told.ref.partition(":")[0]][told.ref] = told
            self._turn()

    def take(self, event: Streamed) -> tuple[int, int]:
        """Take an event in; return the lowest and the highest number of a key that it is about, (0, 0) without any.

        Raises: ReplayError for an event that cannot be read.
        """
        if event.action not in ACTIONS:
            return 0, 0
        try:
            said = body.parse(event.raw)
            if said.outcome != Outcome.DONE:
                return 0, 0
            return self._take(Happened(event.number, said))
        except (AuditError, KeyError, ValueError, TypeError) as error:
            raise ReplayError(event.number) from error

    def _take(self, happened: Happened) -> tuple[int, int]:
        step = STEPS.get(happened.said.action)
        if step is None:
            for subject in happened.said.subjects:
                self._other(happened, subject)
            if happened.said.action in POLICY_ACTIONS and not self.is_cut:
                self._turn()
            return 0, 0
        pks = [number_of(subject.ref) for subject in happened.said.subjects]
        self.highest = max(self.highest, *pks) if pks else self.highest
        for pk, subject in zip(pks, happened.said.subjects, strict=True):
            if pk in self.window:
                self._key(pk, happened, subject)
        return (min(pks), max(pks)) if pks else (0, 0)

    def _key(self, pk: int, happened: Happened, subject: Subject) -> None:
        action = happened.said.action
        told = self.keys.get(pk)
        if told is None:
            begins = Action(action) in BEGINNINGS
            told = self.keys[pk] = Told(ref=subject.ref, begins=happened.number, is_whole=begins)
            told.epoch = self.rules.epoch
        self._catch_up(told)
        STEPS[action](told, happened, subject)
        told.saw(happened, subject)
        if action in DERIVING and told.is_whole and not self.is_cut:
            self.rules.derive(told, self.rules.epoch)

    def _catch_up(self, told: Told) -> None:
        if told.is_whole and not self.is_cut:
            self.rules.catch_up(told)

    def _other(self, happened: Happened, subject: Subject) -> None:
        kind = subject.ref.partition(":")[0]
        told = self.others[kind].get(subject.ref)
        if told is None:
            begins = Action(happened.said.action) in _BEGINS
            told = Told(ref=subject.ref, begins=happened.number, is_whole=begins)
            self.others[kind][subject.ref] = told
            if begins:
                told.fields = _beginning(kind, subject)
        told.fields |= _said(kind, happened, subject)
        if happened.said.action in _CHANGES:
            count_up(told.fields)
        told.saw(happened, subject)

    def _turn(self) -> None:
        self.rules.turn(self.others["clause"], self.others["threat_level"]["threat_level:1"])

    def finish(self) -> None:
        """Bring the dates of all keys up to the last change of the clauses."""
        for told in self.keys.values():
            self._catch_up(told)

    @property
    def records(self) -> Iterable[Told]:
        """Every record that is no key."""
        return chain.from_iterable(records.values() for records in self.others.values())


def _beginning(kind: str, subject: Subject) -> Fields:
    fields: Fields = {"name": subject.label} if kind in _NAMED else {}
    if kind in _COUNTED:
        fields["revision"] = 1
    return fields | ({"is_in_force": True} if kind == "clause" else {})


def _said(kind: str, happened: Happened, subject: Subject) -> Mapping[str, Any]:
    if kind == "threat_level":
        return level_facts(subject.after) | {"changed_at": happened.at}
    return subject.after
