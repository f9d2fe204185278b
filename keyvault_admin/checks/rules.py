"""What a deployment check is: a permanent id, one look, and an answer that says how to mend what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Group(StrEnum):
    """Parts of the report, in its order; the live checks of a part can be left out by its name."""

    KEYS = "keys"
    SITE = "site"
    HOUSE = "house"
    DATABASE = "database"
    BROKER = "broker"
    MAIL = "mail"
    PEOPLE = "people"
    DJANGO = "django"


class State(StrEnum):
    """What a line of the report begins with."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Answer:
    """What one look found, in a sentence; with MEND it is something to mend."""

    said: str
    mend: str = ""


@dataclass(frozen=True)
class Rule:
    """One check. "face.E…" is wrong when it has something to mend, "face.W…" a warning; an id is never used again."""

    id: str
    group: Group
    title: str  # what holds when all is well
    look: Callable[[], Answer]

    @property
    def is_error(self) -> bool:
        return self.id.startswith("face.E")

    def state(self, answer: Answer) -> State:
        if not answer.mend:
            return State.OK
        return State.WRONG if self.is_error else State.WARNING
