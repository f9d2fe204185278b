"""What each login may write about keys that wrap keys, by SQL of its own: no need is hidden, no end is feigned."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, connection, transaction

from inventory.models import DekVersion, HandOut, Kek, KekVersion, KekVersionHold, Key, KeyVersion, Service, Wrapping
from inventory.services import deks
from inventory.terms import KeyKind
from rotation.models import Quarantined, RewrapJob
from tests.inventory.world import ACTOR

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
LOGINS = ("web", "worker", "beat", "signer", "command")


@pytest.fixture
def world(db, as_role):
    """Two KEKs of two versions, a DEK with an open copy, a job that has something in quarantine, one that is over."""
    with as_role("worker"):
        keks = [_kek("one"), _kek("two")]
        old, new = KekVersion.objects.filter(kek=keks[0]).order_by("pk")
        key = Key.objects.create(name="dek", kind=KeyKind.DEK)
        dek = DekVersion.objects.create(version=KeyVersion.objects.create(key=key, number=1), key=key, number=1)
        Wrapping.objects.create(kek_version=old, dek_version=dek, wrapped=b"one")
        service = Service.objects.create(name="shop")
        HandOut.objects.create(dek_version=dek, kek_version=old, service=service, handed_at=NOW, handed_by="test")
        KekVersionHold.objects.create(kek_version=old, kind="backup", ref="dump:1", because="kept", held_at=NOW)
        jobs = [_job(keks[0], new, state="running"), _job(keks[1], keks[1].primary, state="done", closed_at=NOW)]
        for job in jobs:
            Quarantined.objects.create(job=job, dek_version=dek, kek_version=old, reason="altered", at=NOW)
    return old, new


def _kek(name):
    key = Key.objects.create(name=name, kind=KeyKind.KEK)
    kek = Kek.objects.create(key=key, uri=f"local:house/{name}", algorithm="AES-256-KW", newest_seen="2")
    for number in (1, 2):
        generation = KeyVersion.objects.create(key=key, number=number)
        kek.primary = KekVersion.objects.create(version=generation, kek=kek, store_id=str(number), status_at=NOW)
    kek.save(update_fields=["primary"])
    return kek


def _job(kek, target, **facts):
    times = {"opened_at": NOW, "changed_at": NOW, "next_at": NOW}
    return RewrapJob.objects.create(kek=kek, target=target, reason="test", opened_by_ref="user:1", **times, **facts)


# For each statement the logins that nothing refuses it to. What the worker may do besides is in test_custody_guards.
FEIGNED = [
    ("UPDATE inventory_handout SET confirmed_at = now(), confirmed_by = 'user:1'", ()),
    ("UPDATE inventory_handout SET kek_version_id = (SELECT max(version_id) FROM inventory_kekversion)", ()),
    ("DELETE FROM inventory_handout", ()),
    ("DELETE FROM inventory_kekversionhold", ()),
    ("UPDATE inventory_kekversionhold SET ref = 'dump:2'", ()),
    ("UPDATE inventory_wrapping SET kek_version_id = (SELECT max(version_id) FROM inventory_kekversion)", ()),
    ("UPDATE inventory_wrapping SET wrapped = 'x'", ()),
    ("TRUNCATE inventory_wrapping", ()),
    ("DELETE FROM inventory_kekversion", ()),
    ("UPDATE inventory_kekversion SET store_id = '9'", ()),
    ("UPDATE inventory_kekversion SET kek_id = (SELECT max(key_id) FROM inventory_kek)", ()),
    ("UPDATE inventory_kekversion SET closed_at = now()", ()),
    ("UPDATE inventory_kek SET uri = 'local:house/three' WHERE uri LIKE '%/two'", ()),
    ("UPDATE inventory_kek SET algorithm = 'RSA-2048-OAEP'", ()),
    ("UPDATE inventory_kek SET primary_id = (SELECT min(version_id) FROM inventory_kekversion)", ()),
    ("UPDATE inventory_kek SET newest_seen = '1'", ("worker",)),
    ("UPDATE inventory_dekversion SET key_id = key_id", ()),
    ("UPDATE inventory_dekversion SET context = 'x'", ()),
    ("UPDATE rotation_rewrapjob SET state = 'done', closed_at = now() WHERE state = 'running'", ("worker",)),
    ("UPDATE rotation_rewrapjob SET state = 'running', closed_at = NULL WHERE state = 'done'", ("worker",)),
    ("UPDATE rotation_rewrapjob SET rewrapped = 9, total = 9", ("worker",)),
    ("UPDATE rotation_rewrapjob SET verify_percent = 1", ("worker",)),
    ("UPDATE rotation_rewrapjob SET digest_before = 'x', digest_after = 'x'", ("worker",)),
    ("UPDATE rotation_rewrapjob SET target_id = target_id", ("worker",)),
    ("UPDATE rotation_rewrapjob SET paused_because = 'x' WHERE state = 'running'", ("web", "worker", "command")),
    (
        "INSERT INTO rotation_rewrapjob (kek_id, target_id, reason, opened_by_ref, opened_at, state, pass_number, "
        "batch_size, verify_percent, is_server_side, total, rewrapped, verified, bound, changed_at, paused_because, "
        "next_at, closed_at, closed_because) SELECT key_id, primary_id, 'x', 'user:1', now(), 'done', 1, 1, 100, "
        "false, 9, 9, 9, 0, now(), '', now(), now(), '' FROM inventory_kek WHERE uri LIKE '%/two'",
        ("worker",),
    ),
    ("UPDATE rotation_rewrapbatch SET rewrapped = 9", ("worker",)),
    ("UPDATE rotation_quarantined SET reason = 'gone'", ()),
    (
        "UPDATE rotation_quarantined SET resolved_at = now() WHERE job_id IN "
        "(SELECT id FROM rotation_rewrapjob WHERE state = 'done')",
        ("worker",),
    ),
    (
        "UPDATE rotation_quarantined SET resolved_at = now() WHERE job_id IN "
        "(SELECT id FROM rotation_rewrapjob WHERE state = 'running')",
        ("web", "worker", "command"),
    ),
    ("DELETE FROM rotation_quarantined", ()),
    ("DELETE FROM rotation_order", ()),
    (
        "INSERT INTO rotation_order (act, key_id, parameters, reason, asked_by_ref, created_at, state, seen, looks, "
        "attempts, next_at, closed_because) SELECT 'dek.create', key_id, '{}', '', 'user:1', now(), 'waiting', '{}', "
        "0, 0, now(), '' FROM inventory_kek LIMIT 1",
        (),
    ),
    ("UPDATE rotation_rewrapsource SET host = 'elsewhere'", ()),
    ("UPDATE rotation_rewrapsource SET kek_id = kek_id, password_file = '/x'", ()),
    ("UPDATE audit_certificate SET body = 'x'", ()),
    ("SELECT wrapped FROM inventory_wrapping", ("worker", "command")),
]


@pytest.mark.parametrize(("statement", "allowed"), FEIGNED)
def test_what_each_login_may_do_by_sql(world, as_role, statement, allowed):
    done = []
    for login in LOGINS:
        with suppress(DatabaseError), as_role(login):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)
            done.append(login)
            transaction.set_rollback(True)
    assert tuple(done) == tuple(login for login in LOGINS if login in allowed)


def test_a_copy_is_confirmed_once_with_its_event_and_a_hold_released_once(world, as_role):
    given = HandOut.objects.get()
    deks.confirm_hand_out(pk=given.pk, actor=ACTOR, reason="it has a later one", now=NOW)
    _refused("UPDATE inventory_handout SET confirmed_at = NULL")
    _refused("UPDATE inventory_handout SET confirmed_by = 'user:2'")
    with as_role("worker"):
        KekVersionHold.objects.update(released_at=NOW, released_because="it is gone")
        _refused("UPDATE inventory_kekversionhold SET released_at = NULL, released_because = ''")


def test_the_event_of_another_copy_confirms_none(world):
    given = HandOut.objects.get()
    other = Service.objects.create(name="till")
    more = HandOut.objects.create(
        dek_version=given.dek_version, kek_version_id=given.kek_version_id, service=other, handed_at=NOW, handed_by="x"
    )
    deks.confirm_hand_out(pk=given.pk, actor=ACTOR, reason="it has a later one", now=NOW)
    _refused(f"UPDATE inventory_handout SET confirmed_at = now() WHERE id = {more.pk}")


def test_new_wraps_go_to_an_open_version_of_the_same_kek_and_what_is_not_enabled_stays_closed(world, as_role):
    old, new = world
    with as_role("worker"):
        two = Kek.objects.get(uri__endswith="/two")
        first = KekVersion.objects.filter(kek=two).order_by("pk")[0]
        KekVersion.objects.filter(pk=first.pk).update(closed_at=NOW, status="disabled")
        _refused(f"UPDATE inventory_kek SET primary_id = {first.pk} WHERE key_id = {two.pk}")
        _refused(f"UPDATE inventory_kek SET primary_id = {new.pk} WHERE key_id = {two.pk}")
        _refused(f"UPDATE inventory_kekversion SET closed_at = NULL WHERE version_id = {first.pk}")
        KekVersion.objects.filter(pk=first.pk).update(status="enabled")
        KekVersion.objects.filter(pk=first.pk).update(closed_at=None)
        Kek.objects.filter(pk=two.pk).update(primary=first)
        Kek.objects.filter(pk=old.kek_id).update(primary=old)


def test_a_dek_is_bound_to_its_row_once_and_cleared_once(world, as_role):
    with as_role("worker"):
        DekVersion.objects.update(binding=bytes(32))
        DekVersion.objects.update(cleared_at=NOW)
        for said in ("binding = NULL", "binding = sha256('x')", "cleared_at = NULL", "cleared_at = now()"):
            _refused(f"UPDATE inventory_dekversion SET {said}")
        DekVersion.objects.update(binding=bytes(32), cleared_at=NOW)


def _refused(statement):
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
