"""Imports from the browser: a file waits as a row, a worker reads it, a person confirms, a worker imports it.

    reading ──→ ready ──→ applying ──→ done
       │  ↑_______│___________│
       └──→ refused

A row is claimed by a guarded UPDATE under a lease of the database's clock, which progress prolongs. The import itself
is one transaction that marks its row as done too: whoever dies before the commit leaves nothing, and whoever was taken
for dead finds the number of its claim outdated and rolls back.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from audit import sealing
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.resealing import SealedColumn
from audit.services import record, record_refusal
from inventory.errors import (
    ImportLostError,
    ImportRunningError,
    InventoryError,
    PlanChangedError,
    PrivateKeyError,
    StaleError,
)
from inventory.models import ImportDraft
from inventory.models.draft import ImportState
from inventory.reading import ColumnsError
from inventory.services.brought import ImportOptions
from inventory.services.headers import begin_import
from inventory.services.imports import apply_import, plan_import
from inventory.services.plan import Plan

LIFETIME = timedelta(hours=1)
LEASE = timedelta(seconds=90)  # without a sign of progress; the longest step of the largest file takes a third of it
SHOWN_REQUESTS = 100  # on the last page; the rest is counted
MOST_CLAIMS = 20  # a file that kills its workers is given up
TOLD_FROM = 1_000  # rows: what has fewer is done before anybody looks
_WAITING = (ImportState.READING, ImportState.APPLYING)
_CONTEXT = "import:user:{}"
SEALED_FILES = SealedColumn(
    code="import_file",
    title="files that wait to be imported",
    model=ImportDraft,
    column="content",
    holder="uploaded_by_id",
    context=_CONTEXT,
    batch=5,  # of up to ten megabytes each
)
_GIVEN_UP = "This file could not be worked off; nothing of it was imported. Split it, or ask whoever runs this service."


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How doors show a plan, or columns that are not clear, as data for a page of theirs."""

    plan: Callable[[Plan], Mapping[str, JSON]]
    columns: Callable[[ColumnsError, ImportOptions], Mapping[str, JSON]]


# What people do


def take_file(*, content: bytes, file_name: str, reason: str, person: int, now: datetime) -> ImportDraft:
    """Keep a file, sealed, for a worker to read; nobody has looked into it yet. No event: nothing has happened."""
    return ImportDraft.objects.create(
        uploaded_by_id=person,
        uploaded_at=now,
        file_name=file_name[:200],
        content=_packed(content, person),
        reason=reason,
    )


def read_again(*, draft: ImportDraft, options: ImportOptions) -> bool:
    """Have a file read with other answers; return whether it waited for any."""
    ready = ImportDraft.objects.filter(pk=draft.pk, state=ImportState.READY)
    return bool(ready.update(state=ImportState.READING, options=options.stored, note=""))


@transaction.atomic
def confirm_import(*, draft: ImportDraft, plan_digest: str, actor: Actor, now: datetime) -> bool:
    """Have a plan carried out that somebody has looked at; return whether it was still to be confirmed.

    Of several at once one confirms. Event: inventory.import_confirmed. What the worker does then, it does on behalf of
    that person.
    """
    ready = ImportDraft.objects.filter(pk=draft.pk, state=ImportState.READY, plan_digest=plan_digest)
    if not plan_digest or not ready.update(state=ImportState.APPLYING, note=""):
        return False
    facts: dict[str, JSON] = {"file": draft.file_name, "plan": plan_digest}
    record(Action.INVENTORY_IMPORT_CONFIRMED, actor=actor, now=now, reason=draft.reason, facts=facts)
    return True


# What workers do


def waiting_imports() -> Sequence[int]:
    """Return what no worker has, oldest first: never nudged, or left by a worker that died. Queries: 1."""
    return list(_free().order_by("pk").values_list("pk", flat=True))


def clear_imports(*, now: datetime) -> int:
    """Forget files an hour after their upload, but for those that are being imported; return how many."""
    old = ImportDraft.objects.filter(uploaded_at__lt=now - LIFETIME).exclude(state=ImportState.APPLYING)
    return old.delete()[0]


def work_off_import(*, pk: int, draw: Draw, now: datetime) -> str:
    """Claim a file and do the next step with it; return the state that it is in then, "" when there was nothing to do.

    An import that another one keeps out stays as it is, for the next time.
    """
    if not _free().filter(pk=pk).update(claims=F("claims") + 1, leased_until=Now() + LEASE):
        return ""
    draft = ImportDraft.objects.get(pk=pk)
    if draft.claims > MOST_CLAIMS:
        return _end(draft, ImportState.REFUSED, note=_GIVEN_UP)
    with _Progress(draft) as progress:
        step = _read if draft.state == ImportState.READING else _apply
        return step(draft, draw, now, progress)


def _free() -> Any:  # noqa: ANN401 - a query set
    return ImportDraft.objects.filter(Q(leased_until=None) | Q(leased_until__lt=Now()), state__in=_WAITING)


def _read(draft: ImportDraft, draw: Draw, now: datetime, progress: "_Progress") -> str:
    try:
        content = _unpacked(draft)
        options = ImportOptions.restored(draft.options) if draft.options else begin_import(content=content, now=now)
        draft.options = options.stored
        plan = plan_import(content=content, now=now, options=options, tell=progress.tell)
    except ColumnsError as error:
        shown = dict(draw.columns(error, ImportOptions.restored(draft.options)))
        return _end(draft, ImportState.READY, options=draft.options, preview=shown, plan_digest="", note=draft.note)
    except PrivateKeyError as error:
        facts: dict[str, JSON] = {"file": draft.file_name, "private_keys": error.count}
        record_refusal(Action.KEY_MATERIAL_REFUSED, actor=_worker_for(draft), now=now, facts=facts)
        return _end(draft, ImportState.REFUSED, note=str(error))
    except InventoryError as error:
        return _end(draft, ImportState.REFUSED, note=str(error))
    shown = dict(draw.plan(plan))
    return _end(
        draft, ImportState.READY, options=draft.options, preview=shown, plan_digest=plan.digest, note=draft.note
    )


def _apply(draft: ImportDraft, _draw: Draw, now: datetime, progress: "_Progress") -> str:
    try:
        with transaction.atomic():
            plan = apply_import(
                content=_unpacked(draft),
                file_name=draft.file_name,
                actor=_worker_for(draft),
                reason=draft.reason,
                now=now,
                options=ImportOptions.restored(draft.options),
                expected_digest=draft.plan_digest,
                tell=progress.tell,
            )
            return _end(draft, ImportState.DONE, note=plan.summary, preview=_asked(plan))
    except ImportLostError:
        raise  # and nothing of it stands
    except ImportRunningError:
        return _end(draft, ImportState.APPLYING)
    except (PlanChangedError, StaleError) as error:
        return _end(draft, ImportState.READING, note=str(error))
    except InventoryError as error:
        return _end(draft, ImportState.REFUSED, note=str(error))


def _asked(plan: Plan) -> Mapping[str, JSON]:
    """Return what the last page says of the requests that were opened; nothing where there are none."""
    shown: list[JSON] = [{"pk": one.pk, "title": one.title} for one in plan.asked[:SHOWN_REQUESTS]]
    return {"asked": shown, "asked_of": len(plan.asked)} if shown else {}


def _worker_for(draft: ImportDraft) -> Actor:
    return Actor.system("worker", on_behalf_of=f"user:{draft.uploaded_by_id}")


def _end(draft: ImportDraft, state: ImportState, **said: Any) -> str:  # noqa: ANN401 - columns of the draft
    """Write what became of a step, and give the lease back. Raises: ImportLostError when another worker has it now."""
    if state in {ImportState.DONE, ImportState.REFUSED}:
        said = {"content": b"", "preview": {}} | said
    mine = ImportDraft.objects.filter(pk=draft.pk, claims=draft.claims, state=draft.state)
    if not mine.update(state=state, leased_until=None, doing="", rows_done=0, rows_total=0, **said):
        raise ImportLostError(draft.file_name)
    return state.value


class _Progress:
    """Writes how far a step is, on a connection of its own: it is seen while the import's transaction is open."""

    def __init__(self, draft: ImportDraft) -> None:
        self._draft = draft
        self._aside = connection.copy()

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_failure: object) -> None:
        self._aside.close()

    def tell(self, doing: str, rows: int, of: int) -> None:
        if of < TOLD_FROM:
            return
        with self._aside.cursor() as cursor:
            cursor.execute(
                "UPDATE inventory_importdraft SET doing = %s, rows_done = %s, rows_total = %s, "
                "leased_until = statement_timestamp() + %s * interval '1 second' WHERE id = %s AND claims = %s",
                [doing, rows, of, LEASE.total_seconds(), self._draft.pk, self._draft.claims],
            )


def _packed(content: bytes, person: int) -> bytes:
    return sealing.seal(zlib.compress(content, 1), context=_CONTEXT.format(person))


def _unpacked(draft: ImportDraft) -> bytes:
    return zlib.decompress(sealing.unseal(bytes(draft.content), context=_CONTEXT.format(draft.uploaded_by_id)))
