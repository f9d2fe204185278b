"""What somebody asks of one key that makes it less late: as a request holds it, and what it would do to the record."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import cast

from audit.canonical import JSON
from inventory.errors import NotActiveError, VoidChangeError
from inventory.models import Key, PolicyClause, RotationEvidence
from inventory.policy import Rule
from inventory.selectors import rules
from inventory.services.keys import FACTS, REFERENCES, derive, plain
from inventory.states import State

EDIT = "key.edit"
ROTATION = "key.rotation"
OPERATIONS = (EDIT, ROTATION)  # of both together a key has one open question
_ROTATED = frozenset({"last_rotated_on", "never_rotated"})


@dataclass(frozen=True, kw_only=True)
class Question:
    """Facts of one key that are to change, and the dates that follow: all of it as the log writes it."""

    key: int
    kind: str  # "edit", "import" or "rotation"
    revision: int  # of the record on which it rests
    changes: Mapping[str, JSON]
    due_before: str | None
    due_after: str | None
    evidence: int | None = None  # of a rotation

    @property
    def parameters(self) -> dict[str, JSON]:
        """Return it as the parameters of a request."""
        said: dict[str, JSON] = {
            "key": self.key,
            "kind": self.kind,
            "revision": self.revision,
            "changes": self.changes,
            "rotate_by": {"before": self.due_before, "after": self.due_after},
        }
        return said if self.evidence is None else said | {"evidence": self.evidence}

    @classmethod
    def read(cls, parameters: Mapping[str, JSON]) -> "Question":
        """Return what parameters say. Raises: ValueError when they change what is no fact of a key."""
        changes = cast("Mapping[str, JSON]", parameters["changes"])
        dates = cast("Mapping[str, str | None]", parameters["rotate_by"])
        evidence = cast("int | None", parameters.get("evidence"))
        if strange := changes.keys() - (FACTS if evidence is None else _ROTATED):
            raise ValueError(f"not to be changed so: {', '.join(sorted(strange))}")
        return cls(
            key=cast("int", parameters["key"]),
            kind=str(parameters["kind"]),
            revision=cast("int", parameters["revision"]),
            changes=changes,
            due_before=dates["before"],
            due_after=dates["after"],
            evidence=evidence,
        )


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A question beside the record as it is."""

    question: Question
    key: Key  # with its owner and service
    after: Key  # the same with what is asked; nothing of it saved
    clauses: Mapping[int, str]  # labels, by number
    evidence: RotationEvidence | None

    @property
    def before(self) -> dict[str, JSON]:
        return {name: plain(self.key, name) for name in self.question.changes}


def looked_at(questions: Sequence[Question], *, hold: bool = False) -> list[Looked]:
    """Return what each question, of a key of its own, would do now; none of it is done. Queries: 5, however many.

    With `hold` (1 query more) the clauses are held still, then the keys locked, until the end of the transaction.
    Raises: VoidChangeError when a record is not the one that was asked about, or would get another date than was
    shown; NotActiveError, ClausesHeldError, ValueError.
    """
    clauses = rules(hold=hold)
    wanted = Key.objects.filter(pk__in=[one.key for one in questions]).select_related("owner", "service").order_by("pk")
    keys = {key.pk: key for key in (wanted.select_for_update(of=("self",), no_key=True) if hold else wanted)}
    reports = RotationEvidence.objects.in_bulk([one.evidence for one in questions if one.evidence is not None])
    labels = {clause.pk: clause.label for clause in PolicyClause.objects.all()}
    return [_looked(one, keys[one.key], clauses, labels, reports.get(one.evidence or 0)) for one in questions]


def _looked(
    asked: Question, key: Key, clauses: Sequence[Rule], labels: Mapping[int, str], evidence: RotationEvidence | None
) -> Looked:
    _check_evidence(asked, key, evidence)
    after = copy(key)
    for name, said in asked.changes.items():
        _set(after, name, said)
    derive(after, clauses)
    dates = (plain(key, "rotate_by"), plain(after, "rotate_by"))
    if key.revision != asked.revision or dates != (asked.due_before, asked.due_after):
        raise VoidChangeError(key.name)
    return Looked(question=asked, key=key, after=after, clauses=labels, evidence=evidence)


def _check_evidence(asked: Question, key: Key, evidence: RotationEvidence | None) -> None:
    if (asked.evidence is None) != (evidence is None):
        raise ValueError("there is no such evidence")
    if evidence is None:
        return
    if evidence.key_id != key.pk or asked.changes.get("last_rotated_on") != evidence.rotated_on.isoformat():
        raise ValueError("the evidence is of another rotation")
    if key.state != State.ACTIVE:
        raise NotActiveError(key.name, key.state)


def _set(key: Key, name: str, said: JSON) -> None:
    """Set a fact as the log writes it, without reading the record that it may refer to."""
    if name in REFERENCES:
        setattr(key, f"{name}_id", int(str(said).partition(":")[2]) if said else None)
    else:
        setattr(key, name, Key._meta.get_field(name).to_python(said))  # type: ignore[union-attr]
