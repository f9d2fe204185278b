"""DEKs that a job could not bring over. Each stays as it was under its old version, and the job goes on without it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import connection

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.models import Key
from rotation.models import Quarantined
from rotation.refusals import RefusedDek, tell_of_refused
from rotation.rewrap.ground import Ground

NAMED = 900  # in one event
_RESOLVE = """
UPDATE rotation_quarantined SET resolved_at = greatest(at, %s), resolved_because = %s
 WHERE resolved_at IS NULL AND dek_version_id = ANY(%s) AND job_id IN
       (SELECT j.id FROM rotation_rewrapjob j WHERE j.kek_id = %s)
"""


class Refused(NamedTuple):
    dek: int  # id of its version
    key: int  # id of its key
    number: int
    reason: str  # of a closed list: custody.Refusal


def tell(ground: Ground, version: int, refused: Sequence[Refused], *, actor: Actor, now: datetime) -> None:
    """Tell log and Security what did not open as what belongs in its row. Outside any transaction.

    Before the batch is written down: whoever dies in between has told it, and tells it again.
    Event: dek.opened, refused.
    """
    if refused:
        names = _names(refused)
        deks = [
            RefusedDek(ref=f"key:{it.key}", label=names.get(it.key, ""), number=it.number, reason=it.reason)
            for it in {it.key: it for it in refused}.values()
        ]
        tell_of_refused(
            uri=ground.uri, version=ground.old[version], refused=deks, where=ground.ref, actor=actor, now=now
        )


def put(ground: Ground, version: int | None, refused: Sequence[Refused], *, actor: Actor, now: datetime) -> None:
    """Put DEKs into quarantine; part of the caller's transaction. Event: rewrap.quarantined, about each of them."""
    rows = [
        Quarantined(job_id=ground.job, dek_version_id=it.dek, kek_version_id=version, reason=it.reason, at=now)
        for it in refused
    ]
    names = _names(refused) if refused else {}
    _put(ground, rows, [(f"key:{it.key}", names.get(it.key, ""), it.reason) for it in refused], actor, now)


def put_rows(ground: Ground, refused: Sequence[tuple[str, str]], *, actor: Actor, now: datetime) -> None:
    """Put rows of a source elsewhere into quarantine, with the reason of each."""
    rows = [Quarantined(job_id=ground.job, row=row, reason=reason, at=now) for row, reason in refused]
    named = [(f"source:{ground.source}/{row}"[:300], "", reason) for row, reason in refused]
    _put(ground, rows, named, actor, now)


def _put(
    ground: Ground, rows: Sequence[Quarantined], named: Sequence[tuple[str, str, str]], actor: Actor, now: datetime
) -> None:
    Quarantined.objects.bulk_create(rows)
    for start in range(0, len(named), NAMED):
        some = named[start : start + NAMED]
        labels = {ref: label for ref, label, _ in some}
        subjects = [ground.itself, *(Subject(ref=ref, label=label) for ref, label in labels.items())]
        reasons: Mapping[str, JSON] = {ref: reason for ref, _, reason in some}
        facts: dict[str, JSON] = {"count": len(some), "reasons": reasons}
        record(Action.REWRAP_QUARANTINED, actor=actor, now=now, subjects=subjects, facts=facts)


def _names(refused: Sequence[Refused]) -> dict[int, str]:
    return dict(Key.objects.filter(pk__in={it.key for it in refused}).values_list("pk", "name"))


def resolve(ground: Ground, deks: Sequence[int], *, now: datetime, is_any: bool) -> None:
    """Note that DEKs which a job before this one had in quarantine were brought over. `is_any`: there are some."""
    if is_any and deks:
        with connection.cursor() as cursor:
            cursor.execute(_RESOLVE, [now, "It was brought over after all.", list(deks), ground.kek])
