"""A log of old events in small partitions, signed: two periods of 20 events, and a rest that is not full."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from audit.actor import Actor
from audit.checkpoints import make_checkpoint
from audit.models import Period
from audit.periods.closing import close_period
from audit.periods.dropping import drop_period
from bench import audit_log
from tests.conftest import CommittedDatabase
from tests.engines import run_values
from tests.rotation.permits import being_carried_out

Role = Callable[[str], AbstractContextManager[None]]
Close = Callable[..., Period | None]
Drop = Callable[..., Period]
CLOSER, DROPPER = Actor.system("command:close_audit_period"), Actor.system("command:drop_audit_period")
A_YEAR = timedelta(days=365)
EVENTS = 45
# The last one has the name under which appending looks for the first 250,000 numbers.
PARTITIONS = {"a_000000": (1, 20), "b_000000": (21, 40), "000000": (41, 250_000)}
LONG_AGO = datetime(2019, 5, 1, tzinfo=UTC)


def repartition() -> None:
    """Cut the empty log into small partitions; as the owner."""
    with connection.cursor() as cursor:
        for parent in ("audit_event", "audit_event_subject"):
            cursor.execute(f"DROP TABLE {parent}_000000")
            for suffix, (first, last) in PARTITIONS.items():
                cursor.execute(
                    f"CREATE TABLE {parent}_{suffix} PARTITION OF {parent} FOR VALUES FROM ({first}) TO ({last + 1})"
                )


def owner_connection(database: str) -> psycopg.Connection:
    """Connect as the owner, as whoever tampers, or fills a log, does."""
    owner = psycopg.connect(f"{run_values()['DATABASE_URL_MIGRATOR'].rpartition('/')[0]}/{database}")
    owner.execute("SET ROLE keyvault_owner")
    owner.commit()
    return owner


def fill(database: str, events: int) -> None:
    with owner_connection(database) as owner:
        audit_log.fill(owner, events)


@pytest.fixture
def old_log(
    committed_db: CommittedDatabase, as_role: Role, settings: Settings, monkeypatch: pytest.MonkeyPatch, now: datetime
) -> CommittedDatabase:
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = bytes(range(7, 39)), "keys.example.org/audit", []
    settings.SECRET_SOURCES = {**settings.SECRET_SOURCES, "KEYVAULT_SIGNING_KEY": "file:///run/secrets/signing_key"}
    monkeypatch.setattr(audit_log, "FIRST", LONG_AGO)
    with as_role("migrator"):
        repartition()
    fill(committed_db.name, EVENTS)
    with as_role("signer"):
        make_checkpoint(actor=Actor.system("signer"), now=now)
    for number in (1, 2, 3):  # what people have voted for; that nothing is dropped without it, test_dropping shows
        being_carried_out("period.drop", f"audit_period:{number}", period=number)
    return committed_db


@pytest.fixture
def close(as_role: Role, tmp_path: Path, now: datetime) -> Close:
    """Return a function that closes the next period, as a person on the machine does."""

    def act(**more: object) -> Period | None:
        with as_role("command"):
            return close_period(
                **{"out": tmp_path, "retention": A_YEAR, "until": None, "actor": CLOSER, "now": now, **more}
            )

    return act


@pytest.fixture
def drop(as_role: Role, tmp_path: Path, now: datetime) -> Drop:
    """Return a function that drops a period, as the owner."""

    def act(number: int, **more: object) -> Period:
        with as_role("migrator"):
            period = Period.objects.filter(number=number).first()
            export = tmp_path / (period.export_name if period else "none")
            facts = {
                "export": export,
                "retention": A_YEAR,
                "actor": DROPPER,
                "reason": "seven years are over",
                "permit": {"request": "request:7"},
            }
            return drop_period(**{"number": number, **facts, "now": now, **more})

    return act
