"""What a job stands on: the facts of its KEK that do not change while it runs, read once for many batches."""

from collections.abc import Mapping
from dataclasses import dataclass

from audit.services import Subject
from rotation.models import Quarantined, RewrapJob
from rotation.rewrap.pieces import subjects_of, version_subject
from rotation.rewrap.planning import old_versions


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A job goes from each of the old versions to one target; versions by the ids of their rows."""

    job: int
    ref: str
    source: int | None
    kek: int
    uri: str
    algorithm: str
    target: int
    target_id: str  # in the store
    old: Mapping[int, str]  # version → its id in the store, oldest first
    subjects: Mapping[int, Subject]  # version → how the log names it
    itself: Subject
    verify_percent: int
    has_history: bool  # DEKs of this KEK are in quarantine for a job

    @property
    def versions(self) -> list[int]:
        return [*self.old, self.target]


def ground_of(pk: int) -> Ground:
    """Read what a job stands on. Queries: 3."""
    job = RewrapJob.objects.select_related("kek__key", "target", "source").get(pk=pk)
    versions = old_versions(job.kek, job.target)
    name = job.kek.key.name
    return Ground(
        job=job.pk,
        ref=job.ref,
        source=job.source_id,
        kek=job.kek_id,
        uri=job.kek.uri,
        algorithm=job.kek.algorithm,
        target=job.target_id,
        target_id=job.target.store_id,
        old={version.pk: version.store_id for version in versions},
        subjects={version.pk: version_subject(version, name) for version in [*versions, job.target]},
        itself=subjects_of(job)[0],
        verify_percent=job.verify_percent,
        has_history=Quarantined.objects.filter(job__kek=job.kek, resolved_at__isnull=True).exists(),
    )
