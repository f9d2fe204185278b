"""Whether the row of a request is still what was asked: its bytes, its votes and the rule of its operation."""

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256

from audit.canonical import timestamp
from audit.errors import AuditError
from rotation.approvals.pieces import payload_of
from rotation.errors import UnknownOperationError
from rotation.models import Request
from rotation.operations import operation_of
from rotation.operations.base import Operation, Payload, Step
from rotation.requests import standing_votes

_ALTERED = "What the database holds of this request is not what people voted on: {}. Tell Security."


def flaw_on_paper(request: Request) -> str:
    """Return the sentence that says why a request must not be carried out, "" where nothing is wrong. Queries: 2."""
    raw = bytes(request.payload)
    if sha256(raw).digest() != bytes(request.digest):
        return _ALTERED.format("the digest is not that of the payload")
    try:
        payload, operation = payload_of(request), operation_of(request.operation)
    except AuditError:
        return _ALTERED.format("the payload cannot be read")
    except UnknownOperationError as error:
        return str(error)
    differing = _differing(request, payload)
    if differing:
        return _ALTERED.format(f"{' and '.join(differing)} differ from the payload")
    return _flaw_of_votes(request) or _flaw_of_rule(operation, payload)


def _differing(request: Request, payload: Payload) -> list[str]:
    """Return which columns say something else than the payload."""
    refs = set(request.targets.values_list("ref", flat=True))
    pairs = {
        "operation": (request.operation, payload.operation),
        "reason": (request.reason, payload.reason),
        "who asked": (request.requested_by_ref, payload.requested_by),
        "the time of asking": (timestamp(request.requested_at), payload.requested_at),
        "expiry": (timestamp(request.expires_at), payload.expires_at),
        "break-glass": (request.is_break_glass, payload.is_break_glass),
        "records": (refs, {target.ref for target in payload.targets}),
    }
    return [name for name, (column, said) in pairs.items() if column != said]


def _flaw_of_votes(request: Request) -> str:
    digests = {bytes(digest) for digest in standing_votes(request).values_list("digest", flat=True)}
    return _ALTERED.format("votes are on another digest") if digests - {bytes(request.digest)} else ""


def _flaw_of_rule(operation: Operation, payload: Payload) -> str:
    """Say where the request was given fewer votes than its operation needs at least."""
    if payload.is_break_glass:
        return "" if operation.breaks_glass else f"{operation.title}: nobody does this alone."
    given, needed = _counted(payload.steps), _counted(operation.steps)
    if all(given[role] >= count for role, count in needed.items()):
        return ""
    return f"{operation.title} needs more votes than this request asks for. Ask anew."


def _counted(steps: Sequence[Step]) -> Counter[str]:
    found: Counter[str] = Counter()
    for step in steps:
        found[step.role] += step.count
    return found
