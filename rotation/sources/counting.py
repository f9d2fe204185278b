"""How many DEKs a source has under each version of its KEK: asked there, kept here with the time it was asked."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

from django.db import transaction
from psycopg import sql

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.services import Outcome, Subject, record
from inventory.models import Kek, KekVersion
from rotation.models import RewrapSource, SourceForm
from rotation.sources.connecting import reading
from rotation.sources.errors import SourceError
from rotation.sources.tables import columns_of

UNKNOWN = "?"  # stands for every version that the KEK does not have
# Which version a row says, and which one its cell says where the form names it: both need their version.
_COUNT: LiteralString = """
SELECT said, own, pg_catalog.count(*) FROM (
    SELECT {version}::text AS said, {own} AS own FROM {relation} t
) AS rows GROUP BY said, own
"""
_OWN: dict[str, LiteralString] = {
    SourceForm.TEXT: "pg_catalog.substring({wrapped} FROM '^[a-z]+:v([0-9]+):')",
    # envelope.pack(): the length of the version's id stands in the byte after the first 11, the id behind it
    SourceForm.ENVELOPE: "CASE WHEN pg_catalog.length({wrapped}) > 12 THEN pg_catalog.encode(pg_catalog.substring("
    "{wrapped} FROM 13 FOR pg_catalog.get_byte({wrapped}, 11)), 'escape') END",
    SourceForm.BYTES: "{version}::text",
    SourceForm.BASE64: "{version}::text",
}
Counts = dict[str, int]  # the store's version id → DEKs


def sources_of(kek: Kek) -> list[RewrapSource]:
    """Return the sources that are in use and name this KEK. Queries: 1."""
    return list(RewrapSource.objects.filter(kek=kek, retired_at__isnull=True).select_related("kek").order_by("pk"))


def counted(source: RewrapSource) -> Counts:
    """Ask the source, and nothing else: how many rows are under each version. Outside any transaction of ours.

    A row whose column and whose cell name two versions counts under both. Raises: SourceError.
    """
    names = columns_of(source).names()
    own = sql.SQL(_OWN[source.form]).format(wrapped=names["wrapped"], version=names["version"])
    with reading(source) as connection:
        rows = connection.execute(sql.SQL(_COUNT).format(own=own, **names)).fetchall()
    known = set(KekVersion.objects.filter(kek=source.kek_id).values_list("store_id", flat=True))
    found: Counter[str] = Counter()
    for said, cell, count in rows:
        for version in {one if one in known else UNKNOWN for one in (said, cell)}:
            found[version] += count
    return dict(sorted(found.items()))


def count(source: RewrapSource, *, actor: Actor, now: datetime, is_quiet: bool = False) -> Counts:
    """Ask the source, and keep what it says. Event: source.counted, failed where it could not be asked.

    With `is_quiet` an answer like the one before leaves no event. Raises: SourceError, after it was kept.
    """
    try:
        found = counted(source)
    except SourceError as error:
        _keep(source, None, str(error), actor, now, is_quiet=is_quiet)
        raise
    _keep(source, found, "", actor, now, is_quiet=is_quiet)
    return found


def count_now(kek: Kek, *, actor: Actor, now: datetime) -> dict[str, Counts]:
    """Ask every source that names this KEK; return by its reference what each says. For the interlock, after closing.

    Outside any transaction. Event: source.counted for each. Raises: SourceError for the first that cannot be asked:
    who does not know must not destroy.
    """
    return {source.ref: count(source, actor=actor, now=now) for source in sources_of(kek)}


def still_needed(counts: dict[str, Counts], store_ids: Sequence[str]) -> int:
    """Return how many DEKs of what count_now() found may need one of these versions: of unknown ones, all may."""
    return sum(number for one in counts.values() for version, number in one.items() if version in {*store_ids, UNKNOWN})


def refresh(*, actor: Actor, now: datetime) -> tuple[int, int]:
    """Ask all sources for what pages show; return how many answered, and how many did not."""
    answered = failed = 0
    for source in RewrapSource.objects.filter(retired_at__isnull=True).select_related("kek").order_by("pk"):
        try:
            count(source, actor=actor, now=now, is_quiet=True)
        except SourceError:
            failed += 1
        else:
            answered += 1
    return answered, failed


@transaction.atomic
def _keep(
    source: RewrapSource, found: Counts | None, trouble: str, actor: Actor, now: datetime, *, is_quiet: bool
) -> None:
    """Write an answer down, and that there was one; what was counted last stands until the next answer."""
    row = RewrapSource.objects.select_for_update(of=("self",)).get(pk=source.pk)
    if row.counted_at is not None and row.counted_at > now:
        return  # somebody has asked later
    is_news = row.trouble != trouble or (found is not None and row.counts != found)
    before: dict[str, JSON] = {"counts": dict(row.counts), "trouble": row.trouble}
    row.trouble = trouble[:300]
    if found is not None:
        row.counts, row.counted_at = found, now
    row.save(update_fields=["trouble", "counts", "counted_at"])
    source.counts, source.counted_at, source.trouble = row.counts, row.counted_at, row.trouble
    if is_quiet and not is_news:
        return
    after: dict[str, JSON] = {"counts": dict(row.counts), "trouble": row.trouble}
    record(
        Action.SOURCE_COUNTED,
        actor=actor,
        now=now,
        subjects=[Subject(ref=row.ref, label=row.name, before=before, after=after)],
        reason=trouble,
        outcome=Outcome.FAILED if trouble else Outcome.DONE,
    )
