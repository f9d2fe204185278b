"""What the inbox and the page of a request cost at ten thousand requests, beside the bare statement for their rows.

    .venv/bin/python -m bench.approvals [--requests 10000] [--open 1000] [--rounds 3] [--turns 5] [--only X] [--keep]

Starts engines of its own, as `bench.inventory` does, whose columns these are: `bare` is one statement by psycopg,
written by hand, that fetches the same requests; `ours` what the page spends on finding and fetching them; `all SQL`
every statement of the request. So many requests are open, one in three of them lacks no vote of Security any more; the
rest was rejected.
"""

import argparse
import os
import secrets
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from bench.inventory import ROOT, act_as, measure_pages, ms, prepared, signed_in, tell
from bench.inventory_pages import Page

if TYPE_CHECKING:
    from rotation.models import Request
    from rotation.operations.base import Payload

MARKS = ("keyset_value",)
OF_ONE = ('"rotation_request"."payload"', 'FROM "rotation_vote" INNER JOIN "access_user"')
MINE = """
r.state = 'open' AND r.expires_at > now() AND r.waits_for && '{Security}' AND NOT r.barred @> '{user:0}'
"""
ROWS = """
SELECT r.id, r.title, r.reason, r.requested_at, r.expires_at, r.state, r.waits_for, u.full_name
  FROM rotation_request r LEFT JOIN access_user u ON u.id = r.requested_by_id
 WHERE {where} ORDER BY {order} LIMIT 51
"""


def _list(name: str, query: str, where: str, order: str = "r.expires_at, r.id") -> Page:
    return Page(name, f"/rotation/request/?{query}", ROWS.format(where=where, order=order), MARKS)


def pages(request: int) -> list[Page]:
    """Return what is asked, in the order of the table; `request` is the one whose page is read."""
    newest = "r.requested_at DESC, r.id DESC"
    decided = "r.state NOT IN ('open', 'approved', 'executing')"
    votes = "LEFT JOIN rotation_vote v ON v.request_id = r.id"
    one = f"SELECT r.*, v.* FROM rotation_request r {votes} WHERE r.id = {request}"
    return [
        _list("inbox: for my vote", "view=waiting", MINE),
        _list("inbox: last page", "view=waiting&before=end", MINE, "r.expires_at DESC, r.id DESC"),
        _list("inbox: all open", "view=open", "r.state IN ('open', 'approved', 'executing')"),
        _list("inbox: decided", "view=decided", decided, newest),
        _list("inbox: decided, last page", "view=decided&before=end", decided, "r.requested_at, r.id"),
        _list("inbox: I asked", "view=asked", "r.requested_by_id = 0", newest),
        _list("inbox: search", "view=decided&q=77", f"{decided} AND upper(r.title) LIKE '%77%'", newest),
        Page("decision", f"/rotation/request/{request}/change/", one, OF_ONE),
        Page("posture", "/"),
    ]


def with_requests(superuser: psycopg.Connection, size: int) -> None:
    """Ask for everything, then vote on and reject what is not to stay open."""
    if superuser.execute("SELECT count(*) FROM rotation_request").fetchone()[0] >= size:
        return
    asker, voters = _people()
    act_as("web")
    _ask(asker, size)
    still_open = int(os.environ.get("BENCH_OPEN", "1000"))
    superuser.execute("SET session_replication_role = replica")  # so many votes, each with a code, would take the day
    vote = """
        INSERT INTO rotation_vote (request_id, person_id, role, is_approval, comment, digest, verified_by,
                                   credentials_mark, voted_at, voided_because)
        SELECT id, %s, %s, %s, %s, digest, 'totp:1', '', requested_at, '' FROM rotation_request r WHERE {}
    """
    superuser.execute(vote.format("id %% 3 = 0"), [voters[0], "Security", True, ""])
    superuser.execute(vote.format("id > %s"), [voters[1], "DevOps", False, "no", still_open])
    superuser.execute("UPDATE rotation_request SET waits_for = '{DevOps}' WHERE id %% 3 = 0", [])
    closed = "UPDATE rotation_request SET state = 'rejected', closed_at = requested_at, waits_for = '{}' WHERE id > %s"
    superuser.execute(closed, [still_open])
    superuser.execute("SET session_replication_role = origin")
    superuser.execute("VACUUM (ANALYZE)")
    tell(f"{size:,} requests, {still_open:,} of them open")


def _people() -> tuple[int, list[int]]:
    from django.contrib.auth.models import Group

    from keyvault_admin.access.models import User

    act_as("command")
    found = []
    for name, role in (("asker", "DevOps"), ("voter", "Security"), ("other", "DevOps")):
        person = User(username=name, email=f"{name}@example.org", full_name=name.title())
        person.set_unusable_password()
        person.save()
        person.groups.set(Group.objects.filter(name=role))
        found.append(person.pk)
    return found[0], found[1:]


def _ask(asker: int, size: int) -> None:
    from django.utils import timezone

    from audit.canonical import timestamp
    from rotation.models import Request, RequestTarget
    from rotation.operations import operations
    from rotation.operations.base import DEVOPS, SECURITY, Payload, Step, Target
    from rotation.operations.payloads import write_payload

    codes = [operation.code for operation in operations()] or ["bench.thing"]
    now = timezone.now()
    for start in range(0, size, 2_000):
        made = []
        for number in range(start, min(start + 2_000, size)):
            asked_at = now - timedelta(minutes=number % 600)
            payload = Payload(
                operation=codes[number % len(codes)],
                targets=(Target(ref=f"thing:{number}", label=f"crm-sync/partner-{number}", revision=17),),
                parameters={"thing": number, "reason_code": "superseded"},
                facts={"consumers": [f"service-{one}" for one in range(20)], "before": "active"},
                steps=(Step(SECURITY), Step(DEVOPS)),
                excluded=(),
                reason=f"the partner has left, ticket {number}",
                requested_by=f"user:{asker}",
                requested_at=timestamp(asked_at),
                expires_at=timestamp(asked_at + timedelta(days=14)),
                is_break_glass=False,
                nonce=secrets.token_hex(16),
            )
            made.append(_row(payload, write_payload(payload), asker, number))
        Request.objects.bulk_create(made)
        RequestTarget.objects.bulk_create(RequestTarget(request=one, ref=one.subject_ref) for one in made)


def _row(payload: "Payload", raw: bytes, asker: int, number: int) -> "Request":
    from audit.canonical import parse_timestamp
    from rotation.models import Request

    return Request(
        operation=payload.operation,
        payload=raw,
        digest=sha256(raw).digest(),
        title=f"Revoke crm-sync/partner-{number}",
        subject_ref=payload.targets[0].ref,
        reason=payload.reason,
        requested_by_id=asker,
        requested_by_ref=payload.requested_by,
        requested_at=parse_timestamp(payload.requested_at),
        expires_at=parse_timestamp(payload.expires_at),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--requests", type=int, default=10_000)
    options.add_argument("--open", type=int, default=1_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--turns", type=int, default=5)
    options.add_argument("--only", default="", help="measure what has this in its name")
    options.add_argument("--keep", action="store_true", help="keep the database, and use the one that was kept")
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    os.environ["BENCH_OPEN"] = str(chosen.open)
    with prepared(chosen.var, chosen.requests, keep=chosen.keep, filled=with_requests) as raw:
        client = signed_in()
        asked = [page for page in pages(1) if chosen.only in page.name]
        table = measure_pages(client, raw, asked, chosen.rounds, chosen.turns)
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(
        f"\n{chosen.requests:,} requests, {chosen.open:,} open, {chosen.rounds} rounds of {chosen.turns}, load {load}"
    )
    heads = ("bare", "ours", "ours of bare", "all SQL", "queries", "page p50", "p95")
    widths = (11, 11, 20, 11, 9, 11, 12)
    print(f"{'':30}" + "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for line in table:
        print(line.line)
    print(f"most SQL: {ms(max((line.total for line in table), key=max))}")


if __name__ == "__main__":
    main()
