"""The world of the tests: a database of their own, the login roles, five people and one who may nothing.

`db` is fast: everything is rolled back. `committed_db` is a database for one test: it may commit, use threads and start
other processes. Both begin as the role of the web process.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from psycopg.pq import TransactionStatus
from pytest_django import DjangoDbBlocker
from pytest_socket import socket_allow_hosts

from keyvault_admin.local.engines import write_env
from keyvault_admin.local.postgres import SUPERUSER
from tests import canaries
from tests.engines import clone_template, drop_database, for_database, run_values, superuser_connection

if TYPE_CHECKING:
    from keyvault_admin.access.models import User

PASSWORD = "a long pass phrase for tests"
RoleSwitch = Callable[[str], AbstractContextManager[None]]


def pytest_configure() -> None:
    """Serve static files from their sources, and hash passwords at the least cost: no test waits for either."""
    settings.PASSWORD_HASHERS = ["tests.hashing.CheapHasher"]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.STATIC_ROOT = None
    settings.WHITENOISE_USE_FINDERS = True
    settings.WHITENOISE_AUTOREFRESH = True


def pytest_runtest_setup() -> None:
    """Let tests reach this machine only."""
    socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)


# The longest ones. Whichever process begins with them, the others take over what else was meant for it; begun last, the
# longest would keep everybody waiting for it alone.
LONGEST = (
    "test_matrix.py::test_the_matrix_is_as_committed",
    "test_every_page.py::test_every_page_fits_and_nothing_complains",
    "test_supervisor.py::test_up_serves_survives_deaths_and_ends_with_its_parent",
    "test_xss.py::test_nothing_that_people_wrote_is_executed",
    "test_jobs.py::test_a_worker_that_is_killed_leaves_nothing_and_another_one_does_it",
)
SHARES = 3  # the processes of .ci/test; each gets a share of the list, in order


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each share of the tests begin with some of the longest."""
    first = [item for item in items if item.nodeid.endswith(LONGEST)]
    rest = [item for item in items if item not in first]
    size = -(-len(rest) // SHARES)
    items[:] = [
        item
        for number in range(SHARES)
        for item in (*first[number::SHARES], *rest[number * size : (number + 1) * size])
    ]


# Databases


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Give each process of the run a clone of the template.

    Its connection logs in as the superuser and hands itself to keyvault_web for good: session_user, current_user and
    every privilege are those of web, and `as_role` can change them inside the transaction that is rolled back. What the
    roles' logins bring along (time-outs) is seen with `committed_db`.
    """
    name = f"clone_{secrets.token_hex(6)}"
    clone_template(name)
    with superuser_connection() as superuser:
        password = superuser.info.password
    connection_created.connect(_become_web, dispatch_uid="become_web")
    with default_database(NAME=name, USER=SUPERUSER, PASSWORD=password):
        yield
        with django_db_blocker.unblock():
            connection.close()
    connection_created.disconnect(dispatch_uid="become_web")
    with superuser_connection() as superuser:
        drop_database(superuser, name)


def _become_web(connection: BaseDatabaseWrapper, **_signal: object) -> None:
    if connection.settings_dict["USER"] == SUPERUSER:
        connection.connection.execute("SET SESSION AUTHORIZATION keyvault_web")
        if not connection.get_autocommit():
            connection.connection.commit()


@contextmanager
def default_database(**changes: object) -> Iterator[None]:
    """Change where and as whom every thread connects; connections that are open stay as they are."""
    target = connections.settings["default"]
    before = dict(target)
    target.update(changes)
    try:
        yield
    finally:
        target.clear()
        target.update(before)


@dataclass(frozen=True)
class CommittedDatabase:
    """A database that one test has for itself."""

    name: str
    local_env: Path

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of another process that is to use this database, such as `manage.py`."""
        inherited = {name: text for name, text in os.environ.items() if name != "KEYVAULT_ROLE"}
        return {**inherited, "KEYVAULT_LOCAL_ENV": str(self.local_env), **more}


@pytest.fixture
def clone_name() -> str:
    """Return what a database of a test's own is called."""
    return f"clone_{secrets.token_hex(6)}"


@pytest.fixture
def committed_db(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    clone_name: str,
    tmp_path: Path,
) -> Iterator[CommittedDatabase]:
    """Give the test a fresh clone in which it may commit, from any thread, logged in as keyvault_web."""
    if "db" in request.fixturenames:
        pytest.fail("Ask for db or committed_db, not for both.")
    name, opened = clone_name, []

    def remember(connection: BaseDatabaseWrapper, **_signal: object) -> None:
        opened.append(connection.connection)

    clone_template(name)
    local_env = tmp_path / "local.env"
    write_env(local_env, for_database(run_values(), name))
    with django_db_blocker.unblock():
        connection.close()
        connection_created.connect(remember)
        with default_database(NAME=name, **_login("web")):
            yield CommittedDatabase(name, local_env)
            connection.close()
        connection_created.disconnect(remember)
        for raw in opened:
            raw.close()
    canaries.look_into(name)
    with superuser_connection() as superuser:
        drop_database(superuser, name)


def _login(role: str) -> dict[str, object]:
    facts = psycopg.conninfo.conninfo_to_dict(run_values()[f"DATABASE_URL_{role.upper()}"])
    options = {key: text for key, text in settings.DATABASES["default"]["OPTIONS"].items() if key != "options"}
    if role == "migrator":
        options["options"] = "-c role=keyvault_owner"
    return {"USER": facts["user"], "PASSWORD": facts["password"], "OPTIONS": options}


@pytest.fixture
def as_role() -> RoleSwitch:
    """Return a context manager that makes the default connection another login role ("worker", "beat", …).

    "migrator" acts as the owner: who tampers with what the application may not touch. With `db` the change happens
    inside the transaction: an SQL error inside the block undoes the block, whether it is caught inside or outside.
    With `committed_db` it is a new login, so the block must not begin inside `atomic()`.
    """

    return _become


def _become(role: str) -> AbstractContextManager[None]:
    if connection.settings_dict["USER"] == SUPERUSER:
        return _authorised_as(role)
    return _logged_in_as(role)


@contextmanager
def _authorised_as(role: str) -> Iterator[None]:
    block = transaction.atomic()
    block._from_testcase = True  # a durable block inside is as legal as it is in the test itself
    with block, connection.cursor() as cursor:
        cursor.execute("SELECT session_user, current_user")
        session, current = cursor.fetchone()
        _authorise(cursor, f"keyvault_{role}", "keyvault_owner" if role == "migrator" else None)
        yield
        if connection.connection.info.transaction_status == TransactionStatus.INERROR:
            transaction.set_rollback(True)  # and with it goes the change of role
        else:
            _authorise(cursor, session, current if current != session else None)


def _authorise(cursor: CursorWrapper, session: str, role: str | None) -> None:
    cursor.execute(f"SET SESSION AUTHORIZATION {session}")
    if role:
        cursor.execute(f"SET ROLE {role}")


@contextmanager
def _logged_in_as(role: str) -> Iterator[None]:
    if connection.in_atomic_block:
        raise RuntimeError("A login cannot change inside a transaction.")
    connection.close()
    with default_database(**_login(role)):
        yield
        connection.close()


@pytest.fixture
def as_owner(as_role: RoleSwitch) -> Callable[[], AbstractContextManager[None]]:
    """Return a context manager that acts as the owner of the database: the one who could tamper with it."""
    return lambda: as_role("migrator")


@pytest.fixture
def seal_events() -> Callable[[], None]:
    """Return a function that fires the deferred triggers now, so that a test which is rolled back sees what they do."""

    def fire() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")

    return fire


# People and time


@pytest.fixture
def now() -> datetime:
    """The business time of the tests."""
    return datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def any_db(request: pytest.FixtureRequest) -> None:
    """The database of this test, whichever it asked for."""
    request.getfixturevalue("committed_db" if "committed_db" in request.fixturenames else "db")


@cache
def _password_digest() -> str:
    return make_password(PASSWORD)


def make_person(name: str, *roles: str) -> "User":
    """Make a person who signs in with PASSWORD and has these roles."""
    from django.contrib.auth.models import Group

    from keyvault_admin.access.models import User

    person = User(
        username=name, email=f"{name}@example.org", full_name=f"{name.title()} Example", password=_password_digest()
    )
    with _become("command"):  # web may neither register people nor give roles
        person.save()
        person.groups.set(Group.objects.filter(name__in=roles))
        assert person.groups.count() == len(roles)
    return person


@pytest.fixture
def alice(any_db: None) -> "User":
    return make_person("alice", "Security")


@pytest.fixture
def bob(any_db: None) -> "User":
    return make_person("bob", "DevOps")


@pytest.fixture
def carol(any_db: None) -> "User":
    return make_person("carol", "Engineering")


@pytest.fixture
def dave(any_db: None) -> "User":
    return make_person("dave", "Auditor")


@pytest.fixture
def erin(any_db: None) -> "User":
    return make_person("erin", "Management")


@pytest.fixture
def mallory(any_db: None) -> "User":
    return make_person("mallory")
