"""Changes that make a key less late: an edit, a row of an import, or a rotation done elsewhere. One DevOps votes."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, cast, overload

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from inventory.guarded.held import apply_edit, apply_rotation
from inventory.permits import Permit
from inventory.services.keys import REFERENCES
from inventory.services.questions import EDIT, ROTATION, Looked, Question, looked_at
from inventory.wording import in_order, label_of, names_of, words_of
from rotation.operations import register
from rotation.operations.base import (
    DEVOPS,
    ENGINEERING,
    SECURITY,
    Description,
    Draft,
    Line,
    Operation,
    Payload,
    Step,
    Target,
)

LIFETIME = timedelta(days=14)
_PEOPLE = frozenset({"owner", "creator"})  # whose names stay out of what can never be erased


def draft(parameters: Mapping[str, JSON], *, now: datetime, hold: bool) -> Draft:
    """Look at one key; see inventory.services.questions.looked_at(). Raises as it does."""
    (looked,) = looked_at([Question.read(parameters)], hold=hold)
    return _drafted(looked, _names([looked]))


def draft_all(questions: Sequence[Mapping[str, JSON]], *, now: datetime) -> list[Draft]:
    """Look at many keys. Queries: those of looked_at(), and 1 for each kind of record that is named."""
    looked = looked_at([Question.read(parameters) for parameters in questions])
    names = _names(looked)
    return [_drafted(one, names) for one in looked]


def _drafted(looked: Looked, names: Mapping[str, str]) -> Draft:
    key, asked, proof = looked.key, looked.question, looked.evidence
    facts: dict[str, JSON] = {
        "before": looked.before,
        "names": {ref: names[ref] for ref in _references(asked.changes, looked.before) if ref in names},
        "clause": {
            "before": looked.clauses.get(key.winning_clause_id or 0, ""),
            "after": looked.clauses.get(looked.after.winning_clause_id or 0, ""),
        },
        "owner": key.owner.ref if key.owner else None,
        "service": str(key.service) if key.service else "",
    }
    excluded: tuple[str, ...] = ()
    if proof:
        facts |= {
            "evidence": {"rotated_on": proof.rotated_on.isoformat(), "text": proof.text, "url": proof.url},
            "version": key.current_number,
        }
        excluded = (f"user:{proof.reported_by_id}",) if proof.reported_by_id else ()
    target = Target(ref=key.ref, label=key.name, revision=key.revision)
    return Draft(targets=[target], facts=facts, excluded=excluded)


def _names(looked: Sequence[Looked]) -> dict[str, str]:
    """Return the names of records that are no people, among what changes."""
    return names_of({ref for one in looked for ref in _references(one.question.changes, one.before)})


def _references(*sides: Mapping[str, JSON]) -> list[str]:
    return sorted(
        {str(side[name]) for side in sides for name in side.keys() & (REFERENCES.keys() - _PEOPLE) if side[name]}
    )


# In words


def describe(payload: Payload) -> Description:
    """Say what happens to the date by which the key must be rotated, and because of what."""
    asked, name = Question.read(payload.parameters), payload.targets[0].label
    sentences = [f"{_moves(name, _day(asked.due_before), _day(asked.due_after))}, because {_because(asked)}."]
    if asked.evidence is not None:
        number = cast("int", payload.facts["version"])
        sentences.append(f"The key gets version {number + 1}; version {number} is deactivated as superseded.")
    title = f"Count {name} as rotated" if asked.evidence is not None else f"Give {name} more time"
    return Description(title=title, sentences=sentences, lines=_Later(lambda: _lines(payload, asked)))


def _moves(name: str, before: str, after: str) -> str:
    which = f"The date by which {name} must be rotated"
    if before == after:
        return f"{which} stays {after}" if after else f"{name} has no date of rotation and gets none"
    if not after:
        return f"{which}, {before}, falls away"
    if not before:
        return f"{name} must be rotated by {after}, where it had no date"
    return f"{which} moves from {before} to {after}"


def _because(asked: Question) -> str:
    if asked.evidence is not None:
        return f"it is said to have been rotated on {_day(str(asked.changes['last_rotated_on']))}"
    facts = _listed([label_of(name) for name in in_order(asked.changes)])
    if asked.kind == "import":
        return f"an imported file says something else of: {facts}"
    return f"somebody wants to change: {facts}"


def _lines(payload: Payload, asked: Question) -> list[Line]:
    """Return what changes, in words, the date of rotation last; then on what it rests. Queries: 1 for owners."""
    facts = cast("Mapping[str, Any]", payload.facts)
    people = [side[name] for side in (facts["before"], asked.changes) for name in side.keys() & _PEOPLE]
    names = facts["names"] | names_of(str(ref) for ref in (*people, facts["owner"]) if ref)
    lines = [
        Line(
            label=label_of(name),
            text=words_of(name, asked.changes[name], names),
            before=words_of(name, facts["before"].get(name), names),
        )
        for name in in_order(asked.changes)
    ]
    lines += [
        Line(label=label_of("rotate_by"), text=_day(asked.due_after), before=_day(asked.due_before)),
        Line(label=label_of("winning_clause"), text=facts["clause"]["after"], before=facts["clause"]["before"]),
    ]
    if proof := facts.get("evidence"):
        lines += [Line(label="Evidence", text=proof["text"]), Line(label="Link", text=proof["url"], url=proof["url"])]
    owner = names.get(str(facts["owner"]), "nobody: Security answers for it")
    return [*lines, Line(label="Owner", text=owner), Line(label="Service", text=facts["service"] or "none is recorded")]


class _Later(Sequence[Line]):
    """Lines that are worked out when somebody looks: thousands of requests are opened for their titles alone."""

    def __init__(self, work_out: Callable[[], Sequence[Line]]) -> None:
        self._work_out = work_out

    @cached_property
    def _lines(self) -> Sequence[Line]:
        return self._work_out()

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | Sequence[Line]:
        return self._lines[index]

    def __len__(self) -> int:
        return len(self._lines)


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _day(said: str | None) -> str:
    return f"{date.fromisoformat(said[:10]):%-d %B %Y}" if said else ""


# Carried out


def execute_edit(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    asked = Question.read(payload.parameters)
    apply_edit(
        pk=asked.key,
        changes=asked.changes,
        kind=asked.kind,
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


def execute_rotation(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    asked = Question.read(payload.parameters)
    if asked.evidence is None:
        raise ValueError("no rotation is counted without evidence")
    apply_rotation(
        pk=asked.key,
        changes=asked.changes,
        evidence=asked.evidence,
        permit=permit,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


register(
    Operation(
        code=EDIT,
        title="Give a key more time",
        action=Action.KEY_EDITED,
        askers=(SECURITY, DEVOPS, ENGINEERING),
        owner_may_ask=True,
        command_may_ask=True,  # import_inventory
        steps=(Step(DEVOPS),),
        draft=draft,
        draft_all=draft_all,
        describe=describe,
        execute=execute_edit,
        lifetime=LIFETIME,
    )
)
register(
    Operation(
        code=ROTATION,
        title="Count a key as rotated",
        action=Action.KEY_ROTATED,
        askers=(SECURITY, DEVOPS, ENGINEERING),
        owner_may_ask=True,
        command_may_ask=True,  # register_own_keys
        steps=(Step(DEVOPS),),
        draft=draft,
        draft_all=draft_all,
        describe=describe,
        execute=execute_rotation,
        lifetime=LIFETIME,
        breaks_glass=True,
    )
)
