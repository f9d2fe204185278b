"""The proof of one event, as a file that shows without the rest of the log that it stands in it."""

import json
from datetime import datetime

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.exports import ndjson
from audit.exports.reading import ExportError
from audit.models import Event, SignedCheckpoint
from audit.services import record
from audit.tiles import stored_nodes
from audit.tree import inclusion_proof

FORMAT = "keyvault-admin/audit/proof/v1"


def prove_event(number: int, *, actor: Actor, now: datetime) -> bytes:
    """Return the proof of an event under the first checkpoint that covers it, as `verify_log.py --event` reads it.

    Event: audit.exported. Raises: ExportError.
    """
    row = Event.objects.filter(number=number).first()
    if row is None:
        raise ExportError(f"There is no event {number} in the log.")
    signed = SignedCheckpoint.objects.filter(size__gte=number).order_by("size").first()
    if signed is None:
        raise ExportError(f"No checkpoint covers event {number} yet: run manage.py checkpoint first.")
    try:
        path = inclusion_proof(stored_nodes(), number - 1, signed.size)
    except LookupError as error:
        raise ExportError(f"The tiles of the tree are not whole: {error} Run verify_audit.") from error
    line = ndjson.line(number, row.event_id, bytes(row.stamp), bytes(row.body), bytes(row.digest))
    with transaction.atomic():
        facts: dict[str, JSON] = {
            "format": "proof",
            "after": number - 1,
            "until": number,
            "events": 1,
            "size": signed.size,
        }
        record(Action.AUDIT_EXPORTED, actor=actor, now=now, facts=facts)
    said = {"format": FORMAT, "event": json.loads(line), "size": signed.size, "proof": [node.hex() for node in path]}
    return json.dumps({**said, "checkpoint": signed.note}, indent=1).encode() + b"\n"
