"""How long the written policies demand that logs are kept, as data, and the floor that follows. Pure.

The policies of this house ask it of the whole log and not of single keys, so it is no clause of a key (inventory).
"""

from datetime import timedelta
from typing import NamedTuple

from audit.errors import AuditError


class Demand(NamedTuple):
    """One sentence of a policy or standard that says how long logs are kept."""

    source: str
    document: str
    section: str
    requirement: str  # "" where it is a standard and no requirement of ours
    days: int

    def __str__(self) -> str:
        return ", ".join(part for part in (self.document, self.section, self.requirement) if part)


DEMANDS = (
    Demand("S0", "MCP4.ai Encryption Policy", "§10 Monitoring and Audit", "R48", 90),
    Demand("S3", "SmartPresence End-to-End Encryption Policy", "Audit Trail", "R183", 365),
    Demand("PCI", "PCI DSS 4.0.1", "10.5.1", "", 365),
)
STRICTEST = max(DEMANDS, key=lambda demand: demand.days)  # of equal ones the first


class TooShortError(AuditError):
    """The retention is shorter than what a policy demands."""


def retention(days: int) -> timedelta:
    """Return how long events are kept.

    Raises: TooShortError.
    """
    if days < STRICTEST.days:
        raise TooShortError(
            f"The log would be kept for {days:,} days, and {STRICTEST} demands at least {STRICTEST.days}."
        )
    return timedelta(days=days)
