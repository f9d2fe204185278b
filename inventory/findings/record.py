"""What is wrong with a record as it stands, whatever is around it and whenever one looks. Pure."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from inventory.findings.catalogue import Finding
from inventory.terms import KeyKind

if TYPE_CHECKING:
    from inventory.models import Key


def _names(key: "Key", record: str) -> bool:
    """Say whether the key names such a record: a saved one by its id, or one that an import is about to register."""
    return getattr(key, f"{record}_id") is not None or getattr(key, record) is not None


def mandatory_facts(key: "Key") -> list[Finding]:
    """Return a finding for each of the five facts that every record needs and this one lacks (R209). No queries."""
    missing = {
        "creator": not _names(key, "creator"),
        "service": not _names(key, "service"),
        "created": key.created_on is None,
        "rotated": key.last_rotated_on is None and not key.never_rotated,
        "owner": not _names(key, "owner"),
    }
    return [Finding(code=f"missing-{name}") for name, is_missing in missing.items() if is_missing]


def of_record(key: "Key") -> list[Finding]:
    """Return what is wrong with the record by itself, the mandatory facts first. No queries."""
    return [*mandatory_facts(key), *_scope(key), *_age(key)]


def _scope(key: "Key") -> Iterator[Finding]:
    if not key.environment:
        yield Finding(code="missing-environment")
    if key.kind == KeyKind.DEK and not (key.tenant_id and key.integration_id) and not key.secret_name:
        yield Finding(code="dek-without-scope")


def _age(key: "Key") -> Iterator[Finding]:
    if key.created_on is None and key.last_rotated_on is None:
        yield Finding(code="age-unknown")
