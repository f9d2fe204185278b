"""What votes decide about sources: that a table is one, and that it is none any more. For rotation.operations."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.models import Kek
from inventory.permits import Permit
from rotation.errors import RuleRefusedError
from rotation.models import LIVE_JOBS, RewrapJob, RewrapSource
from rotation.sources.counting import UNKNOWN, Counts, counted
from rotation.sources.looking import look

# What people say of a source, in the order in which it is shown.
SAID = (
    "name",
    "host",
    "port",
    "database",
    "login",
    "password_file",
    "ca_file",
    "table",
    "id_column",
    "wrapped_column",
    "version_column",
    "context_column",
    "binding_column",
    "form",
)


@transaction.atomic
def register_source(
    *, kek: int, said: Mapping[str, Any], permit: Permit, actor: Actor, reason: str, now: datetime
) -> RewrapSource:
    """Look at the table, count what is in it, and write it down. Event: source.registered.

    The one place that connects elsewhere inside a transaction, for seconds at most: what cannot be looked at is not
    registered. Raises: SourceError, RuleRefusedError.
    """
    source = RewrapSource(kek=Kek.objects.get(pk=kek), registered_at=now, **{name: said[name] for name in SAID})
    look(source)
    source.counts, source.counted_at = counted(source), now
    _check_versions(source.counts)
    source.save(force_insert=True)
    subjects = [_subject(source, after=_facts(source)), Subject(ref=source.kek.key.ref, label=source.kek.key.name)]
    record(Action.SOURCE_REGISTERED, actor=actor, now=now, subjects=subjects, reason=reason, facts=permit.facts)
    return source


def _check_versions(counts: Counts) -> None:
    if unknown := counts.get(UNKNOWN):
        raise RuleRefusedError(
            f"{unknown:,} rows of the table name versions that this KEK does not have here: they are wrapped by "
            "another key, or their version column says something else. Mend that first, or take another KEK."
        )


@transaction.atomic
def retire_source(*, pk: int, permit: Permit, actor: Actor, reason: str, now: datetime) -> RewrapSource:
    """Forget about a table: it is counted no more, and holds no version of the KEK. Locks the row.

    Event: source.retired. Raises: RuleRefusedError while a job goes through it.
    """
    source = RewrapSource.objects.select_for_update(of=("self",)).select_related("kek__key").get(pk=pk)
    check_retirable(source)
    source.retired_at, source.revision = now, source.revision + 1
    source.save(update_fields=["retired_at", "revision"])
    subject = _subject(source, before={"is_retired": False}, after={"is_retired": True})
    subjects = [subject, Subject(ref=source.kek.key.ref, label=source.kek.key.name)]
    record(Action.SOURCE_RETIRED, actor=actor, now=now, subjects=subjects, reason=reason, facts=permit.facts)
    return source


def check_retirable(source: RewrapSource) -> None:
    """Raises: RuleRefusedError."""
    if source.retired_at is not None:
        raise RuleRefusedError(f"{source.name} was retired already.")
    if RewrapJob.objects.filter(source=source, state__in=LIVE_JOBS).exists():
        raise RuleRefusedError(f"{source.name} is being re-wrapped. Stop that job, or let it finish.")


def _subject(
    source: RewrapSource, *, before: Mapping[str, JSON] | None = None, after: Mapping[str, JSON] | None = None
) -> Subject:
    return Subject(ref=source.ref, label=source.name, before=before or {}, after=after or {})


def _facts(source: RewrapSource) -> dict[str, JSON]:
    return {
        **{name: getattr(source, name) for name in SAID},
        "form": str(source.form),
        "kek": source.kek.uri,
        "counts": dict(source.counts),
    }
