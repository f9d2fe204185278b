"""What lets a guarded service act: the request that people have voted on. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.canonical import JSON


@dataclass(frozen=True, kw_only=True)
class Permit:
    """An approved request, being carried out. The database looks the request up; this only says which one it is."""

    request: str  # "request:118"
    asked_by: str  # "user:3", or a command
    approved_by: Sequence[str]  # "user:4", in the order of their votes; nobody where the glass was broken

    @property
    def facts(self) -> dict[str, JSON]:
        """Return what every event of the execution says of it."""
        return {"request": self.request, "asked_by": self.asked_by, "approved_by": list(self.approved_by)}
