"""PostgreSQL on loopback: made, started, and given its roles."""

import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from keyvault_admin.local.engine import HOST, Engine
from keyvault_admin.local.errors import LocalError
from keyvault_admin.local.places import Places, give, owned_folder, postgres_programs
from keyvault_admin.local.processes import end_leftover, lifeline

SUPERUSER = "postgres"
ROLES = Path(__file__).with_name("roles.sql")
_OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Django sends values inside the statement: a log of failed statements would hold digests and names.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_HASTY_OPTIONS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}


class Postgres(Engine):
    name = "postgres"
    title = "PostgreSQL"
    patience = 3.0
    stop_signal = signal.SIGINT  # fast shutdown: roll back, checkpoint, leave

    def __init__(self, places: Places, *, port: int, password: str, durable: bool = True) -> None:
        """DURABLE=False trades the safety of the data for speed: for tests, whose data nobody needs."""
        super().__init__(places, port=port, password=password)
        self._durable = durable

    def prepare(self) -> None:
        self._programs = postgres_programs(self.places)
        home = owned_folder(self.places, "postgres")
        self._data = home / "data"
        if not self._data.is_dir():
            self._make(home)
        self._check_version()
        end_leftover(self._data / "postmaster.pid", home=self._data, ask_with=self.stop_signal)

    def _make(self, home: Path) -> None:
        """Make the cluster beside its place and move it there, so that a broken attempt is never taken for data."""
        draft, password_file = home / "draft", home / "password"
        shutil.rmtree(draft, ignore_errors=True)
        password_file.touch(mode=0o600)
        password_file.write_text(self.password + "\n", encoding="utf-8")
        give(self.places, password_file)
        try:
            made = self._initdb(draft, password_file)
        finally:
            password_file.unlink()
        if made.returncode != 0:
            raise LocalError(f"PostgreSQL could not make its data folder. Its last words:\n{made.stdout.strip()}")
        draft.rename(self._data)

    def _initdb(self, draft: Path, password_file: Path) -> subprocess.CompletedProcess[str]:
        options = [
            f"--pgdata={draft}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
            *([] if self._durable else ["--no-sync"]),
        ]
        account = self.places.account
        return subprocess.run(  # noqa: S603 - our own arguments; see processes.launch
            [str(self._programs / "initdb"), *options],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=draft.parent,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            umask=0o077,
            start_new_session=True,
            preexec_fn=lifeline(signal.SIGTERM),
            **(account.options() if account else {}),
        )

    def _check_version(self) -> None:
        made_by = (self._data / "PG_VERSION").read_text(encoding="utf-8").strip()
        printed = subprocess.run(  # noqa: S603 - a program of ours
            [str(self._programs / "postgres"), "--version"], check=True, capture_output=True, text=True
        )
        if f" {made_by}." not in printed.stdout:
            raise LocalError(
                f"The data in {self._data} were made by PostgreSQL {made_by}, and this is {printed.stdout.strip()}. "
                "Move that folder away to begin with an empty database, or install the old version to dump it."
            )

    def command(self) -> tuple[list[str | Path], Path, bytes]:
        options = {**_OPTIONS, "port": str(self.port), **({} if self._durable else _HASTY_OPTIONS)}
        settings = [f"--{name}={value}" for name, value in options.items()]
        return [self._programs / "postgres", "-D", self._data, *settings], self._data, b""

    def answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Connect as the superuser, without a transaction around what is executed."""
        return psycopg.connect(
            host=HOST,
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=database,
            connect_timeout=2,
            autocommit=True,
        )

    def ensure_database(self, database: str, passwords: Mapping[str, str]) -> None:
        """Make DATABASE where it is missing, and the roles, with PASSWORDS by login role.

        Only verifiers travel and reach the server, never a password.
        """
        with self.connect() as connection:
            for shared in ("postgres", "template1"):
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(shared)))
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        self.apply_roles(database)
        with self.connect() as connection:
            for role, password in passwords.items():
                verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
                connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier.decode())))

    def apply_roles(self, database: str) -> None:
        """Run roles.sql in DATABASE."""
        with self.connect(database) as connection:
            connection.execute(ROLES.read_bytes())
