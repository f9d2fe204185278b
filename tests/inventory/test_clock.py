"""STM-03: lateness at the very instant, on odd days, from odd places, and when the clock is set back. 40 cases."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from inventory import selectors
from inventory.chips import due_chip
from inventory.models import Key
from inventory.states import State
from rotation.models import Notice
from rotation.overdue import flag_overdue
from tests.inventory.world import ACTOR, events_of, make_key, make_owner, seal

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
ODD_DAYS = {
    "Europe begins summer time": date(2026, 3, 29),
    "Europe ends it": date(2026, 10, 25),
    "America begins summer time": date(2027, 3, 14),
    "America ends it": date(2026, 11, 1),
    "a leap day": date(2028, 2, 29),
    "the last of a year": date(2026, 12, 31),
    "the first of a year": date(2027, 1, 1),
}
OFFSETS = {-1: False, 0: True, 1: True}  # seconds from rotate_by → late
PLACES = {"UTC+14": timezone(timedelta(hours=14)), "UTC-14": timezone(timedelta(hours=-14))}
THRESHOLDS = (30, 7, 0)

AT_THE_INSTANT = [(name, seconds) for name in ODD_DAYS for seconds in OFFSETS]
FROM_ELSEWHERE = [(name, seconds) for name in PLACES for seconds in OFFSETS]
SET_BACK = list(ODD_DAYS)
AT_A_THRESHOLD = [(days, seconds) for days in THRESHOLDS for seconds in (-1, 0)]


def due_on(day):
    """Return a key of production that is due at 00:00 UTC of that day, by R210, and whom to tell of it."""
    last = day - timedelta(days=90)
    made = datetime(last.year, last.month, last.day, 12, tzinfo=UTC)
    owner = make_owner("ann", "ann@example.org")
    key = make_key(created_on=last, last_rotated_on=last, owner=owner, now=made)
    assert key.rotate_by == datetime(day.year, day.month, day.day, tzinfo=UTC)
    return key


def flag_thrice(now):
    done = [flag_overdue(actor=ACTOR, now=now) for _ in range(3)]
    seal()
    return done


def notices():
    return sorted(Notice.objects.values_list("threshold_days", flat=True), reverse=True)


def test_there_are_forty_cases():
    assert len(AT_THE_INSTANT) + len(FROM_ELSEWHERE) + len(SET_BACK) + len(AT_A_THRESHOLD) == 40


@pytest.mark.parametrize(("day", "seconds"), AT_THE_INSTANT)
def test_a_key_is_late_from_the_instant_on_whatever_the_day(day, seconds):
    key = due_on(ODD_DAYS[day])
    now = key.rotate_by + seconds * SECOND
    assert Key.objects.overdue(now).exists() == OFFSETS[seconds]
    assert selectors.count_pressing(now)[0] == OFFSETS[seconds]
    flagged = [done.newly_late for done in flag_thrice(now)]
    assert flagged == [int(OFFSETS[seconds]), 0, 0]
    assert len(events_of("key.flagged_overdue")) == OFFSETS[seconds]
    assert len(notices()) == 1  # told once, for the last threshold that was crossed


@pytest.mark.parametrize(("place", "seconds"), FROM_ELSEWHERE)
def test_where_somebody_looks_from_changes_nothing(place, seconds):
    key = due_on(date(2026, 11, 21))
    now = key.rotate_by + seconds * SECOND
    there = now.astimezone(PLACES[place])
    assert there.date() != now.date() or seconds == -1 or place == "UTC+14"
    assert Key.objects.overdue(there).exists() == Key.objects.overdue(now).exists() == OFFSETS[seconds]
    here = due_chip(key.rotate_by, State.ACTIVE, now)
    assert due_chip(key.rotate_by.astimezone(PLACES[place]), State.ACTIVE, there) == here
    assert here.words == ("due today" if OFFSETS[seconds] else "in 1 day")
    assert [done.newly_late for done in flag_thrice(there)] == [int(OFFSETS[seconds]), 0, 0]


@pytest.mark.parametrize("day", SET_BACK)
def test_a_clock_that_is_set_back_flags_and_tells_nobody_again(day):
    key = due_on(ODD_DAYS[day])
    after = key.rotate_by + SECOND
    done = [*flag_thrice(after), *flag_thrice(after - timedelta(hours=1)), *flag_thrice(after)]
    assert [one.newly_late for one in done] == [1, *[0] * 8]
    assert [one.notices for one in done] == [1, *[0] * 8]
    assert len(events_of("key.flagged_overdue")) == 1
    assert notices() == [0]
    assert Key.objects.get(pk=key.pk).flagged_overdue_at == after


@pytest.mark.parametrize(("days", "seconds"), AT_A_THRESHOLD)
def test_each_threshold_is_told_of_once(days, seconds):
    key = due_on(date(2026, 11, 21))
    for earlier in (one for one in THRESHOLDS if one > days):
        flag_thrice(key.rotate_by - timedelta(days=earlier))
    flag_thrice(key.rotate_by - timedelta(days=days) + seconds * SECOND)
    assert notices() == [one for one in THRESHOLDS if one > days or (one == days and seconds == 0)]
