"""The real engines under the whole run: a pytest plugin, loaded before the settings are.

The first process of a run starts PostgreSQL and Valkey in `var/test`, makes a template database (migrated by the
migrator, as in production) and leaves their addresses in the environment, where the workers of xdist find them.
Runs beside each other take `var/test-2` and so on. An unchanged tree finds its template again.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from keyvault_admin.local.engine import HOST
from keyvault_admin.local.engines import Engines, read_env, write_env
from keyvault_admin.local.errors import LocalError
from keyvault_admin.local.postgres import ROLES, SUPERUSER

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("audit", "inventory", "rotation", "keyvault_admin")
_OURS = ("KEYVAULT_LOCAL_ENV", "KEYVAULT_ROLE", "KEYVAULT_TEST_SUPERUSER")
_RUNS_BESIDE_EACH_OTHER = 16


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> Iterator[None]:
    """Start before pytest-django reads the settings; a wrapper runs before every other hook of this name."""
    if "PYTEST_XDIST_WORKER" not in os.environ and not {"-h", "--help", "--version", "-V"} & set(args):
        _forget_installation()
        engines = _first_free()
        early_config.add_cleanup(engines.stop)
        try:
            _announce(engines, _template(engines))
        except subprocess.CalledProcessError as error:
            raise pytest.UsageError(f"The test database could not be migrated:\n{error.output}") from error
    return (yield)


def _forget_installation() -> None:
    """Tests never touch an installation that the environment may point at."""
    for name in [*_OURS, "DATABASE_URL", "DATABASE_URL_FILE", "SECRET_KEY", "SECRET_KEY_FILE", "CELERY_BROKER_URL"]:
        os.environ.pop(name, None)


def _first_free() -> Engines:
    for number in range(1, _RUNS_BESIDE_EACH_OTHER + 1):
        engines = Engines(ROOT / "var" / ("test" if number == 1 else f"test-{number}"), durable=False)
        try:
            return engines.__enter__()
        except LocalError as error:
            if "Already running" not in str(error):
                raise pytest.UsageError(str(error)) from error
    raise pytest.UsageError("Too many test runs beside each other.")


def _announce(engines: Engines, template: str) -> None:
    os.environ["KEYVAULT_LOCAL_ENV"] = str(engines.places.local_env)
    os.environ["KEYVAULT_ROLE"] = "web"
    os.environ["KEYVAULT_TEST_SUPERUSER"] = make_conninfo(
        host=HOST, port=engines.postgres.port, user=SUPERUSER, password=engines.postgres.password, dbname="postgres"
    )
    write_env(engines.places.local_env, for_database(engines.values, template))


def for_database(values: dict[str, str], name: str) -> dict[str, str]:
    """Return the lines of a `local.env` with every URL pointing at another database."""
    return {
        key: f"{url.rpartition('/')[0]}/{name}" if key.startswith("DATABASE_URL_") else url
        for key, url in values.items()
    }


def _template(engines: Engines) -> str:
    """Return the name of a database that is migrated and that nobody connects to; make it when the tree has changed."""
    name = f"template_{_digest()}"
    with engines.postgres.connect() as superuser:
        found = [row[0] for row in superuser.execute("SELECT datname FROM pg_database").fetchall()]
        for stale in found:
            if stale.startswith(("clone_", "draft_")) or (stale.startswith("template_") and stale != name):
                drop_database(superuser, stale)
        if name not in found:
            _make_template(engines, superuser, name)
    return name


def _make_template(engines: Engines, superuser: psycopg.Connection, name: str) -> None:
    draft = name.replace("template_", "draft_")
    superuser.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(draft)))
    engines.postgres.apply_roles(draft)
    draft_env = engines.var / "draft.env"
    write_env(draft_env, for_database(engines.values, draft))
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0", "--skip-checks"],
        cwd=ROOT,
        env={**os.environ, "KEYVAULT_LOCAL_ENV": str(draft_env), "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    superuser.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(draft), sql.Identifier(name)))
    superuser.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))


def _digest() -> str:
    """Digest what a migrated database depends on: migrations, files that are no code, roles, versions of packages."""
    files = [ROLES, ROOT / "uv.lock"]
    for package in PACKAGES:
        files += [path for path in (ROOT / package).rglob("*") if path.is_file() and _shapes_database(path)]
    content = hashlib.sha256()
    for path in sorted(files):
        content.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return content.hexdigest()[:16]


def _shapes_database(path: Path) -> bool:
    return ("migrations" in path.parts and path.suffix == ".py") or path.suffix in {".sql", ".csv", ".json", ".toml"}


@contextmanager
def superuser_connection() -> Iterator[psycopg.Connection]:
    """Connect as PostgreSQL's superuser: to make and drop databases, never to look at what the application does."""
    with psycopg.connect(os.environ["KEYVAULT_TEST_SUPERUSER"], autocommit=True) as connection:
        yield connection


def run_values() -> dict[str, str]:
    """Return what `local.env` of this run says."""
    return read_env(Path(os.environ["KEYVAULT_LOCAL_ENV"]))


def clone_template(name: str) -> None:
    """Make a database of that name, like the template in everything."""
    template = run_values()["DATABASE_URL_WEB"].rpartition("/")[2]
    with superuser_connection() as superuser:
        superuser.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER keyvault_owner STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        superuser.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        superuser.execute(
            sql.SQL(
                "GRANT CONNECT ON DATABASE {} TO keyvault_migrator, keyvault_web, keyvault_worker, keyvault_beat, "
                "keyvault_signer, keyvault_command"
            ).format(sql.Identifier(name))
        )


def drop_database(superuser: psycopg.Connection, name: str) -> None:
    superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
