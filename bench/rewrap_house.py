"""Where DEKs are re-wrapped for the benchmarks: engines, a database and a ring of their own, and the worker's login."""

import os
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.inventory import prepared


@contextmanager
def house(var: Path) -> Iterator[str]:
    """Start everything and be the worker; yield how the superuser connects. The database is dropped at the end."""
    ring = Path(var).absolute() / f"ring-{secrets.token_hex(4)}"
    Path(var).mkdir(parents=True, exist_ok=True)
    ring.mkdir(mode=0o700)
    master_key, address = secrets.token_bytes(32), f"local://{ring}#house"
    os.environ |= {"KEYVAULT_KMS": address}
    with prepared(var, 0, keep=False, filled=with_nothing) as superuser:
        from django.conf import settings

        settings.KMS_STORES, settings.MASTER_KEY = {"house": address}, master_key
        os.environ["KEYVAULT_MASTER_KEY"] = b64encode(master_key).decode()
        become_worker()
        info = superuser.info
        yield psycopg.conninfo.make_conninfo(
            host=info.host, port=info.port, user=info.user, password=info.password, dbname=info.dbname
        )


def with_nothing(_superuser: psycopg.Connection, _size: int) -> None:
    """Fill nothing: each measurement makes its own DEKs."""


def become_worker() -> None:
    """Let every connection of this process, and of those forked from it, be the worker's."""
    from django.db import connections
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.signals import connection_created

    def become(connection: BaseDatabaseWrapper, **_signal: object) -> None:
        connection.connection.execute("SET SESSION AUTHORIZATION keyvault_worker")
        connection.connection.execute("SET statement_timeout = 0")

    connection_created.connect(become, weak=False)
    connections.close_all()
