"""A company's spreadsheet goes into the inventory: what is new, changed, unchanged and refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.actor import Actor
from audit.models import Event
from inventory import services
from inventory.models import Key, Owner, Service
from inventory.states import State

ACTOR = Actor.system("test")
SAMPLE = Path(__file__).parent.parent / "data" / "notion-inventory.csv"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def bring(content, *, now=NOW):
    return services.apply_import(content=content, file_name="test.csv", actor=ACTOR, reason="test", now=now)


@pytest.mark.django_db
def test_the_sample_goes_in_and_the_same_file_twice_changes_nothing(seal_events):
    first = bring(SAMPLE.read_bytes())
    assert first.summary == "240 new, 0 changed, 1 unchanged, 0 refused"
    assert Key.objects.filter(state=State.ACTIVE).count() == Key.objects.count() == 240
    owners, services_, before = (
        Owner.objects.count(),
        Service.objects.count(),
        list(Key.objects.order_by("pk").values()),
    )
    assert bring(SAMPLE.read_bytes()).summary == "0 new, 0 changed, 241 unchanged, 0 refused"
    assert (owners, services_) == (Owner.objects.count(), Service.objects.count()) == (16, 12)
    assert list(Key.objects.order_by("pk").values()) == before
    seal_events()
    assert Event.objects.filter(action="key.edited").count() == 0
