"""The payload of a request as canonical bytes (RFC 8785), and back. Pure.

    {"operation", "targets":[{"ref","label","revision"}], "parameters":{}, "facts":{}, "steps":[{"role","count"}],
     "excluded":["user:3"], "reason", "requested_by", "requested_at", "expires_at", "is_break_glass", "nonce"}

Every name is always there. Triggers read these bytes too (rotation/migrations/0005_requests.py).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from audit import canonical
from audit.errors import AuditError
from rotation.operations.base import Payload, Step, Target

NAMES = frozenset(Payload.__dataclass_fields__)


def write_payload(payload: Payload) -> bytes:
    """Return the canonical bytes. Raises: AuditError for what JSON cannot say exactly."""
    return canonical.canonical(asdict(payload))


def read_payload(raw: bytes) -> Payload:
    """Return what the bytes say; numbers, dates and the like come back as canonical JSON writes them.

    Raises: AuditError for bytes that write_payload() did not write.
    """
    try:
        said: dict[str, Any] = canonical.read(raw)
        if said.keys() != NAMES:
            raise AuditError("The payload of the request has other names than a payload has.")
        lists: Mapping[str, Any] = {
            "targets": tuple(Target(**target) for target in said["targets"]),
            "steps": tuple(Step(**step) for step in said["steps"]),
            "excluded": tuple(said["excluded"]),
        }
        return Payload(**{**said, **lists})
    except (TypeError, AttributeError) as error:
        raise AuditError("The payload of the request cannot be read.") from error
