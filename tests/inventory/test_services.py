"""Keys are registered, edited and suspended through services, with their events."""

from datetime import date

import pytest

from audit.actor import Actor
from inventory import services
from inventory.models import Key
from inventory.states import State

ACTOR = Actor.system("test")


def facts(**changes):
    return {
        "name": "billing/stripe",
        "kind": "api_token",
        "environment": "production",
        "created_on": date(2026, 1, 10),
        "last_rotated_on": date(2026, 7, 13),
    } | changes


@pytest.mark.django_db
def test_register_key_enters_a_living_key_as_active_and_dates_it(now):
    key = services.register_key(facts=facts(), actor=ACTOR, reason="audit finding", now=now)
    stored = Key.objects.get(pk=key.pk)
    assert stored.state == State.ACTIVE
    assert stored.versions.get().state == State.ACTIVE
    assert f"{stored.rotate_by:%Y-%m-%d %H:%M}" == "2026-10-11 00:00"
    assert stored.winning_clause.requirement == "R210"
