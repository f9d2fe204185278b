"""What verifying the audit log costs, beside hashing alone: part of bench.audit.

    hash only   SHA-256 over entries that lie in memory already, one after the other: the floor
    pass 1      numbers, digests, leaves and the root, from the stored bytes: what is asked to be 0.3 of the floor
    pass 2      every column, line of the subject index and sealed identity against the bytes
    all         what verify_audit does, in that many processes

Memory is the most that any one process of verify_audit had, at a tenth of the events and at all of them.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from bench.audit_log import fill

if TYPE_CHECKING:
    from audit.verification.sections import Section

ROOT = Path(__file__).resolve().parent.parent
HASHED = 200_000  # at most this many entries lie in memory for the floor


def measure_verification(superuser: psycopg.Connection, begin: Callable[[], None], rounds: int, events: int) -> None:
    """Fill the log, then measure everything round by round."""
    cores = os.cpu_count() or 1
    few = _filled(superuser, events // 10)
    memory = {few: _peak_memory(1)}
    count = _filled(superuser, events)
    plan = _plan()
    entries = _entries()
    size = statistics.mean(map(len, entries))
    rates: dict[str, list[float]] = {}
    with ProcessPoolExecutor(cores, get_context("spawn"), begin) as pool:
        for number in range(rounds + 1):
            taken = {
                "hash only": timed(lambda: hash_all(entries)) * count / len(entries),
                "pass 1, 1 core": timed(lambda: first_pass(plan)),
                f"pass 1, {cores} cores": timed(lambda: list(pool.map(first_pass, [[section] for section in plan]))),
                "pass 2, 1 core": timed(lambda: second_pass(plan)),
                f"all, {cores} cores": timed(lambda: verified(cores)),
            }
            for name, seconds in taken.items():
                rates.setdefault(name, [])
                rates[name] += [count / seconds] if number else []  # the first round warms up
    memory[count] = _peak_memory(1)
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"\nVerify: {count:,} events of {size:.0f} bytes, {rounds} rounds, load {load}")
    for name, measured in rates.items():
        print(f"{name:18}{statistics.median(measured):12,.0f}/s{ratio(measured, rates['hash only']):>22}")
    for events_then, peak in memory.items():
        print(f"memory at {events_then:>9,} events: {peak:,.0f} MB")


def ratio(ours: Sequence[float], floor: Sequence[float]) -> str:
    """Return the median of the rounds' ratios with the least and the greatest."""
    ratios = sorted(one / other for one, other in zip(ours, floor, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def hash_all(entries: Iterable[bytes]) -> None:
    digest = bytes(32)
    for entry in entries:
        digest = sha256(digest + entry).digest()


def first_pass(plan: "Sequence[Section]") -> None:
    from audit.verification import reading, sections

    with reading.snapshot():
        for section in plan:
            checked = sections.check_chain(section)
            assert checked.end.number == section.last, checked.end


def second_pass(plan: "Sequence[Section]") -> None:
    from audit.verification import reading
    from audit.verification.copies import Tally, check_copies

    with reading.snapshot():
        keys = reading.IdentityKeys()
        for section in plan:
            found = check_copies(reading.rows(section.begin.number, section.last), keys, Tally())
            assert found is None, found


def verified(jobs: int) -> None:
    from audit.verification import verify

    verdict = verify(jobs=jobs)
    assert verdict.is_whole, verdict.findings


def _filled(superuser: psycopg.Connection, events: int) -> int:
    """Fill the log up to that many events and return how many there are."""
    (there,) = superuser.execute("SELECT number FROM audit_head").fetchone()
    if there < events:
        fill(superuser, events - there)
        superuser.execute("VACUUM (ANALYZE) audit_event")
    return max(there, events)


def _plan() -> "list[Section]":
    from audit import selectors
    from audit.verification import Position, sections

    return list(sections.plan(Position(*selectors.beginning()), selectors.head().number, 0, []))


def _entries() -> list[bytes]:
    from audit import chain
    from audit.models import Event

    rows = Event.objects.order_by("number").values_list("number", "stamp", "body")[:HASHED]
    return [chain.entry(number, bytes(stamp), bytes(body)) for number, stamp, body in rows.iterator(2_000)]


def _peak_memory(jobs: int) -> float:
    """Return the most megabytes that a process of verify_audit had."""
    environment = {key: text for key, text in os.environ.items() if key != "KEYVAULT_ROLE"}
    command = [sys.executable, "manage.py", "verify_audit", f"--jobs={jobs}"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _high_water(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0
    return peak


def _high_water(pid: int) -> float:
    """Return the most megabytes that a program has had; what `wait4` says counts the memory of whoever started it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
