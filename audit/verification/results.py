"""How a verification is told: in lines, as JSON, and as an event of the log, which the first page shows."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from audit.actions import Action, Outcome
from audit.actor import Actor
from audit.services import record
from audit.verification.damage import MEANINGS, Finding
from audit.verification.verifying import Verdict

NOTHING_OUTSIDE = (
    "nothing from outside was given: a log that the owner of the database has written anew from beginning to end, with "
    "its tree and checkpoints, looks the same as a true one. Give a checkpoint that was kept elsewhere (--checkpoint "
    "FILE) and the public key (--key): docs/verification.md"
)
NOT_PINNED = (
    "the public keys are those that the database names, and its owner can replace them together with the checkpoints "
    "in it: give the key that was kept elsewhere (--key)"
)
MANUAL = "docs/verification.md says what to do."


def lines(verdict: Verdict) -> Iterator[str]:
    """Yield what is printed, the worst first."""
    for number, finding in enumerate(verdict.findings):
        yield f"{'also bad' if number else 'first bad'}: {finding}"
        yield f"  {MEANINGS[finding.damage]}"
    for warning in verdict.warnings:
        yield f"warning: {warning}"
    after = f" after event {verdict.begin.number}" if verdict.begin.number else ""
    yield f"chain: {verdict.events} events checked{after}, head at event {verdict.end.number}"
    yield f"head digest: {verdict.end.digest.hex()}"
    if verdict.root:
        yield f"tree root: {verdict.root.hex()}"
    yield f"checkpoints: {verdict.checkpoints} stored, {verdict.outside} from outside{_judged(verdict)}"
    if verdict.is_whole:
        yield f"copies: columns and {verdict.subjects} lines of the subject index agree with the bytes"
        yield f"identities: {verdict.identities} opened and as vouched for, {verdict.erased} erased"
    if caveat := unseen(verdict):
        yield f"note: {caveat}"


def unseen(verdict: Verdict) -> str:
    """Say what this verification could not have seen; "" where it was given all it needs."""
    if not verdict.outside:
        return NOTHING_OUTSIDE
    return "" if verdict.is_pinned else NOT_PINNED


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return the result for programs. Names are never changed."""
    return {
        "whole": verdict.is_whole,
        "findings": [_finding(finding) for finding in verdict.findings],
        "warnings": list(verdict.warnings),
        "begins_after": verdict.begin.number,
        "events": verdict.events,
        "head": verdict.end.number,
        "digest": verdict.end.digest.hex(),
        "root": verdict.root.hex(),
        "checkpoints": verdict.checkpoints,
        "outside": verdict.outside,
        "keys_given": verdict.is_pinned,
        "subjects": verdict.subjects,
        "identities": verdict.identities,
        "erased": verdict.erased,
        "unseen": unseen(verdict),
    }


def keep(verdict: Verdict, *, actor: Actor, now: datetime) -> None:
    """Record the result. Event: audit.verified, with the outcome "failed" when something was found.

    Raises: AuditError.
    """
    record(
        Action.AUDIT_VERIFIED,
        actor=actor,
        now=now,
        outcome=Outcome.DONE if verdict.is_whole else Outcome.FAILED,
        facts={
            "events": verdict.events,
            "head": verdict.end.number,
            "digest": verdict.end.digest.hex(),
            "findings": [str(replace(finding, words=finding.words[:500])) for finding in verdict.findings[:20]],
            "damage": [finding.damage for finding in verdict.findings[:20]],
            "warnings": len(verdict.warnings),
            "checkpoints": verdict.checkpoints,
            "outside": verdict.outside,
        },
    )


def _judged(verdict: Verdict) -> str:
    return ", each agrees with the events" if verdict.is_whole and verdict.checkpoints + verdict.outside else ""


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "event": finding.number,
        "id": str(finding.event_id) if finding.event_id else None,
        "damage": finding.damage,
        "words": finding.words,
        "means": MEANINGS[finding.damage],
    }
