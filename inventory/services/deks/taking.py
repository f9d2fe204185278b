"""Taking over wrapped DEKs that exist elsewhere: all rows of a file, or none. Their bytes stay what they are."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Subject, record
from inventory.custody import Item, Refusal, capabilities_of, check
from inventory.envelope import Blob, kek_digest, pack
from inventory.errors import NotAllowedNowError, StaleError
from inventory.models import DekVersion, Integration, Kek, KekVersion, Key, Tenant, Wrapping
from inventory.services.bulk import insert_rows
from inventory.services.deks.making import NewDek, check_may, reserve_numbers, write_deks
from inventory.services.deks.reading import RowError, WrappedRow, doubled, read_wrapped
from inventory.services.keys import require
from inventory.states import Act
from inventory.terms import KeyKind, StorageMedium, StoreStatus

AT_ONCE = 2_000
Named = TypeVar("Named", Tenant, Integration)
_TAKEN = "There is a DEK for this already, and its wrapped bytes are others."
_TAKEN_MEND = "Leave the row out. Was it re-wrapped since, --open compares the DEKs themselves."


@dataclass(frozen=True, kw_only=True)
class TakenRow:
    """A row of the file and what it becomes."""

    said: WrappedRow
    version: KekVersion
    wrapped: bytes = field(repr=False)
    key: int  # the number that its record gets, or has
    binding: bytes | None = None  # where it was opened


@dataclass(kw_only=True)
class TakeOver:
    """What a file would bring."""

    kek: Kek
    digest: str  # SHA-256 of the file
    new: list[TakenRow] = field(default_factory=list)
    known: list[TakenRow] = field(default_factory=list)  # the same bytes are here already
    doubtful: list[TakenRow] = field(default_factory=list)  # other bytes are here; opening them tells
    errors: list[RowError] = field(default_factory=list)
    misfits: list[tuple[TakenRow, str]] = field(default_factory=list)  # opened and refused, and why


def plan_take_over(*, content: bytes, kek: Kek, now: datetime) -> TakeOver:
    """Read a file and compare it with the inventory. Nothing is written but that numbers are reserved. Queries: 6.

    Raises: NotAllowedNowError.
    """
    check_may(kek.key.versions.select_related("key").get(number=kek.key.current_number), Act.PROTECT, now)
    can = capabilities_of(kek.uri)
    rows, errors = read_wrapped(content, algorithm=kek.algorithm, needs_context=can.binds_context)
    plan = TakeOver(kek=kek, digest=hashlib.sha256(content).hexdigest(), errors=[*errors, *doubled(rows)])
    versions = {one.store_id: one for one in KekVersion.objects.select_related("kek").filter(kek=kek)}
    known, numbers = _known(rows), iter(reserve_numbers(len(rows)))
    names = _names(rows)
    for said in rows:
        version = versions.get(said.version)
        if error := _error(said, version, names.get(said.name) if said.scope not in known else None):
            plan.errors.append(error)
        elif version is not None:
            _place(plan, said, version, known.get(said.scope), numbers)
    _sort_known(plan)
    plan.errors.sort(key=lambda error: (error.row, error.field))
    return plan


def _error(said: WrappedRow, version: KekVersion | None, named: str | None) -> RowError | None:
    if version is None:
        mend = "Name a version of this KEK as its page lists them, or give another --kek."
        return RowError(row=said.row, field="version", problem="The KEK has no such version.", mend=mend)
    if version.closed_at or version.status != StoreStatus.ENABLED:
        problem = f"That version is {'closed to wraps' if version.closed_at else version.get_status_display()}."
        mend = "Have it opened again, or re-wrap the DEK where it is first."
        return RowError(row=said.row, field="version", problem=problem, mend=mend)
    if named or len(said.name) > Key._meta.get_field("name").max_length:  # type: ignore[operator]
        problem = "A key of its name is registered already." if named else "Its names are too long together."
        return RowError(row=said.row, field=said.scope[0], problem=problem, mend="Rename one of the two.")
    return None


def _place(plan: TakeOver, said: WrappedRow, version: KekVersion, known: int | None, numbers: Iterator[int]) -> None:
    blob = Blob(
        algorithm=plan.kek.algorithm, kek=kek_digest(plan.kek.uri), version=said.version, ciphertext=said.ciphertext
    )
    key = next(numbers) if known is None else known
    one = TakenRow(said=said, version=version, wrapped=pack(blob), key=key)
    (plan.new if known is None else plan.doubtful).append(one)


def _known(rows: Sequence[WrappedRow]) -> dict[tuple[str, ...], int]:
    """Return the DEKs that are here already, by what they are for. Queries: 2."""
    deks = Key.objects.filter(kind=KeyKind.DEK)
    secrets = deks.filter(secret_name__in=[one.secret for one in rows if one.secret])
    found: dict[tuple[str, ...], int] = {("secret", name): pk for pk, name in secrets.values_list("pk", "secret_name")}
    scoped = deks.filter(tenant__name__in={one.tenant for one in rows if one.tenant}, integration__isnull=False)
    for pk, tenant, integration in scoped.values_list("pk", "tenant__name", "integration__name"):
        found["tenant", tenant, integration] = pk
    return found


def _names(rows: Sequence[WrappedRow]) -> dict[str, str]:
    names = Key.objects.filter(name__in=[one.name for one in rows]).values_list("name", flat=True)
    return {name: name for name in names}


def _sort_known(plan: TakeOver) -> None:
    """Tell those whose very bytes are here already from those that are wrapped otherwise. Queries: 1."""
    keys = [one.key for one in plan.doubtful]
    rows = Wrapping.objects.filter(dek_version__key__in=keys)
    here: defaultdict[int, set[bytes]] = defaultdict(set)
    for key, wrapped in rows.values_list("dek_version__key", "wrapped"):
        here[key].add(bytes(wrapped))
    plan.known = [one for one in plan.doubtful if one.wrapped in here[one.key]]
    plan.doubtful = [one for one in plan.doubtful if one.wrapped not in here[one.key]]


def settle(plan: TakeOver) -> None:
    """Refuse the rows whose DEKs are here with other bytes: nobody has opened them, so they may be others."""
    for one in plan.doubtful:
        plan.errors.append(RowError(row=one.said.row, field=one.said.scope[0], problem=_TAKEN, mend=_TAKEN_MEND))
    plan.doubtful = []


def open_all(plan: TakeOver) -> None:
    """Open every row in the key store: what does not open is an error, what is here with other bytes is compared.

    For the worker, outside of any transaction. Raises: BackendError.
    """
    bindings = _bindings([one.key for one in plan.doubtful])
    kept = _opened(plan, plan.new, {})
    same = _opened(plan, plan.doubtful, bindings)
    plan.known += [one for one in same if bindings.get(one.key)]
    plan.doubtful = [one for one in same if not bindings.get(one.key)]
    plan.new = kept
    settle(plan)
    plan.errors.sort(key=lambda error: (error.row, error.field))


def _bindings(keys: Sequence[int]) -> dict[int, bytes | None]:
    rows = DekVersion.objects.filter(key__in=keys, number=1).values_list("key", "binding")
    return {key: None if binding is None else bytes(binding) for key, binding in rows}


def _opened(plan: TakeOver, rows: Sequence[TakenRow], bindings: Mapping[int, bytes | None]) -> list[TakenRow]:
    by_version: defaultdict[str, list[TakenRow]] = defaultdict(list)
    for one in rows:
        by_version[one.version.store_id].append(one)
    passed: list[TakenRow] = []
    for version, those in by_version.items():
        for start in range(0, len(those), AT_ONCE):
            some = those[start : start + AT_ONCE]
            items = [_item(one, bindings.get(one.key)) for one in some]
            seen = check(plan.kek.uri, version, items, algorithm=plan.kek.algorithm)
            for one, said in zip(some, seen, strict=True):
                if isinstance(said, Refusal):
                    _refuse(plan, one, said.reason)
                else:
                    passed.append(_with_binding(one, said))
    return sorted(passed, key=lambda one: one.said.row)


def _item(one: TakenRow, binding: bytes | None) -> Item:
    dek_id = DekVersion(key_id=one.key).dek_id
    return Item(dek_id=dek_id, number=1, wrapped=one.wrapped, binding=binding, context=one.said.context)


def _with_binding(one: TakenRow, binding: bytes) -> TakenRow:
    return TakenRow(said=one.said, version=one.version, wrapped=one.wrapped, key=one.key, binding=binding)


def _refuse(plan: TakeOver, one: TakenRow, reason: str) -> None:
    plan.misfits.append((one, reason))
    problem = "Its key store does not open it, or it is another DEK than the one that is here."
    mend = "Check version and context. If they are right, the row was altered: find out by whom."
    plan.errors.append(RowError(row=one.said.row, field="ciphertext", problem=problem, mend=mend))


@transaction.atomic
def take_over(*, plan: TakeOver, file: str, facts: Mapping[str, Any], actor: Actor, reason: str, now: datetime) -> int:
    """Register all new DEKs of a plan without errors; return how many. For the worker.

    `facts` are said of each: owner, service, environment. Events: tenant.registered and integration.registered as
    needed, those of write_deks(), and inventory.imported. Raises: ValueError for a plan with errors; StaleError when
    somebody registers the same meanwhile; NotAllowedNowError.
    """
    require(reason)
    if plan.errors or plan.doubtful:
        raise ValueError("a plan with errors is not carried out")
    if not plan.new:
        return 0
    closed = KekVersion.objects.filter(pk__in={one.version.pk for one in plan.new}, closed_at__isnull=False)
    if closed.exists():
        raise NotAllowedNowError(f"A version of {plan.kek.key.name}", "closed to wraps", "wrap anything")
    try:
        with transaction.atomic():
            tenants = registered_by_name(Tenant, {one.said.tenant for one in plan.new}, actor, now)
            integrations = registered_by_name(Integration, {one.said.integration for one in plan.new}, actor, now)
            new = [_new(one, tenants, integrations, facts) for one in plan.new]
            write_deks(new=new, imported=True, actor=actor, reason=reason, now=now)
    except IntegrityError as error:
        raise StaleError("The inventory") from error
    said: dict[str, JSON] = {"file": file, "sha256": plan.digest, "new": len(plan.new), "unchanged": len(plan.known)}
    opened = sum(one.binding is not None for one in plan.new)
    what: dict[str, JSON] = {"what": "wrapped DEKs", "kek": plan.kek.key.ref, "opened": opened}
    record(Action.INVENTORY_IMPORTED, actor=actor, now=now, reason=reason, facts=said | what)
    return len(plan.new)


def registered_by_name(kind: type[Named], names: set[str], actor: Actor, now: datetime) -> dict[str, Named]:
    """Return the records of these names; those that are missing are registered. Event for each 1,000: *.registered."""
    rows = kind._default_manager.filter(name__in=names)
    found = {str(one): one for one in rows}
    new = [kind(name=name) for name in sorted(names - found.keys() - {""})]
    insert_rows(new, by="name")
    word = kind._meta.model_name
    action = Action.TENANT_REGISTERED if issubclass(kind, Tenant) else Action.INTEGRATION_REGISTERED
    for subjects in batches(Subject(ref=f"{word}:{one.pk}", label=str(one)) for one in new):
        record(action, actor=actor, now=now, subjects=subjects)
    return found | {str(one): one for one in new}


def _new(
    one: TakenRow,
    tenants: Mapping[str, Tenant],
    integrations: Mapping[str, Integration],
    facts: Mapping[str, Any],
) -> NewDek:
    said = one.said
    scope = (
        {"secret_name": said.secret}
        if said.secret
        else {"tenant": tenants[said.tenant], "integration": integrations[said.integration]}
    )
    key = Key(
        pk=one.key,
        name=said.name,
        kind=KeyKind.DEK,
        storage_medium=StorageMedium.OTHER,
        storage_location="wrapped, in the database of this installation",
        **{**facts, **scope},
    )
    return NewDek(key=key, kek_version=one.version, wrapped=one.wrapped, binding=one.binding, context=said.context)
