"""What somebody must know of the checkpoints, on the first page and in doctor."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import connection
from django.http import HttpRequest
from django.utils import timezone
from pytest_django import Settings

from audit import anchoring
from audit.actor import Actor
from audit.alerts import found_altered, not_anchored, not_signed, not_verified
from audit.checkpoints import make_checkpoint
from audit.verification import Damage, Finding, Position, Verdict, results
from keyvault_admin.checks.checkpoints import LIVE
from keyvault_admin.dashboard import posture_context

Fill = Callable[[int], None]
Role = Callable[[str], AbstractContextManager[None]]
SIGNER = Actor.system("signer")
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = bytes(range(7, 39)), "keys.example.org/audit", []


@pytest.fixture
def sign(as_role: Role, seal_events: Callable[[], None]) -> Callable[[datetime], None]:
    def make(at: datetime) -> None:
        with as_role("signer"):
            make_checkpoint(actor=SIGNER, now=at)
            anchoring.deliver(actor=SIGNER, now=at)
            seal_events()

    return make


def test_events_that_wait_too_long_for_a_checkpoint_are_an_alert(fill: Fill, sign: Callable) -> None:
    at = timezone.now()  # events are stamped by the server's clock
    assert not_signed(at + timedelta(days=9)) is None  # nothing has happened yet
    fill(1)
    assert not_signed(at + timedelta(minutes=119)) is None
    found = not_signed(at + timedelta(minutes=121))
    assert found is not None
    assert found.said.startswith("No checkpoint covers the audit log since ")
    sign(at)
    assert not_signed(at + timedelta(days=9)) is None  # its own events wait for others


def test_a_checkpoint_that_no_anchor_took_for_an_hour_is_an_alert(
    fill: Fill, sign: Callable, settings: Settings, now: datetime, tmp_path: Path
) -> None:
    fill(1)
    sign(now)
    assert not_anchored(now + timedelta(minutes=59)) is None
    found = not_anchored(now + timedelta(minutes=60))
    assert found is not None
    assert found.said == "No anchor has taken a checkpoint since 21 Nov 2026, 09:00 UTC"
    assert found.mend.startswith("name anchors in KEYVAULT_ANCHORS")
    settings.ANCHORS = [(tmp_path / "missing").as_uri()]
    sign(now + timedelta(minutes=1))
    assert not_anchored(now + timedelta(minutes=61)) == found  # about the oldest one
    settings.ANCHORS = [tmp_path.as_uri()]
    sign(now + timedelta(minutes=2))
    assert not_anchored(now + timedelta(days=9)) is None


def test_the_error_of_the_anchor_is_told(
    fill: Fill, sign: Callable, settings: Settings, now: datetime, tmp_path: Path
) -> None:
    settings.ANCHORS = [(tmp_path / "missing").as_uri()]
    fill(1)
    sign(now)
    found = not_anchored(now + timedelta(hours=1))
    assert found is not None
    assert found.mend == f"The folder {tmp_path / 'missing'} did not take the file: No such file or directory."


def test_a_log_that_nobody_has_verified_for_a_day_is_an_alert(fill: Fill, seal_events: Callable[[], None]) -> None:
    fill(1)
    at = timezone.now()
    assert not_verified(at + timedelta(hours=25)) is None  # the night will come
    found = not_verified(at + timedelta(hours=27))
    assert found is not None
    assert found.said == "The audit log has not been verified yet"
    verified(at, seal_events)
    assert not_verified(at + timedelta(hours=25)) is None
    found = not_verified(at + timedelta(hours=27))
    assert found is not None
    assert found.said.startswith("The audit log has not been verified since ")
    assert found_altered(at) is None


def test_what_was_found_with_checkpoints_from_outside_is_not_taken_back_without_any(
    fill: Fill, seal_events: Callable[[], None], dave: object
) -> None:
    fill(1)
    at = timezone.now()
    verified(at, seal_events, outside=2)
    rewrite = Finding(1, Damage.REWRITE, "one of the events 1 to 1 is not the one that was signed")
    verified(at, seal_events, outside=2, findings=(rewrite,))
    for outside in (0, 1):
        verified(at + timedelta(days=1), seal_events, outside=outside)  # as every night
        found = found_altered(at)
        assert found is not None
        assert "event 1: rewrite: one of the events" in found.said
        assert {rule.id: rule.look().mend[:8] for rule in LIVE}["face.W013"] == "Keep the"
    request = HttpRequest()
    request.user = dave
    assert [tile.figure for tile in posture_context(request)["tiles"] if tile.label == "Audit log"] == ["altered"]
    verified(at, seal_events, outside=2)
    assert found_altered(at) is None


def verified(at: datetime, seal_events: Callable[[], None], **seen: object) -> None:
    position = Position(1, bytes(32))
    results.keep(Verdict(begin=position, end=position, **seen), actor=Actor.system("beat"), now=at)
    seal_events()


def test_the_first_page_and_doctor_say_so_to_who_may_see_the_log(
    fill: Fill, dave: object, mallory: object, django_assert_max_num_queries: Callable
) -> None:
    fill(1)
    request = HttpRequest()
    request.user = dave
    with time_machine.travel(timezone.now() + timedelta(hours=3), tick=False):
        with django_assert_max_num_queries(30):
            steps = posture_context(request)["steps"]
        assert steps[0].title.startswith("No checkpoint covers the audit log since ")
        answers = {rule.id: rule.look() for rule in LIVE}
        assert answers["face.W009"].mend.startswith("See that the signer runs")
        assert answers["face.W010"].mend == ""
        request.user = mallory
        assert "steps" not in posture_context(request)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM audit_checkpoint")
        assert cursor.fetchone() == (0,)
