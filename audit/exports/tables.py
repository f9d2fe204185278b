"""An event as a row of text, for people with a spreadsheet."""

import json
from collections.abc import Callable, Mapping

from audit.body import Body
from audit.canonical import timestamp
from audit.selectors import ReadEvent

# What the bytes say, by column; an event whose body cannot be read has the first columns alone.
OUTSIDE: Mapping[str, Callable[[ReadEvent], str]] = {
    "number": lambda event: str(event.number),
    "recorded": lambda event: timestamp(event.stamped.recorded_at) if event.stamped else "",
    "digest": lambda event: event.digest.hex(),
    "what happened": lambda event: event.sentence,
    "name": lambda event: event.identity.name if event.identity else "",
}
INSIDE: Mapping[str, Callable[[Body], str]] = {
    "id": lambda said: str(said.id),
    "time": lambda said: timestamp(said.at),
    "action": lambda said: said.action,
    "outcome": lambda said: said.outcome,
    "who": lambda said: said.actor_id,
    "roles": lambda said: said.actor_role,
    "on behalf of": lambda said: said.on_behalf_of,
    "second factor": lambda said: said.verified_by,
    "path": lambda said: said.path,
    "reason": lambda said: said.reason,
    "subjects": lambda said: " ".join(subject.ref for subject in said.subjects),
    "changes": lambda said: _json([
        {"ref": each.ref, "label": each.label, "before": each.before, "after": each.after} for each in said.subjects
    ]),
    "facts": lambda said: _json(said.facts) if said.facts else "",
}  # fmt: skip
HEADER = (*OUTSIDE, *INSIDE)


def row(event: ReadEvent) -> list[str]:
    """Return the event as texts, in the order of HEADER."""
    said = event.said
    return [of(event) for of in OUTSIDE.values()] + [of(said) if said else "" for of in INSIDE.values()]


def _json(said: object) -> str:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))
