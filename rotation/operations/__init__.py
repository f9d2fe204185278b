"""The guarded operations: a register that each module fills with its own (docs/approvals.md says how to add one)."""

from dataclasses import replace

from rotation.errors import UnknownOperationError
from rotation.operations.base import Operation, Step
from rotation.rules import demanded, rule_of

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
    """Return the votes that a request for it needs from now on: never fewer than the operation says. Queries: 1."""
    return in_force(operation).steps


def in_force(operation: Operation) -> Operation:
    """Return the operation with the votes and the time that a request for it has from now on. Queries: 1.

    The stricter of its own word and of the rule that the house has made (`rule.change`).
    """
    demand = demanded(rule_of(operation.code), floor=floor_of(operation), lifetime=operation.lifetime)
    steps = tuple(Step(role, count) for role, count in demand.votes.items())
    return replace(operation, steps=steps, lifetime=demand.lifetime)


def floor_of(operation: Operation) -> dict[str, int]:
    """Return the fewest votes by role, in the order of the steps."""
    floor: dict[str, int] = {}
    for step in operation.steps:
        floor[step.role] = floor.get(step.role, 0) + step.count
    return floor
