"""What re-wrapping costs from census to certificate, beside the smallest program that does the same work.

    .venv/bin/python -m bench.rewrap [--only aes] [--deks 100000] [--rsa-deks 10000] [--rounds 3] [--workers 2]
                                     [--batch 2000] [--celery] [--memory 1000000] [--var var/bench]

Starts engines of its own, with everything flushed to disk as in production, on a database of its own that is dropped
afterwards. Each measurement rotates the KEK and brings all its DEKs one version further, so that floor and ours take
turns on the same table. `floor`: as many processes read a batch, open, bind, wrap and open it again with the library
itself, write it with the same statements, constraints and triggers, and append one event, in batches of the same size;
no lease, no progress, no job. For RSA the floor is the crypto limit: two unwraps and one wrap a DEK, on all cores, and
nothing else. `ours` is a job: plan with digest, leases, batches, progress, second pass, digest and certificate, in so
many processes; with --celery once more by a Celery worker with as many children. With --memory the largest memory of a
worker at 10,000 DEKs and at so many. DEKs a second; ratios are the median of the rounds (least-greatest).
"""

import argparse
import hashlib
import hmac
import http.client
import json
import multiprocessing
import os
import resource
import secrets
import signal
import ssl
import statistics
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import psycopg

from bench.inventory import ROOT, prepared, tell

if TYPE_CHECKING:
    from inventory.models import Kek

FORK = multiprocessing.get_context("fork")
ALGORITHMS = {
    "aes": "AES-256-KW",
    "rsa2048": "RSA-2048-OAEP-256",
    "rsa3072": "RSA-3072-OAEP-256",
    "openbao": "AES-256-GCM96",
}
READ = """
SELECT w.dek_version_id, w.wrapped, d.key_id, d.binding
  FROM inventory_wrapping w JOIN inventory_dekversion d ON d.version_id = w.dek_version_id
 WHERE w.kek_version_id = %b AND w.dek_version_id > %b AND w.dek_version_id <= %b ORDER BY w.dek_version_id LIMIT %b
"""
ADD = """
INSERT INTO inventory_wrapping (kek_version_id, dek_version_id, wrapped)
SELECT %b, r.dek, r.new FROM unnest(%b::bigint[], %b::bytea[]) AS r (dek, new)
"""
REMOVE = """
DELETE FROM inventory_wrapping w USING unnest(%b::bigint[], %b::bytea[]) AS r (dek, old)
 WHERE w.kek_version_id = %b AND w.dek_version_id = r.dek AND w.wrapped = r.old
"""


# The floor

Row = tuple[int, bytes, int, bytes]  # DEK version, wrapped, key, binding
Move = Callable[[Sequence[Row]], list[bytes]]
BAO_ITEMS = 142  # in one request: 1,000 strings by default, seven an item with its context


def bare_batches(dsn: str, versions: tuple[int, int], move: Move, span: tuple[int, int], batch: int) -> None:
    """Bring a span of DEKs from one version of a KEK to another."""
    old, new = versions
    after, last = span
    with psycopg.connect(dsn) as connection:
        connection.execute("SET SESSION AUTHORIZATION keyvault_worker")
        connection.commit()
        while True:
            rows = connection.execute(READ, [old, after, last, batch], binary=True).fetchall()
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


# Running


def side_by_side(acts: Sequence[Callable[[], object]]) -> float:
    """Run each in a process of its own, all from the same moment; return how long all of them took."""
    ready, go = FORK.Barrier(len(acts) + 1), FORK.Event()

    def run(act: Callable[[], object]) -> None:
        ready.wait()
        go.wait()
        act()

    children = [FORK.Process(target=run, args=(act,)) for act in acts]
    for child in children:
        child.start()
    ready.wait()
    started = perf_counter()
    go.set()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children)
    return perf_counter() - started


def work_until_over(pk: int) -> None:
    from django.utils import timezone

    from audit.actor import Actor
    from rotation import rewrap

    while True:
        done = rewrap.work(pk=pk, actor=Actor.system("worker"), clock=timezone.now, seconds=20)
        if done.ended is rewrap.Ended.OVER:
            return


def opened(kek: "Kek", batch: int) -> int:
    """Rotate a KEK and open the job."""
    from django.utils import timezone

    from audit.actor import Actor
    from rotation import rewrap
    from tests.rotation.rewrap_world import rotate

    rotate(kek)
    pace = rewrap.Pace(batch_size=batch)
    job = rewrap.open_job(kek=kek, actor=Actor.system("worker"), reason="bench", now=timezone.now(), pace=pace)
    return job.pk


def closed() -> None:
    """Let go of what a child must not share."""
    from django.db import connections

    from inventory.custody import forget_stores

    connections.close_all()
    forget_stores()


def finished(pk: int) -> None:
    from rotation.models import RewrapJob

    job = RewrapJob.objects.get(pk=pk)
    assert (job.state, job.quarantined.count()) == ("done", 0), (job.state, job.paused_because)
    assert job.digest_before == job.digest_after


def ours(kek: "Kek", batch: int, workers: int) -> float:
    pk = opened(kek, batch)
    closed()
    taken = side_by_side([partial(work_until_over, pk)] * workers)
    finished(pk)
    return taken


def by_celery(kek: "Kek", batch: int, workers: int) -> float:
    """Nudge as many workers as there are children, and wait until the job is done."""
    from rotation.models import RewrapJob
    from rotation.tasks import nudge_rewrap

    pk = opened(kek, batch)
    started = perf_counter()
    nudge_rewrap(pk, workers)
    while RewrapJob.objects.filter(pk=pk, state="running").exists():
        sleep(0.01)
    taken = perf_counter() - started
    finished(pk)
    return taken


def floor(kek: "Kek", batch: int, workers: int, dsn: str) -> float:
    """Rotate, then let bare processes share the ids out."""
    from django.db import connection

    from inventory.models import KekVersion
    from tests.rotation.rewrap_world import rotate

    new = rotate(kek)
    old = KekVersion.objects.filter(kek=kek, pk__lt=new.pk).latest("pk")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT array_agg(w.dek_version_id ORDER BY 1) FROM inventory_wrapping w WHERE w.kek_version_id = %s",
            [old.pk],
        )
        (ids,) = cursor.fetchone()
    cuts = [ids[0] - 1, *(ids[len(ids) * one // workers - 1] for one in range(1, workers + 1))]
    move = mover(kek, old.store_id, new.store_id)
    closed()
    acts = [
        partial(bare_batches, dsn, (old.pk, new.pk), move, (cuts[one], cuts[one + 1]), batch) for one in range(workers)
    ]
    return side_by_side(acts)


def mover(kek: "Kek", old: str, new: str) -> Move:
    """Return what brings rows from one version to another without anything of ours between."""
    heads = head_of(kek, old), head_of(kek, new)
    if kek.uri.startswith("openbao:"):
        from tests.bao import bao

        server = bao()
        return Bare(server.port, str(server.place / "ca.pem"), server.root, kek.uri.rpartition("/")[2], heads)
    return partial(by_library, old=material_of(kek, old), new=material_of(kek, new), heads=heads)


def limit(kek: "Kek", deks: int, workers: int) -> float:
    """Measure the cryptography alone, on all cores."""
    material = (material_of(kek, kek.primary.store_id), material_of(kek, "1"))
    closed()
    return side_by_side([partial(rsa_limit, material, deks // workers)] * workers)


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


# The table


def rate(deks: int, taken: Sequence[float]) -> str:
    return f"{deks / statistics.median(taken):,.0f}"


def ratio(mine: Sequence[float], other: Sequence[float]) -> str:
    """Return how fast mine is beside the other: the median of the rounds (least-greatest)."""
    found = sorted(theirs / one for one, theirs in zip(mine, other, strict=True))
    return f"{statistics.median(found):.2f} ({found[0]:.2f}-{found[-1]:.2f})"


def measure(name: str, deks: int, chosen: argparse.Namespace, dsn: str) -> None:
    from rotation.rewrap.planning import batch_for

    kek = make(ALGORITHMS[name], deks)
    batch = batch_for(kek.algorithm) if name.startswith("rsa") else chosen.batch
    from tests.rotation.rewrap_world import rotate

    rotate(kek)
    bare: Callable[[], float] = partial(floor, kek, batch, chosen.workers, dsn)
    if name.startswith("rsa"):
        ours(kek, batch, chosen.workers)
        bare = partial(limit, kek, deks, chosen.workers)
    ways: dict[str, Callable[[], float]] = {"floor": bare, "ours": partial(ours, kek, batch, chosen.workers)}
    if chosen.celery:
        ways["celery"] = partial(by_celery, kek, batch, chosen.workers)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(chosen.rounds + 1):
        for way in list(ways) if number % 2 else list(ways)[::-1]:
            checkpoint(dsn)
            spent = ways[way]()
            if number:  # the first round warms up
                taken[way].append(spent)
        tell(
            f"{name}, round {number} of {chosen.rounds}: "
            + ", ".join(f"{way} {rate(deks, one[-1:] or [1])}" for way, one in taken.items())
        )
    print(f"{name:10}{deks:>10,} DEKs, batches of {batch:,}, {chosen.workers} workers, a second:", end="")
    print("".join(f"  {way} {rate(deks, one)}" for way, one in taken.items()), end="")
    print(f"  ours of floor {ratio(taken['ours'], taken['floor'])}", end="")
    print(f"  celery of ours {ratio(taken['celery'], taken['ours'])}" if chosen.celery else "", flush=True)


def measure_memory(most: int, chosen: argparse.Namespace) -> None:
    """Print the largest memory of a worker, and how time grows, from 10,000 DEKs to `most`."""
    for deks in (10_000, most):
        kek = make("AES-256-KW", deks)
        pk = opened(kek, chosen.batch)
        closed()
        pipe, said = FORK.Pipe()

        def work(pk: int = pk, said: Connection = said) -> None:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            work_until_over(pk)
            said.send((before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))

        taken = side_by_side([work])
        before, after = pipe.recv()
        print(
            f"memory     {deks:>10,} DEKs: {before / 1024:.0f} MB before, {after / 1024:.0f} MB at most, "
            f"{taken / deks * 1e6:.1f} µs a DEK",
            flush=True,
        )
        finished(pk)


def make(algorithm: str, deks: int) -> "Kek":
    """Make a KEK with so many DEKs under it, quickly."""
    from django.db import connection

    from tests.rotation.rewrap_world import add_deks, make_kek

    kek = make_kek(algorithm=algorithm, store="openbao:bench" if "GCM" in algorithm else "local:house")
    with connection.cursor() as cursor:
        cursor.execute("RESET SESSION AUTHORIZATION")
        cursor.execute("SET session_replication_role = replica")  # a million records without the triggers of each
        for start in range(0, deks, 50_000):
            add_deks(kek, min(50_000, deks - start))
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("SET SESSION AUTHORIZATION keyvault_worker")
    tell(f"{algorithm}: {deks:,} DEKs made")
    return kek


def checkpoint(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as superuser:
        superuser.execute("VACUUM ANALYZE inventory_wrapping")
        superuser.execute("CHECKPOINT")


@contextmanager
def celery_worker(workers: int) -> Iterator[None]:
    """Run a Celery worker of its own with so many children."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "--app=keyvault_admin",
        "worker",
        "--pool=prefork",
        f"--concurrency={workers}",
        "--loglevel=WARNING",
    ]
    environment = {**os.environ, "KEYVAULT_ROLE": "worker"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)  # noqa: S603 - our own worker
    try:
        sleep(8)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def with_nothing(_superuser: psycopg.Connection, _size: int) -> None:
    """Fill nothing: each measurement makes its own DEKs."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="measure what has this in its name: aes, rsa2048, rsa3072, openbao")
    options.add_argument("--deks", type=int, default=100_000)
    options.add_argument("--rsa-deks", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options.add_argument("--batch", type=int, default=2_000, help="DEKs in a batch of AES")
    options.add_argument("--celery", action="store_true")
    options.add_argument("--memory", type=int, default=0)
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    ring = Path(chosen.var).absolute() / f"ring-{secrets.token_hex(4)}"
    Path(chosen.var).mkdir(parents=True, exist_ok=True)
    ring.mkdir(mode=0o700)
    master_key, address = secrets.token_bytes(32), f"local://{ring}#house"
    os.environ |= {"KEYVAULT_KMS": address}
    with prepared(chosen.var, 0, keep=False, filled=with_nothing) as superuser:
        from django.conf import settings

        settings.KMS_STORES, settings.MASTER_KEY = {"house": address}, master_key
        os.environ["KEYVAULT_MASTER_KEY"] = b64encode(master_key).decode()
        info = superuser.info
        dsn = psycopg.conninfo.make_conninfo(
            host=info.host, port=info.port, user=info.user, password=info.password, dbname=info.dbname
        )
        become_worker()
        run(chosen, dsn)


def bao_is_there() -> bool:
    """Start an OpenBao, and name it in the settings."""
    from django.conf import settings

    from tests.bao import bao, missing

    if reason := missing():
        tell(reason)
        return False
    at = bao().store(name="bench")
    options = "&".join(f"{name}={text}" for name, text in at.options.items())
    settings.KMS_STORES["bench"] = f"openbao://{at.host}:{at.port}{at.path}?{options}#bench"
    return True


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


def run(chosen: argparse.Namespace, dsn: str) -> None:
    names = [name for name in ALGORITHMS if chosen.only in name]
    with celery_worker(chosen.workers) if chosen.celery else nullcontext():
        for name in names:
            if name == "openbao" and not bao_is_there():
                continue
            measure(name, chosen.rsa_deks if name.startswith("rsa") else chosen.deks, chosen, dsn)
    if chosen.memory:
        measure_memory(chosen.memory, chosen)


if __name__ == "__main__":
    main()
