"""The embedded engines: made, found again, refused twice, never left behind."""

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from keyvault_admin.local.children import MASTER_KEY, RING
from keyvault_admin.local.engines import LOGINS, Engines, read_env
from keyvault_admin.local.errors import LocalError
from tests.keyvault_admin.local.conftest import make_var, remove_var


@pytest.fixture(scope="module")
def var() -> Iterator[Path]:
    """One folder for all tests here: making a cluster is the slow part, and each test leaves the data whole."""
    folder = make_var()
    yield folder
    remove_var(folder)


def test_start_keeps_secrets_ports_and_data(var: Path) -> None:
    with Engines(var, durable=False) as engines:
        first = dict(engines.values)
        master_key = (engines.keys / MASTER_KEY).read_text(encoding="ascii")
        assert len(base64.b64decode(master_key)) == 32
        assert master_key.strip() not in engines.places.local_env.read_text(encoding="utf-8")
        with psycopg.connect(first["DATABASE_URL_MIGRATOR"]) as connection:
            connection.execute("SET ROLE keyvault_owner")
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        with redis.Redis.from_url(first["CELERY_BROKER_URL"]) as client:
            client.set("kept", "42")
        pids = [engine.process.pid for engine in engines.all]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with Engines(var, durable=False) as engines:
        assert engines.values == first
        assert (engines.keys / MASTER_KEY).read_text(encoding="ascii") == master_key
        with engines.postgres.connect("keyvault") as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        with redis.Redis.from_url(first["CELERY_BROKER_URL"]) as client:
            assert client.get("kept") == b"42"


def test_start_shows_no_secret_to_other_users(var: Path) -> None:
    with Engines(var, durable=False) as engines:
        secrets = [text for name, text in engines.values.items() if name.endswith("_KEY") or "URL_" in name]
        passwords = [engines.postgres.password, engines.valkey.password, *secrets]
        listed = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True).stdout
        written = "".join(log.read_text(encoding="utf-8") for log in var.glob("*.log"))
        assert not any(password in listed + written for password in passwords)
        for private in (engines.places.local_env, engines.places.engines / "superuser.env"):
            assert private.stat().st_mode & 0o077 == 0
        for private, mode in ((engines.keys, 0o700), (engines.keys / RING, 0o700), (engines.keys / MASTER_KEY, 0o600)):
            assert (private.stat().st_mode & 0o777, private.stat().st_uid) == (mode, os.geteuid())
        if os.geteuid() == 0:
            owners = {Path(f"/proc/{engine.process.pid}").stat().st_uid for engine in engines.all}
            assert owners == {engines.places.account.uid}


def test_start_makes_a_master_key_once_and_the_folder_of_a_ring(var: Path) -> None:
    made = []
    for _start in range(2):
        with Engines(var, durable=False) as engines:
            made.append((engines.keys / MASTER_KEY).read_text(encoding="ascii"))
            for private, mode in (
                (engines.keys, 0o700),
                (engines.keys / RING, 0o700),
                (engines.keys / MASTER_KEY, 0o600),
            ):
                assert (private.stat().st_mode & 0o777, private.stat().st_uid) == (mode, os.geteuid())
            assert made[0].strip() not in engines.places.local_env.read_text(encoding="utf-8")
            assert "KEYVAULT_KMS" not in engines.values
    assert len(base64.b64decode(made[0])) == 32
    assert made[0] == made[1]


def test_start_listens_on_loopback_with_passwords_only(var: Path) -> None:
    with Engines(var, durable=False) as engines:
        port = engines.postgres.port
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"postgres://keyvault_web:wrong@127.0.0.1:{port}/keyvault")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(engines.values["DATABASE_URL_WEB"].rpartition("/")[0] + "/postgres")
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(port=engines.valkey.port).ping()
        with engines.postgres.connect() as superuser:
            names = ("listen_addresses", "unix_socket_directories", "data_checksums", "password_encryption")
            shown = [superuser.execute(f"SHOW {name}").fetchone()[0] for name in names]
        assert shown == ["127.0.0.1", "", "on", "scram-sha-256"]


def test_roles_may_serve_and_nothing_else(var: Path) -> None:
    with Engines(var, durable=False) as engines:
        for login in LOGINS:
            with psycopg.connect(engines.values[f"DATABASE_URL_{login.upper()}"], autocommit=True) as connection:
                for forbidden in (
                    "CREATE TABLE x ()",
                    "CREATE SCHEMA x",
                    "CREATE TEMP TABLE x ()",
                    "SET ROLE postgres",
                ):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(forbidden)
                if login == "migrator":
                    connection.execute("SET ROLE keyvault_owner")
                else:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute("SET ROLE keyvault_owner")
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute("SET ROLE keyvault_app")
        with psycopg.connect(engines.values["DATABASE_URL_WEB"]) as connection:
            names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
            assert [connection.execute(f"SHOW {name}").fetchone()[0] for name in names] == ["5s", "2s", "30s"]


def test_second_start_says_where_the_first_runs(var: Path) -> None:
    with Engines(var, durable=False, site_port=None), pytest.raises(LocalError, match=f"process {os.getpid()}"):
        Engines(var, durable=False).__enter__()
    with Engines(var, durable=False) as engines:
        assert engines.postgres.answers()


def test_start_leaves_strangers_alone_whose_number_a_dead_server_had(var: Path) -> None:
    with Engines(var, durable=False) as engines:
        data = engines.places.engines / "postgres" / "data"
        pid_file = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    stranger = subprocess.Popen(["sleep", "60"])
    (data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *pid_file[1:], ""]), encoding="utf-8")
    with Engines(var, durable=False) as engines:
        assert engines.postgres.answers()
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_start_shows_the_last_words_of_an_engine_that_dies(var: Path) -> None:
    with Engines(var, durable=False) as engines:
        broken = engines.places.engines / "postgres" / "data" / "postgresql.conf"
    whole = broken.read_text(encoding="utf-8")
    broken.write_text("shared_buffers = plenty\n", encoding="utf-8")
    with pytest.raises(LocalError, match=r'PostgreSQL stopped at its start(.|\n)*"shared_buffers": "plenty"'):
        Engines(var, durable=False).__enter__()
    with pytest.raises(redis.exceptions.ConnectionError):
        redis.Redis.from_url(read_env(var / "local.env")["CELERY_BROKER_URL"]).ping()
    broken.write_text(whole, encoding="utf-8")


def test_start_refuses_data_of_another_version(var: Path) -> None:
    with Engines(var, durable=False) as engines:
        version = engines.places.engines / "postgres" / "data" / "PG_VERSION"
    version.write_text("17\n", encoding="utf-8")
    with pytest.raises(LocalError, match=r"made by PostgreSQL 17.*Move that folder away"):
        Engines(var, durable=False).__enter__()
    version.write_text("18\n", encoding="utf-8")
