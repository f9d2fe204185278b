"""People who act, and short ways to fill the log."""

from collections.abc import Callable
from datetime import datetime

import pytest
from django.db import transaction

from audit.actions import Action
from audit.actor import Actor, Identity
from audit.services import Subject, record


@pytest.fixture
def person() -> Actor:
    """Somebody of DevOps with everything that an actor can have."""
    return Actor(
        kind="person",
        id="user:7",
        role="DevOps+Security",
        verified_by="totp:5",
        verified_at=datetime.fromisoformat("2026-11-21T08:59:00Z"),
        identity=Identity(name="Bob Builder", mail="bob@example.org", address="192.0.2.7", agent="Firefox"),
        path="POST /inventory/key/12/edit/",
    )


@pytest.fixture
def fill(person: Actor, now: datetime, seal_events: Callable[[], None]) -> Callable[[int], None]:
    """Return a function that seals that many events of two subjects each."""

    def append(count: int) -> None:
        with transaction.atomic():
            for number in range(count):
                change = Subject(ref=f"key:{number}", label=f"key {number}", before={"name": "a"}, after={"name": "b"})
                record(
                    Action.KEY_EDITED, actor=person, now=now, subjects=[change, Subject(ref="key:all")], reason="why"
                )
            seal_events()

    return append
