"""The database's own rules over wrappings and versions of KEKs."""

from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, connection, transaction

from inventory.models import DekVersion, Kek, KekVersion, Key, KeyVersion, Wrapping
from inventory.terms import KeyKind

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


@pytest.fixture
def world(db, as_role):
    """A KEK of two versions and one DEK, wrapped under the first."""
    with as_role("worker"):
        kek_key = Key.objects.create(name="kek", kind=KeyKind.KEK)
        kek = Kek.objects.create(key=kek_key, uri="local:house/kek", algorithm="AES-256-KW")
        versions = [
            KekVersion.objects.create(
                version=KeyVersion.objects.create(key=kek_key, number=n), kek=kek, store_id=str(n), status_at=NOW
            )
            for n in (1, 2)
        ]
        dek_key = Key.objects.create(name="dek", kind=KeyKind.DEK)
        dek = DekVersion.objects.create(version=KeyVersion.objects.create(key=dek_key, number=1), key=dek_key, number=1)
        Wrapping.objects.create(kek_version=versions[0], dek_version=dek, wrapped=b"one")
        yield kek, versions, dek


def refused(statement, *values):
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_the_last_wrapping_of_a_dek_stays(world):
    _, (old, new), dek = world
    refused("DELETE FROM inventory_wrapping")
    Wrapping.objects.create(kek_version=new, dek_version=dek, wrapped=b"two")
    refused("DELETE FROM inventory_wrapping WHERE kek_version_id = %s", new.pk)
    refused("DELETE FROM inventory_wrapping")
    Wrapping.objects.filter(kek_version=old).delete()
    assert list(Wrapping.objects.values_list("kek_version_id", flat=True)) == [new.pk]


def test_a_version_that_is_needed_is_not_closed_and_a_closed_one_takes_no_wraps(world):
    kek, (old, new), dek = world
    refused("UPDATE inventory_kekversion SET closed_at = now() WHERE version_id = %s", old.pk)
    Kek.objects.filter(pk=kek.pk).update(primary=new)
    Wrapping.objects.create(kek_version=new, dek_version=dek, wrapped=b"two")
    Wrapping.objects.filter(kek_version=old).delete()
    KekVersion.objects.filter(pk=old.pk).update(closed_at=NOW)
    refused("INSERT INTO inventory_wrapping VALUES ('x', %s, %s)", dek.pk, old.pk)
    refused(
        "INSERT INTO inventory_wrapping (kek_version_id, dek_version_id, wrapped) VALUES (%s, %s, 'x')", old.pk, dek.pk
    )
    refused("UPDATE inventory_kekversion SET closed_at = now() WHERE version_id = %s", new.pk)
    refused(
        "INSERT INTO inventory_kekversionhold (kek_version_id, kind, ref, because, held_at, released_because) "
        "VALUES (%s, 'backup', 'dump:1', 'kept', now(), '')",
        old.pk,
    )
