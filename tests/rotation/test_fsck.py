"""Every invariant of fsck holds in a house where all went right, and breaks where somebody wrote into the database."""

import base64
import json
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from inventory.custody import forget_stores
from inventory.guarded.suspending import suspend_key
from inventory.models import DekVersion
from inventory.services import deks
from rotation import fsck, rewrap
from rotation.fsck import Options
from rotation.models import RequestState
from tests.approving import as_worker, carried_through, voters
from tests.inventory.dek_world import make_world, use_local_store
from tests.inventory.world import ACTOR, NOW, events_of, make_key, seal

pytestmark = pytest.mark.django_db


@pytest.fixture
def house(db, settings, tmp_path):
    """Three DEKs under a KEK, a key that was suspended, one that was revoked by votes."""
    use_local_store(settings, tmp_path)
    settings.ROLE = "worker"
    world = make_world()
    for _ in range(3):
        world.dek()
    key = make_key(name="suspended")
    suspend_key(pk=key.pk, actor=ACTOR, reason="test", now=timezone.now())
    asker, *by = voters()
    parameters = {"key": make_key(name="revoked").pk, "reason_code": "superseded"}
    world.request = carried_through("key.revoke", parameters, asker=asker, by=by)
    assert world.request.state == RequestState.EXECUTED
    seal()
    tamper("UPDATE rotation_digest SET state = 'sent', sent_at = now()")  # nobody delivers mail here
    yield world
    forget_stores()


@contextmanager
def superuser():
    with connection.cursor() as cursor:
        cursor.execute("RESET SESSION AUTHORIZATION")
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute("SET SESSION AUTHORIZATION keyvault_web")


def tamper(statement, *values):
    """Write into the database past every trigger, as who owns the machine can."""
    seal()
    with superuser() as cursor:
        cursor.execute(statement, values or None)
        assert cursor.rowcount, "nothing was tampered with"


def each(cases):
    """Yield one case after the other, each in the house as it was."""
    for case in cases:
        with transaction.atomic():
            yield case
            transaction.set_rollback(True)


def looked(*only, now=None, **how):
    """Run the check as the worker."""
    with as_worker():
        return fsck.run(Options(only=frozenset(only), **how), now=now or timezone.now())


def broken(number, **how):
    """Return what breaks one invariant, and make sure that a whole house stands beside it."""
    (result,) = looked(number, **how).results
    return " | ".join(result.breaks)


def test_all_holds_in_a_house_where_all_went_right(house):
    report = looked()
    assert [(one.number, one.breaks) for one in report.results] == [(number, []) for number in range(1, 9)]
    assert report.is_whole
    assert report.is_complete
    checked = {one.number: one.checked for one in report.results}
    assert (checked[1], checked[2], checked[3], checked[6]) == (3, 3, 1, 1)
    assert checked[4] > 10
    assert checked[5] == 8  # six registrations, a suspension, a revocation


def test_a_dek_without_wrapping_is_found_unless_it_was_cleared_by_votes(house):
    dek = DekVersion.objects.first()
    tamper("DELETE FROM inventory_wrapping WHERE dek_version_id = %s", dek.pk)
    assert f"key:{dek.key_id} version 1 has no wrapping, and it was not cleared" in broken(1)
    tamper("UPDATE inventory_dekversion SET cleared_at = now() WHERE version_id = %s", dek.pk)
    assert "no request that was carried out says so" in broken(1)


ALLOWED = [
    ("dek.clear", '{"parameters": {"number": 1}, "targets": [{"ref": "key:7"}, {"ref": "key:%d"}]}', True),
    ("dek.clear", '{"parameters": {"number": 2}, "targets": [{"ref": "key:%d"}]}', False),
    ("dek.clear", '{"parameters": {}, "targets": [{"ref": "key:%d"}]}', False),
    ("dek.clear", '{"parameters": {"number": 1}, "targets": [{"ref": "key:%d0"}]}', False),
    ("key.destroy", '{"parameters": {}, "targets": [{"ref": "key:%d"}]}', True),
    ("key.revoke", '{"parameters": {}, "targets": [{"ref": "key:%d"}]}', False),
]


def test_what_was_cleared_is_what_the_request_names(house):
    dek = DekVersion.objects.first()
    tamper("DELETE FROM inventory_wrapping WHERE dek_version_id = %s", dek.pk)
    tamper("UPDATE inventory_dekversion SET cleared_at = now() WHERE version_id = %s", dek.pk)
    for operation, payload, is_allowed in each(ALLOWED):
        raw = (payload % dek.key_id).encode()
        tamper("UPDATE rotation_request SET operation = %s, payload = %s, digest = sha256(%s)", operation, raw, raw)
        assert (broken(1) == "") == is_allowed


def test_a_dek_that_is_gone_altogether_is_found_by_the_log(house):
    dek = DekVersion.objects.first()
    tamper("DELETE FROM inventory_wrapping WHERE dek_version_id = %s", dek.pk)
    tamper("DELETE FROM inventory_dekversion WHERE version_id = %s", dek.pk)
    assert f"key:{dek.key_id} was made as a DEK, says the log, and is none any more" in broken(1)


def test_a_wrapping_of_nothing_and_one_of_what_was_cleared_are_found(house):
    dek = DekVersion.objects.first()
    tamper("UPDATE inventory_dekversion SET cleared_at = now() WHERE version_id = %s", dek.pk)
    assert "was cleared and is wrapped still" in broken(1)
    tamper("UPDATE inventory_wrapping SET kek_version_id = 10^9 WHERE dek_version_id = %s", dek.pk)
    assert "not both are" in broken(1)


WRAPPINGS = [
    (
        "UPDATE inventory_wrapping a SET wrapped = b.wrapped FROM inventory_wrapping b"
        " WHERE a.dek_version_id <> b.dek_version_id",
        "not_bound",
    ),
    ("UPDATE inventory_wrapping SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)", "altered"),
    ("UPDATE inventory_wrapping SET wrapped = set_byte(wrapped, 4, get_byte(wrapped, 4) # 1)", "other_version"),
    ("UPDATE inventory_wrapping SET wrapped = ''", "altered"),
    ("UPDATE inventory_dekversion SET binding = sha256(binding)", "not_bound"),
]


def test_a_wrapping_that_does_not_open_or_is_of_another_row_is_found(house):
    for statement, why in each(WRAPPINGS):
        tamper(statement)
        assert f"is refused ({why})" in broken(2)
        assert broken(2, opens=False) == ""


def test_what_was_not_opened_is_said(house):
    (result,) = looked(2, opens=False).results
    assert result.notes == ["none of 3 wrappings was opened (--no-stores)"]
    (result,) = looked(2, sample=1).results
    assert result.checked <= 2
    assert "were not opened" in " ".join(result.notes)
    tamper("UPDATE inventory_dekversion SET binding = NULL")
    (result,) = looked(2).results
    assert result.notes == ["3 have no binding digest yet: they open, and nothing says whose they are"]


def test_a_store_that_cannot_be_asked_leaves_the_answer_open(house, settings):
    settings.KMS_STORES = {}
    forget_stores()
    report = looked(2)
    assert report.is_whole
    assert not report.is_complete
    assert "could not be asked" in report.results[0].notes[0]


VERSIONS = [
    ("UPDATE inventory_kekversion SET closed_at = now()", "closed to wraps"),
    ("UPDATE inventory_kekversion SET status = 'gone'", "gone in its store"),
    (
        "UPDATE inventory_keyversion SET state = 'destroyed', destroyed_at = now()"
        " WHERE id IN (SELECT version_id FROM inventory_kekversion)",
        "which is destroyed",
    ),
    (
        "UPDATE inventory_keyversion SET state = 'pre_activation', activated_at = NULL"
        " WHERE id IN (SELECT version_id FROM inventory_kekversion)",
        "which is pre_activation",
    ),
]


def test_what_lies_under_a_version_that_cannot_open_it_is_found(house):
    for statement, words in each(VERSIONS):
        tamper(statement)
        assert "3 DEKs are under version 1 of local:house/payments" in broken(3)
        assert words in broken(3)


def test_a_job_that_says_more_than_its_batches_and_one_that_left_something_are_found(house):
    target = house.turn()
    tamper(
        "INSERT INTO rotation_rewrapjob (kek_id, target_id, reason, opened_by_ref, opened_at, state, pass_number,"
        " batch_size, verify_percent, is_server_side, total, rewrapped, verified, bound, changed_at, paused_because,"
        " next_at, closed_at, closed_because) VALUES (%s, %s, 'r', 'x', now(), 'done', 1, 10, 100, false, 3, 3, 3, 0,"
        " now(), '', now(), now(), '')",
        house.kek.pk,
        target.pk,
    )
    found = broken(3)
    assert "counts 3 DEKs, its batches 0" in found
    assert "3 DEKs are under older versions of local:house/payments" in found


def test_a_dek_that_was_written_down_after_the_job_is_no_break(house):
    """Wrapped before the rotation, written down when the job was over: its event is later, its time is not."""
    with as_worker():
        drawn = deks.draw_dek(kek=house.kek.pk, now=NOW)
    house.turn()
    seal()
    with as_worker():
        job = rewrap.open_job(kek=house.kek, actor=ACTOR, reason="test", now=NOW + timedelta(minutes=1))
        rewrap.work(pk=job.pk, actor=ACTOR, clock=lambda: NOW + timedelta(minutes=2), seconds=20)
        seal()
        said = deks.dek_facts(secret_name="late", now=NOW)
        late = deks.create_dek(drawn=drawn, facts=said, actor=ACTOR, reason="needed", now=NOW)
        seal()
    assert "are under older versions" not in broken(3)
    tamper("UPDATE audit_event_subject SET subject = 'key:0' WHERE subject = %s", late.ref)
    assert "1 DEKs are under older versions" in broken(3)


def test_a_log_that_was_altered_is_found(house):
    tamper("UPDATE audit_event SET body = replace(convert_from(body, 'UTF8'), 'test', 'TEST')::bytea WHERE number = 2")
    assert "event 2" in broken(4)


STATES = [
    ("UPDATE inventory_key SET state = 'active' WHERE name = 'suspended'", "and the log says suspended"),
    (
        "UPDATE inventory_keyversion SET state = 'active' WHERE key_id = (SELECT id FROM inventory_key WHERE name ="
        " 'suspended')",
        "is active, and the log says suspended",
    ),
    ("UPDATE inventory_key SET current_number = 2 WHERE name = 'suspended'", "with version 2"),
    (
        'INSERT INTO inventory_keyversion SELECT (v).* FROM (SELECT json_populate_record(v, \'{"id": 99999,'
        ' "number": 2}\') AS v FROM inventory_keyversion v LIMIT 1) AS made',
        "nothing of it",
    ),
    ("DELETE FROM inventory_key WHERE name = 'suspended'", "in the log and not in the table"),
    (
        "DELETE FROM audit_event WHERE action = 'key.suspended'",
        "is suspended with version 1, and the log says active",
    ),
    (
        "UPDATE audit_event SET body = replace(convert_from(body, 'UTF8'), '\"suspended\"', '\"destroyed\"')::bytea"
        " WHERE action = 'key.suspended'",
        "the log says destroyed",
    ),
    (
        "UPDATE audit_event SET body = replace(convert_from(body, 'UTF8'), '\"suspended\"',"
        " '\"pre_activation\"')::bytea WHERE action = 'key.suspended'",
        "from active to pre_activation, which is no step",
    ),
    (
        "UPDATE audit_event SET body = replace(convert_from(body, 'UTF8'), '\"active\"', '\"compromised\"')::bytea"
        " WHERE action = 'key.suspended'",
        "from compromised, and it was active",
    ),
]


def test_a_state_that_does_not_follow_from_the_log_is_found(house):
    for statement, words in each(STATES):
        tamper(statement)
        assert words in broken(5)


def test_a_key_without_any_event_is_found(house):
    tamper(
        'INSERT INTO inventory_key SELECT (k).* FROM (SELECT json_populate_record(k, \'{"id": 99999, "name":'
        " \"smuggled\"}') AS k FROM inventory_key k WHERE name = 'revoked') AS made"
    )
    assert "key:99999 is in no event that registered it" in broken(5)


DECISIONS = [
    (
        "ALTER TABLE rotation_request DROP CONSTRAINT request_digest_is_the_payloads;"
        " UPDATE rotation_request SET digest = sha256(digest)",
        "its digest is not that of its payload",
    ),
    ("UPDATE rotation_request SET requested_by_ref = 'user:0'", "another asker"),
    (
        "UPDATE rotation_vote SET person_id = (SELECT requested_by_id FROM rotation_request) WHERE role = 'DevOps'",
        "who asked for it",
    ),
    ("UPDATE rotation_vote SET digest = sha256('x') WHERE role = 'DevOps'", "a vote is on another digest"),
    (
        "UPDATE rotation_vote SET is_approval = false, comment = 'no' WHERE role = 'DevOps'",
        "somebody voted against",
    ),
    ("DELETE FROM rotation_vote WHERE role = 'DevOps'", "without the votes it needs"),
    ("UPDATE rotation_vote SET voided_at = now(), voided_because = 'x'", "without the votes it needs"),
    ("UPDATE rotation_vote SET role = 'Security'", "without the votes it needs"),
    ("DELETE FROM audit_event WHERE action = 'request.executed'", "is executed 0 times"),
]


def test_what_was_carried_out_without_a_decision_is_found(house):
    for statement, words in each(DECISIONS):
        tamper(statement)
        assert words in broken(6)


def test_one_person_who_fills_two_steps_is_found(house):
    with superuser() as cursor:
        cursor.execute("DROP INDEX vote_one_for_each_person")
        cursor.execute("UPDATE rotation_vote SET person_id = (SELECT min(person_id) FROM rotation_vote)")
    assert "one person's votes count twice" in broken(6)


WAITING = [
    (
        "UPDATE rotation_request SET state = 'executing', closed_at = NULL, leased_until = now() - interval '6 min'",
        "has a lease that was over 5 minutes ago",
    ),
    (
        "UPDATE rotation_request SET state = 'approved', closed_at = NULL, attempts = 0,"
        " next_attempt_at = now() - interval '6 min'",
        "request",
    ),
    (
        "UPDATE rotation_digest SET state = 'pending', attempts = 0, next_attempt_at = now() - interval '6 min'",
        "mail",
    ),
    (
        "UPDATE rotation_digest SET state = 'sending', leased_until = now() - interval '6 min'",
        "has a lease",
    ),
    (
        "INSERT INTO rotation_order (act, parameters, reason, asked_by_ref, created_at, state, seen, looks, attempts,"
        " next_at, closed_because)"
        " VALUES ('kek.create', '{}', 'r', 'user:1', now(), 'waiting', '{}', 0, 0,"
        " now() - interval '6 min', '')",
        "order",
    ),
    (
        "INSERT INTO rotation_order (act, parameters, reason, asked_by_ref, created_at, state, seen, looks, attempts,"
        " next_at, leased_until, closed_because)"
        " VALUES ('kek.create', '{}', 'r', 'user:1', now(), 'doing', '{}', 0,"
        " 0, now(), now() - interval '6 min', '')",
        "order",
    ),
    (
        "INSERT INTO rotation_notice (key_id, rotate_by, threshold_days, recipient, written_at) SELECT min(id), now(),"
        " 7, 'a@example.org', now() - interval '6 min' FROM inventory_key",
        "notice",
    ),
]


def test_what_nobody_does_is_found(house):
    for statement, words in each(WAITING):
        assert broken(7) == ""
        tamper(statement)
        assert words in broken(7)


def test_a_batch_that_nobody_took_back_is_found(house):
    tamper(
        "INSERT INTO rotation_rewrapjob (id, kek_id, target_id, reason, opened_by_ref, opened_at, state, pass_number,"
        " batch_size, verify_percent, is_server_side, total, rewrapped, verified, bound, changed_at, paused_because,"
        " next_at, closed_because) VALUES (9, %s, %s, 'r', 'x', now(), 'running', 1, 10, 100, false, 3, 0, 0, 0,"
        " now(), '', now(), '')",
        house.kek.pk,
        house.versions[0].pk,
    )
    assert broken(7) == ""
    tamper(
        "INSERT INTO rotation_rewrapbatch (job_id, number, pass_number, first, last, state, leased_until, attempts,"
        " rewrapped, quarantined, begun_at) VALUES (9, 1, 1, '1', '2', 'leased', now() - interval '3 minutes', 1, 0, 0,"
        " now() - interval '4 minutes')"
    )
    assert "batch of a re-wrap job" in broken(7)
    assert "re-wrap job 9 has waited" in broken(7, now=timezone.now() + timedelta(minutes=6))


def test_a_known_plaintext_is_found_in_every_shape(house):
    assert broken(8, patterns=[b"a plain secret"]) == ""
    for shape in each(["a plain secret", b"a plain secret".hex(), base64.b64encode(b"xa plain secret").decode()]):
        tamper("UPDATE inventory_key SET notes = %s WHERE name = 'revoked'", f"see {shape}!")
        found = broken(8, patterns=[b"another one", b"a plain secret"])
        assert "pattern 2 lies in the table inventory_key" in found
        assert "plain" not in found


# The command


def command(*arguments):
    said = StringIO()
    with as_worker():
        call_command("fsck", *arguments, stdout=said)
    return said.getvalue()


def test_the_command_says_a_line_for_each_and_leaves_an_event(house):
    said = command()
    assert [line[0] for line in said.splitlines() if not line.startswith(" ")] == list("12345678")
    assert "2. every wrapping opens and is bound to its row: holds (3 wrappings" in said
    seal()
    (event,) = events_of("census.checked")
    assert event.said.outcome == "done"
    assert [one["number"] for one in event.said.facts["invariants"]] == list(range(1, 9))


def test_the_command_names_the_first_break_and_ends_with_1(house):
    tamper("DELETE FROM inventory_wrapping WHERE dek_version_id = (SELECT min(dek_version_id) FROM inventory_wrapping)")
    with pytest.raises(CommandError, match=r"Broken: .* version 1 has no wrapping") as ended:
        command()
    assert ended.value.returncode == 1


def test_a_broken_house_is_told_to_the_log(house):
    tamper("UPDATE inventory_key SET state = 'active' WHERE name = 'suspended'")
    report = looked(5)
    with as_worker():
        fsck.keep(report, actor=ACTOR, now=timezone.now())
    seal()
    (event,) = events_of("census.checked")
    assert event.said.outcome == "failed"
    assert "suspended" in event.said.facts["first_break"]


def test_the_command_for_programs(house):
    said = json.loads(command("--json", "--no-stores", "--only", "1", "--only", "2"))
    assert (said["whole"], said["complete"]) == (True, True)
    assert [one["invariant"] for one in said["invariants"]] == [1, 2]


def test_only_the_worker_opens(house, settings):
    settings.ROLE = "command"
    with pytest.raises(CommandError, match="KEYVAULT_ROLE=worker") as ended:
        command()
    assert ended.value.returncode == 2
    assert "holds" in command("--no-stores")


def test_an_unreachable_store_ends_with_2(house, settings):
    settings.KMS_STORES = {}
    forget_stores()
    with pytest.raises(CommandError, match="not everything") as ended:
        command()
    assert ended.value.returncode == 2


def test_the_file_of_patterns_is_checked(house, tmp_path):
    file = tmp_path / "patterns"
    file.write_text("short\n")
    with pytest.raises(CommandError, match="by chance"):
        command("--canaries", str(file))
    with pytest.raises(CommandError, match="cannot be used"):
        command("--canaries", str(tmp_path / "none"))
