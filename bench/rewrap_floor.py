"""The floor of bench.rewrap: the smallest programs that do the work of a job, and the limit of the cryptography."""

import hashlib
import hmac
import http.client
import json
import secrets
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from bench.processes import closed, side_by_side

if TYPE_CHECKING:
    from inventory.models import Kek

READ = """
SELECT w.dek_version_id, w.wrapped, d.key_id, d.binding
  FROM inventory_wrapping w JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
 WHERE w.kek_version_id = %b AND w.dek_version_id > %b AND w.dek_version_id <= %b ORDER BY w.dek_version_id LIMIT %b
"""
ADD = """
INSERT INTO inventory_wrapping (kek_version_id, dek_version_id, wrapped)
SELECT %b, r.dek, r.new FROM unnest(%b::bigint[], %b::bytea[]) AS r (dek, new)
"""
IDS = "SELECT array_agg(dek_version_id ORDER BY 1) FROM inventory_wrapping WHERE kek_version_id = %s"
REMOVE = """
DELETE FROM inventory_wrapping w USING unnest(%b::bigint[], %b::bytea[]) AS r (dek, old)
 WHERE w.kek_version_id = %b AND w.dek_version_id = r.dek AND w.wrapped = r.old
"""


Row = tuple[int, bytes, int, bytes]  # DEK version, wrapped, key, binding
Move = Callable[[Sequence[Row]], list[bytes]]
BAO_ITEMS = 142  # in one request: 1,000 strings by default, seven an item with its context


def bare_batches(
    dsn: str, versions: tuple[int, int], move: Move, span: tuple[int, int], batch: int, *, read: str = READ
) -> None:
    """Bring a span of DEKs from one version of a KEK to another."""
    old, new = versions
    after, last = span
    with psycopg.connect(dsn) as connection:
        connection.execute("SET SESSION AUTHORIZATION keyvault_worker")
        connection.commit()
        while True:
            rows = connection.execute(read, [old, after, last, batch], binary=True).fetchall()
            connection.commit()
            if not rows:
                return
            wrapped = move(rows)
            deks = [row[0] for row in rows]
            pairs = (part for row, one in zip(rows, wrapped, strict=True) for part in (row[1], one))
            digest = hashlib.sha256(b"".join(pairs))
            connection.execute(ADD, [new, deks, wrapped])
            connection.execute(REMOVE, [deks, [row[1] for row in rows], old])
            append(connection, digest.hexdigest())
            connection.commit()
            after = deks[-1]


def by_library(rows: Sequence[Row], *, old: bytes, new: bytes, heads: tuple[bytes, bytes]) -> list[bytes]:
    """Open, compare, wrap, open again and compare, each with the library itself."""
    from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

    skip, wrapped = len(heads[0]), []
    for _, blob, key, binding in rows:
        dek = aes_key_unwrap(old, blob[skip:])
        check(dek, key, binding)
        sealed = aes_key_wrap(new, dek)
        if not hmac.compare_digest(aes_key_unwrap(new, sealed), dek):
            raise ValueError
        wrapped.append(heads[1] + sealed)
    return wrapped


def check(dek: bytes, key: int, binding: bytes) -> None:
    from inventory.envelope import binding_digest

    if not hmac.compare_digest(binding_digest(dek, b"key:%d" % key, 1), binding):
        raise ValueError


class Bare:
    """The smallest client of transit: one connection, JSON, nothing looked at but what is needed."""

    def __init__(self, port: int, ca: str, token: str, key: str, heads: tuple[bytes, bytes]) -> None:
        self.where, self.token, self.key, self.heads = (port, ca), token, key, heads
        self.connection: http.client.HTTPSConnection | None = None

    def __call__(self, rows: Sequence[Row]) -> list[bytes]:
        from inventory.envelope import context_of

        skip, wrapped = len(self.heads[0]), []
        for start in range(0, len(rows), BAO_ITEMS):
            some = rows[start : start + BAO_ITEMS]
            contexts = [b64encode(context_of(b"key:%d" % row[2], 1)).decode() for row in some]
            moved = self.ask("rewrap", [row[1][skip:].decode() for row in some], contexts, "ciphertext")
            opened = self.ask("decrypt", moved, contexts, "plaintext")
            for row, dek in zip(some, opened, strict=True):
                check(b64decode(dek), row[2], row[3])
            wrapped += [self.heads[1] + one.encode() for one in moved]
        return wrapped

    def ask(self, what: str, ciphertexts: Sequence[str], contexts: Sequence[str], wanted: str) -> list[str]:
        items = [{"ciphertext": one, "context": at} for one, at in zip(ciphertexts, contexts, strict=True)]
        if self.connection is None:
            port, ca = self.where
            self.connection = http.client.HTTPSConnection(
                "127.0.0.1", port, context=ssl.create_default_context(cafile=ca)
            )
        headers = {"X-Vault-Token": self.token, "Content-Type": "application/json"}
        self.connection.request("POST", f"/v1/transit/{what}/{self.key}", json.dumps({"batch_input": items}), headers)
        answer = json.loads(self.connection.getresponse().read())
        return [one[wanted] for one in answer["data"]["batch_results"]]


def append(connection: psycopg.Connection, digest: str) -> None:
    """Append one event of a batch, with the bytes that ours would have."""
    import uuid
    from datetime import UTC, datetime

    from audit import body
    from audit.actions import Action, Outcome
    from audit.actor import Actor

    event = uuid.uuid4()
    how: dict[str, Any] = {"actor": Actor.system("worker"), "identity_digest": "", "at": datetime.now(UTC)}
    raw = body.compose(
        event, Action.REWRAP_BATCH_DONE, Outcome.DONE, subjects=[], reason="", facts={"digest": digest}, **how
    )
    connection.execute("SELECT audit_append(%s, %s, NULL)", [event, raw])


def rsa_limit(material: tuple[bytes, bytes], count: int) -> None:
    """Open, wrap and open again so many DEKs, with the library alone."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
    from cryptography.hazmat.primitives.hashes import SHA256

    oaep = OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None)
    old, new = (serialization.load_der_private_key(one, None, unsafe_skip_rsa_key_validation=True) for one in material)
    public, wrapped = new.public_key(), old.public_key().encrypt(secrets.token_bytes(32), oaep)
    for _ in range(count):
        new.decrypt(public.encrypt(old.decrypt(wrapped, oaep), oaep), oaep)


def mover(kek: "Kek", old: str, new: str) -> Move:
    """Return what brings rows from one version to another without anything of ours between."""
    heads = head_of(kek, old), head_of(kek, new)
    if kek.uri.startswith("openbao:"):
        from tests.bao import bao

        server = bao()
        return Bare(server.port, str(server.place / "ca.pem"), server.root, kek.uri.rpartition("/")[2], heads)
    return partial(by_library, old=material_of(kek, old), new=material_of(kek, new), heads=heads)


def material_of(kek: "Kek", version: str) -> bytes:
    """Return the KEK itself, which only this benchmark's ring of nobody gives away."""
    from inventory.custody import store_of

    store, name = store_of(kek.uri)
    with store._ring.looked_at() as folder, store._inside(folder, name) as inside:
        return inside.read(f"{version}.key", "version", name, version, kek.algorithm)


def head_of(kek: "Kek", version: str) -> bytes:
    from inventory.envelope import Blob, kek_digest, pack

    whole = pack(Blob(algorithm=kek.algorithm, kek=kek_digest(kek.uri), version=version, ciphertext=b"?"))
    return whole[:-1]


def spans(dsn: str, version: int, workers: int) -> list[tuple[int, int]]:
    """Share out what is under a version: each (after, last) has about as many DEKs."""
    with psycopg.connect(dsn) as connection:
        (ids,) = connection.execute(IDS, [version]).fetchone() or ([],)
    cuts = [ids[0] - 1, *(ids[len(ids) * one // workers - 1] for one in range(1, workers + 1))]
    return [(cuts[one], cuts[one + 1]) for one in range(workers)]


def floor(kek: "Kek", batch: int, workers: int, dsn: str) -> float:
    """Rotate, then let bare processes share the ids out."""
    from inventory.models import KekVersion
    from tests.rotation.rewrap_world import rotate

    new = rotate(kek)
    old = KekVersion.objects.filter(kek=kek, pk__lt=new.pk).latest("pk")
    move = mover(kek, old.store_id, new.store_id)
    closed()
    shares = spans(dsn, old.pk, workers)
    return side_by_side([partial(bare_batches, dsn, (old.pk, new.pk), move, span, batch) for span in shares])


def limit(kek: "Kek", deks: int, workers: int) -> float:
    """Measure the cryptography alone, on all cores."""
    material = (material_of(kek, kek.primary.store_id), material_of(kek, "1"))
    closed()
    return side_by_side([partial(rsa_limit, material, deks // workers)] * workers)
