"""What the pages of the audit log cost at a million events, beside the bare statement that fetches the rows they show.

    .venv/bin/python -m bench.explorer [--events 1000000] [--rounds 3] [--turns 5] [--only who] [--plans] [--keep]

Starts engines of its own, with everything flushed to disk as in production, on a database of its own that is dropped
afterwards; with --keep it stays, and the next run with as many events begins at once. Columns and rounds are those of
`bench.inventory`: `bare` is one statement by psycopg, written by hand, that fetches the same events; `ours` what the
page spends on finding and fetching them; `all SQL` every statement of the request with its session, person, names,
counts and the note that somebody has read. --plans prints how PostgreSQL goes about each of our statements.
"""

import argparse
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from bench.audit_log import fill
from bench.inventory import ROOT, Measured, act_as, measure_pages, ms, prepared, signed_in, tell
from bench.inventory_pages import Page

if TYPE_CHECKING:
    from django.test import Client

RARE = 30  # acts that only the beginning of the log holds: the end of every list is where a page may get slow
EVENTS = "SELECT e.* FROM audit_event e {join} WHERE {where} ORDER BY e.number {order} LIMIT 51"
OF_KEY = "JOIN audit_event_subject s ON s.number = e.number"
MARKS = ('"audit_event"."stamp"',)


def _list(name: str, query: str, where: str = "true", order: str = "DESC", join: str = "") -> Page:
    return Page(name, f"/audit/event/?{query}", EVENTS.format(where=where, order=order, join=join), MARKS)


def pages(events: int, middle: datetime) -> list[Page]:
    """Return what is asked, in the order of the table; `middle` is when the event in the middle was recorded."""
    days = f"{middle:%Y-%m-%d}..{middle + timedelta(days=6):%Y-%m-%d}"
    week = f"recorded_at >= '{middle:%Y-%m-%d}Z' AND recorded_at < '{middle + timedelta(days=7):%Y-%m-%d}Z'"
    after, door = f"e.number < {events // 2}", "substr(path, strpos(path, ' ') + 1)"
    noun, refused = "split_part(action, '.', 1)", "outcome = 'refused'"
    who, behalf = "actor_id = '{}'", "(actor_id = '{0}' OR on_behalf_of = '{0}')"
    return [
        _list("first page", ""),
        _list("middle", f"after={events // 2}", after),
        _list("last page", "before=end", order="ASC"),
        _list("who", "who=user:7", who.format("user:7")),
        _list("who, last page", "who=user:7&before=end", who.format("user:7"), "ASC"),
        _list("who, frequent", "who=beat", who.format("beat")),
        _list("who, also on behalf", "who=user:3", behalf.format("user:3")),
        _list("who, nobody", "who=user:99999", who.format("user:99999")),
        _list("what, frequent", "action=key.edited", "action = 'key.edited'"),
        _list("what, long ago", "action=clause.registered", "action = 'clause.registered'"),
        _list("what, a group", "action=keys", f"{noun} IN ('key', 'finding', 'token')"),
        _list("what, a group long ago", "action=policies", f"{noun} IN ('clause', 'threat_level')"),
        _list("on what", "on=key:7", "s.subject = 'key:7'", join=OF_KEY),
        _list("on what, rare", "on=clause:1", "s.subject = 'clause:1'", join=OF_KEY),
        _list("when, a week", f"when={days}", week),
        _list("when, last page", f"when={days}&before=end", week, "ASC"),
        _list("outcome refused", "outcome=refused", refused),
        _list("outcome done", "outcome=done", "outcome = 'done'"),
        _list("path", "path=/inventory/key/7/edit/", f"{door} = '/inventory/key/7/edit/' AND path <> ''"),
        _list("path, frequent", "path=/login/", f"{door} = '/login/' AND path <> ''"),
        _list("who and what", "who=user:7&action=key.edited", who.format("user:7") + " AND action = 'key.edited'"),
        _list("who and what, none", "who=beat&action=session.opened",
              who.format("beat") + " AND action = 'session.opened'"),
        _list("who and a group", "who=user:7&action=sign-in",
              who.format("user:7") + f" AND {noun} IN ('session', 'sign_in')"),
        _list("who and what, long ago", "who=user:1&action=clause.registered",
              who.format("user:1") + " AND action = 'clause.registered'"),
        _list("who and outcome", "who=user:7&outcome=refused", who.format("user:7") + f" AND {refused}"),
        _list("what and outcome", "action=key.edited&outcome=refused", f"action = 'key.edited' AND {refused}"),
        _list("what and outcome, none", "action=session.refused&outcome=done",
              "action = 'session.refused' AND outcome = 'done'"),
        _list("on what and who", "on=key:7&who=user:7", who.format("user:7") + " AND s.subject = 'key:7'", join=OF_KEY),
        _list("on what and what", "on=key:7&action=key.rotated",
              "action = 'key.rotated' AND s.subject = 'key:7'", join=OF_KEY),
        _list("what and when", f"action=key.suspended&when={days}", f"action = 'key.suspended' AND {week}"),
        _list("who, what and when", f"who=user:7&action=keys&when={days}",
              who.format("user:7") + f" AND {noun} IN ('key', 'finding', 'token') AND {week}"),
        _list("search, reference", "q=key:7", "s.subject = 'key:7'", join=OF_KEY),
        _list("search, number", f"q={events // 2}", f"e.number = {events // 2}"),
        Page("event", f"/audit/event/{events // 2}/change/"),
        Page("event, first", "/audit/event/1/change/"),
        Page("posture", "/"),
    ]  # fmt: skip


def with_events(superuser: psycopg.Connection, events: int) -> None:
    """Write the rare acts, then the rest, with a checkpoint over the first half and one over nearly all."""
    if superuser.execute("SELECT number FROM audit_head").fetchone()[0] >= events:
        return
    begin_rare()
    half = events // 2
    for some in (half, events - half - RARE - 2):
        superuser.autocommit = False
        fill(superuser, some)
        superuser.autocommit = True
        sign()
        tell(f"{some:,} events copied, indexed and signed")
    superuser.execute("VACUUM (ANALYZE)")


def begin_rare() -> None:
    from django.db import transaction
    from django.utils import timezone

    from audit.actions import Action
    from audit.actor import Actor
    from audit.services import Subject, record

    act_as("web")
    person = Actor(kind="person", id="user:1", role="Security", path="POST /inventory/policyclause/add/")
    with transaction.atomic():
        for number in range(RARE):
            subject = Subject(ref=f"clause:{number}", label=f"clause {number}")
            record(Action.CLAUSE_REGISTERED, actor=person, now=timezone.now(), subjects=[subject])


def sign() -> None:
    from django.conf import settings
    from django.utils import timezone

    from audit.actor import Actor
    from audit.checkpoints import make_checkpoint

    settings.SIGNING_KEY, settings.ANCHORS = bytes(range(32)), []
    act_as("signer")
    make_checkpoint(actor=Actor.system("signer"), now=timezone.now())


def show_plans(client: "Client", asked: list[Page]) -> None:
    """Print the plan of every statement that finds or counts the events of a page."""
    from django.db import connection

    def explained(execute, statement, params, many, context):  # noqa: ANN001, ANN202 - Django's own signature
        if "audit_event" in statement and statement.lstrip("(").startswith("SELECT"):
            with connection.wrap_database_errors:
                context["cursor"].cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", params)
            print("\n".join(line for (line,) in context["cursor"].cursor.fetchall()), end="\n\n")
        return execute(statement, params, many, context)

    for page in asked:
        print(f"\n=== {page.name}: {page.address}")
        with connection.execute_wrapper(explained):
            client.get(page.address)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--only", default="", help="measure what has this in its name")
    options.add_argument("--plans", action="store_true", help="print plans instead of figures")
    options.add_argument("--keep", action="store_true", help="keep the database, and use the one that was kept")
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    with prepared(chosen.var, chosen.events, keep=chosen.keep, filled=with_events) as raw:
        client = signed_in()
        query = "SELECT recorded_at AT TIME ZONE 'UTC' FROM audit_event WHERE number = %s"
        (middle,) = raw.execute(query, [chosen.events // 2]).fetchone()
        asked = [page for page in pages(chosen.events, middle) if chosen.only in page.name]
        if chosen.plans:
            show_plans(client, asked)
        else:
            show(measure_pages(client, raw, asked, chosen.rounds, chosen.turns), chosen)


def show(table: list[Measured], chosen: argparse.Namespace) -> None:
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"\n{chosen.events:,} events, {chosen.rounds} rounds of {chosen.turns}, {os.cpu_count()} cores, load {load}")
    heads = ("bare", "ours", "ours of bare", "all SQL", "queries", "page p50", "p95")
    print(
        f"{'':30}" + "".join(f"{head:>{width}}" for head, width in zip(heads, (11, 11, 20, 11, 9, 11, 12), strict=True))
    )
    for line in table:
        print(line.line)
    slowest = max(table, key=lambda line: line.total)
    print(f"most SQL: {slowest.name}, {ms(slowest.total)}")


if __name__ == "__main__":
    main()
