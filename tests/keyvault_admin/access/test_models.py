from base64 import b32encode, b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import Barrier, Thread

import pytest
import time_machine
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Model
from django.utils import timezone
from django_otp import device_classes

from audit.errors import SealError
from keyvault_admin.access import totp
from keyvault_admin.access.errors import NeverDeletedError
from keyvault_admin.access.models import EnrolmentLink, Passkey, RecoverySheet, SingleSignOnLink, TotpDevice, User
from tests.people import give_device, next_code

AsRole = Callable[[str], AbstractContextManager[None]]


# People


def test_people_are_found_however_their_name_is_typed(alice: User) -> None:
    for typed in ("alice", " ALICE ", "\uff21lice"):
        assert User.objects.get_by_natural_key(typed) == alice
    for typed in ("", None, "al\u200bice", "alice\x00"):
        with pytest.raises(User.DoesNotExist):
            User.objects.get_by_natural_key(typed)


@pytest.mark.parametrize(
    "facts",
    [
        {"username": "Bob"},
        {"username": "bob "},
        {"username": "b\u043eb"},
        {"username": ""},
        {"username": "bob\nx"},
        {"email": "Bob@example.org"},
        {"email": "bob"},
        {"email": "b ob@example.org"},
    ],
)
def test_database_refuses_what_is_not_normalised(db: None, as_role: AsRole, facts: dict[str, str]) -> None:
    with pytest.raises(IntegrityError), as_role("command"):
        User(**{"username": "bob", "email": "bob@example.org", **facts}).save()


def test_names_and_addresses_are_unique(alice: User, as_role: AsRole) -> None:
    for username, email in (("ALICE", "other@example.org"), ("other", "Alice@Example.org")):
        with pytest.raises(IntegrityError), as_role("command"):
            User.objects.create_user(username, email)


def test_people_are_never_deleted_by_the_orm(alice: User) -> None:
    for deletion in (alice.delete, User.objects.all().delete, User.objects.filter(pk=alice.pk).delete):
        with pytest.raises(NeverDeletedError):
            deletion()


@pytest.mark.parametrize("role", ["web", "worker", "beat", "signer", "command"])
def test_database_refuses_to_delete_people(alice: User, as_role: AsRole, role: str) -> None:
    factors = ("access_totpdevice", "access_passkey", "access_recoverysheet", "access_recoverycode")
    deletions = [f"DELETE FROM {table}" for table in ("access_user", *factors)]
    for statement in (*deletions, "TRUNCATE access_user CASCADE"):
        with pytest.raises(DatabaseError, match="permission denied"), as_role(role), connection.cursor() as cursor:
            cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE access_user SET is_superuser = true",
        "UPDATE access_user SET is_active = false, is_superuser = false",
        "INSERT INTO access_user (username, email, full_name, password, is_active, date_joined, is_superuser) "
        "VALUES ('x', 'x@example.org', '', '!', true, now(), false)",
        "UPDATE access_user SET username = 'x'",
        "INSERT INTO access_user_groups (user_id, group_id) SELECT u.id, g.id FROM access_user u, auth_group g",
        "UPDATE access_user_groups SET group_id = 1",
        "INSERT INTO access_user_user_permissions (user_id, permission_id) VALUES (1, 1)",
        "UPDATE access_enrolmentlink SET expires_at = now() + interval '1 year', voided_at = NULL",
        "DELETE FROM access_enrolmentlink",
        "INSERT INTO access_quorumreview (person_id, role, reason, restored_at, comment) VALUES (1, '', '', now(), '')",
        "UPDATE access_quorumreview SET reason = 'x'",
        "DELETE FROM access_quorumreview",
        "DELETE FROM access_bootstrapclosing",
        "UPDATE access_passkey SET public_key = 'x'",
        "UPDATE access_passkey SET user_id = 1",
        "UPDATE access_recoverycode SET code_digest = 'x'",
        "UPDATE access_recoverycode SET sheet_id = 1",
        "UPDATE access_bootstrapclosing SET closed_at = now()",
        "SELECT * FROM django_admin_log",
        "INSERT INTO django_admin_log (action_time) VALUES (now())",
    ],
)
def test_web_cannot_raise_anybodys_rights(alice: User, statement: str) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_neither_web_nor_worker_brings_anybody_back(alice: User, as_role: AsRole, role: str) -> None:
    with as_role(role):
        User.objects.filter(pk=alice.pk).update(is_active=False)
    with pytest.raises(DatabaseError, match="re-activated by votes"), as_role(role):
        User.objects.filter(pk=alice.pk).update(is_active=True)
    with as_role("command"):
        User.objects.filter(pk=alice.pk).update(is_active=True)


def test_worker_sees_no_password_and_no_seed(alice: User, as_role: AsRole) -> None:
    with as_role("worker"):
        assert User.objects.filter(groups__name="Security").values_list("email", flat=True).get() == alice.email
    for statement in (
        "SELECT password FROM access_user",
        "SELECT sealed_seed FROM access_totpdevice",
        "SELECT token_digest FROM access_enrolmentlink",
        "SELECT code_digest FROM access_recoverycode",
        "SELECT public_key FROM access_passkey",
        "SELECT session_data FROM django_session",
    ):
        for role in ("worker", "beat", "signer"):
            with pytest.raises(DatabaseError, match="permission denied"), as_role(role), connection.cursor() as cursor:
                cursor.execute(statement)


def test_role_names_are_in_order_and_join_for_the_log(alice: User, as_role: AsRole) -> None:
    with as_role("command"):
        alice.groups.add(*alice.groups.model.objects.filter(name__in=["Engineering", "DevOps"]))
    assert User.objects.get(pk=alice.pk).role == "DevOps+Engineering+Security"
    assert alice.ref == f"user:{alice.pk}"


# One-time codes


def test_django_otp_knows_our_kinds_of_device_only(db: None) -> None:
    """A stock plug-in keeps its seeds and codes in clear."""
    assert set(device_classes()) == {TotpDevice, Passkey, RecoverySheet, SingleSignOnLink, SingleSignOnLink}


def _row_text(row: Model) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT t::text FROM {row._meta.db_table} t WHERE id = %s", [row.pk])
        return str(cursor.fetchone()[0])


def test_seed_is_not_readable_in_its_row(alice: User) -> None:
    device = give_device(alice)
    seed, text = device.seed(), _row_text(device).lower()
    assert len(seed) == 20
    assert seed not in bytes(device.sealed_seed)
    for form in (seed.hex(), b32encode(seed).decode(), b64encode(seed).decode(), seed[::-1].hex()):
        assert form.lower() not in text
    assert seed.hex() not in repr(device) + str(device) + repr(vars(device))


def test_seed_opens_for_its_person_only(alice: User, bob: User) -> None:
    device = give_device(alice)
    stolen = TotpDevice(user=bob, sealed_seed=device.sealed_seed)
    with pytest.raises(SealError):
        stolen.seed()


def test_seeds_differ(alice: User) -> None:
    device = give_device(alice)
    before, sealed = device.seed(), device.sealed_seed
    device.draw_seed()
    assert device.seed() != before
    assert device.sealed_seed != sealed


def test_verify_token_accepts_a_code_once(alice: User) -> None:
    device = give_device(alice)
    code = next_code(device)
    assert device.verify_token(code)
    assert not device.verify_token(code)
    assert not TotpDevice.objects.get(pk=device.pk).verify_token(code)


def test_verify_token_never_goes_back_in_time(alice: User) -> None:
    device = give_device(alice)
    step = totp.step_at(timezone.now())
    assert device.verify_token(totp.code_at(device.seed(), step + 1))
    with time_machine.travel(timezone.now() + timedelta(seconds=2)):  # past the wait of the tries in between
        assert not device.verify_token(totp.code_at(device.seed(), step))


def test_verify_token_slows_down_after_wrong_codes(alice: User) -> None:
    device = give_device(alice)
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        wrong = f"{(int(next_code(device)) + 1) % 1_000_000:06d}"
        if totp.matching_step(device.seed(), wrong, start):
            pytest.skip("one chance in 500,000")
        assert not device.verify_token(wrong)
        assert not device.verify_token(next_code(device)), "the right code too, while the wait lasts"
        assert device.throttling_failure_count == 1, "a try during the wait is not counted"
    with time_machine.travel(start + timedelta(seconds=1.1), tick=False):
        assert device.verify_token(next_code(device))
        assert device.throttling_failure_count == 0


def test_verify_token_under_race_accepts_one_of_many(committed_db: object, alice: User) -> None:
    device = give_device(alice)
    code, barrier, answers = next_code(device), Barrier(12), []

    def try_code() -> None:
        mine = TotpDevice.objects.get(pk=device.pk)
        barrier.wait()
        answers.append(mine.verify_token(code))
        connection.close()

    threads = [Thread(target=try_code) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 11 + [True]


def test_one_device_at_a_time_waits_for_its_first_code(alice: User) -> None:
    device = give_device(alice)
    TotpDevice.objects.create(user=alice, confirmed=False, sealed_seed=device.sealed_seed)
    with pytest.raises(IntegrityError), transaction.atomic():
        TotpDevice.objects.create(user=alice, confirmed=False, sealed_seed=device.sealed_seed)


# Enrolment links


def test_one_link_a_person_is_open(alice: User, as_role: AsRole) -> None:
    now = timezone.now()
    facts = {"user": alice, "issued_by": "x", "created_at": now, "expires_at": now + timedelta(hours=1)}
    with as_role("command"):
        EnrolmentLink.objects.create(token_digest=b"1", **facts)
    with pytest.raises(IntegrityError), as_role("command"):
        EnrolmentLink.objects.create(token_digest=b"2", **facts)
