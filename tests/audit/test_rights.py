"""What each login role may do with the log: read it, and call the one function that appends."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

Role = Callable[[str], AbstractContextManager[None]]
ROLES = ("web", "worker", "beat", "signer", "command")
TABLES = {
    "audit_pending": "id",
    "audit_event": "number",
    "audit_event_subject": "number",
    "audit_head": "number",
    "audit_identity_key": "person",
    "audit_period": "number",
    "audit_event_000000": "number",
    "audit_event_000001": "number",
    "audit_event_subject_000000": "number",
    "audit_event_subject_000001": "number",
}
WRITES = {
    "insert": "INSERT INTO {table} DEFAULT VALUES",
    "insert_select": "INSERT INTO {table} SELECT * FROM {table}",
    "update": "UPDATE {table} SET {column} = {column}",
    "delete": "DELETE FROM {table}",
    "truncate": "TRUNCATE {table}",
    "merge": "MERGE INTO {table} USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
    "lock": "LOCK TABLE {table} IN SHARE MODE",
    "copy": "COPY {table} FROM STDIN",
    "drop": "DROP TABLE {table}",
    "rename": "ALTER TABLE {table} RENAME TO gone",
    "disable": "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "add_trigger": "CREATE TRIGGER mine AFTER INSERT ON {table} EXECUTE FUNCTION audit_seal()",
    "add_rule": "CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "detach": "ALTER TABLE audit_event DETACH PARTITION {table}",
}
OTHERS = (
    "DROP TRIGGER audit_release ON audit_pending",
    "DROP TRIGGER audit_seal ON audit_pending",
    "DROP FUNCTION audit_append(uuid, bytea, bytea)",
    "CREATE OR REPLACE FUNCTION audit_capacity() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
    "ALTER FUNCTION audit_append(uuid, bytea, bytea) SECURITY INVOKER",
    "SET ROLE keyvault_owner",
    "SET ROLE keyvault_migrator",
    "SET SESSION AUTHORIZATION keyvault_migrator",
    "SET session_replication_role = replica",
    "CREATE TABLE public.mine ()",
    "CREATE TEMPORARY TABLE audit_pending ()",
    "SELECT audit_is_event(gen_random_uuid(), '{}')",
    "SELECT audit_drop_period(1, '')",
    "SELECT audit_period_actor('audit.period_dropped', 1)",
    "SELECT * FROM audit_pending",
    "SELECT * FROM audit_event_000000",
    "SELECT * FROM audit_event FOR UPDATE",
    "SELECT * FROM audit_head FOR SHARE",
)


def refused(statement: str) -> str:
    """Run a statement that is to fail and return its SQLSTATE."""
    with pytest.raises(DatabaseError) as caught, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    cause = caught.value.__cause__
    assert isinstance(cause, psycopg.Error)
    return str(cause.sqlstate)


@pytest.mark.parametrize("role", ROLES)
def test_no_login_role_may_write(committed_db: object, as_role: Role, role: str) -> None:
    with as_role(role):
        outcomes = {
            (table, name): refused(statement.format(table=table, column=column))
            for table, column in TABLES.items()
            for name, statement in WRITES.items()
        }
    assert {trial for trial, state in outcomes.items() if state != "42501"} == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_login_role_may_change_the_rules(committed_db: object, as_role: Role, role: str) -> None:
    with as_role(role):
        outcomes = {statement: refused(statement) for statement in OTHERS}
    assert {statement: state for statement, state in outcomes.items() if state != "42501"} == {}


@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_every_login_role_may_read(as_role: Role, role: str) -> None:
    with as_role(role), connection.cursor() as cursor:
        for table in ("audit_event", "audit_event_subject", "audit_head", "audit_identity_key"):
            cursor.execute(f"SELECT count(*) FROM {table}")


@pytest.mark.django_db
def test_a_new_partition_gives_no_rights(as_owner: Callable[[], AbstractContextManager[None]]) -> None:
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_head SET number = 1")
        cursor.execute("SELECT audit_extend()")
        cursor.execute("UPDATE audit_head SET number = 0")
        cursor.execute(
            "SELECT relname, relacl FROM pg_class WHERE relname LIKE 'audit_event%\\_000%' AND relkind = 'r'"
        )
        assert sorted(cursor.fetchall()) == [
            (f"{parent}_{number:06}", None) for parent in ("audit_event", "audit_event_subject") for number in range(3)
        ]
    assert refused("DELETE FROM audit_event_000002") == "42501"


@pytest.mark.django_db
def test_functions_are_closed_to_the_public_and_fixed_in_their_path() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT proname, pg_get_userbyid(proowner), prosecdef, proconfig,
                   array(SELECT coalesce(nullif(grantee, 0)::regrole::text, 'public') FROM aclexplode(proacl)
                         WHERE grantee <> proowner ORDER BY 1)
            FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'audit%' ORDER BY proname
            """
        )
        found = cursor.fetchall()
    path = ["search_path=pg_catalog, pg_temp"]
    assert found == [
        ("audit_append", "keyvault_owner", True, path, ["keyvault_app"]),
        ("audit_capacity", "keyvault_owner", False, path, ["keyvault_app"]),
        ("audit_certificate_guard", "keyvault_owner", False, path, []),
        ("audit_close_period", "keyvault_owner", True, path, ["keyvault_command"]),
        ("audit_drop_period", "keyvault_owner", False, path, []),
        ("audit_drop_permit", "keyvault_owner", True, path, []),
        ("audit_erase_permit", "keyvault_owner", True, path, []),
        ("audit_export_cursor_advances", "keyvault_owner", False, path, []),
        ("audit_extend", "keyvault_owner", True, path, ["keyvault_app"]),
        ("audit_identity_erase", "keyvault_owner", True, path, ["keyvault_command"]),
        ("audit_identity_make", "keyvault_owner", True, path, ["keyvault_app"]),
        ("audit_identity_reseal", "keyvault_owner", True, path, ["keyvault_command"]),
        ("audit_is_event", "keyvault_owner", False, path, []),
        ("audit_partitions", "keyvault_owner", False, path, ["keyvault_app"]),
        ("audit_period_actor", "keyvault_owner", False, path, []),
        ("audit_release", "keyvault_owner", True, path, []),
        ("audit_retention_guard", "keyvault_owner", True, path, []),
        ("audit_retention_permit", "keyvault_owner", True, path, []),
        ("audit_seal", "keyvault_owner", True, path, []),
        ("audit_tile_grows", "keyvault_owner", False, path, []),
    ]
