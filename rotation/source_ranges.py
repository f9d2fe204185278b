"""How a re-wrap job goes through a source: what rotation.rewrap asks of whoever re-wraps elsewhere."""

from collections import defaultdict
from contextlib import suppress
from datetime import datetime

from audit.actor import Actor
from audit.services import Subject
from rotation.models import Quarantined, RewrapBatch, RewrapJob, RewrapSource
from rotation.refusals import RefusedDek, tell_of_refused
from rotation.rewrap.elsewhere import Carried
from rotation.sources.counting import count
from rotation.sources.errors import SourceError
from rotation.sources.forms import NUMBER
from rotation.sources.rewrapping import Result, carry, left, next_range

LONGEST_VERSION = 64  # a version that is none may be anything


class SourceRanges:
    """The rows of tables elsewhere, as ranges of their ids."""

    def next_range(self, job: RewrapJob, *, after: str, size: int) -> tuple[str, str] | None:
        """Return first and last id of the next rows behind `after`, None at the end. Raises: SourceError."""
        found = next_range(_source(job), job.target, after=after, size=size, skip=_quarantined(job))
        return (found.first, found.last) if found else None

    def run(self, job: RewrapJob, batch: RewrapBatch, *, actor: Actor, now: datetime) -> Carried:
        """Bring a range over there. What a worker that died had swapped already counts with it.

        Event: dek.opened, refused. Raises: SourceError, BackendError.
        """
        source = _source(job)
        result = carry(
            source,
            job.target,
            job=Subject(ref=job.ref),
            first=batch.first,
            last=batch.last,
            most=max(job.batch_size, 1),
            batch=batch.number,
            is_again=batch.attempts > 1,
            skip=_quarantined(job),
            verify_percent=job.verify_percent,
            actor=actor,
            now=now,
        )
        _tell(job, source, result, actor, now)
        return _carried(result)

    def left(self, job: RewrapJob) -> int:
        """Return how many rows are under older versions and not in quarantine. Raises: SourceError."""
        return left(_source(job), job.target, skip=_quarantined(job))

    def count(self, job: RewrapJob, *, actor: Actor, now: datetime) -> None:
        """Count the source for its page. Event: source.counted where the figures are new."""
        with suppress(SourceError):  # the page says why
            count(_source(job), actor=actor, now=now, is_quiet=True)


def _source(job: RewrapJob) -> RewrapSource:
    """Return the source of a job, as it is now. Raises: SourceError once it is retired."""
    source = RewrapSource.objects.select_related("kek").get(jobs=job)
    if source.retired_at is not None:
        raise SourceError(f"The source {source.name} was retired. Stop this job.")
    return source


def _quarantined(job: RewrapJob) -> list[str]:
    rows = Quarantined.objects.filter(job=job, resolved_at__isnull=True).exclude(row="")
    return list(rows.values_list("row", flat=True))


def _tell(job: RewrapJob, source: RewrapSource, result: Result, actor: Actor, now: datetime) -> None:
    """Tell log and Security what did not open as what belongs in its row. Event: dek.opened, refused."""
    by_version: defaultdict[str, list[RefusedDek]] = defaultdict(list)
    for row, reason in sorted(result.refused.items()):
        refused = RefusedDek(ref=f"{source.ref}/{row}", label=f"{source.name}/{row}", number=NUMBER, reason=reason)
        by_version[result.under[row][:LONGEST_VERSION]].append(refused)
    for version, refused_deks in by_version.items():
        tell_of_refused(uri=source.kek.uri, version=version, refused=refused_deks, where=job.ref, actor=actor, now=now)


def _carried(result: Result) -> Carried:
    return Carried(
        rewrapped=result.rewrapped + result.before,
        verified=result.verified,
        bound=result.bound,
        refused=tuple(sorted(result.refused.items())),
        digest=result.digest,
    )
