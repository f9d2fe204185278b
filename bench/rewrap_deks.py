"""As many DEKs as a benchmark wants, each really wrapped: copied in by several processes, triggers left out meanwhile.

The log says nothing of them; bench.fsck tells it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, LiteralString, NamedTuple

import psycopg
from psycopg import sql

from bench.inventory import tell
from bench.processes import closed, side_by_side

if TYPE_CHECKING:
    from inventory.models import Kek, KekVersion

AT_ONCE = 10_000
SUBJECTS = 1_000  # of an event, at most
Wrap = Callable[[Sequence[bytes]], list[tuple[bytes, bytes | None]]]  # ids of DEKs → wrapped, what each is bound to
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
 WHERE tablename = 'inventory_key' AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""
KEYS = """
INSERT INTO inventory_key (id, name, kind, current_number, {listed})
SELECT n, 'dek-' || n, 'dek', 1, {listed} FROM generate_series(%s::bigint, %s::bigint) n, inventory_key WHERE id = %s
"""
RESERVE = "SELECT setval(pg_get_serial_sequence(%s, 'id'), nextval(pg_get_serial_sequence(%s, 'id')) + %s)"
VERSIONS = "COPY inventory_keyversion (id, key_id, number, revocation_reason) FROM STDIN"
DEKS = "COPY inventory_dekversion (version_id, key_id, number, binding, context, reencrypted_by) FROM STDIN"
WRAPPINGS = "COPY inventory_wrapping (kek_version_id, dek_version_id, wrapped) FROM STDIN"


class Span(NamedTuple):
    """So many keys from one id on, and their versions from another."""

    key: int
    version: int
    count: int


def make(dsn: str, algorithm: str, deks: int, workers: int) -> "Kek":
    """Make a KEK with so many DEKs under it."""
    from tests.rotation.rewrap_world import make_kek, wrapped_deks

    kek = make_kek(algorithm=algorithm, store="openbao:bench" if "GCM" in algorithm else "local:house")
    if deks:
        add(dsn, kek.primary, deks, workers, partial(wrapped_deks, kek.uri, algorithm, kek.primary.store_id))
    tell(f"{algorithm}: {deks:,} DEKs made")
    return kek


def add(dsn: str, kek_version: "KekVersion", deks: int, workers: int, wrap: Wrap) -> Span:
    """Wrap so many new DEKs under a version; their records are like that of the KEK."""
    from inventory.models import Key

    own = {"id", "name", "kind", "state", "current_number"}
    columns = [field.column for field in Key._meta.concrete_fields if field.column not in own]
    with owner(dsn) as connection:
        whole = Span(_reserved(connection, "key", deks), _reserved(connection, "keyversion", deks), deks)
        indexes = connection.execute(INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        values = [whole.key, whole.key + deks - 1, kek_version.kek_id]
        connection.execute(KEYS.format(listed=", ".join(columns)), values)
        for _, made in indexes:
            connection.execute(made)
    closed()
    side_by_side([partial(_copy, dsn, kek_version.pk, span, wrap) for span in _shares(whole, workers)])
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "VACUUM ANALYZE inventory_key, inventory_keyversion, inventory_dekversion, inventory_wrapping"
        )
    return whole


def owner(dsn: str) -> psycopg.Connection:
    """Open a connection that no trigger sees."""
    return psycopg.connect(dsn, options="-c session_replication_role=replica -c maintenance_work_mem=256MB")


def _reserved(connection: psycopg.Connection, table: str, count: int) -> int:
    """Take so many ids of a table; return the first."""
    name = f"inventory_{table}"
    (last,) = connection.execute(RESERVE, [name, name, count]).fetchone() or (0,)
    return int(last) - count


def _shares(whole: Span, workers: int) -> list[Span]:
    cuts = [whole.count * one // workers for one in range(workers + 1)]
    return [Span(whole.key + at, whole.version + at, to - at) for at, to in pairwise(cuts)]


def _copy(dsn: str, kek_version: int, span: Span, wrap: Wrap) -> None:
    """Wrap and copy in a span, some thousands at a time."""
    with owner(dsn) as connection:
        for start in range(0, span.count, AT_ONCE):
            part = Span(span.key + start, span.version + start, min(AT_ONCE, span.count - start))
            keys, versions = range(part.key, part.key + part.count), range(part.version, part.version + part.count)
            made = wrap([b"key:%d" % key for key in keys])
            _into(connection, VERSIONS, ((version, key, 1, "") for version, key in zip(versions, keys, strict=True)))
            rows = zip(versions, keys, made, strict=True)
            _into(connection, DEKS, ((version, key, 1, binding, b"", "") for version, key, (_, binding) in rows))
            wrapped = zip(versions, made, strict=True)
            _into(connection, WRAPPINGS, ((kek_version, version, one) for version, (one, _) in wrapped))
            connection.commit()


def _into(connection: psycopg.Connection, statement: LiteralString, rows: Iterable[Sequence[object]]) -> None:
    with connection.cursor().copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
