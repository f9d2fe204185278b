"""What opening, steering, working and finishing a job share: the locked row, and its words in the log."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Outcome, Subject, record
from inventory.models import KekVersion
from rotation.models import LIVE_JOBS, RewrapJob
from rotation.rewrap.errors import ClosedJobError

_BECAUSE = RewrapJob._meta.get_field("paused_because").max_length or 300


def locked(pk: int) -> RewrapJob:
    """Return a job with what it is about, locked: whoever changes it takes this lock first."""
    jobs = RewrapJob.objects.select_related("kek__key", "kek__primary", "target__version", "source")
    return jobs.select_for_update(of=("self",)).get(pk=pk)


def live(pk: int) -> RewrapJob:
    """Return a job that is not over, locked. Raises: ClosedJobError."""
    job = locked(pk)
    if job.state not in LIVE_JOBS:
        raise ClosedJobError(job.ref, job.get_state_display())
    return job


def change(job: RewrapJob, now: datetime, **columns: Any) -> None:  # noqa: ANN401 - columns of a job
    """Write columns of a locked job."""
    changed = {"changed_at": now, **columns}
    for name, value in changed.items():
        setattr(job, name, value)
    job.save(update_fields=list(changed))


def cut(because: str) -> str:
    """Return a sentence that fits into the columns that say why."""
    return because if len(because) <= _BECAUSE else f"{because[: _BECAUSE - 1]}…"


def version_subject(version: KekVersion, name: str) -> Subject:
    """Return how the log names a version of a KEK; `name` is that of its key."""
    return Subject(ref=f"kekversion:{version.pk}", label=f"{name} v{version.store_id}"[:300])


def subjects_of(job: RewrapJob) -> list[Subject]:
    """Return what an event about a whole job is about: the job, its KEK, the version that all is brought to."""
    name = job.kek.key.name
    source = [Subject(ref=job.source.ref, label=job.source.name)] if job.source else []
    return [
        Subject(ref=job.ref, label=f"the re-wrap of {job.source or name} to v{job.target.store_id}"[:300]),
        Subject(ref=job.kek.key.ref, label=name),
        version_subject(job.target, name),
        *source,
    ]


def tell_log(
    action: Action,
    job: RewrapJob,
    *,
    actor: Actor,
    now: datetime,
    reason: str = "",
    facts: Mapping[str, JSON] | None = None,
    outcome: Outcome = Outcome.DONE,
) -> None:
    """Record what happened to a whole job, in the transaction of the change."""
    record(
        action, actor=actor, now=now, subjects=subjects_of(job), reason=reason, facts=dict(facts or {}), outcome=outcome
    )
