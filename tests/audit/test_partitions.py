"""Partitions are made ahead of need, and their lack has a name of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

import pytest
from django.db import DatabaseError, connection, transaction

from audit import selectors, services, tasks
from audit.actions import Action
from audit.actor import Actor
from audit.models import Event

Owner = Callable[[], AbstractContextManager[None]]


def move_head(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_head SET number = %s", [number])


@pytest.mark.django_db
def test_a_new_log_has_room_for_half_a_million_events() -> None:
    assert selectors.head_room() == 500_000
    assert services.extend_log() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["web", "worker", "beat", "signer", "command"])
def test_extend_log_catches_up_once(
    as_owner: Owner, as_role: Callable[[str], AbstractContextManager[None]], role: str
) -> None:
    with as_owner():
        move_head(999_999)
    assert selectors.head_room() == -499_999
    with as_role(role):
        tasks.extend_log()
        assert services.extend_log() == 0
    assert selectors.head_room() == 500_001


@pytest.mark.django_db
def test_events_go_on_across_the_border(as_owner: Owner, now: datetime, seal_events: Callable[[], None]) -> None:
    with as_owner():
        move_head(249_999)
    for _ in range(2):
        services.record(Action.KEY_EDITED, actor=Actor.system("beat"), now=now)
    seal_events()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, number FROM audit_event ORDER BY number")
        assert cursor.fetchall() == [("audit_event_000000", 250_000), ("audit_event_000001", 250_001)]


@pytest.mark.django_db
def test_a_missing_partition_is_said_clearly(as_owner: Owner, now: datetime, seal_events: Callable[[], None]) -> None:
    with as_owner():
        move_head(500_000)
    with pytest.raises(DatabaseError, match="no partition for event 500001") as caught, transaction.atomic():  # noqa: PT012 - it fails at commit
        services.record(Action.KEY_EDITED, actor=Actor.system("beat"), now=now)
        seal_events()
    assert caught.value.__cause__.sqlstate == "KA001"  # type: ignore[union-attr]
    services.extend_log()
    services.record(Action.KEY_EDITED, actor=Actor.system("beat"), now=now)
    seal_events()
    assert Event.objects.get().number == 500_001


@pytest.mark.django_db
def test_partitions_are_indexed_like_the_first(as_owner: Owner) -> None:
    with as_owner():
        move_head(1)
    services.extend_log()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT tablename, array_agg(regexp_replace(indexdef, '^.* USING', '') ORDER BY 1) FROM pg_indexes
            WHERE tablename ~ '^audit_event_\\d' GROUP BY tablename ORDER BY tablename
            """
        )
        found = dict(cursor.fetchall())
    assert list(found) == [f"audit_event_{number:06}" for number in range(3)]
    assert len({tuple(sorted(indexes)) for indexes in found.values()}) == 1
