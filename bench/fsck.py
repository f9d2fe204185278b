"""What fsck costs as DEKs grow in number: its time, invariant by invariant, and its memory.

    .venv/bin/python -m bench.fsck [--deks 10000,100000,300000] [--workers 2] [--var var/bench]

Starts engines of its own on a database of its own that is dropped afterwards, and fills it up to each size with DEKs
that are really wrapped and told of in the log, a thousand an event. Each time the KEK is rotated and a job re-wraps all
of them; then the command runs as the worker's login, in a process of its own, and opens everything. Microseconds a DEK
stay where time is linear, and so does the largest memory of the process where it reads a piece at a time.
"""

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.inventory import ROOT, tell
from bench.processes import closed
from bench.rewrap import ours
from bench.rewrap_deks import SUBJECTS, add, make, owner
from bench.rewrap_house import house

if TYPE_CHECKING:
    from bench.rewrap_deks import Span
    from inventory.models import Kek

BATCH = 2_000
STATES = """
UPDATE inventory_keyversion
   SET state = CASE WHEN number = %(number)s THEN 'active' ELSE 'deactivated' END, activated_at = now(),
       deactivated_at = CASE WHEN number = %(number)s THEN NULL ELSE now() END
 WHERE key_id = %(kek)s
"""
CURRENT = "UPDATE inventory_key SET state = 'active', current_number = %s WHERE id = %s"


def grow(kek: "Kek", deks: int, dsn: str, workers: int) -> None:
    """Add so many DEKs, rotate the KEK and let a job re-wrap all there are."""
    from tests.rotation.rewrap_world import wrapped_deks

    kek.refresh_from_db()
    wrap = partial(wrapped_deks, kek.uri, kek.algorithm, kek.primary.store_id)
    tell_of_deks(kek, add(dsn, kek.primary, deks, workers, wrap))
    ours(kek, BATCH, workers)
    tell_of_kek(kek, kek.versions.count(), dsn)
    closed()


def tell_of_deks(kek: "Kek", span: "Span") -> None:
    """Write into the log what it would say of DEKs that were imported."""
    from audit.actions import Action
    from audit.services import Subject

    for start in range(span.key, span.key + span.count, SUBJECTS):
        keys = range(start, min(start + SUBJECTS, span.key + span.count))
        subjects = [Subject(ref=f"key:{key}", label=f"dek-{key}", after={"version": 1}) for key in keys]
        written(Action.KEY_IMPORTED, subjects, state="pre_activation")
        written(Action.DEK_IMPORTED, subjects, kek=kek.key.ref)


def tell_of_kek(kek: "Kek", number: int, dsn: str) -> None:
    """Let log and tables say that the KEK came to this version."""
    from audit.actions import Action
    from audit.services import Subject

    itself = Subject(ref=kek.key.ref, label=kek.key.name, after={"version": number, "state": "active"})
    if number == 2:
        written(Action.KEY_IMPORTED, [itself], state="active")
    written(Action.KEY_ROTATED, [itself])
    with owner(dsn) as connection:
        connection.execute(STATES, {"number": number, "kek": kek.pk})
        connection.execute(CURRENT, [number, kek.pk])


def written(action: Any, subjects: Any, **facts: str) -> None:  # noqa: ANN401 - Django is not set up before it starts
    from django.db import transaction
    from django.utils import timezone

    from audit.actor import Actor
    from audit.services import record

    with transaction.atomic():
        record(action, actor=Actor.system("bench"), now=timezone.now(), subjects=subjects, facts=facts)


def looked() -> tuple[dict[str, Any], float, float]:
    """Run the command; return what it found, the seconds of its process on a core, and its largest memory in MB."""
    environment = {**os.environ, "KEYVAULT_ROLE": "worker"}
    command = [sys.executable, "manage.py", "fsck", "--json"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)  # noqa: S603 - our own
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    return json.loads(said), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def show(deks: int, found: dict[str, Any], core: float, memory: float) -> None:
    total = sum(one["seconds"] for one in found["invariants"])
    print(
        f"{deks:>9,} DEKs {total:8.2f} s {total / deks * 1e6:7.1f} µs a DEK ({core:.1f} s its own) {memory:5.0f} MB",
        end=" ",
    )
    print("".join(f"  {one['invariant']}: {one['seconds']:.2f}" for one in found["invariants"]), flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--deks", default="10000,100000,300000", help="sizes, one after the other, least first")
    options.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    with house(chosen.var) as dsn:
        there, kek = 0, make(dsn, "AES-256-KW", 0, chosen.workers)
        for deks in map(int, chosen.deks.split(",")):
            grow(kek, deks - there, dsn, chosen.workers)
            there = deks
            tell(f"{deks:,} DEKs re-wrapped")
            show(deks, *looked())


if __name__ == "__main__":
    main()
