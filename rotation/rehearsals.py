"""What asking would lead to: a request is opened, looked at and undone, so that the preview is the thing itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256

from django.db import transaction

from audit.actor import Actor
from audit.canonical import JSON, canonical
from rotation import approvals
from rotation.operations import operation_of
from rotation.operations.base import Description, Step
from rotation.operations.showing import as_shown
from rotation.requests import unfillable


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A request as it would be."""

    description: Description
    steps: tuple[Step, ...]
    unfillable: tuple[str, ...]  # roles of the steps that nobody could fill as things are
    expires_at: datetime
    seen: str  # a digest of what is shown: whoever asks says with it what they were looking at

    @property
    def is_changing(self) -> bool:
        """Whether one of the lines says what it was before."""
        return any(line.before for line in self.description.lines)


def rehearse(*, operation: str, parameters: Mapping[str, JSON], actor: Actor, reason: str, now: datetime) -> Rehearsal:
    """Ask, look, and undo it all: no row, event or mail remains. Raises as approvals.ask() does."""
    with transaction.atomic():
        request = approvals.ask(operation=operation, parameters=parameters, actor=actor, reason=reason, now=now)
        payload = approvals.payload_of(request)
        description = as_shown(operation_of(operation).describe(payload))
        shown: dict[str, JSON] = {
            "description": asdict(description),
            "targets": [asdict(target) for target in payload.targets],
            "parameters": parameters,
        }
        found = Rehearsal(
            description=description,
            steps=tuple(payload.steps),
            unfillable=unfillable(request),
            expires_at=request.expires_at,
            seen=sha256(canonical(shown)).hexdigest(),
        )
        transaction.set_rollback(True)
    return found
