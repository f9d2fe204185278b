"""DEKs: made, handed out, rotated, confirmed, cleared; and what is refused on the way."""

import threading
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.actions import Action
from inventory.errors import (
    ClearingError,
    DekExistsError,
    DekScopeError,
    HandOutError,
    NoDekError,
    NotAllowedNowError,
    StaleError,
)
from inventory.guarded import deks as guarded
from inventory.guarded.suspending import suspend_key
from inventory.models import DekVersion, KeyVersion, Wrapping
from inventory.replay.recording import compare_inventory
from inventory.services import deks
from rotation.models import Request
from tests.approving import as_worker, carried_through, permitted, voters
from tests.inventory.dek_world import make_scope, make_service, make_world, use_local_store
from tests.inventory.world import ACTOR, NOW, events_of, seal, told_of
from tests.rotation.approval_world import actor_for, again, carry_out, vote

HOW = {"actor": ACTOR, "reason": "test", "now": NOW}


@pytest.fixture
def world(db, settings, tmp_path):
    use_local_store(settings, tmp_path)
    return make_world()


def rotated(key):
    """Give a DEK its next version, as a request does that is being carried out; what an order does is tested there."""
    with as_worker():
        drawn = deks.draw_next(dek=key.pk, now=NOW)
    with permitted(Action.KEY_ROTATED, key) as facts:
        made = guarded.rotate_dek(drawn=drawn, facts=facts, **HOW)
    key.refresh_from_db()
    return made


def under(version):
    with as_worker():
        return list(Wrapping.objects.filter(dek_version=version).values_list("kek_version_id", flat=True))


def states(key):
    return list(KeyVersion.objects.filter(key=key).order_by("number").values_list("state", flat=True))


# Make


def test_a_dek_is_made_with_its_version_wrapping_and_events(world, as_role):
    key = world.dek(secret_name="", **make_scope())
    seal()
    assert told_of(key) == [Action.KEY_REGISTERED, Action.DEK_CREATED]
    (version,) = DekVersion.objects.filter(key=key)
    assert (version.number, version.version.state, key.state) == (1, "active", "active")
    assert (key.name, len(version.binding)) == ("dek/acme/crm", 32)
    assert under(version) == [world.versions[0].pk]
    with as_role("worker"):
        scanned = deks.open_stretch(world.versions[0])
    assert (scanned.opened, scanned.bound, scanned.misfits, scanned.last) == (1, 0, [], None)


def test_a_scope_has_one_dek(world, as_role):
    world.dek("smtp")
    with pytest.raises(DekExistsError, match="the secret smtp already"):
        world.dek("smtp")
    world.dek(secret_name="", **make_scope())
    with pytest.raises(DekExistsError, match="crm of acme"):
        world.dek(secret_name="", **make_scope())
    world.dek(secret_name="", **make_scope(integration="erp"))
    for wrong in ({}, {"secret_name": "x", **make_scope()}, {"tenant": make_scope()["tenant"]}):
        with pytest.raises(DekScopeError):
            deks.dek_facts(now=NOW, **wrong)


def test_of_two_at_once_one_makes_it_and_the_other_is_told(committed_db, settings, tmp_path):
    use_local_store(settings, tmp_path)
    world = make_world()
    facts = deks.dek_facts(now=NOW, **make_scope())
    became, both = [], threading.Barrier(2)

    def make():
        drawn = deks.draw_dek(kek=world.kek.pk, now=NOW)
        both.wait()
        try:
            became.append(deks.create_dek(drawn=drawn, facts=facts, **HOW).pk)
        except DekExistsError as error:
            became.append(str(error))
        connection.close()

    with as_worker():
        threads = [threading.Thread(target=make) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(type(one).__name__ for one in became) == ["int", "str"]
        assert "already" in next(one for one in became if isinstance(one, str))
        assert (Wrapping.objects.count(), DekVersion.objects.count()) == (1, 1)


def test_nobody_but_the_worker_writes_a_dek_and_web_reads_no_wrapped_bytes(world, as_role):
    world.dek("smtp")
    with as_role("worker"):
        drawn = deks.draw_dek(kek=world.kek.pk, now=NOW)
    facts = deks.dek_facts(secret_name="other", now=NOW)
    for role in ("web", "command", "beat", "signer"):
        with as_role(role), pytest.raises(DatabaseError), transaction.atomic():
            deks.create_dek(drawn=drawn, facts=facts, **HOW)
    with pytest.raises(DatabaseError), transaction.atomic():
        list(Wrapping.objects.values_list("wrapped"))


def test_a_kek_that_may_not_protect_wraps_nothing_new(world):
    suspend_key(pk=world.kek.pk, **HOW)
    with pytest.raises(NotAllowedNowError, match="suspended, so it may not protect something new"):
        world.dek("smtp")


# Hand out


def test_a_hand_out_gives_what_the_store_opens_and_is_there_once(world, as_role):
    key, service = world.dek("smtp"), make_service()
    with as_role("command"):
        given = deks.hand_out(dek=key.pk, service=service, **HOW)
        again = deks.hand_out(dek=key.pk, service=service, **HOW)
    assert given.hand_out == again.hand_out
    assert (given.uri, given.kek_version) == ("local:house/payments", "1")
    assert len(given.ciphertext) == 40
    assert given.wrapped.endswith(given.ciphertext)
    seal()
    assert told_of(key)[-2:] == [Action.DEK_HANDED_OUT] * 2
    assert given.ciphertext.hex() not in repr(given)
    assert events_of(Action.DEK_HANDED_OUT)[0].said.facts["service_name"] == "billing"
    deks.confirm_hand_out(pk=given.hand_out.pk, **HOW)
    with pytest.raises(HandOutError, match="already"):
        deks.confirm_hand_out(pk=given.hand_out.pk, **HOW)
    with pytest.raises(HandOutError, match="no hand-out"):
        deks.confirm_hand_out(pk=0, **HOW)


def test_what_may_not_open_is_not_handed_out(world, as_role):
    key, service = world.dek("smtp"), make_service()
    with as_role("command"), pytest.raises(NoDekError):
        deks.hand_out(dek=key.pk, number=2, service=service, **HOW)
    suspend_key(pk=key.pk, **HOW)
    with as_role("command"), pytest.raises(NotAllowedNowError, match="suspended"):
        deks.hand_out(dek=key.pk, service=service, **HOW)


# Rotate, confirm, clear


def test_after_a_rotation_the_old_version_stays_readable(world, as_role):
    key, service = world.dek("smtp"), make_service()
    made = rotated(key)
    assert (made.number, key.current_number, states(key)) == (2, 2, ["deactivated", "active"])
    old = DekVersion.objects.get(key=key, number=1)
    assert under(old) == under(made) == [world.versions[0].pk]
    assert bytes(old.binding) != bytes(made.binding)
    with as_role("command"):
        assert deks.hand_out(dek=key.pk, number=1, service=service, **HOW).hand_out.dek_version == old
    with as_role("worker"):
        assert deks.open_stretch(world.versions[0]).opened == 2


def test_a_version_that_was_drawn_for_another_turn_is_not_used(world):
    key = world.dek("smtp")
    with as_worker():
        drawn = deks.draw_next(dek=key.pk, now=NOW)
    rotated(key)
    with permitted(Action.KEY_ROTATED, key) as facts, pytest.raises(StaleError):
        guarded.rotate_dek(drawn=drawn, facts=facts, **HOW)


def test_nobody_rotates_a_dek_without_a_request(world, as_role):
    key = world.dek("smtp")
    with as_role("worker"):
        drawn = deks.draw_next(dek=key.pk, now=NOW)
        with pytest.raises(DatabaseError), transaction.atomic():
            guarded.rotate_dek(drawn=drawn, facts={}, **HOW)


def confirm(key, number=1, by=None):
    how = HOW | {"actor": actor_for(by or voters()[0]), "now": timezone.now()}
    return deks.confirm_reencrypted(dek=key.pk, number=number, evidence="job 17: 0 rows left", **how)


def test_a_version_is_cleared_once_it_is_confirmed_and_voted_for(world, as_role):
    key = world.dek("smtp")
    rotated(key)
    asker, security, devops = voters()
    with pytest.raises(ClearingError, match="Nobody has confirmed"):
        carried_through("dek.clear", {"key": key.pk, "number": 1}, asker=asker, by=())
    with pytest.raises(ClearingError, match="the one that"):
        confirm(key, 2)
    old, asked = confirm(key, by=asker)
    assert asked.operation == "dek.clear"
    request = carry(asked, security, devops)
    assert request.state == "executed", request.closed_because
    old.refresh_from_db()
    key.refresh_from_db()
    assert (under(old), old.cleared_at is not None) == ([], True)
    assert (states(key), key.state) == (["destroyed", "active"], "active")
    assert len(under(DekVersion.objects.get(key=key, number=2))) == 1
    seal()
    (event,) = events_of(Action.DEK_CLEARED)
    assert event.said.facts["versions"] == [1]
    assert event.said.facts["final_with"] == ["local:house/payments, version 1"]
    assert any("Backups" in sentence for sentence in event.said.facts["not_reached"])
    with as_role("command"), pytest.raises(NoDekError):
        deks.hand_out(dek=key.pk, number=1, service=make_service(), **HOW)


def carry(asked, *people):
    request, now = Request.objects.get(pk=asked.pk), timezone.now()
    for person in people:
        vote(person, request, now=now + timedelta(minutes=1))
    with as_worker():
        carry_out(request, now=now + timedelta(minutes=2))
    return again(request)


def test_the_log_tells_it_as_the_tables_do(world):
    asker, security, devops = voters()
    key, other = world.dek("smtp"), world.dek("ftp")
    rotated(key)
    rotated(other)
    carry(confirm(key, by=asker)[1], security, devops)
    said = {"destroyed_on": "2026-11-21", "method": "removed", "evidence": "seen by both"}
    carried_through("key.destroy", {"key": other.pk, **said}, asker=asker, by=(security, devops))
    seal()
    found = []
    compare_inventory(actor=ACTOR, now=timezone.now(), keys=[key.pk, other.pk], tell=found.append)
    assert (states(key), states(other)) == (["destroyed", "active"], ["destroyed", "destroyed"])
    assert [(one.ref, one.field) for one in found] == []


def test_what_a_service_may_still_use_is_not_cleared(world, as_role):
    key, service = world.dek("smtp"), make_service()
    with as_role("command"):
        given = deks.hand_out(dek=key.pk, service=service, **HOW)
    rotated(key)
    with pytest.raises(ClearingError, match="billing"):
        confirm(key)
    deks.confirm_hand_out(pk=given.hand_out.pk, **HOW)
    confirm(key)


def test_nobody_takes_the_last_wrapping_alone(world, as_role):
    key = world.dek("smtp")
    for role in ("web", "worker", "command"):
        with as_role(role), pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM inventory_wrapping")
    assert len(under(DekVersion.objects.get(key=key))) == 1


def test_a_dek_that_is_destroyed_loses_all_its_bytes_and_the_log_tells_it_so(world):
    key = world.dek("smtp")
    rotated(key)
    asker, security, devops = voters()
    said = {"destroyed_on": "2026-11-21", "method": "removed", "evidence": "seen by both"}
    request = carried_through("key.destroy", {"key": key.pk, **said}, asker=asker, by=(security, devops))
    assert request.state == "executed", request.closed_because
    assert states(key) == ["destroyed", "destroyed"]
    with as_worker():
        assert not Wrapping.objects.exists()
    assert not DekVersion.objects.filter(cleared_at=None).exists()
