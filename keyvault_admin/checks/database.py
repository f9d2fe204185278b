"""Live checks of the database: reached as it should be, by whom it should be, and in order."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from django.conf import settings
from django.db import connection
from django.utils import timezone

from audit import selectors as audit
from keyvault_admin import health
from keyvault_admin.checks.bounds import SOCKET_SECONDS, bounded
from keyvault_admin.checks.places import Place
from keyvault_admin.checks.rules import Answer, Group, Rule
from keyvault_admin.checks.wires import database_place

# The minor releases of 2026-05-14, which mend eleven holes; roles.sql needs 16 for GRANT … WITH INHERIT.
FLOORS = {16: 14, 17: 10, 18: 4}
STATEMENT_MS = 4_000
LOGINS = (
    "keyvault_migrator",
    "keyvault_web",
    "keyvault_worker",
    "keyvault_beat",
    "keyvault_signer",
    "keyvault_command",
)
TIMED = ("keyvault_web", "keyvault_worker", "keyvault_beat", "keyvault_signer")
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
ROLES_SQL = "Run keyvault_admin/local/roles.sql again, as PostgreSQL's superuser."

MIGHT = """
SELECT r.rolname, r.rolsuper, r.rolcreatedb OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls,
       pg_has_role(r.oid, c.relowner, 'MEMBER')
FROM pg_roles r, pg_class c
WHERE (r.rolname = ANY(%s) OR r.rolname = session_user) AND c.oid = 'public.audit_event'::regclass
ORDER BY r.rolname
"""
WRITERS = """
WITH RECURSIVE tables AS (
    SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s)
    UNION SELECT i.inhrelid FROM pg_inherits i JOIN tables t ON i.inhparent = t.oid
)
SELECT DISTINCT r.rolname, t.oid::regclass::text
FROM pg_roles r, tables t
WHERE (r.rolname = ANY(%s) OR r.rolname = session_user)
  AND (has_table_privilege(r.oid, t.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
       OR has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE'))
ORDER BY 1, 2
"""
LOG_TABLES = ["audit_event", "audit_event_subject", "audit_head", "audit_identity_key", "audit_pending", "audit_period"]


@contextmanager
def asked_briefly() -> Iterator[None]:
    """Let a connection that is opened inside give up soon; one that is open already stays as it is."""
    target = connection.settings_dict
    before = target["OPTIONS"]
    asked = f"{before.get('options', '')} -c statement_timeout={STATEMENT_MS}".strip()
    target["OPTIONS"] = {
        **before,
        "connect_timeout": SOCKET_SECONDS,
        "tcp_user_timeout": STATEMENT_MS,
        "options": asked,
    }
    try:
        yield
    finally:
        target["OPTIONS"] = before


def answers() -> Answer:
    """Connect once beside everything else, in a time that is bounded."""
    facts = connection.get_connection_params()
    bounded(lambda: psycopg.connect(**facts).close())
    return Answer("The database answers.")


def tls_is_in_use() -> Answer:
    """What the settings ask for is one thing; this asks the server what it sees."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT ssl, version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        in_use, version, cipher = cursor.fetchone() or (False, "", "")
    return judge_tls(database_place(), f"{version} ({cipher})" if in_use else "")


def judge_tls(place: Place, protocol: str) -> Answer:
    """Judge what the server sees, nothing for a connection in clear."""
    if protocol:
        return Answer(f"The server says that this connection uses {protocol}.")
    if place is not Place.ELSEWHERE:
        return Answer(f"The server sees no TLS, which is fine here: {place.value}.")
    return Answer(
        "The server sees no TLS on this connection.",
        "Set `ssl = on` with a certificate in postgresql.conf, and sslmode=verify-full in DATABASE_URL.",
    )


def version_is_mended() -> Answer:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        return judge_version(int(cursor.fetchone()[0]))


def judge_version(number: int) -> Answer:
    """Judge server_version_num, such as 180006 for 18.6."""
    major, minor = number // 10_000, number % 10_000
    if major > max(FLOORS) or minor >= FLOORS.get(major, minor + 1):
        return Answer(f"PostgreSQL is {major}.{minor}.")
    if major not in FLOORS:
        return Answer(f"PostgreSQL is {major}.{minor}, which is too old.", f"Move to PostgreSQL {max(FLOORS)}.")
    return Answer(
        f"PostgreSQL is {major}.{minor}, with holes that {major}.{FLOORS[major]} has mended.",
        f"Update it to {major}.{FLOORS[major]} or newer; the data stay as they are.",
    )


def logins_are_limited() -> Answer:
    """The owner of the tables can switch off whatever protects them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user")
        (login,) = cursor.fetchone()
        cursor.execute(MIGHT, [list(LOGINS)])
        found = cursor.fetchall()
    for name, is_super, is_mighty, is_owner in found:
        if is_super or is_mighty:
            what = (
                "a superuser"
                if is_super
                else "allowed to make roles or databases, to replicate, or to pass row security"
            )
            return Answer(f"The login {name} is {what}.", ROLES_SQL if name in LOGINS else "Use a login of roles.sql.")
        if is_owner and name != "keyvault_migrator":
            return Answer(f"The login {name} can become the owner of the tables.", ROLES_SQL)
    if login == "keyvault_migrator" and settings.ROLE != "migrator":
        return Answer(
            "This process logs in as keyvault_migrator, who can become the owner of the tables.",
            f"Give it a DATABASE_URL of its own: keyvault_{settings.ROLE}.",
        )
    return Answer(f"None of the {len(found)} logins is superuser; only keyvault_migrator can become the owner.")


def log_is_append_only() -> Answer:
    """Events are written by one function of the database, by nothing else."""
    with connection.cursor() as cursor:
        cursor.execute(WRITERS, [LOG_TABLES, list(LOGINS)])
        writers = cursor.fetchall()
    if not writers:
        return Answer("No login may write to the tables of the audit log by itself.")
    name, table = writers[0]
    return Answer(
        f"The login {name} may write to {table}, and {len(writers) - 1} more such rights exist.",
        f"As the owner: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM {name}; and from the groups it is in.",
    )


def migrations_are_applied() -> Answer:
    try:
        health.migrations()
    except health.NotReadyError as error:
        return Answer(f"{str(error).capitalize()}.", "Run manage.py migrate as the migrator.")
    return Answer("All migrations are applied.")


def log_has_room() -> Answer:
    try:
        health.audit_log()
    except health.NotReadyError as error:
        return Answer(
            f"{str(error).capitalize()}.", "See that the beat and a worker run: they add partitions every hour."
        )
    return Answer(f"The audit log has room for {audit.head_room():,} events.")


def clocks_agree() -> Answer:
    """Sessions, links and lockouts end by the clock of a process; the log is stamped by that of the server."""
    began = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (there,) = cursor.fetchone()
    ended = timezone.now()
    apart = max(began - there, there - ended, timedelta())
    if apart > settings.CLOCK_SKEW:
        return Answer(
            f"The clocks of this machine and of the database are {apart.total_seconds():,.0f} s apart.",
            "Let both follow a time server (chrony, systemd-timesyncd).",
        )
    return Answer(
        f"The clocks of this machine and of the database are less than {int(apart.total_seconds()) + 1} s apart."
    )


def requests_end() -> Answer:
    """A statement that hangs in a web process must not hold its locks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rolname, rolconfig FROM pg_roles WHERE rolname = ANY(%s) ORDER BY rolname", [list(TIMED)]
        )
        found = dict(cursor.fetchall())
    if not found:
        return Answer("The logins of roles.sql do not exist.", ROLES_SQL)
    for login, lines in found.items():
        limits = dict(line.split("=", 1) for line in lines or [])
        missing = [name for name in TIMEOUTS if limits.get(name, "0") in {"0", ""}]
        if missing:
            return Answer(f"The login {login} has no {' and no '.join(missing)}.", ROLES_SQL)
    return Answer(
        "Statements, waits for locks and idle transactions of web, worker, beat and signer end by themselves."
    )


def login_is_its_own() -> Answer:
    """Rights are given by process: with the login of another, some things fail and others should have."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_user")
        (login,) = cursor.fetchone()
    if login == f"keyvault_{settings.ROLE}":
        return Answer(f"This process ({settings.ROLE}) logs in as {login}.")
    return Answer(
        f"This process ({settings.ROLE}) logs in as {login}.",
        f"Give it a DATABASE_URL with keyvault_{settings.ROLE}, or the KEYVAULT_ROLE that the login is for.",
    )


def server_log_keeps_quiet() -> Answer:
    """Django sends values inside the statement: a log of statements holds digests, names and mail addresses."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('log_statement'), current_setting('log_min_error_statement')")
        statements, failed = cursor.fetchone()
    if statements in {"none", "ddl"} and failed == "panic":
        return Answer("The server's log holds no statements with values.")
    return Answer(
        f"The server writes statements to its log (log_statement {statements}, log_min_error_statement {failed}).",
        "Set log_statement to none or ddl, and log_min_error_statement to panic, as docker-compose.yml does.",
    )


LIVE = (
    Rule("face.E040", Group.DATABASE, "the database answers", answers),
    Rule("face.E041", Group.DATABASE, "TLS to the database is in use", tls_is_in_use),
    Rule("face.E042", Group.DATABASE, "PostgreSQL has no known hole", version_is_mended),
    Rule("face.E043", Group.DATABASE, "logins of the database are limited", logins_are_limited),
    Rule("face.E044", Group.DATABASE, "no login writes to the audit log", log_is_append_only),
    Rule("face.E045", Group.DATABASE, "migrations are applied", migrations_are_applied),
    Rule("face.E046", Group.DATABASE, "the audit log has room", log_has_room),
    Rule("face.E047", Group.DATABASE, "the clocks agree", clocks_agree),
    Rule("face.E048", Group.DATABASE, "statements and waits end", requests_end),
    Rule("face.W005", Group.DATABASE, "the login is that of this process", login_is_its_own),
    Rule("face.W006", Group.DATABASE, "the server logs no values", server_log_keeps_quiet),
)
