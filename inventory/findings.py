"""What is wrong with a record, by which clause, and what to do about it. Pure."""

from dataclasses import dataclass

from inventory.models import Key
from inventory.terms import KeyKind


@dataclass(frozen=True, kw_only=True)
class Finding:
    code: str
    sentence: str
    mend: str
    clause: str  # requirement number and where it stands


_INVENTORY_CLAUSE = "R209, S4 Key Management"


def _missing(code: str, what: str, mend: str) -> Finding:
    return Finding(code=f"missing-{code}", sentence=f"{what} is not recorded.", mend=mend, clause=_INVENTORY_CLAUSE)


def _names(key: Key, record: str) -> bool:
    """Say whether the key names such a record: a saved one by its id, or one that an import is about to register."""
    return getattr(key, f"{record}_id") is not None or getattr(key, record) is not None


def mandatory_facts(key: Key) -> list[Finding]:
    """Return a finding for each of the five facts that every record needs and this one lacks. No queries."""
    found: list[Finding] = []
    if not _names(key, "creator"):
        found.append(_missing("creator", "The creator", "Name who made the key."))
    if not _names(key, "service"):
        found.append(_missing("service", "The service", "Name the service that needs the key."))
    if key.created_on is None:
        found.append(
            _missing("created", "The creation date", "Find out when the key was made; without it its age is unknown.")
        )
    if key.last_rotated_on is None and not key.never_rotated:
        found.append(_missing("rotated", "The last rotation", "Enter its date, or say that the key was never rotated."))
    if not _names(key, "owner"):
        found.append(_missing("owner", "The owner", "Name who answers for the key; until then Security is told."))
    return found


def findings(key: Key) -> list[Finding]:
    """Return everything that is wrong with the record of a key, the mandatory facts first. No queries."""
    found = mandatory_facts(key)
    if not key.environment:
        found.append(
            Finding(
                code="missing-environment",
                sentence="The environment is not recorded.",
                mend="Say whether this is production, staging, test or development: the clauses depend on it.",
                clause="R28, S0 §5",
            )
        )
    if key.kind == KeyKind.DEK and not (key.tenant_id and key.integration_id) and not key.secret_name:
        found.append(
            Finding(
                code="dek-without-scope",
                sentence="This DEK names neither a tenant and an integration nor a secret.",
                mend="Say which tenant and integration, or which internal secret, it protects.",
                clause="R64, S1 §3",
            )
        )
    return found
