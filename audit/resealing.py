"""A new sealing key: what is sealed under earlier ones is counted, and sealed anew under the present one.

Each app declares its sealed columns, because audit knows nobody's tables. A row is replaced only while it still holds
the bytes that were read, so a change that somebody makes meanwhile is never lost; a batch is one transaction with its
event, so a run may be killed at any moment and repeated at any time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import BinaryField, Count, Model, QuerySet
from django.db.models.functions import Substr

from audit import sealing
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import SealError
from audit.models import IdentityKey
from audit.services import Subject, record

TRIES = 5  # of a batch in which somebody changed a row meanwhile, or holds a lock
LOCKED = {"55P03", "40P01"}  # lock not available, dead-lock detected
Tell = Callable[["SealedColumn", int], None]


@dataclass(frozen=True, kw_only=True)
class SealedColumn:
    """One column of sealed bytes. Empty ones and NULL hold nothing."""

    code: str  # stands in the log, as the subject "sealed:totp_seed": never renamed
    title: str  # "seeds of authenticator apps"
    model: type[Model]
    column: str
    holder: str  # the column whose value stands in the context
    context: str  # "totp:user:{}"
    batch: int = 200  # rows a transaction: they are locked until it ends
    by_function: str = ""  # of the database, where no login may write the column: (holder, old, new) → boolean

    def rows(self) -> QuerySet[Any]:
        """Return the rows that hold something, with the id of their key."""
        full = self.model._base_manager.exclude(**{self.column: b""}).exclude(**{f"{self.column}__isnull": True})
        key_id = Substr(self.column, 1 + len(sealing.VERSION), sealing.KEY_ID_BYTES, output_field=BinaryField())
        rows: QuerySet[Any] = full.annotate(sealed_under=key_id)
        return rows

    def replace(self, pk: Any, old: bytes, new: bytes) -> bool:  # noqa: ANN401 - whatever identifies a row
        """Write the new bytes where the old ones still are; return whether they were."""
        if not self.by_function:
            still = self.model._base_manager.filter(pk=pk, **{self.column: old})
            return bool(still.update(**{self.column: new}))
        with connection.cursor() as cursor:
            cursor.callproc(self.by_function, [pk, old, new])
            return bool(cursor.fetchone()[0])


IDENTITY_KEYS = SealedColumn(
    code="identity_key",
    title="keys of the identities in the log",
    model=IdentityKey,
    column="sealed_key",
    holder="person",
    context=sealing.IDENTITY_CONTEXT,
    by_function="audit_identity_reseal",
)


@dataclass(frozen=True, kw_only=True)
class Resealed:
    """What became of one column."""

    rows: int = 0
    unopened: Sequence[str] = ()  # rows that do not open under the key that they name
    left: int = 0  # rows that somebody held or changed each time; the next run takes them


def census(column: SealedColumn) -> Mapping[bytes, int]:
    """Return how many rows are sealed under which key id. Queries: 1."""
    counted = column.rows().order_by("sealed_under").values_list("sealed_under").annotate(rows=Count("pk"))
    return {bytes(key_id): rows for key_id, rows in counted}


def reseal_column(column: SealedColumn, *, actor: Actor, now: datetime, tell: Tell) -> Resealed:
    """Seal everything of a column anew that is under an earlier key. Event: sealing_key.rotated, one a batch.

    `tell` hears after each batch how many rows are done.
    """
    done, left, last = 0, 0, None
    unopened: list[str] = []
    while pks := _next_under_earlier_keys(column, last):
        batch = _tried(column, pks, actor=actor, now=now)
        done, left, last = done + batch.rows, left + batch.left, pks[-1]
        unopened += batch.unopened
        tell(column, done)
    return Resealed(rows=done, unopened=unopened, left=left)


def _under_earlier_keys(column: SealedColumn) -> QuerySet[Any]:
    _present, *earlier = sealing.sealing_key_ids()
    return column.rows().filter(sealed_under__in=earlier).order_by("pk")


def _next_under_earlier_keys(column: SealedColumn, last: Any) -> list[Any]:  # noqa: ANN401 - whatever identifies a row
    rows = _under_earlier_keys(column)
    after = rows if last is None else rows.filter(pk__gt=last)
    return list(after.values_list("pk", flat=True)[: column.batch])


class _ChangedError(Exception):
    """A row of the batch is not any more what was read: the batch is undone and begins again."""


def _tried(column: SealedColumn, pks: Sequence[Any], *, actor: Actor, now: datetime) -> Resealed:
    for _ in range(TRIES):
        try:
            return _reseal_rows(column=column, pks=pks, actor=actor, now=now)
        except _ChangedError:
            continue
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") not in LOCKED:
                raise
    return Resealed(left=len(pks))


@transaction.atomic
def _reseal_rows(*, column: SealedColumn, pks: Sequence[Any], actor: Actor, now: datetime) -> Resealed:
    """Read these rows, seal them anew, record it and replace them: all of them or none. Raises: _ChangedError."""
    read = _under_earlier_keys(column).filter(pk__in=pks).values_list("pk", column.holder, column.column)
    renewed: list[tuple[Any, bytes, bytes]] = []
    unopened: list[str] = []
    for pk, holder, held in read:
        old = bytes(held)
        try:
            renewed.append((pk, old, sealing.reseal(old, context=column.context.format(holder))))
        except SealError:
            unopened.append(str(pk))
    if renewed:
        _record(column, [old for _, old, _ in renewed], actor, now)
    if not all(column.replace(pk, old, new) for pk, old, new in renewed):
        raise _ChangedError
    return Resealed(rows=len(renewed), unopened=unopened)


def _record(column: SealedColumn, replaced: Sequence[bytes], actor: Actor, now: datetime) -> None:
    """Record it before it is done: the database lets identity keys be replaced only by a transaction that says so."""
    earlier = {sealed[len(sealing.VERSION) : sealing.HEADER_BYTES].hex() for sealed in replaced}
    facts: dict[str, JSON] = {
        "rows": len(replaced),
        "from_key_ids": sorted(earlier),
        "to_key_id": sealing.sealing_key_ids()[0].hex(),
    }
    subject = Subject(ref=f"sealed:{column.code}", label=column.title)
    record(Action.SEALING_KEY_ROTATED, actor=actor, now=now, subjects=[subject], facts=facts)
