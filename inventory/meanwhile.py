"""What happened to a record while somebody had its form open, as the log tells it."""

from audit.body import Subject
from audit.canonical import JSON
from audit.selectors import ReadEvent, timeline
from inventory.wording import names_of

MOST = 5


def meanwhile(ref: str, edits: int) -> list[str]:
    """Return in sentences who changed a record in its last so many edits, what and why; newest first.

    At most MOST of them. Of people's names and addresses the log does not say what they were. Queries: 2, and those of
    names_of().
    """
    if edits < 1:
        return []
    told = [(event, subject) for event in timeline(ref, limit=min(edits, MOST)) if (subject := _of(event, ref))]
    sides = [side for _, subject in told for side in (subject.before, subject.after)]
    names = names_of(str(value) for side in sides for value in side.values())
    return [_sentence(event, subject, names) for event, subject in told]


def _of(event: ReadEvent, ref: str) -> Subject | None:
    return next((subject for subject in event.said.subjects if subject.ref == ref), None) if event.said else None


def _sentence(event: ReadEvent, subject: Subject, names: dict[str, str]) -> str:
    said = event.said
    assert said is not None  # noqa: S101 - _of() has looked
    facts = [
        f"{name.replace('_', ' ')} from {_words(subject.before.get(name), names)} to {_words(value, names)}"
        for name, value in subject.after.items()
    ]
    of_people = said.facts.get("of_people")
    facts += [str(name) for name in of_people] if isinstance(of_people, list) else []
    why = f" (“{said.reason}”)" if said.reason else ""
    return f"{event.who} changed {', '.join(facts) or 'it'} on {said.at:%-d %B %Y at %H:%M} UTC{why}."


def _words(value: JSON, names: dict[str, str]) -> str:
    if value in (None, "", []):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " and ".join(str(one) for one in value)
    return names.get(str(value), str(value))
