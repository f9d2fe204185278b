"""What the audit log costs: appending beside a plain insert, verifying beside hashing alone (bench/audit_verify.py).

    .venv/bin/python -m bench.audit [--rounds 5] [--turns 300] [--events 1000000]

Starts engines of its own in `var/bench`, with everything flushed to disk as in production, on a database of its own
that is dropped afterwards. A turn is one transaction: one changed row and its event. All ways write the same facts,
with the same indexes:

    plain     save() + ORM insert into a plain table: the floor, nothing is chained
    direct    save() + one SQL function that numbers, chains and inserts at once, so it holds the head until the commit
    sealed    save() + record() by a person: what the house does; numbered and chained at commit, identity sealed
    system    the same by a part of the system, which has no identity

`raw` are the same ways without Django: one UPDATE, one statement for the event, bodies made beforehand.
Clients are processes. Rounds are interleaved; ratios are the median of the rounds (least-greatest).
"""

import argparse
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from bench.audit_verify import measure_verification, ratio
from keyvault_admin.local.engines import Engines

if TYPE_CHECKING:
    from audit.actor import Actor
    from audit.body import Subject

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("plain", "direct", "sealed", "system")
RAW_WAYS = ("raw plain", "raw direct", "raw sealed")
TABLES = """
CREATE TABLE bench_row (id bigint PRIMARY KEY, name text NOT NULL, revision bigint NOT NULL);
INSERT INTO bench_row SELECT number, 'row', 0 FROM generate_series(1, 16) number;
CREATE TABLE bench_event (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid NOT NULL, body bytea NOT NULL, action text NOT NULL,
    outcome text NOT NULL, at timestamptz NOT NULL, actor_id text NOT NULL, subject text NOT NULL
);
CREATE INDEX ON bench_event (id);
CREATE INDEX ON bench_event (action, number);
CREATE INDEX ON bench_event (actor_id, number);
CREATE INDEX ON bench_event (at);
CREATE INDEX ON bench_event (subject, number);
GRANT SELECT, INSERT, UPDATE ON bench_row, bench_event TO keyvault_web;
"""
DIRECT = """
CREATE FUNCTION bench_append(id uuid, body bytea, identity bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given public.audit_pending := ROW(id, body, identity);
    {declared}
BEGIN
    IF NOT public.audit_is_event(id, convert_from(body, 'UTF8')::jsonb) THEN
        RAISE EXCEPTION 'no event';
    END IF;
    {chained}
END
$$;
ALTER FUNCTION bench_append(uuid, bytea, bytea) OWNER TO keyvault_owner;
GRANT EXECUTE ON FUNCTION bench_append(uuid, bytea, bytea) TO keyvault_web;
"""

# One client


def begin() -> None:
    """Set Django up in a client process."""
    import django

    django.setup()


def take_turns(way: str, client: int, turns: int) -> float:
    """Take a number of turns and return the seconds they took."""
    from django.db import connection

    connection.ensure_connection()
    turn = _raw_turn(way, client, turns) if way.startswith("raw") else _django_turn(way, client)
    turn()
    started = time.perf_counter()
    for _ in range(turns):
        turn()
    return time.perf_counter() - started


def _django_turn(way: str, client: int) -> Callable[[], None]:
    from django.db import transaction

    from audit.actions import Action
    from audit.services import Subject, record
    from bench import audit_models

    row = audit_models.Row.objects.get(pk=client + 1)

    def turn() -> None:
        with transaction.atomic():
            row.revision += 1
            row.save(update_fields=["revision"])
            change = Subject(
                ref=f"key:{client}",
                label="stripe",
                before={"revision": row.revision - 1},
                after={"revision": row.revision},
            )
            if way in {"sealed", "system"}:
                record(Action.KEY_EDITED, actor=_actor(way), now=datetime.now(UTC), subjects=[change], reason="because")
            elif way == "direct":
                _append(*_composed([change]))
            else:
                event_id, raw, _ = _composed([change])
                audit_models.PlainEvent.objects.create(
                    event_id=event_id,
                    body=raw,
                    action=Action.KEY_EDITED,
                    outcome="done",
                    at=datetime.now(UTC),
                    actor_id="user:7",
                    subject=change.ref,
                )

    return turn


def _raw_turn(way: str, client: int, turns: int) -> Callable[[], None]:
    from django.db import connection, transaction

    from audit.services import Subject

    statement = {
        "raw plain": "INSERT INTO bench_event (id, body, action, outcome, at, actor_id, subject) "
        "VALUES (%s, %s, 'key.edited', 'done', now(), 'user:7', coalesce(left(%s::text, 0), '') || 'key:1')",
        "raw direct": "SELECT bench_append(%s, %s, %s)",
        "raw sealed": "SELECT audit_append(%s, %s, %s)",
    }[way]
    with transaction.atomic():
        made = [_composed([Subject(ref="key:1", label="stripe", after={"owner": "carol"})]) for _ in range(turns + 1)]
    raw = connection.connection

    def turn() -> None:
        with raw.transaction():
            raw.execute("UPDATE bench_row SET revision = revision + 1 WHERE id = %s", [client + 1])
            raw.execute(statement, made.pop())

    return turn


def _actor(way: str) -> "Actor":
    from audit.actor import Actor, Identity

    if way == "system":
        return Actor.system("worker")
    identity = Identity(
        name="Bob Builder", mail="bob@example.org", address="192.0.2.7", agent="Mozilla/5.0 (X11; Linux)"
    )
    return Actor(kind="person", id="user:7", role="DevOps", path="POST /inventory/key/12/edit/", identity=identity)


def _composed(subjects: Sequence["Subject"]) -> tuple[UUID, bytes, bytes | None]:
    from audit import body, services
    from audit.actions import Action, Outcome

    event_id, now, actor = uuid4(), datetime.now(UTC), _actor("sealed")
    digest, sealed = services._seal_identity(event_id, actor, now)
    raw = body.compose(
        event_id,
        Action.KEY_EDITED,
        Outcome.DONE,
        actor=actor,
        identity_digest=digest,
        at=now,
        subjects=subjects,
        reason="because",
        facts={},
    )
    return event_id, raw, sealed


def _append(event_id: UUID, raw: bytes, sealed: bytes | None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT bench_append(%s, %s, %s)", [event_id, raw, sealed])


# Appending


def measure_appends(rounds: int, turns: int) -> None:
    """Measure every way with one and two clients, round by round."""
    ways = (*WAYS, *RAW_WAYS)
    rates: dict[tuple[str, int], list[float]] = {(way, clients): [] for way in ways for clients in (1, 2)}
    with ProcessPoolExecutor(2, initializer=begin) as pool:
        for number in range(rounds + 1):
            for (way, clients), measured in rates.items():
                taken = list(pool.map(take_turns, [way] * clients, range(clients), [turns] * clients))
                if number:  # the first round warms up
                    measured.append(clients * turns / max(taken))
    print(f"\nAppend: one changed row and its event a transaction, {rounds} rounds of {turns} turns a client")
    print(f"{'':12}{'1 client':>12}{'of plain':>22}{'2 clients':>14}{'of plain':>22}")
    for way in ways:
        floor = "raw plain" if way.startswith("raw") else "plain"
        cells = [f"{way:12}"]
        for clients in (1, 2):
            cells.append(f"{statistics.median(rates[way, clients]):10,.0f}/s")
            cells.append(f"{ratio(rates[way, clients], rates[floor, clients]):>22}")
        print("".join(cells))
    for clients in (1, 2):
        print(f"sealed of direct, {clients} client(s): {ratio(rates['sealed', clients], rates['direct', clients])}")


# The database


@contextmanager
def prepared() -> Iterator[psycopg.Connection]:
    """Start engines, migrate a new database, add the floor and the direct way; drop it at the end."""
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
            superuser.execute(TABLES)
            superuser.execute(direct_function(superuser.execute(PROSRC).fetchone()[0]))
            yield superuser
        from django.db import connections

        connections.close_all()
        with engines.postgres.connect() as superuser:
            superuser.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


PROSRC = "SELECT prosrc FROM pg_proc WHERE proname = 'audit_seal'"


def direct_function(source: str) -> str:
    """Return the direct way: what `audit_seal` does at commit, done at once."""
    declared, _, chained = source.partition("DECLARE")[2].partition("BEGIN")
    return DIRECT.format(
        declared=declared.strip().replace("OLD.", "given."),
        chained=chained.rpartition("RETURN NULL;")[0].strip().replace("OLD.", "given."),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--turns", type=int, default=300, help="0: no appending")
    options.add_argument("--events", type=int, default=200_000, help="0: no verifying")
    chosen = options.parse_args()
    with prepared() as superuser:
        begin()
        if chosen.turns:
            measure_appends(chosen.rounds, chosen.turns)
        if chosen.events:
            measure_verification(superuser, begin, chosen.rounds, chosen.events)


if __name__ == "__main__":
    main()
