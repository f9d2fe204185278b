"""By what right a guarded service about people acts: a request that was voted on, or what one person may do alone."""

from dataclasses import dataclass

from audit.canonical import JSON
from inventory.permits import Permit


@dataclass(frozen=True)
class Alone:
    """One person on the machine, while there are too few who could vote. The database looks whether that is so."""

    why: str

    @property
    def facts(self) -> dict[str, JSON]:
        """Return what the event says of it."""
        return {"alone": self.why}


BOOTSTRAP, LOST_QUORUM = Alone("there is no quorum yet"), Alone("the quorum is lost")
Warrant = Permit | Alone


def in_words(permit: Warrant) -> str:
    """Say by whom it was done, to be read after what was done."""
    if isinstance(permit, Alone):
        return "by one person alone, with a command on the machine"
    return f"by the votes of several people, as request {permit.request.rpartition(':')[2]} says"
