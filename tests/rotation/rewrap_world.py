"""A local key store, KEKs in it, and as many wrapped DEKs as a test wants, made in bulk.

`house` points the settings at a ring of its own; a test forgets the stores afterwards. What stands here acts as the
worker: it needs `as_role("worker")`, or a login of it.
"""

import os
import secrets
import signal
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import psycopg
from django.db import connection, connections
from django.utils import timezone

from inventory.custody import forget_stores, store_of
from inventory.envelope import Blob, binding_digest, context_of, kek_digest, pack
from inventory.kms.base import ToWrap
from inventory.models import Kek, KekVersion, Key, KeyVersion, Wrapping
from inventory.terms import KeyKind
from tests import canaries

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
AES = "AES-256-KW"
_KEPT = []  # connections of the parent, which a child must neither use nor close


def house(settings, folder):
    """Open a new ring in a folder and make the settings name it "house"; return its address."""
    ring = folder / f"ring-{secrets.token_hex(4)}"
    ring.mkdir(mode=0o700)
    forget_stores()
    settings.MASTER_KEY = os.urandom(32)
    settings.KMS_STORES = {"house": f"local://{ring}#house"}
    canaries.know("master key", settings.MASTER_KEY)
    return settings.KMS_STORES["house"]


def make_kek(name=None, *, deks=0, algorithm=AES, store="local:house", now=NOW):
    """Make a KEK of one version with so many DEKs under it."""
    name = name or f"kek-{secrets.token_hex(4)}"
    key = Key.objects.create(name=name, kind=KeyKind.KEK)
    kek = Kek.objects.create(key=key, uri=f"{store}/{name}", algorithm=algorithm)
    backend, store_key = store_of(kek.uri)
    backend.create(store_key, algorithm)
    take_into_use(kek, now=now)
    add_deks(kek, deks)
    return kek


def rotate(kek, *, now=NOW):
    """Add a version in the store and take it into use; return it."""
    store, store_key = store_of(kek.uri)
    store.rotate(store_key)
    return take_into_use(kek, now=now)


def take_into_use(kek, *, now=NOW):
    """Make the newest version of the store the primary one."""
    store, store_key = store_of(kek.uri)
    newest = store.describe(store_key).newest
    number = kek.key.versions.count() + 1
    version = KekVersion.objects.create(
        version=KeyVersion.objects.create(key=kek.key, number=number), kek=kek, store_id=newest, status_at=now
    )
    Kek.objects.filter(pk=kek.pk).update(primary=version, newest_seen=newest)
    kek.primary = version
    return version


def add_deks(kek, count, *, version=None, is_bound=True):
    """Wrap so many new DEKs under a version (the primary one); return the ids of their versions."""
    version = version or kek.primary
    if not count:
        return []
    key_ids = _keys(kek, count)
    made = wrapped_deks(kek.uri, kek.algorithm, version.store_id, [b"key:%d" % pk for pk in key_ids])
    with connection.cursor() as cursor:
        raw = psycopg.Cursor(cursor.connection)
        raw.execute(
            "INSERT INTO inventory_keyversion (key_id, number, revocation_reason) SELECT unnest(%b::bigint[]), 1, '' "
            "RETURNING id",
            [key_ids],
        )
        ids = [row[0] for row in raw.fetchall()]
        raw.execute(
            "INSERT INTO inventory_dekversion (version_id, key_id, number, binding, context, reencrypted_by) "
            "SELECT *, '', '' FROM (SELECT unnest(%b::bigint[]), unnest(%b::bigint[]), 1, unnest(%b::bytea[])) one",
            [ids, key_ids, [binding if is_bound else None for _, binding in made]],
        )
        raw.execute(
            "INSERT INTO inventory_wrapping (kek_version_id, dek_version_id, wrapped) "
            "SELECT %b::bigint, unnest(%b::bigint[]), unnest(%b::bytea[])",
            [version.pk, ids, [wrapped for wrapped, _ in made]],
        )
    return ids


def wrapped_deks(uri, algorithm, version, dek_ids: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Draw a DEK for each and wrap it in bulk; return the wrapped DEKs and their binding digests."""
    store, store_key = store_of(uri)
    deks = [bytearray(os.urandom(32)) for _ in dek_ids]
    canaries.know("dek", deks[0])
    items = [ToWrap(dek=dek, context=context_of(dek_id, 1)) for dek, dek_id in zip(deks, dek_ids, strict=True)]
    most = store.capabilities.most_items
    parts = (items[start : start + most] for start in range(0, len(items), most))
    sealed = [ciphertext for part in parts for ciphertext in store.wrap(store_key, version, part)]
    digest = kek_digest(uri)
    return [
        (
            pack(Blob(algorithm=algorithm, kek=digest, version=version, ciphertext=ciphertext)),
            binding_digest(dek, dek_id, 1),
        )
        for dek, dek_id, ciphertext in zip(deks, dek_ids, sealed, strict=True)
    ]


def _keys(kek, count):
    """Copy one DEK's record so many times."""
    token = secrets.token_hex(4)
    first = Key.objects.create(name=f"dek-{token}", kind=KeyKind.DEK)
    if count == 1:
        return [first.pk]
    columns = [field.column for field in Key._meta.concrete_fields if field.column not in {"id", "name", "state"}]
    listed = ", ".join(columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO inventory_key (name, {listed}) SELECT %s || n, {listed} FROM inventory_key, "
            "generate_series(2, %s) n WHERE id = %s RETURNING id",
            [f"dek-{token}-", count, first.pk],
        )
        return [first.pk, *(row[0] for row in cursor.fetchall())]


def bindings(kek):
    """Return what each DEK of a KEK is bound to, by the id of its version."""
    found = Wrapping.objects.filter(kek_version__kek=kek).values_list("dek_version_id", "dek_version__binding")
    return {pk: bytes(binding) if binding else None for pk, binding in found}


def census(kek):
    """Return how many DEKs are under each version: its name in the store → DEKs."""
    counted = {}
    for version in KekVersion.objects.filter(kek=kek).order_by("pk"):
        deks = Wrapping.objects.filter(kek_version_id=version.pk).count()
        counted |= {version.store_id: deks} if deks else {}
    return counted


def opens(kek):
    """Open everything that is wrapped under a KEK; return how many were found bound to their rows."""
    from inventory.custody import Item, Refusal, check

    opened = 0
    for version in KekVersion.objects.filter(kek=kek):
        rows = Wrapping.objects.filter(kek_version_id=version.pk).select_related("dek_version")
        items = [
            Item(
                dek_id=row.dek_version.dek_id,
                number=row.dek_version.number,
                wrapped=bytes(row.wrapped),
                binding=bytes(row.dek_version.binding) if row.dek_version.binding else None,
            )
            for row in rows
        ]
        opened += sum(not isinstance(seen, Refusal) for seen in check(kek.uri, version.store_id, items))
    return opened


def spoil(kek, count=1, *, version=None):
    """Flip a bit in the wrapped form of so many DEKs, as somebody with the owner's login could; return their ids."""
    rows = Wrapping.objects.filter(kek_version__kek=kek).order_by("dek_version_id")[:count]
    spoiled = {row.dek_version_id: bytes(row.wrapped[:-1]) + bytes([row.wrapped[-1] ^ 1]) for row in rows}
    with connection.cursor() as cursor:
        for pk, wrapped in spoiled.items():
            cursor.execute("UPDATE inventory_wrapping SET wrapped = %s WHERE dek_version_id = %s", [wrapped, pk])
    return list(spoiled)


@contextmanager
def sealed(kek):
    """Let the store refuse everything for a while, as one that was sealed or went away does."""
    store, _ = store_of(kek.uri)
    folder = Path(store.address.path)
    away = folder.rename(f"{folder}-away")
    try:
        yield
    finally:
        away.rename(folder)


# Workers as processes


def quick_clock():
    """Return a clock by which a minute goes by whenever it is asked, so that nobody waits for a store to come back."""
    minutes = count(1)
    return lambda: timezone.now() + timedelta(minutes=next(minutes))


def in_child(act):
    """Begin something in a process of its own, with connections of its own; return its number."""
    pid = os.fork()
    if pid == 0:
        try:
            _KEPT.append(connection.connection)
            del connections["default"]
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def end_all(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


def ended_well(pids):
    """Wait for processes; return whether each has come to its end by itself."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * len(pids)
