"""The guarded operations: a register that each module fills with its own (docs/approvals.md says how to add one)."""

from rotation.errors import UnknownOperationError
from rotation.operations.base import Operation, Step

_OPERATIONS: dict[str, Operation] = {}


def register(operation: Operation) -> Operation:
    """Add an operation; for modules of operations, once each, when the applications start.

    Raises: ValueError for a code that is taken, or an operation that nobody votes on.
    """
    if operation.code in _OPERATIONS:
        raise ValueError(f"{operation.code} is declared twice")
    if not operation.steps:
        raise ValueError(f"{operation.code} needs nobody's vote")
    _OPERATIONS[operation.code] = operation
    return operation


def operation_of(code: str) -> Operation:
    """Return the operation of that code.

    Raises: UnknownOperationError.
    """
    try:
        return _OPERATIONS[code]
    except KeyError as error:
        raise UnknownOperationError(code) from error


def operations() -> list[Operation]:
    """Return all operations, by code."""
    return sorted(_OPERATIONS.values(), key=lambda operation: operation.code)


def steps_of(operation: Operation) -> tuple[Step, ...]:
    """Return the votes that a request for it needs from now on: never fewer than the operation says."""
    return operation.steps
