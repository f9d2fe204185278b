"""The database, asked for real: what roles.sql and the migrations made, and what somebody changed since."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.conf import settings as configured
from django.db import connection
from django.db.backends.utils import CursorWrapper
from pytest_django import Settings

from keyvault_admin import health
from keyvault_admin.checks import bounds, database
from keyvault_admin.checks.places import Place
from keyvault_admin.checks.report import report
from keyvault_admin.checks.rules import State
from keyvault_admin.local.engine import HOST
from keyvault_admin.local.postgres import SUPERUSER
from tests.conftest import CommittedDatabase, RoleSwitch, default_database
from tests.keyvault_admin.checks.conftest import Talk, say_nothing


@pytest.fixture(autouse=True)
def forget_migrations() -> None:
    health.migrations.cache_clear()


@contextmanager
def superuser() -> Iterator[CursorWrapper]:
    """Be PostgreSQL's superuser inside the transaction of `db`, which is rolled back."""
    with connection.cursor() as cursor:
        cursor.execute("RESET SESSION AUTHORIZATION")
        yield cursor
        cursor.execute("SET SESSION AUTHORIZATION keyvault_web")


def test_the_database_of_the_run_is_in_order(db: None) -> None:
    assert [(rule.id, rule.look()) for rule in database.LIVE if rule.look().mend] == []


@pytest.mark.parametrize("role", ["web", "worker", "beat", "signer", "command", "migrator"])
def test_every_process_finds_it_in_order(
    committed_db: CommittedDatabase, settings: Settings, as_role: RoleSwitch, role: str
) -> None:
    settings.ROLE = role
    with as_role(role), database.asked_briefly():
        found = {line.id: line for line in report(skip=["broker", "mail"]) if line.group == "database"}
        assert [line for line in found.values() if line.state is not State.OK] == []
        assert f"logs in as keyvault_{role}" in found["face.W005"].answer.said


@pytest.mark.parametrize(
    ("number", "good"),
    [
        (180004, True),
        (180003, False),
        (170010, True),
        (170009, False),
        (160014, True),
        (160013, False),
        (150018, False),
        (190000, True),
        (90624, False),
    ],
)
def test_judge_version_knows_the_floors(number: int, good: bool) -> None:  # noqa: FBT001
    assert bool(database.judge_version(number).mend) is not good


def test_a_superuser_as_login_is_found(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("RESET SESSION AUTHORIZATION")
        answer = database.logins_are_limited()
        cursor.execute("SET SESSION AUTHORIZATION keyvault_web")
    assert answer.said == f"The login {SUPERUSER} is a superuser."
    assert answer.mend


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("ALTER ROLE keyvault_worker CREATEROLE", "keyvault_worker is allowed to make roles"),
        ("ALTER ROLE keyvault_beat BYPASSRLS", "keyvault_beat is allowed"),
        ("ALTER ROLE keyvault_web SUPERUSER", "keyvault_web is a superuser"),
        ("GRANT keyvault_owner TO keyvault_web", "keyvault_web can become the owner"),
        ("GRANT keyvault_owner TO keyvault_app WITH INHERIT FALSE, SET TRUE", "can become the owner"),
    ],
)
def test_logins_that_may_too_much_are_found(db: None, changed: str, said: str) -> None:
    with superuser() as cursor:
        cursor.execute(changed)
    answer = database.logins_are_limited()
    assert said in answer.said
    assert "roles.sql" in answer.mend


def test_a_process_that_logs_in_as_the_migrator_is_found(db: None, settings: Settings, as_role: RoleSwitch) -> None:
    settings.ROLE = "web"
    with as_role("migrator"):
        assert "logs in as keyvault_migrator" in database.logins_are_limited().said
        assert database.logins_are_limited().mend
        assert database.login_is_its_own().mend
        settings.ROLE = "migrator"
        assert not database.logins_are_limited().mend
        assert not database.login_is_its_own().mend


@pytest.mark.parametrize(
    ("grant", "said"),
    [
        ("INSERT ON audit_event TO keyvault_beat", "keyvault_beat may write to audit_event"),
        ("UPDATE (body) ON audit_event TO keyvault_worker", "keyvault_worker may write to audit_event"),
        ("TRUNCATE ON audit_head TO keyvault_app", "may write to audit_head"),
        ("DELETE ON audit_identity_key TO PUBLIC", "may write to audit_identity_key"),
    ],
)
def test_a_right_to_write_the_log_is_found(db: None, as_role: RoleSwitch, grant: str, said: str) -> None:
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute(f"GRANT {grant}")
    answer = database.log_is_append_only()
    assert said in answer.said
    assert "REVOKE" in answer.mend


def test_a_right_to_write_one_partition_is_found(db: None, as_role: RoleSwitch) -> None:
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_event'::regclass LIMIT 1"
        )
        (partition,) = cursor.fetchone()
        cursor.execute(f"GRANT UPDATE ON {partition} TO keyvault_web")
    assert f"keyvault_web may write to {partition}" in database.log_is_append_only().said


def test_missing_migrations_are_found(db: None, as_role: RoleSwitch) -> None:
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'audit'")
    answer = database.migrations_are_applied()
    assert "not applied" in answer.said
    assert "migrate" in answer.mend


def test_a_log_that_is_nearly_full_is_found(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "EVENTS_AHEAD", 10**9)
    assert "room for" in database.log_has_room().said
    assert "beat" in database.log_has_room().mend


@pytest.mark.parametrize(("seconds", "good"), [(0, True), (20, True), (-20, True), (45, False), (-45, False)])
def test_clocks_that_differ_are_found(db: None, seconds: int, good: bool) -> None:  # noqa: FBT001
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds)):
        answer = database.clocks_agree()
    assert bool(answer.mend) is not good
    assert good or "45 s apart" in answer.said


@pytest.mark.parametrize(("seconds", "bound"), [(0, 1), (5.4, 6), (-5.4, 6)])
def test_how_far_clocks_differ_is_not_understated(db: None, seconds: float, bound: int) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds)):
        assert f"less than {bound} s apart" in database.clocks_agree().said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("ALTER ROLE keyvault_worker RESET lock_timeout", "keyvault_worker has no lock_timeout"),
        ("ALTER ROLE keyvault_web SET statement_timeout = 0", "keyvault_web has no statement_timeout"),
        ("ALTER ROLE keyvault_signer RESET ALL", "no lock_timeout and no idle_in_transaction_session_timeout"),
    ],
)
def test_logins_that_may_wait_for_ever_are_found(db: None, changed: str, said: str) -> None:
    with superuser() as cursor:
        cursor.execute(changed)
    assert said in database.requests_end().said
    assert database.requests_end().mend


def test_the_login_of_another_process_is_found(db: None, settings: Settings) -> None:
    settings.ROLE = "worker"
    assert database.login_is_its_own().said == "This process (worker) logs in as keyvault_web."
    assert database.login_is_its_own().mend


@pytest.mark.parametrize("changed", ["log_statement = 'mod'", "log_min_error_statement = 'error'"])
def test_a_server_that_logs_values_is_found(db: None, changed: str) -> None:
    with superuser() as cursor:
        cursor.execute(f"SET LOCAL {changed}")
    assert "writes statements to its log" in database.server_log_keeps_quiet().said
    assert database.server_log_keeps_quiet().mend


def test_a_database_elsewhere_that_sees_no_tls_is_found(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "loopback" in database.tls_is_in_use().said
    monkeypatch.setitem(configured.DATABASES["default"], "HOST", "db.example.org")
    assert database.tls_is_in_use().said == "The server sees no TLS on this connection."
    assert "ssl = on" in database.tls_is_in_use().mend


def test_an_absent_database_is_asked_once_and_everything_about_it_is_wrong(committed_db: CommittedDatabase) -> None:
    connection.close()
    with default_database(PORT=1):
        lines = {line.id: line for line in report(skip=["broker", "mail"])}
        connection.close()
    assert "Connection refused" in lines["face.E040"].answer.said
    for name in ("face.E041", "face.E048", "face.W001", "face.W007"):
        assert lines[name].state is State.WRONG
        assert lines[name].answer.mend == "Mend face.E040 first."


def test_a_silent_database_costs_seconds(committed_db: CommittedDatabase, serve: Callable[[Talk], int]) -> None:
    connection.close()
    began = time.monotonic()
    with default_database(HOST=HOST, PORT=serve(say_nothing)):
        lines = {line.id: line for line in report(skip=["broker", "mail"])}
        connection.close()
    assert lines["face.E040"].state is State.WRONG
    assert time.monotonic() - began < bounds.PATIENCE_SECONDS + 3


def test_asked_briefly_leaves_the_settings_as_they_were(db: None) -> None:
    before = dict(connection.settings_dict["OPTIONS"])
    with database.asked_briefly():
        assert "statement_timeout" in connection.settings_dict["OPTIONS"]["options"]
    assert connection.settings_dict["OPTIONS"] == before


def test_judge_tls_takes_what_the_server_sees() -> None:
    assert database.judge_tls(Place.ELSEWHERE, "TLSv1.3 (TLS_AES_256_GCM_SHA384)").said.endswith("SHA384).")
    assert not database.judge_tls(Place.ELSEWHERE, "TLSv1.3 (TLS_AES_256_GCM_SHA384)").mend
    assert "KEYVAULT_INSIDE_HOSTS" in database.judge_tls(Place.INSIDE, "").said
    assert database.judge_tls(Place.ELSEWHERE, "").mend


def test_a_server_without_tls_is_not_talked_to_where_tls_is_asked_for(committed_db: CommittedDatabase) -> None:
    """The embedded PostgreSQL has none."""
    connection.close()
    with default_database(OPTIONS={"sslmode": "verify-full", "sslrootcert": "system"}):
        lines = {line.id: line for line in report(skip=["broker", "mail"])}
        connection.close()
    assert not lines["face.E030"].answer.mend
    assert "server does not support SSL" in lines["face.E040"].answer.said
