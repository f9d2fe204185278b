"""What an import costs: 20,000 rows that are new, known, or changed, beside the bare COPY into the same tables.

    .venv/bin/python -m bench.imports [--rows 20000] [--rounds 3]

Starts engines of its own in `var/bench`, with everything flushed to disk as in production, on a database of its own
that is dropped afterwards. `bare` copies as many keys and their versions into the same tables, indexes and constraints
included, as the owner and without an event; `ours` is apply_import(): reading the file, comparing it, writing rows,
states and events, and the commit. `memory` is by how much the process grew at most, in a process of its own.
"""

import argparse
import csv
import io
import os
import resource
import secrets
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from bench.audit import begin, ratio, timed
from bench.inventory import ROOT, act_as, become_superuser
from keyvault_admin.local.engines import Engines

HEADER = (
    "Name", "Type", "Created by", "Owner", "Service", "Creation date", "Last rotated", "Environment", "Algorithm",
    "Where stored", "Access", "Data class", "Notes",
)  # fmt: skip
KINDS = ("API token", "Personal access key", "TLS certificate", "SSH key", "Database credential")
TODAY = datetime.now(UTC).date()
COPIED = ("inventory_key", "inventory_keyversion")
Copied = dict[str, tuple[list[str], list[tuple[Any, ...]]]]  # a table's columns and rows


def file_of(rows: int, prefix: str, note: str) -> bytes:
    """Return a CSV file such as a company exports: 400 people, 150 services, every column filled."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for number in range(rows):
        made = date(2024, 1, 1) + timedelta(days=number % 500)
        rotated = TODAY - timedelta(days=number % 60)
        writer.writerow((
            f"{prefix}/team-{number % 97}/token-{number}", KINDS[number % 5], f"person{number % 331}@example.org",
            f"person{number % 400}@example.org", f"service {number % 150}", made, rotated,
            ("production", "staging", "test")[number % 3], ("RSA-3072", "AES-256-GCM", "Ed25519", "")[number % 4],
            "HashiCorp Vault, path secret/apps", "production", "confidential", f"{note} {number}",
        ))  # fmt: skip
    return text.getvalue().encode()


def bring(content: bytes, expected: str) -> None:
    from audit.actor import Actor
    from inventory import services

    done = services.apply_import(
        content=content, file_name="bench.csv", actor=Actor.system("bench"), reason="bench", now=datetime.now(UTC)
    )
    assert done.summary == expected, done.summary


def copied_rows(owner: psycopg.Connection, prefix: str) -> Copied:
    """Return the rows that an import has just written, to be copied in once more under other names and numbers."""
    found = {}
    for table in COPIED:
        told = owner.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
        columns = [row[0] for row in told.fetchall()]
        key = "id" if table == "inventory_key" else "key_id"
        rows = owner.execute(
            f"SELECT {', '.join(columns)} FROM {table} "
            f"WHERE {key} IN (SELECT id FROM inventory_key WHERE name LIKE %s)",
            [f"{prefix}/%"],
        ).fetchall()
        found[table] = (columns, rows)
    return found


def copy_bare(owner: psycopg.Connection, tables: Copied, shift: int) -> None:
    """Copy keys and versions in, in one transaction; `shift` moves their numbers out of the way."""
    for table, (columns, rows) in tables.items():
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        moved = [columns.index(name) for name in ("id", "key_id") if name in columns]
        named = columns.index("name") if "name" in columns else None
        with owner.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)) as copy:
            for row in rows:
                fields = list(row)
                for place in moved:
                    fields[place] += shift
                if named is not None:
                    fields[named] = f"bare-{shift}-{fields[named]}"
                copy.write_row([_jsonb(field) for field in fields])
    owner.commit()


def _jsonb(field: object) -> object:
    from psycopg.types.json import Jsonb

    return Jsonb(field) if isinstance(field, dict) else field


def grown(work: Callable[[], None]) -> float:
    """Return by how many megabytes a process grows at most that does this work."""
    from django.db import connections

    connections.close_all()
    take, give = os.pipe()
    child = os.fork()
    if not child:
        act_as("command")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        os.write(give, str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024).encode())
        os._exit(0)
    os.close(give)
    with os.fdopen(take) as told:
        answer = told.read()
    os.waitpid(child, 0)
    act_as("command")
    return float(answer)


@contextmanager
def prepared() -> Iterator[object]:
    """Start engines and migrate a new database; yield a bare connection of the owner; drop the database at the end."""
    name = f"bench_{secrets.token_hex(4)}"
    with Engines(ROOT / "var" / "bench", database=name) as engines:
        os.environ |= {
            "KEYVAULT_LOCAL_ENV": str(engines.places.local_env),
            "KEYVAULT_ROLE": "command",
            "DJANGO_SETTINGS_MODULE": "keyvault_admin.settings",
        }
        environment = {key: text for key, text in os.environ.items() if key != "KEYVAULT_ROLE"}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        with engines.postgres.connect(name) as owner:
            owner.autocommit = False
            become_superuser(owner)
            owner.execute("SET ROLE keyvault_owner")
            yield owner
        from django.db import connections

        connections.close_all()
        with engines.postgres.connect() as superuser:
            superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def measure(owner: psycopg.Connection, rows: int, rounds: int) -> None:
    taken: dict[str, list[float]] = {"bare COPY": [], "new": [], "unchanged": [], "changed": []}
    for number in range(rounds):
        prefix = f"round{number}"
        first, second = file_of(rows, prefix, "first"), file_of(rows, prefix, "second")
        for name, content, told in (
            ("new", first, f"{rows} new, 0 changed, 0 unchanged, 0 refused"),
            ("unchanged", first, f"0 new, 0 changed, {rows} unchanged, 0 refused"),
            ("changed", second, f"0 new, {rows} changed, 0 unchanged, 0 refused"),
        ):
            taken[name].append(timed(partial(bring, content, told)))
        tables = copied_rows(owner, prefix)
        taken["bare COPY"].append(timed(partial(copy_bare, owner, tables, (number + 1) * 10_000_000)))
    print(f"{'rows':<12}{'seconds':>10}   times the bare COPY")
    for name, seconds in taken.items():
        print(f"{name:<12}{statistics.median(seconds):>10.2f}   {ratio(seconds, taken['bare COPY'])}")
    content = file_of(rows, "memory", "first")
    megabytes = grown(partial(bring, content, f"{rows} new, 0 changed, 0 unchanged, 0 refused"))
    print(f"memory: {megabytes:+.0f} MB for {rows:,} new rows")


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    with prepared() as owner:
        begin()
        act_as("command")
        print(f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}, {os.cpu_count()} cores")
        measure(owner, chosen.rows, chosen.rounds)
        print(f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
