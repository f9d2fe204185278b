"""Invariant 5: the state of every version follows from the log, one event a change, by legal steps alone.

It folds the events anew, a key at a time; of the services' code it takes nothing but the table of transitions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, LiteralString

from audit.actions import Action
from inventory.states import BY_PAIR, ENTRIES, State
from rotation.fsck.results import Result
from rotation.fsck.rows import one, rows

_BEGINNINGS = (Action.KEY_REGISTERED, Action.KEY_IMPORTED)
_MOVES = (
    Action.KEY_ACTIVATED,
    Action.KEY_SUSPENDED,
    Action.KEY_REACTIVATED,
    Action.KEY_DEACTIVATED,
    Action.KEY_COMPROMISED,
    Action.KEY_DESTROYED,
)
# OFFSET 0: a body of a thousand subjects is read once, and not once for each of them.
_EVENTS: LiteralString = """
SELECT substring(s ->> 'ref' FROM 5)::bigint AS key, e.number, e.action, s -> 'before' ->> 'state',
       s -> 'after' ->> 'state', (s -> 'after' ->> 'version')::int, b.entered, b.generations
  FROM audit_event e
 CROSS JOIN LATERAL (
    SELECT said -> 'subjects' AS subjects, said -> 'facts' ->> 'state' AS entered,
           (said -> 'facts' ->> 'generations')::int AS generations
      FROM (SELECT convert_from(e.body, 'UTF8')::jsonb AS said OFFSET 0) AS read OFFSET 0) AS b
 CROSS JOIN LATERAL jsonb_array_elements(b.subjects) s
 WHERE e.action = ANY(%s) AND e.outcome = 'done' AND s ->> 'ref' ~ '^key:[0-9]{1,18}$'
 ORDER BY key, e.number
"""
_STORED: LiteralString = """
SELECT k.id, v.number, v.state, k.state, k.current_number
  FROM inventory_key k LEFT JOIN inventory_keyversion v ON v.key_id = k.id ORDER BY k.id, v.number
"""


@dataclass
class _Told:
    """What the log tells of one key, as far as it was read."""

    key: int
    is_cut: bool  # the first events are not in the log any more
    versions: dict[int, str] = field(default_factory=dict)
    current: int = 0
    events: int = 0
    is_known: bool = False

    def take(self, number: int, action: str, *said: Any) -> str:  # noqa: ANN401 - a row
        """Take one event in; return what is wrong with it, "" if nothing."""
        before, after, version, entered, generations = said
        self.events += 1
        if action in _BEGINNINGS:
            return self._begin(number, entered, generations or 1)
        if not self.is_known and not self._presume(before, version):
            return f"event {number} is about key:{self.key}, which no event registered"
        if action == Action.KEY_ROTATED:
            return self._rotate(number, version)
        return self._move(number, before, after, version or self.current)

    def _begin(self, number: int, entered: str | None, generations: int) -> str:
        if self.events > 1:
            return f"event {number} registers key:{self.key} once more"
        if entered not in {*ENTRIES, State.PRE_ACTIVATION}:
            return f"event {number} registers key:{self.key} in the state {entered}, in which none begins"
        self.versions = dict.fromkeys(range(1, generations), State.DEACTIVATED.value) | {generations: str(entered)}
        self.current, self.is_known = generations, True
        return ""

    def _presume(self, before: str | None, version: int | None) -> bool:
        """Begin with what the first event that is left says was before; only where earlier ones were dropped."""
        if self.is_cut:
            self.current = version or 0
            if before:
                self.versions[self.current] = before
        return self.is_cut

    def _rotate(self, number: int, version: int | None) -> str:
        was = self.versions.get(self.current)
        if version is None:
            return f"event {number} rotates key:{self.key} to no version"
        if self.is_known and version != self.current + 1:
            return f"event {number} rotates key:{self.key} from version {self.current} to {version}"
        if self.is_known and not _is_legal(was, State.DEACTIVATED):
            return f"event {number} rotates key:{self.key} out of the state {was}"
        self.versions |= {version - 1: State.DEACTIVATED.value, version: State.ACTIVE.value}
        self.current = version
        return ""

    def _move(self, number: int, before: str | None, after: str | None, version: int) -> str:
        was = self.versions.get(version)
        self.versions[version] = str(after)
        if self.is_known and before is not None and before != was:
            return f"event {number} takes version {version} of key:{self.key} from {before}, and it was {was}"
        if (self.is_known or was) and not _is_legal(was, after):
            return f"event {number} takes version {version} of key:{self.key} from {was} to {after}, which is no step"
        return ""

    def compare(self, stored: dict[int, str], state: str, current: int) -> Iterator[str]:
        """Say where the tables hold something else."""
        if not self.is_known:
            if not self.is_cut:
                yield f"key:{self.key} is in no event that registered it"
            return
        if current != self.current or state != self.versions.get(self.current):
            said = f"{self.versions.get(self.current)} with version {self.current}"
            yield f"key:{self.key} is {state} with version {current}, and the log says {said}"
        for version in sorted(stored.keys() | self.versions.keys()):
            if stored.get(version) != self.versions.get(version):
                yield (
                    f"version {version} of key:{self.key} is {stored.get(version, 'not there')}, and the log says "
                    f"{self.versions.get(version, 'nothing of it')}"
                )


def _is_legal(was: str | None, after: str | None) -> bool:
    try:
        return (State(str(was)), State(str(after))) in BY_PAIR
    except ValueError:
        return False


def states_follow() -> Result:
    """Check every state of every version against the events, key by key."""
    result = Result(number=5, title="every state follows from events, by legal steps", unit="changes of state")
    first = one("SELECT min(number) FROM audit_event") or 1
    if first > 1:
        result.notes.append(f"the log begins with event {first:,}: of older keys only what came after is compared")
    actions = [str(action) for action in (*_BEGINNINGS, Action.KEY_ROTATED, *_MOVES)]
    events = ((row[0], 0, row[1:]) for row in rows(_EVENTS, [actions]))
    stored = ((row[0], 1, row[1:]) for row in rows(_STORED))
    for key, group in groupby(merge(events, stored, key=itemgetter(0, 1)), key=itemgetter(0)):
        told = _Told(key, is_cut=first > 1)
        versions: dict[int, str] = {}
        facts: tuple[str, int] | None = None
        for _, is_stored, row in group:
            if is_stored:
                facts = row[2], row[3]
                if row[0] is not None:
                    versions[row[0]] = row[1]
            elif words := told.take(*row):
                result.add(words)
        result.checked += told.events
        result.take(
            [f"key:{key} is in the log and not in the table"] if facts is None else told.compare(versions, *facts)
        )
    return result
