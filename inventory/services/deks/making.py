"""Making DEKs: drawn and wrapped before anything is written, then written down with all that belongs to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection, transaction

from audit.actions import Action
from audit.actor import Actor
from audit.batches import batches
from audit.canonical import JSON
from audit.services import Subject, record
from inventory import lifecycle
from inventory.custody import wrap_new
from inventory.errors import DekExistsError, DekScopeError, NoDekError, NoPrimaryError, NotAllowedNowError
from inventory.models import DekVersion, Integration, Kek, KekVersion, Key, KeyVersion, Tenant
from inventory.selectors import rules
from inventory.services.findings import refresh_findings
from inventory.services.keys import check_entered, check_record, derive, first_version, registered, require, revived
from inventory.services.relations import Relations, take_turns, with_relations, write_all_relations
from inventory.states import Act, Answer, State, allows
from inventory.terms import KeyKind, Relation, StorageMedium, StoreStatus

AT_ONCE = 1_000
DEK_BITS = 256
_TAKEN = {"dek_unique_in_tenant_and_integration", "dek_unique_for_secret"}
_ADD_WRAPPINGS = """
INSERT INTO inventory_wrapping (kek_version_id, dek_version_id, wrapped)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[])
"""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A DEK that was drawn and wrapped, and is written down nowhere yet."""

    key: int  # the number that its record has, or will have
    number: int  # of the version
    kek_version: int
    wrapped: bytes = field(repr=False)
    binding: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class NewDek:
    """The record of a DEK to be, and how it is wrapped."""

    key: Key  # with the number that was reserved for it
    kek_version: KekVersion
    wrapped: bytes = field(repr=False)
    binding: bytes | None = None
    context: bytes = b""


# Before the transaction: these ask the key store


def draw_dek(*, kek: int, now: datetime) -> Drawn:
    """Draw a new DEK and wrap it under the primary version of a KEK; its record is made by create_dek().

    For the worker, outside of any transaction. Raises: NoPrimaryError, NotAllowedNowError, BackendError.
    """
    version = primary_of(kek, now)
    (number,) = reserve_numbers(1)
    return _draw(version, number, 1)


def draw_next(*, dek: int, now: datetime) -> Drawn:
    """Draw the next version of a DEK, under the KEK that its current version is under, for guarded.deks.rotate_dek().

    As draw_dek(). Raises, besides: NoDekError.
    """
    key = Key.objects.get(pk=dek)
    current = DekVersion.objects.filter(key=key, number=key.current_number, cleared_at=None)
    kek = current.order_by("-wrappings__kek_version").values_list("wrappings__kek_version__kek", flat=True).first()
    if kek is None:
        raise NoDekError(key.name)
    return _draw(primary_of(kek, now), key.pk, key.current_number + 1)


def _draw(version: KekVersion, key: int, number: int) -> Drawn:
    kek = version.kek
    dek_id = DekVersion(key_id=key).dek_id
    wrapped, binding = wrap_new(kek.uri, kek.algorithm, version.store_id, dek_id=dek_id, number=number)
    return Drawn(key=key, number=number, kek_version=version.pk, wrapped=wrapped, binding=binding)


def primary_of(kek: int, now: datetime) -> KekVersion:
    """Return the version that takes new wraps. Queries: 1. Raises: NoPrimaryError, NotAllowedNowError."""
    found = Kek.objects.select_related("key", "primary__version__key", "primary__kek").filter(pk=kek).first()
    if found is None or found.primary is None:
        raise NoPrimaryError(found.key.name if found else "This")
    check_takes_wraps(found.primary, now)
    return found.primary


def check_takes_wraps(version: KekVersion, now: datetime) -> None:
    """Refuse a version of a KEK under which nothing new may be wrapped. Raises: NotAllowedNowError."""
    check_may(version.version, Act.PROTECT, now)
    if version.closed_at or version.status != StoreStatus.ENABLED:
        said = "closed to wraps" if version.closed_at else f"{version.status} in its key store"
        raise NotAllowedNowError(
            f"{version.version.key.name}, version {version.version.number},", said, "wrap anything"
        )


def check_may(version: KeyVersion, act: Act, now: datetime) -> None:
    """Refuse what the state of a version forbids, as states.allows() says. Raises: NotAllowedNowError.

    What depends on something else is refused: here is nobody who could say so.
    """
    key = version.key
    permit = allows(
        State(version.state),
        act,
        past_protecting=bool(key.protect_until and key.protect_until <= now),
        past_processing=bool(key.process_until and key.process_until <= now),
    )
    if permit.answer != Answer.YES:
        name = f"{key.name}, version {version.number},"
        raise NotAllowedNowError(name, version.state, act.label, permit.condition)


def reserve_numbers(count: int) -> list[int]:
    """Return numbers for records of keys that nobody else gets. Numbers that are not used after all leave a gap."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence('inventory_key', 'id')) FROM generate_series(1, %s)", [count]
        )
        return [number for (number,) in cursor.fetchall()]


# What is said of a DEK


def dek_facts(
    *,
    tenant: Tenant | None = None,
    integration: Integration | None = None,
    secret_name: str = "",
    now: datetime,
    **said: object,
) -> dict[str, Any]:
    """Return the facts of a new DEK's record: its scope, what is said of it, and what is so for each that is made here.

    Raises: DekScopeError.
    """
    if bool(secret_name) == bool(tenant and integration) or bool(tenant) != bool(integration):
        raise DekScopeError
    scope = {"tenant": tenant, "integration": integration} if tenant else {"secret_name": secret_name}
    made = {
        "name": f"dek/{tenant}/{integration}"[:200] if tenant else f"dek/secret/{secret_name}"[:200],
        "kind": KeyKind.DEK,
        "algorithm": "AES-256-GCM",
        "size_bits": DEK_BITS,
        "storage_medium": StorageMedium.OTHER,
        "storage_location": "wrapped, in the database of this installation",
        "generation_method": "256 bits of the operating system's generator, drawn here",
        "created_on": now.date(),
        "never_rotated": True,
    }
    return made | {name: value for name, value in said.items() if value not in (None, "")} | scope


def facts_from(parameters: Mapping[str, JSON], *, now: datetime) -> dict[str, Any]:
    """Return the facts of a DEK that was ordered: `parameters` as services.keys.plain() writes facts, and "kek".

    Raises: DekScopeError.
    """
    said = {
        name: revived(name, value) for name, value in parameters.items() if name != "kek" and value not in (None, "")
    }
    return dek_facts(now=now, **said)


def check_new_dek(facts: Mapping[str, Any], now: datetime) -> None:
    """Refuse facts that create_dek() would refuse, before anything is drawn or ordered.

    Raises: DekExistsError, KeyMaterialError, ValidationError.
    """
    check_entered(facts, now)
    taken = Key.objects.filter(kind=KeyKind.DEK)
    if facts.get("secret_name"):
        taken = taken.filter(secret_name=facts["secret_name"])
    else:
        taken = taken.filter(tenant=facts.get("tenant"), integration=facts.get("integration"))
    if taken.exists():
        raise DekExistsError(scope_of(facts))
    check_record(Key(**facts))


def scope_of(facts: Mapping[str, Any]) -> str:
    if facts.get("secret_name"):
        return f"the secret {facts['secret_name']}"
    return f"{facts.get('integration')} of {facts.get('tenant')}"


# In the transaction


def create_dek(*, drawn: Drawn, facts: Mapping[str, Any], actor: Actor, reason: str, now: datetime) -> Key:
    """Register a DEK that draw_dek() has drawn: key, version, wrapping and all, in use at once.

    Takes the KEK's version FOR SHARE. Events: key.registered, dek.created, and those of refresh_findings().
    Raises: DekExistsError, also for whoever comes second in a race; NotAllowedNowError, KeyMaterialError,
    ValidationError.
    """
    require(reason)
    check_new_dek(facts, now)
    version = KekVersion.objects.select_related("version__key", "kek").get(pk=drawn.kek_version)
    check_takes_wraps(version, now)
    key = Key(pk=drawn.key, **facts)
    new = NewDek(key=key, kek_version=version, wrapped=drawn.wrapped, binding=drawn.binding)
    try:
        with transaction.atomic():
            write_deks([new], imported=False, actor=actor, reason=reason, now=now)
    except IntegrityError as error:
        if _constraint(error) not in _TAKEN:
            raise
        raise DekExistsError(scope_of(facts)) from error
    return key


def _constraint(error: IntegrityError) -> str:
    diagnosis = getattr(error.__cause__, "diag", None)
    return getattr(diagnosis, "constraint_name", None) or ""


@transaction.atomic
def write_deks(new: Sequence[NewDek], *, imported: bool, actor: Actor, reason: str, now: datetime) -> None:
    """Write down the records of DEKs, which were validated, each with its version and wrapping.

    Events, each for up to 1,000 of them: key.registered and dek.created, or key.imported and dek.imported; and those
    of refresh_findings(). Raises: IntegrityError.
    """
    clauses, keys = rules(hold=True), [one.key for one in new]
    for key in keys:
        derive(key, clauses)
    take_turns()  # as everybody who puts a key under another
    Key.objects.bulk_create(keys, batch_size=AT_ONCE)
    versions = [first_version(key, state=State.ACTIVE, now=now) for key in keys]
    KeyVersion.objects.bulk_create(versions, batch_size=AT_ONCE)
    none, under = Relations(), [_under(one.kek_version) for one in new]
    write_all_relations([(key.pk, none, above) for key, above in zip(keys, under, strict=True)])
    said = [with_relations(registered(key), none, above) for key, above in zip(keys, under, strict=True)]
    _enter(versions, said, Action.KEY_IMPORTED if imported else Action.KEY_REGISTERED, actor, reason, now)
    _write_versions(new, versions)
    _tell_of_wrapping(new, Action.DEK_IMPORTED if imported else Action.DEK_CREATED, actor, reason, now)
    refresh_findings(keys=[key.pk for key in keys], actor=actor, now=now)


def _under(version: KekVersion) -> Relations:
    return Relations(parents=frozenset({(version.kek_id, Relation.WRAPPED_BY.value)}))


def _enter(
    versions: Sequence[KeyVersion], said: Iterable[Subject], action: Action, actor: Actor, reason: str, now: datetime
) -> None:
    of_key = {version.key.ref: version for version in versions}
    facts: dict[str, JSON] = {"state": State.ACTIVE.value}
    for subjects in batches(said):
        event = record(action, actor=actor, now=now, reason=reason, subjects=subjects, facts=facts)
        lifecycle.enter([of_key[subject.ref] for subject in subjects], state=State.ACTIVE, event=event)
    for version in versions:
        version.key.state = version.state = State.ACTIVE


def _write_versions(new: Sequence[NewDek], versions: Sequence[KeyVersion]) -> None:
    deks = [
        DekVersion(version=version, key=one.key, number=1, binding=one.binding, context=one.context)
        for one, version in zip(new, versions, strict=True)
    ]
    DekVersion.objects.bulk_create(deks, batch_size=AT_ONCE)
    rows = [(one.kek_version.pk, version.pk, one.wrapped) for one, version in zip(new, versions, strict=True)]
    add_wrappings(rows)


def add_wrappings(rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Write wrappings: (KEK version, DEK version, wrapped). The database takes the former FOR SHARE. Queries: 1."""
    with connection.cursor() as cursor:
        cursor.execute(_ADD_WRAPPINGS, [list(column) for column in zip(*rows, strict=True)])


def _tell_of_wrapping(new: Sequence[NewDek], action: Action, actor: Actor, reason: str, now: datetime) -> None:
    """Say under which version of which KEK they are, one event for those of the same."""
    versions = {one.kek_version.pk: one.kek_version for one in new}
    for pk, version in versions.items():
        facts: dict[str, JSON] = {
            "kek": f"key:{version.kek_id}",
            "uri": version.kek.uri,
            "kek_version": version.store_id,
        }
        under = (one.key for one in new if one.kek_version.pk == pk)
        for subjects in batches(Subject(ref=key.ref, label=key.name, after={"version": 1}) for key in under):
            record(action, actor=actor, now=now, reason=reason, subjects=subjects, facts=facts)
