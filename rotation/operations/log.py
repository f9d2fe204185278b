"""Deciding about the log: how long it is kept, and that the events of a period leave the database."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.urls import reverse

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import AuditError, PeriodError
from audit.periods import dropping, keeping
from audit.periods.demands import DEMANDS, STRICTEST, retention
from inventory.permits import Permit
from rotation.errors import RuleRefusedError
from rotation.operations import register
from rotation.operations.base import DEVOPS, SECURITY, Description, Draft, Line, Operation, Payload, Step, Target

BOTH = (Step(SECURITY), Step(DEVOPS))
LONGEST_DAYS = 36_525  # a hundred years
REVISION_BYTES = 6

# Where the file of a period lies, which only whoever carries it out on the machine can say.
_export: ContextVar[Path] = ContextVar("export")


# How long the log is kept


def _draft_retention(parameters: Mapping[str, Any], *, now: datetime, hold: bool) -> Draft:
    days, before = parameters["days"], keeping.kept_days()
    if not isinstance(days, int) or not 0 < days <= LONGEST_DAYS:
        raise RuleRefusedError(f"The log is kept for 1 to {LONGEST_DAYS:,} days.")
    retention(days)
    if days == before:
        raise RuleRefusedError(f"The log is kept for {days:,} days already.")
    facts: dict[str, JSON] = {
        "before": before,
        "demands": [{"source": str(demand), "days": demand.days} for demand in DEMANDS],
        "strictest": {"source": str(STRICTEST), "days": STRICTEST.days},
    }
    return Draft(targets=[Target(ref=keeping.REF, label=keeping.LABEL, revision=keeping.revision())], facts=facts)


def _days(count: int) -> str:
    return f"{count:,} days ({timedelta(days=count) / timedelta(days=365.25):.1f} years)"


def _describe_retention(payload: Payload) -> Description:
    facts: Mapping[str, Any] = payload.facts
    days, before = int(str(payload.parameters["days"])), facts["before"]
    sentences = [f"Events of the audit log are kept for {_days(days)} from then on, in place of {_days(before)}."]
    if days < before:
        sentences.append(
            "Events that had to stay until now may then be exported and, after a request of its own, be dropped from "
            "the database. Periods that are closed already stay as long as was said when they were closed."
        )
    demands = "; ".join(f"{demand['days']} by {demand['source']}" for demand in facts["demands"])
    return Description(
        title="Change how long the log is kept",
        sentences=sentences,
        lines=[
            Line(label="Kept for", text=_days(days), before=_days(before)),
            Line(label="Policies ask for at least", text=demands),
        ],
    )


def _execute_retention(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    keeping.set_retention(
        days=int(str(payload.parameters["days"])),
        request=permit.request,
        facts=permit.facts,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


# Dropping a period


@contextmanager
def export_at(path: Path) -> Iterator[None]:
    """Say where the export of the period lies that is dropped inside."""
    token = _export.set(path)
    try:
        yield
    finally:
        _export.reset(token)


def _draft_drop(parameters: Mapping[str, Any], *, now: datetime, hold: bool) -> Draft:
    kept = keeping.kept()
    period = dropping.check_period(number=parameters["period"], retention=kept, now=now)
    facts: dict[str, JSON] = {
        "first": period.first,
        "last": period.last,
        "oldest_on": period.oldest_at.date(),
        "newest_on": period.newest_at.date(),
        "file": period.export_name,
        "sha256": bytes(period.export_digest).hex(),
        "kept_days": max(kept.days, period.retention_days),
    }
    label = f"period {period.number}, events {period.first:,} to {period.last:,}"
    revision = int.from_bytes(bytes(period.export_digest)[:REVISION_BYTES])
    return Draft(targets=[Target(ref=period.ref, label=label, revision=revision)], facts=facts)


def _describe_drop(payload: Payload) -> Description:
    facts: Mapping[str, Any] = payload.facts
    count = facts["last"] - facts["first"] + 1
    return Description(
        title=f"Drop {payload.targets[0].label} of the log",
        sentences=[
            f"{count:,} events, from {facts['oldest_on']} to {facts['newest_on']}, leave the database for good. The "
            "exported file is all that is left of them; a stub stays, from which the log still verifies.",
            "Vote once you know that the file lies in two places and has this SHA-256.",
            "Once approved, the owner of the database carries it out on the machine, with manage.py drop_audit_period "
            "--request, which compares the file with the events line by line first.",
        ],
        lines=[
            Line(
                label="Period",
                text=payload.targets[0].label,
                url=reverse("admin:audit_period_changelist"),
            ),
            Line(label="File", text=facts["file"]),
            Line(label="SHA-256", text=facts["sha256"]),
            Line(label="Had to be kept for", text=_days(facts["kept_days"])),
        ],
    )


def _execute_drop(payload: Payload, permit: Permit, actor: Actor, now: datetime) -> None:
    export = _export.get(None)
    if export is None:
        raise PeriodError("The export of the period has to be at hand: run manage.py drop_audit_period --request.")
    dropping.drop_period(
        number=int(str(payload.parameters["period"])),
        export=export,
        retention=keeping.kept(),
        permit=permit.facts,
        actor=actor,
        reason=payload.reason,
        now=now,
    )


register(
    Operation(
        code="retention.change",
        title="Change how long the log is kept",
        action=Action.AUDIT_RETENTION_CHANGED,
        askers=(SECURITY,),
        steps=BOTH,
        draft=_draft_retention,
        describe=_describe_retention,
        execute=_execute_retention,
        refusals=(AuditError,),
    )
)
register(
    Operation(
        code="period.drop",
        title="Drop a period of the log",
        action=Action.AUDIT_PERIOD_DROPPED,
        askers=(SECURITY,),
        steps=BOTH,
        draft=_draft_drop,
        describe=_describe_drop,
        execute=_execute_drop,
        at_machine=True,
        refusals=(AuditError,),
    )
)
