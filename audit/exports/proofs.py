"""The proof of one event, as a file that shows without the rest of the log that it stands in it."""

import json
from datetime import datetime

from django.db import transaction

from audit import body
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.exports import ndjson
from audit.exports.reading import ExportError
from audit.proofs import proof_of
from audit.services import record

FORMAT = "keyvault-admin/audit/proof/v1"


def prove_event(number: int, *, actor: Actor, now: datetime) -> bytes:
    """Return the proof of an event under the first checkpoint that covers it, as `verify_log.py --event` reads it.

    Event: audit.exported. Raises: ExportError.
    """
    proof = proof_of(number)
    if proof is None:
        raise ExportError(f"There is no event {number} in the log.")
    if proof.covering is None:
        raise ExportError(f"No checkpoint covers event {number} yet: run manage.py checkpoint first.")
    if proof.problem:
        raise ExportError(f"Event {number} cannot be proved. {proof.problem}")
    size, path = proof.covering.size, proof.covering.path
    line = ndjson.line(number, body.parse(proof.body).id, proof.stamp, proof.body, proof.digest)
    with transaction.atomic():
        facts: dict[str, JSON] = {
            "format": "proof",
            "after": number - 1,
            "until": number,
            "events": 1,
            "size": size,
        }
        record(Action.AUDIT_EXPORTED, actor=actor, now=now, facts=facts)
    said = {"format": FORMAT, "event": json.loads(line), "size": size, "proof": [node.hex() for node in path]}
    return json.dumps({**said, "checkpoint": proof.covering.note}, indent=1).encode() + b"\n"
