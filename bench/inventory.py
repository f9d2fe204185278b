"""What the inventory costs at a million keys: its pages beside the bare page query, flagging beside the bare UPDATE.

    .venv/bin/python -m bench.inventory [--keys 100000] [--rounds 5] [--turns 8]

Starts engines of its own in `var/bench`, with everything flushed to disk as in production, on a database of its own
that is dropped afterwards. Keys are copied in as the owner of the tables; indexes are made afterwards, then VACUUM
(ANALYZE). Columns: `bare` is the smallest statement that fetches the rows of the page, written by hand, fetched by
psycopg; `ours` the statements of the page that fetch its rows; `all SQL` every statement of the request with its
session, person and counts; `page` the request through middleware, view and templates, in this process. Rounds are
interleaved, and a round is the median of its turns; ratios are the median of the rounds (least-greatest).
"""

import argparse
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from psycopg import sql

from bench.audit import begin, ratio
from keyvault_admin.local.engines import Engines

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
FEW_LATE, MANY_LATE = NOW + timedelta(days=1_000), NOW + timedelta(days=2_000)  # when 0.1 % and 3 % become late
NEVER = NOW + timedelta(days=30_000)
COLUMNS = (
    "name", "kind", "owner_id", "service_id", "purpose", "created_on", "last_rotated_on", "never_rotated",
    "environment", "classification", "access", "algorithm", "size_bits", "storage_medium", "storage_location",
    "generation_method", "secret_name", "runbook_url", "labels", "notes", "state", "current_number", "rotate_by",
    "winning_clause_id", "flagged_overdue_at", "next_notice_at", "search_text", "revision",
)  # fmt: skip
ALGORITHMS = ("AES-256-GCM", "RSA-2048", "Ed25519", "RSA-3072", "", "HMAC-SHA-256")
KINDS = ("api_token", "dek", "tls_certificate", "personal_token", "ssh_key", "database_credential", "kek")
PAGE_SQL = """
SELECT k.*, o.*, s.*, c.* FROM inventory_key k LEFT JOIN inventory_owner o ON o.id = k.owner_id
  LEFT JOIN inventory_service s ON s.id = k.service_id LEFT JOIN inventory_policyclause c ON c.id = k.winning_clause_id
 WHERE {where} ORDER BY {order} LIMIT 51
"""
LATE = "k.rotate_by <= now() AND k.state IN ('active', 'suspended', 'compromised')"
# What is asked: its name, the list's parameters, and the condition and order of the bare query.
LISTS = (
    ("first page", "", "true", "k.rotate_by, k.id"),
    ("sorted by due, descending", "o=-6", "k.rotate_by IS NOT NULL", "k.rotate_by DESC, k.id DESC"),
    ("sorted by name", "o=0", "true", "k.name"),
    ("sorted by age", "o=5", "true", "coalesce(k.last_rotated_on, k.created_on), k.id"),
    ("last page", "before=end", "true", "k.rotate_by DESC, k.id DESC"),
    ("filter 10 %", "environment__exact=staging", "k.environment = 'staging'", "k.rotate_by, k.id"),
    ("filter 10 %, by name", "environment__exact=staging&o=0", "k.environment = 'staging'", "k.name"),
    ("one owner", "owner=7", "k.owner_id = 7", "k.rotate_by, k.id"),
    ("overdue", "due=overdue", LATE, "k.rotate_by, k.id"),
    ("age unknown", "missing=age", "coalesce(k.last_rotated_on, k.created_on) IS NULL", "k.rotate_by, k.id"),
    ("search, rare word", "q=quince77", "upper(k.search_text) LIKE '%QUINCE77%'", "k.rotate_by, k.id"),
    ("search, frequent word", "q=payments", "upper(k.search_text) LIKE '%PAYMENTS%'", "k.rotate_by, k.id"),
    ("search, two letters", "q=k9", "upper(k.name) LIKE 'K9%'", "k.rotate_by, k.id"),
)  # fmt: skip


# The keys


def fill(owner, keys: int) -> None:  # noqa: ANN001
    """Copy the keys in without indexes, and make these afterwards."""
    people = max(keys // 200, 10)
    owner.execute(
        "INSERT INTO inventory_owner (handle, mail, kind, is_active) SELECT 'person' || n, 'p' || n || '@example.org', "
        "'person', true FROM generate_series(1, %s) n",
        [people],
    )
    owner.execute(
        "INSERT INTO inventory_service (name, description, data_classes) SELECT 'service' || n, '', '{}' "
        "FROM generate_series(1, 500) n"
    )
    clause = owner.execute("SELECT min(id) FROM inventory_policyclause").fetchone()[0]
    indexes = owner.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'inventory_key' AND indexname NOT IN "
        "(SELECT conname FROM pg_constraint)"
    ).fetchall()
    for name, _ in indexes:
        owner.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    with owner.cursor().copy(sql.SQL("COPY inventory_key ({}) FROM STDIN").format(names)) as copy:
        for number in range(keys):
            copy.write_row(_row(number, people, clause))
    owner.commit()
    for _, made in indexes:
        owner.execute(made)
    owner.execute(
        "INSERT INTO inventory_keyversion (key_id, number, state, generated_on, activated_at, revocation_reason) "
        "SELECT id, 1, 'active', last_rotated_on, now(), '' FROM inventory_key WHERE state = 'active' LIMIT 1000"
    )
    owner.commit()
    owner.autocommit = True
    owner.execute("VACUUM (ANALYZE)")


def _row(number: int, people: int, clause: int) -> tuple[object, ...]:
    """Return one key of a mixed inventory: 3 % late, 2 % without a date, 10 % of staging, 20 % of one large service."""
    spread = (number * 7_919) % 1_000  # even over all numbers, and the same in every run
    name = f"k{number % 97}-{spread}/{'quince77' if number % 50_000 == 77 else 'token'}-{number}"
    environment = "staging" if spread % 10 == 3 else "production"
    service = f"payments {number % 40}" if spread % 5 == 1 else f"service{number % 500 + 1}"
    state = {1: "suspended", 2: "compromised"}.get(number % 2_000, "active" if spread % 50 else "pre_activation")
    rotated: date | None = NOW.date() - timedelta(days=(number * 31) % 89)
    due: datetime | None = datetime.combine(rotated + timedelta(days=93), NOW.time(), UTC)
    flagged, next_notice = None, NEVER
    if spread in range(500, 530):
        due, flagged = NOW - timedelta(days=1 + number % 60), NOW
        rotated = due.date() - timedelta(days=93)
    elif spread in range(30):
        due = next_notice = FEW_LATE if spread == 0 else MANY_LATE
        state = "active"
    elif spread in range(600, 620):
        due = rotated = None
    search = f"{name}\nwhat it is for\n{service}\nperson{number % people}"
    return (
        name, KINDS[number % 7], number % people + 1 if number % 100 else None, number % 500 + 1, "what it is for",
        rotated, rotated, False, environment, "restricted" if number % 20 == 0 else "internal", "production",
        ALGORITHMS[number % 6], 256, "key_vault", f"vault://kv/{number}", "", "", "", "{}", "", state, 1, due,
        clause if due else None, flagged, next_notice if due else None, search, 1,
    )  # fmt: skip


# Pages


class Watch:
    """Times every statement of a request."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, float]] = []

    def __call__(self, execute, statement, params, many, context):  # noqa: ANN001, ANN204
        started = time.perf_counter()
        answer = execute(statement, params, many, context)
        self.statements.append((statement, time.perf_counter() - started))
        return answer

    @property
    def rows(self) -> float:
        return sum(taken for text, taken in self.statements if "keyset_value" in text)


def measure_lists(client, raw, rounds: int, turns: int) -> None:  # noqa: ANN001
    print(f"{'':28}{'bare':>9}{'ours':>9}{'ours of bare':>20}{'all SQL':>10}{'queries':>9}{'page p50':>10}{'p95':>8}")
    found = {name: ([], [], [], [], []) for name, *_ in LISTS}
    for number in range(rounds + 1):
        for name, query, where, order in LISTS:
            asks = partial(_fetch, raw, PAGE_SQL.format(where=where, order=order))
            bare = [timed(asks) for _ in range(turns)]
            asked = [_ask(client, f"/inventory/key/?{query}") for _ in range(turns)]
            if number:  # the first round warms up
                columns = found[name]
                columns[0].append(statistics.median(bare))
                columns[1].append(statistics.median(watch.rows for watch, _ in asked))
                columns[2].append(statistics.median(sum(taken for _, taken in watch.statements) for watch, _ in asked))
                columns[3].append(max(len(watch.statements) for watch, _ in asked))
                columns[4].extend(taken for _, taken in asked)
    for name, (bare, ours, total, queries, pages) in found.items():
        p95 = statistics.quantiles(pages, n=20)[-1]
        print(
            f"{name:28}{ms(bare):>9}{ms(ours):>9}{ratio(ours, bare):>20}{ms(total):>10}{max(queries):>9}{ms(pages):>10}"
            f"{p95 * 1000:>8.0f}"
        )


def _fetch(raw, statement: str) -> None:  # noqa: ANN001
    raw.execute(statement).fetchall()


def measure_pages(client, pages: dict[str, str], rounds: int, turns: int) -> None:  # noqa: ANN001
    print(f"\n{'':28}{'all SQL':>10}{'queries':>9}{'page p50':>10}{'p95':>8}")
    for name, address in pages.items():
        _ask(client, address)
        asked = [_ask(client, address) for _ in range(rounds * turns)]
        taken = [page for _, page in asked]
        total = [sum(one for _, one in watch.statements) for watch, _ in asked]
        p95 = statistics.quantiles(taken, n=20)[-1] * 1000
        print(
            f"{name:28}{ms(total):>10}{max(len(watch.statements) for watch, _ in asked):>9}{ms(taken):>10}{p95:>8.0f}"
        )


def _ask(client, address: str) -> tuple[Watch, float]:  # noqa: ANN001
    from django.db import connection

    watch = Watch()
    with connection.execute_wrapper(watch):
        started = time.perf_counter()
        answer = client.get(address)
        taken = time.perf_counter() - started
    assert answer.status_code == 200, (address, answer.status_code)
    return watch, taken


# Flagging


BARE = """
WITH late AS (
    UPDATE inventory_key SET flagged_overdue_at = %(now)s, next_notice_at = NULL
     WHERE next_notice_at <= %(now)s AND state IN ('active', 'suspended', 'compromised') RETURNING id, rotate_by
)
INSERT INTO bench_late (key_id, action, at, rotate_by) SELECT id, 'key.flagged_overdue', %(now)s, rotate_by FROM late
"""


def measure_flagging(rounds: int) -> None:
    """Flag in transactions that are rolled back, the events sealed in them; the floor has a plain row for each key."""
    from django.db import connection, transaction

    from audit.actor import Actor
    from rotation.overdue import flag_overdue

    def rolled_back(work: Callable[[], object]) -> float:
        with transaction.atomic():
            taken = timed(work)
            transaction.set_rollback(True)
        return taken

    def bare() -> None:
        with connection.cursor() as cursor:
            cursor.execute(BARE, {"now": now})

    def ours() -> None:
        done = flag_overdue(actor=Actor.system("beat"), now=now)
        assert done.newly_late == done.notices, done
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    print(f"\n{'newly late':28}{'bare':>9}{'ours':>9}{'ours of bare':>20}")
    for name, now in (("0.1 %", FEW_LATE), ("3 %", MANY_LATE)):  # noqa: B007 - the two closures read it
        floors, measured = [], []
        for number in range(rounds + 1):
            pair = rolled_back(bare), rolled_back(ours)
            if number:
                floors.append(pair[0])
                measured.append(pair[1])
        print(f"{name:28}{ms(floors):>9}{ms(measured):>9}{ratio(measured, floors):>20}")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ms(taken: list[float]) -> str:
    return f"{statistics.median(taken) * 1000:.1f} ms"


# The database


@contextmanager
def prepared(keys: int) -> Iterator[object]:
    """Start engines, migrate and fill a new database; yield a bare connection; drop the database at the end."""
    name = f"bench_{secrets.token_hex(4)}"
    with Engines(ROOT / "var" / "bench", database=name) as engines:
        os.environ |= {
            "KEYVAULT_LOCAL_ENV": str(engines.places.local_env),
            "KEYVAULT_ROLE": "web",
            "DJANGO_SETTINGS_MODULE": "keyvault_admin.settings",
        }
        environment = {key: text for key, text in os.environ.items() if key != "KEYVAULT_ROLE"}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        with engines.postgres.connect(name) as superuser:
            superuser.autocommit = False
            superuser.execute("SET ROLE keyvault_owner")
            superuser.execute(
                "CREATE TABLE bench_late (key_id bigint, action text, at timestamptz, rotate_by timestamptz);"
                "GRANT INSERT ON bench_late TO keyvault_app"
            )
            print(f"{keys:,} keys copied and indexed in {timed(lambda: fill(superuser, keys)):.0f} s")
            superuser.execute("RESET ROLE")
            superuser.execute("VACUUM (ANALYZE)")
            become_superuser(superuser)
            yield superuser
        from django.db import connections

        connections.close_all()
        with engines.postgres.connect() as superuser:
            superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def become_superuser(superuser) -> None:  # noqa: ANN001
    """Let Django log in as the superuser and act as each role in turn, so that one process can be all of them."""
    begin()
    from django.conf import settings
    from django.db import connections

    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}  # nothing is collected here
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    connections.settings["default"] |= {"USER": superuser.info.user, "PASSWORD": superuser.info.password}


def act_as(role: str) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION AUTHORIZATION keyvault_{role}")


def signed_in():  # noqa: ANN201
    """Return a client of a person of Security who has shown a second factor."""
    from django.contrib.auth.models import Group
    from django.test import Client
    from django_otp import DEVICE_ID_SESSION_KEY

    from keyvault_admin.access.models import TotpDevice, User

    act_as("command")
    person = User(username="bench", email="bench@example.org", full_name="Bench")
    person.set_unusable_password()
    person.save()
    person.groups.set(Group.objects.filter(name="Security"))
    act_as("web")
    device = TotpDevice(user=person, confirmed=True)
    device.draw_seed()
    device.save()
    client = Client(headers={"host": "localhost"}, REMOTE_ADDR="127.0.0.1")
    client.force_login(person)
    session = client.session
    session[DEVICE_ID_SESSION_KEY] = device.persistent_id
    session.save()
    return client


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keys", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--turns", type=int, default=8)
    chosen = options.parse_args()
    with prepared(chosen.keys) as raw:
        from inventory.models import Key

        client = signed_in()
        print(f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}, {os.cpu_count()} cores")
        measure_lists(client, raw, chosen.rounds, chosen.turns)
        key = Key.objects.order_by("pk")[5]
        measure_pages(
            client, {"posture": "/", "dossier": f"/inventory/key/{key.pk}/change/"}, chosen.rounds, chosen.turns
        )
        act_as("worker")
        measure_flagging(chosen.rounds)
        print(f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
