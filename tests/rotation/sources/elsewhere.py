"""Somebody else's database with wrapped DEKs in a table, on the same server, and a KEK here that wraps them."""

import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from django.utils import timezone
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from audit.actor import Actor
from inventory.custody import forget_stores, store_of
from inventory.kms.base import ToOpen, ToWrap
from inventory.models import Kek, KekVersion, Key, KeyVersion
from inventory.terms import KeyKind
from rotation.models import RewrapSource
from tests import canaries
from tests.approving import carried_through
from tests.engines import drop_database, superuser_connection

WORKER = Actor.system("worker")
TABLE = """
CREATE TABLE public.data_keys (
    id bigint PRIMARY KEY, wrapped bytea NOT NULL, kek_version text NOT NULL, binding bytea, tenant text
)
"""


@dataclass
class Elsewhere:
    """The other database: its owner's connection, and what its worker logs in with."""

    database: str
    login: str
    server: dict = field(repr=False)
    secrets: str

    @contextmanager
    def owner(self):
        target = {**self.server, "dbname": self.database}
        with psycopg.connect(make_conninfo(**target), autocommit=True) as connection:
            yield connection

    def execute(self, statement, *values):
        with self.owner() as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def grant(self, words="SELECT (id, wrapped, kek_version, binding), UPDATE (wrapped, kek_version, binding)"):
        grant = f"GRANT {words} ON public.data_keys TO {{}}"
        self.execute(sql.SQL(grant).format(sql.Identifier(self.login)))

    @property
    def said(self):
        return {
            "name": "payments",
            "host": self.server["host"],
            "port": int(self.server["port"]),
            "database": self.database,
            "login": self.login,
            "password_file": f"{self.secrets}/payments",
            "ca_file": "",
            "table": "public.data_keys",
            "id_column": "id",
            "wrapped_column": "wrapped",
            "version_column": "kek_version",
            "context_column": "",
            "binding_column": "binding",
            "form": "bytes",
        }


@contextmanager
def other_database():
    """Make a database for all tests of the process."""
    name = f"clone_elsewhere_{secrets.token_hex(6)}"
    with superuser_connection() as superuser:
        superuser.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield name
    with superuser_connection() as superuser:
        drop_database(superuser, name)


@contextmanager
def elsewhere(database, settings, folder, server=None):
    """Make the table in it anew, and a role that may do what it has to; on the server of the run, or another one."""
    run = conninfo_to_dict(os.environ["KEYVAULT_TEST_SUPERUSER"])
    server = server or {name: said for name, said in run.items() if name != "dbname"}
    made = Elsewhere(database, f"rewrapper_{secrets.token_hex(6)}", server, str(folder))
    password = secrets.token_urlsafe(24)
    canaries.know("password of a source", password)
    file = folder / "payments"
    file.write_text(password + "\n")
    file.chmod(0o600)
    settings.SOURCE_HOSTS, settings.SOURCE_SECRETS = [server["host"]], str(folder)
    login = sql.Identifier(made.login)
    made.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")
    made.execute(TABLE)
    made.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(login, sql.Literal(password)))
    made.grant()
    try:
        yield made
    finally:
        made.execute(sql.SQL("DROP OWNED BY {}").format(login))
        made.execute(sql.SQL("DROP ROLE {}").format(login))


def house(settings, folder):
    """Let the settings name a local ring in a folder of the test."""
    ring = folder / "ring"
    ring.mkdir(mode=0o700)
    settings.MASTER_KEY = os.urandom(32)
    canaries.know("master key", settings.MASTER_KEY)
    settings.KMS_STORES = {"house": f"local://{ring}#house"}
    forget_stores()


def make_kek(name="kek", algorithm="AES-256-KW", versions=1, store="local:house"):
    """Make a KEK in the ring, or another store, and its record here; the newest version takes new wraps."""
    uri = f"{store}/{name}"
    store, key = store_of(uri)
    store.create(key, algorithm)
    record = Key.objects.create(name=f"kek/{name}", kind=KeyKind.KEK)
    kek = Kek.objects.create(key=record, uri=uri, algorithm=algorithm)
    take_version(kek, "1")
    for _ in range(versions - 1):
        rotate(kek)
    return kek


def rotate(kek):
    """Add a version there and here."""
    store, key = store_of(kek.uri)
    store.rotate(key)
    return take_version(kek, store.describe(key).newest)


def take_version(kek, store_id):
    number = kek.versions.count() + 1
    version = KeyVersion.objects.create(key=kek.key, number=number)
    made = KekVersion.objects.create(version=version, kek=kek, store_id=store_id, status_at=timezone.now())
    kek.primary = made
    kek.save(update_fields=["primary"])
    return made


def ciphertexts(kek, version, deks, *, context=b""):
    """Wrap DEKs as the platform does with the store, without us."""
    store, key = store_of(kek.uri)
    return store.wrap(key, version, [ToWrap(dek=dek, context=context) for dek in deks])


def opened(kek, version, sealed, *, context=b""):
    store, key = store_of(kek.uri)
    return [
        bytes(dek) for dek in store.unwrap(key, version, [ToOpen(ciphertext=one, context=context) for one in sealed])
    ]


def all_opened(other, kek):
    """Return what the platform reads now: every row, opened under the version that it names."""
    rows = other.execute("SELECT kek_version, array_agg(id), array_agg(wrapped) FROM data_keys GROUP BY 1")
    return {
        row: dek
        for version, ids, cells in rows
        for row, dek in zip(ids, opened(kek, version, [bytes(cell) for cell in cells]), strict=True)
    }


def fill(other, kek, version, ids, *, write=lambda sealed: sealed):
    """Let the platform add rows; return its DEKs by row."""
    deks = {row: os.urandom(32) for row in ids}
    rows = zip(deks, ciphertexts(kek, version, deks.values()), strict=True)
    with other.owner() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO public.data_keys (id, wrapped, kek_version, tenant) VALUES (%s, %s, %s, 'acme')",
            [(row, write(sealed), version) for row, sealed in rows],
        )
    return deks


def registered(other, kek, people, /, **changes):
    """Register the source as people do: asked, voted on, carried out by the worker; return the request."""
    asker, *by = people
    return carried_through("source.register", {"kek": kek.pk, **other.said} | changes, asker=asker, by=by)


def source_of(other, kek, **changes):
    """Return the source, not registered."""
    return RewrapSource(kek=kek, registered_at=timezone.now(), **other.said | changes)
