"""Wrapped DEKs that stand elsewhere as text, some bound to a context of the platform's own: re-wrapped where they are.

OpenBao binds the context. 200 rows on every run; under `make test-full` 10,000.
"""

import hashlib
import os
import secrets
import sys
import threading

import pytest
from psycopg import sql

from inventory.custody import forget_stores
from rotation.sources import look
from rotation.sources.rewrapping import left
from tests.bao import bao, missing
from tests.rotation.sources.elsewhere import ciphertexts, fill, make_kek, opened, rotate, source_of
from tests.rotation.sources.test_rewrapping import through

FULL = "tests.full" in sys.modules
ROWS, ADDED = (10_000, 500) if FULL else (200, 20)
pytestmark = pytest.mark.django_db
TABLE = """
DROP TABLE public.data_keys;
CREATE TABLE public.data_keys (
    id text PRIMARY KEY, wrapped text NOT NULL, kek_version int NOT NULL, binding bytea, context {} NOT NULL
)
"""
RIGHTS = "SELECT (id, wrapped, kek_version, binding, context), UPDATE (wrapped, kek_version, binding)"


@pytest.fixture
def vault(ring, settings):
    """Name an OpenBao in the settings, beside the ring."""
    if reason := missing():
        pytest.skip(f"NOT TESTED: {reason}")
    at = bao().store()
    options = "&".join(f"{name}={said}" for name, said in at.options.items())
    settings.KMS_STORES = {**settings.KMS_STORES, "main": f"openbao://{at.host}:{at.port}{at.path}?{options}#main"}
    forget_stores()


class Platform:
    """A platform that wraps with OpenBao itself, with the name of a tenant as context, and keeps the text."""

    def __init__(self, other, kek, kind):
        self.other, self.kek, self.deks, self.contexts = other, kek, {}, {}
        other.execute(sql.SQL(TABLE).format(sql.SQL(kind)))
        other.grant(RIGHTS)
        self._write = (lambda context: context) if kind == "text" else str.encode

    def add(self, version, ids):
        self.insert(self.sealed(version, ids))

    def sealed(self, version, ids):
        """Return rows to add."""
        rows = []
        for row in ids:
            self.deks[row], self.contexts[row] = os.urandom(32), f"tenant/Ä{secrets.randbelow(5)}"
            context = self.contexts[row]
            (cell,) = ciphertexts(self.kek, version, [self.deks[row]], context=context.encode())
            rows.append([row, cell.decode(), int(version), self._write(context)])
        return rows

    def insert(self, rows):
        """Add them one by one; from another thread too, which must not share the connection to the store."""
        with self.other.owner() as connection:
            for row in rows:
                connection.execute(
                    "INSERT INTO public.data_keys (id, wrapped, kek_version, context) VALUES (%s, %s, %s, %s)", row
                )

    def read(self):
        """Return every DEK, opened with the context of its row under the version of its row."""
        rows = self.other.execute("SELECT id, wrapped, kek_version FROM data_keys")
        return {
            row: opened(self.kek, str(version), [cell.encode()], context=self.contexts[row].encode())[0]
            for row, cell, version in rows
        }

    def digest(self, ids):
        """Return a digest over rows and what their DEKs are bound to."""
        rows = self.other.execute("SELECT id, binding FROM data_keys WHERE id = ANY(%s) ORDER BY id", list(ids))
        assert all(binding is not None for _, binding in rows)
        return hashlib.sha256(repr([(row, bytes(binding)) for row, binding in rows]).encode()).hexdigest()


@pytest.mark.parametrize("kind", ["text", "bytea"])
def test_text_bound_to_a_context_is_rewrapped_in_place_while_a_writer_adds(other, vault, as_role, kind):
    with as_role("worker"):
        kek = make_kek(f"kek-{secrets.token_hex(4)}", "AES-256-GCM96", store="openbao:main")
        platform = Platform(other, kek, kind)
        platform.add("1", [f"acme:{number}" for number in range(ROWS)])
        source = source_of(other, kek, form="text", context_column="context")
        look(source)
        through(source, rotate(kek))
        first = list(platform.deks)
        before, added = platform.digest(first), platform.sealed("2", [f"acme:{n}+" for n in range(ADDED)])
        target = rotate(kek)
        writer = threading.Thread(target=platform.insert, args=[added])
        writer.start()
        results = through(source, target)
        writer.join()
        while left(source, target):
            results += through(source, target)
            assert len(results) < 40
    assert sum(one.rewrapped for one in results) == sum(one.verified for one in results) == ROWS + ADDED
    assert not [one for one in results if one.refused]
    assert platform.digest(first) == before
    assert platform.read() == platform.deks
    assert {cell[:9] for (cell,) in other.execute("SELECT wrapped FROM data_keys")} == {"vault:v3:"}
    assert other.execute("SELECT kek_version, count(*) FROM data_keys GROUP BY 1") == [(3, ROWS + ADDED)]


def test_a_dek_with_the_context_of_another_row_is_refused(other, vault, as_role):
    with as_role("worker"):
        kek = make_kek(f"kek-{secrets.token_hex(4)}", "AES-256-GCM96", store="openbao:main")
        platform = Platform(other, kek, "text")
        platform.add("1", ["a", "b", "c"])
        other.execute("UPDATE public.data_keys SET context = 'tenant/other' WHERE id = 'b'")
        other.execute("UPDATE public.data_keys SET context = '' WHERE id = 'c'")
        (result,) = through(source_of(other, kek, form="text", context_column="context"), rotate(kek))
    assert (result.rewrapped, set(result.refused)) == (1, {"b", "c"})
    assert other.execute("SELECT id FROM data_keys WHERE kek_version = 1 ORDER BY id") == [("b",), ("c",)]


def test_base64_with_line_breaks_as_postgresql_writes_it_is_read(other, ring, as_role):
    """encode(…, 'base64') begins a new line every 76 characters; what we write is one line."""
    with as_role("worker"):
        kek = make_kek("rsa", "RSA-2048-OAEP-256")
        deks = fill(other, kek, "1", range(6))
        other.execute("ALTER TABLE public.data_keys ALTER wrapped TYPE text USING encode(wrapped, 'base64')")
        assert other.execute("SELECT count(*) FROM data_keys WHERE wrapped LIKE E'%%\n%%'") == [(6,)]
        (result,) = through(source_of(other, kek, form="base64"), rotate(kek))
    assert (result.rewrapped, result.refused) == (6, {})
    cells = other.execute("SELECT decode(wrapped, 'base64') FROM data_keys ORDER BY id")
    assert opened(kek, "2", [bytes(cell) for (cell,) in cells]) == list(deks.values())
