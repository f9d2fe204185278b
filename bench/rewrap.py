"""What re-wrapping costs from census to certificate, beside the smallest program that does the same work.

    .venv/bin/python -m bench.rewrap [--only aes] [--deks 100000] [--rsa-deks 10000] [--rounds 3] [--workers 2]
                                     [--batch 2000] [--peers] [--celery] [--memory 1000000] [--var var/bench]

Starts engines of its own, with everything flushed to disk as in production, on a database of its own that is dropped
afterwards. Each measurement rotates the KEK and brings all its DEKs one version further, so that floor and ours take
turns on the same table. `floor`: as many processes read a batch, open, bind, wrap and open it again with the library
itself, write it with the same statements, constraints and triggers, and append one event, in batches of the same size;
no lease, no progress, no job. For RSA the floor is the crypto limit: two unwraps and one wrap a DEK, on all cores, and
nothing else. `ours` is a job: plan with digest, leases, batches, progress, second pass, digest and certificate, in so
many processes; with --celery once more by a Celery worker with as many children. With --peers the rows of
rewrap_peers.py take turns with them, beside AES: OpenBao re-wraps, two clients store, without and with an audit device.
With --memory the largest memory of a worker at 10,000 DEKs and at so many, and nothing else unless --only names it.
DEKs a second; ratios are the median of the rounds (least-greatest).
"""

import argparse
import os
import resource
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING

import psycopg

from bench.inventory import ROOT, tell
from bench.processes import FORK, closed, side_by_side
from bench.rewrap_deks import make
from bench.rewrap_floor import floor, limit
from bench.rewrap_house import house
from bench.rewrap_peers import MOST_ITEMS, Peer

if TYPE_CHECKING:
    from inventory.models import Kek

ALGORITHMS = {
    "aes": "AES-256-KW",
    "rsa2048": "RSA-2048-OAEP-256",
    "rsa3072": "RSA-3072-OAEP-256",
    "openbao": "AES-256-GCM96",
}
# Running


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


# The table


def rate(deks: int, taken: Sequence[float]) -> str:
    return f"{deks / statistics.median(taken):,.0f}"


def ratio(mine: Sequence[float], other: Sequence[float]) -> str:
    """Return how fast mine is beside the other: the median of the rounds (least-greatest)."""
    found = sorted(theirs / one for one, theirs in zip(mine, other, strict=True))
    return f"{statistics.median(found):.2f} ({found[0]:.2f}-{found[-1]:.2f})"


def measure(name: str, deks: int, chosen: argparse.Namespace, dsn: str) -> None:
    from rotation.rewrap.planning import batch_for

    kek = make(dsn, ALGORITHMS[name], deks, chosen.workers)
    batch = batch_for(kek.algorithm) if name.startswith("rsa") else chosen.batch
    ours(kek, batch, chosen.workers)  # whoever's turn is first finds all of it under one version
    ways = ways_of(name, kek, deks, batch, chosen, dsn)
    taken = in_turns(name, ways, deks, chosen.rounds, dsn)
    print(f"{name:10}{deks:>10,} DEKs, batches of {batch:,}, {chosen.workers} workers, a second:", end="")
    print("".join(f"  {way} {rate(deks, one)}" for way, one in taken.items()), end="")
    print(f"  ours of floor {ratio(taken['ours'], taken['floor'])}", end="")
    print("".join(f"  ours of {way} {ratio(taken['ours'], taken[way])}" for way in ways if "peer" in way), end="")
    print(f"  celery of ours {ratio(taken['celery'], taken['ours'])}" if chosen.celery else "", flush=True)


def ways_of(
    name: str, kek: "Kek", deks: int, batch: int, chosen: argparse.Namespace, dsn: str
) -> dict[str, Callable[[], float]]:
    """Return what takes turns; each does it once and returns the seconds."""
    ways: dict[str, Callable[[], float]] = {"ours": partial(ours, kek, batch, chosen.workers)}
    if name.startswith("rsa"):
        ways["floor"] = partial(limit, kek, deks, chosen.workers)
    else:
        ways["floor"] = partial(floor, kek, batch, chosen.workers, dsn)
    if chosen.celery:
        ways["celery"] = partial(by_celery, kek, batch, chosen.workers)
    if chosen.peers and name == "aes":
        ways["peer"] = Peer(dsn, deks, chosen.peer_batch, is_audited=False).run
        ways["peer, audited"] = Peer(dsn, deks, chosen.peer_batch, is_audited=True).run
    return ways


def in_turns(
    name: str, ways: dict[str, Callable[[], float]], deks: int, rounds: int, dsn: str
) -> dict[str, list[float]]:
    """Let all take turns; return the seconds of each, one a round."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        said = []
        for way in list(ways) if number % 2 else list(ways)[::-1]:
            checkpoint(dsn)
            spent = ways[way]()
            said.append(f"{way} {rate(deks, [spent])}")
            if number:  # the first round warms up
                taken[way].append(spent)
        tell(f"{name}, round {number} of {rounds}: {', '.join(said)}")
    return taken


def measure_memory(most: int, chosen: argparse.Namespace, dsn: str) -> None:
    """Print the largest memory of a worker, and how time grows, from 10,000 DEKs to `most`."""
    for deks in (10_000, most):
        kek = make(dsn, "AES-256-KW", deks, chosen.workers)
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


def checkpoint(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as superuser:
        superuser.execute("VACUUM ANALYZE inventory_wrapping")
        superuser.execute("CHECKPOINT")


def wait_for_answer() -> None:
    from keyvault_admin.celery import app

    deadline = monotonic() + 60
    while not app.control.ping(timeout=1):
        assert monotonic() < deadline, "the Celery worker does not answer"


@contextmanager
def celery_worker(workers: int, var: Path) -> Iterator[None]:
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
    with (var / "celery.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own worker
            command, cwd=ROOT, env=environment, start_new_session=True, stdout=log, stderr=log
        )
    try:
        wait_for_answer()
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", default="", help="measure what has this in its name: aes, rsa2048, rsa3072, openbao")
    options.add_argument("--deks", type=int, default=100_000)
    options.add_argument("--rsa-deks", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options.add_argument("--batch", type=int, default=2_000, help="DEKs in a batch of AES")
    options.add_argument("--peers", action="store_true", help="OpenBao and storage, beside AES")
    options.add_argument("--peer-batch", type=int, default=MOST_ITEMS, help="DEKs that a client of it stores at once")
    options.add_argument("--celery", action="store_true")
    options.add_argument("--memory", type=int, default=0, metavar="DEKS")
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    with house(chosen.var) as dsn:
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


def run(chosen: argparse.Namespace, dsn: str) -> None:
    names = [name for name in ALGORITHMS if chosen.only in name] if chosen.only or not chosen.memory else []
    with celery_worker(chosen.workers, chosen.var) if chosen.celery else nullcontext():
        for name in names:
            if name == "openbao" and not bao_is_there():
                continue
            measure(name, chosen.rsa_deks if name.startswith("rsa") else chosen.deks, chosen, dsn)
    if chosen.memory:
        measure_memory(chosen.memory, chosen, dsn)


if __name__ == "__main__":
    main()
