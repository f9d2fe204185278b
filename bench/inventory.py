"""What the inventory costs at a million keys: its pages beside the bare page query, its work beside the bare UPDATE.

    .venv/bin/python -m bench.inventory [--keys 1000000] [--rounds 3] [--turns 5] [--only flag] [--keep]

Starts engines of its own, with everything flushed to disk as in production, on a database of its own that is dropped
afterwards; with --keep it stays, and the next run with as many keys begins at once. `bare` is the smallest statement,
written by hand, that fetches the rows of the page or changes the rows of the work, run by psycopg; `ours` the
statements of the page that fetch the same, or the whole work with its notices and events, sealed; `all SQL` every
statement of the request with its session, person and counts; `page` the request through middleware, view and
templates, in this process. Rounds are interleaved, and a round is the median of its turns; ratios are the median of the
rounds (least-greatest). What changes rows is rolled back and vacuumed away.
"""

import argparse
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from bench.audit import begin, ratio
from bench.inventory_keys import fill
from bench.inventory_pages import Page, pages
from bench.inventory_work import Pair, flagging, rolled_back, rules, timed
from keyvault_admin.local.engines import Engines

if TYPE_CHECKING:
    from django.test import Client

ROOT = Path(__file__).resolve().parent.parent
STARTED = perf_counter()


@dataclass
class Measured:
    """One line of the table; a list holds one figure a round, and `taken` one a turn."""

    name: str
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    queries: int = 0
    taken: list[float] = field(default_factory=list)

    @property
    def line(self) -> str:
        cells = [f"{self.name:30}"]
        cells += [f"{ms(self.bare):>11}{ms(self.ours):>11}{ratio(self.ours, self.bare):>20}" if self.bare else " " * 42]
        if self.taken:
            p95 = statistics.quantiles(self.taken, n=20)[-1]
            cells += [f"{ms(self.total):>11}{self.queries:>9}{ms(self.taken):>11}{p95 * 1000:>9.0f} ms"]
        return "".join(cells)


def ms(taken: Sequence[float]) -> str:
    return f"{statistics.median(taken) * 1000:,.1f} ms"


def tell(words: str) -> None:
    """Print a line of progress."""
    print(f"[{perf_counter() - STARTED:6.0f} s, load {os.getloadavg()[0]:.1f}] {words}", flush=True)


# Pages


class Watch:
    """Times every statement of a request."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, float]] = []

    def __call__(
        self,
        execute: Callable[..., object],
        statement: str,
        params: object,
        many: bool,  # noqa: FBT001 - Django calls it by position
        context: object,
    ) -> object:
        started = perf_counter()
        answer = execute(statement, params, many, context)
        self.statements.append((statement, perf_counter() - started))
        return answer

    def marked(self, marks: Sequence[str]) -> float:
        return sum(taken for text, taken in self.statements if any(mark in text for mark in marks))

    @property
    def total(self) -> float:
        return sum(taken for _, taken in self.statements)


def measure_pages(
    client: "Client", raw: psycopg.Connection, asked: Sequence[Page], rounds: int, turns: int
) -> list[Measured]:
    found = {page.name: Measured(page.name) for page in asked}
    for number in range(rounds + 1):
        for page in asked:
            _measure_page(client, raw, page, 1 if number == 0 else turns, found[page.name])
            if number == 0:  # the first round warms up
                found[page.name] = Measured(page.name)
        tell(f"pages, round {number} of {rounds}")
    return list(found.values())


def _measure_page(client: "Client", raw: psycopg.Connection, page: Page, turns: int, measured: Measured) -> None:
    bare, watches, taken = [], [], []
    for _ in range(turns):
        if page.bare:
            bare.append(timed(partial(_fetch, raw, page.bare)))
        watch, spent = _ask(client, page.address)
        watches.append(watch)
        taken.append(spent)
    if page.bare:
        measured.bare.append(statistics.median(bare))
        measured.ours.append(statistics.median(watch.marked(page.marks) for watch in watches))
    measured.total.append(statistics.median(watch.total for watch in watches))
    measured.queries = max(len(watch.statements) for watch in watches)
    measured.taken.extend(taken)


def _fetch(raw: psycopg.Connection, statement: LiteralString) -> None:
    raw.execute(statement).fetchall()


def _ask(client: "Client", address: str) -> tuple[Watch, float]:
    from django.db import connection

    watch = Watch()
    with connection.execute_wrapper(watch):
        started = perf_counter()
        answer = client.get(address)
        taken = perf_counter() - started
    assert answer.status_code == 200, (address, answer.status_code)
    return watch, taken


# Work


def measure_work(raw: psycopg.Connection, work: Pair, rounds: int) -> Measured:
    name, bare, ours = work
    measured = Measured(name)
    for number in range(rounds):
        pair = [(measured.bare, bare), (measured.ours, ours)]
        for figures, one in pair if number % 2 == 0 else pair[::-1]:
            raw.execute("VACUUM inventory_key, rotation_notice")
            raw.execute("CHECKPOINT")
            figures.append(rolled_back(one))
        tell(f"{name}, round {number + 1} of {rounds}: {ms(measured.bare[-1:])}, ours {ms(measured.ours[-1:])}")
    raw.execute("VACUUM inventory_key, rotation_notice")  # for the pages of the next run, where the database is kept
    return measured


# The database


@contextmanager
def prepared(
    var: Path, size: int, *, keep: bool, filled: Callable[[psycopg.Connection, int], None] | None = None
) -> Iterator[psycopg.Connection]:
    """Start engines, migrate and fill a new database; yield a bare connection; drop the database at the end.

    `filled` fills it up to a size, and does nothing where it is; left out, it is keys.
    """
    filled = filled or with_keys
    name = f"bench_{filled.__name__}_{size}" if keep else f"bench_{secrets.token_hex(4)}"
    with Engines(var, database=name) as engines:
        os.environ |= {
            "KEYVAULT_LOCAL_ENV": str(engines.places.local_env),
            "KEYVAULT_ROLE": "web",
            "DJANGO_SETTINGS_MODULE": "keyvault_admin.settings",
        }
        environment = {key: text for key, text in os.environ.items() if key != "KEYVAULT_ROLE"}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
        with engines.postgres.connect(name) as superuser:
            become_superuser(superuser)
            filled(superuser, size)
            yield superuser
        from django.db import connections

        connections.close_all()
        if not keep:
            with engines.postgres.connect() as superuser:
                superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def with_keys(superuser: psycopg.Connection, keys: int) -> None:
    if not superuser.execute("SELECT to_regclass('bench_late') IS NULL").fetchone()[0]:
        return
    from inventory.effects import verdicts
    from inventory.selectors import rules as in_force

    decided = verdicts(in_force())
    act_as("web")
    superuser.autocommit = False
    fill(
        superuser,
        keys,
        dict(zip(decided["words"], zip(decided["days"], decided["clause_ids"], strict=True), strict=True)),
    )
    superuser.execute(
        "CREATE TABLE bench_late (key_id bigint, action text, at timestamptz, rotate_by timestamptz);"
        "GRANT INSERT ON bench_late TO keyvault_app"
    )
    superuser.commit()
    superuser.autocommit = True
    superuser.execute("VACUUM (ANALYZE)")
    tell(f"{keys:,} keys copied and indexed")


def become_superuser(superuser: psycopg.Connection) -> None:
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


def signed_in() -> "Client":
    """Return a client of a person of Security who has shown a second factor."""
    from django.contrib.auth.models import Group
    from django.test import Client
    from django.utils import timezone
    from django_otp import DEVICE_ID_SESSION_KEY

    from audit.actor import Actor
    from keyvault_admin.access import services
    from keyvault_admin.access.models import TotpDevice, User

    act_as("command")
    person = User.objects.filter(username="bench").first()
    if person is None:
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
    services.open_session(
        person=person,
        session_key=session.session_key,
        verified_by=device.ref,
        actor=Actor.system("bench"),
        now=timezone.now(),
    )
    return client


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keys", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--only", default="", help="measure what has this in its name")
    options.add_argument("--keep", action="store_true", help="keep the database, and use the one that was kept")
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    table: list[Measured] = []
    try:
        with prepared(chosen.var, chosen.keys, keep=chosen.keep) as raw:
            measure(raw, chosen, table)
    finally:
        show(table, chosen)


def measure(raw: psycopg.Connection, chosen: argparse.Namespace, table: list[Measured]) -> None:
    """Add to the table, so that whoever stops it sees what was measured until then."""
    from inventory.models import Key

    client = signed_in()
    asked = [page for page in pages(Key.objects.order_by("pk")[5].pk) if chosen.only in page.name]
    if asked:
        table += measure_pages(client, raw, asked, chosen.rounds, chosen.turns)
    for role, work in (("worker", flagging), ("web", rules)):
        act_as(role)
        for pair in work():
            if chosen.only in pair[0]:  # a change of every key takes minutes
                table.append(measure_work(raw, pair, 1 if "all" in pair[0] else chosen.rounds))


def show(table: Sequence[Measured], chosen: argparse.Namespace) -> None:
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"\n{chosen.keys:,} keys, {chosen.rounds} rounds of {chosen.turns}, {os.cpu_count()} cores, load {load}")
    print(
        f"{'':30}{'bare':>11}{'ours':>11}{'ours of bare':>20}{'all SQL':>11}{'queries':>9}{'page p50':>11}{'p95':>12}"
    )
    for line in table:
        print(line.line)


if __name__ == "__main__":
    main()
