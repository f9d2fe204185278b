"""Dates as spreadsheets and people write them. What can be read as two days is refused."""

import re
from datetime import date

from inventory.recognise.text import NotUnderstoodError, folded, is_unknown, shown

_LONGEST = 60  # characters; no date is longer, so that the patterns below never see a long text
_EARLIEST = 1970
_NEVER = frozenset({"never", "never rotated", "not yet", "not rotated", "not rotated yet"})
_MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTHS = {word: number for number, name in enumerate(_MONTH_NAMES, 1) for word in (name, name[:3])} | {"sept": 9}
_TIME = re.compile(
    r"(?:t|,? )(?P<hour>[0-9]{1,2}):(?P<minute>[0-5][0-9])(?::[0-5][0-9](?:[.,][0-9]{1,9})?)?"
    r"(?P<half> ?[ap]\.?m\.?)?(?: ?(?:z|utc|gmt|[+-][0-9]{2}:?[0-9]{2}|\([a-z0-9:+-]{1,12}\)))?$"
)
_YEAR_FIRST = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})")
_MONTH_FIRST = re.compile(r"([a-z]{3,9})\.? ([0-9]{1,2})(?:st|nd|rd|th)?,? ([0-9]{4})")
_DAY_FIRST = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th|\.)?([ -])([a-z]{3,9})\.?,?\2([0-9]{4})")
_SHORT_YEAR = re.compile(
    r"[0-9]{1,2}([-/.])[0-9]{1,2}\1[0-9]{2}|[a-z]{3,9}\.? [0-9]{1,2},? '?[0-9]{2}"
    r"|[0-9]{1,2}[ -][a-z]{3,9}\.?,?[ -]'?[0-9]{2}"
)
_MEND = "Write it as year-month-day, like 2024-08-30, or leave the cell empty."


def date_of(text: str, *, today: date) -> date | None:
    """Read a day. A time of day behind it is dropped, and the day taken as written, in whatever time zone that was."""
    if is_unknown(text):
        return None
    plain = folded(text)
    if len(plain) > _LONGEST:
        raise NotUnderstoodError(f'"{shown(text)}" is no date that is understood here.', _MEND)
    day = _day_of(_without_time(plain), text)
    if day > today:
        raise NotUnderstoodError(f'"{shown(text)}" lies after today, {today}.', "Write the day on which it happened.")
    if day.year < _EARLIEST:
        raise NotUnderstoodError(f'"{shown(text)}" lies before {_EARLIEST}.', "Correct the year.")
    return day


def last_rotation_of(text: str, *, today: date) -> tuple[date | None, bool]:
    """Read the day of the last rotation, and whether the cell says that there was none."""
    if folded(text) in _NEVER:
        return None, True
    return date_of(text, today=today), False


def _without_time(plain: str) -> str:
    found = _TIME.search(plain)
    if found is None:
        return plain
    hour = int(found["hour"])
    is_real = 1 <= hour <= 12 if found["half"] else hour <= 23  # noqa: PLR2004 - the hours of two clocks
    return plain[: found.start()] if is_real else plain


def _day_of(plain: str, text: str) -> date:
    if found := _YEAR_FIRST.fullmatch(plain):
        return _calendar_day(found[1], found[3], found[4], text)
    if found := _YEAR_LAST.fullmatch(plain):
        return _day_and_month(int(found[1]), int(found[3]), found[4], text)
    if (found := _MONTH_FIRST.fullmatch(plain)) and found[1] in _MONTHS:
        return _calendar_day(found[3], _MONTHS[found[1]], found[2], text)
    if (found := _DAY_FIRST.fullmatch(plain)) and found[3] in _MONTHS:
        return _calendar_day(found[4], _MONTHS[found[3]], found[1], text)
    if _SHORT_YEAR.fullmatch(plain):
        raise NotUnderstoodError(f'The year of "{shown(text)}" has two digits.', "Write all four digits of the year.")
    raise NotUnderstoodError(f'"{shown(text)}" is no date that is understood here.', _MEND)


def _day_and_month(first: int, second: int, year: str, text: str) -> date:
    """Tell day and month apart by what cannot be a month; two equal numbers are the same day either way."""
    if first > _MONTHS["december"] or first == second:
        return _calendar_day(year, second, first, text)
    if second > _MONTHS["december"]:
        return _calendar_day(year, first, second, text)
    readings = [f"{year}-{month:02}-{day:02}" for day, month in ((first, second), (second, first))]
    raise NotUnderstoodError(
        f'"{shown(text)}" can be read as two days: day or month may come first.',
        f"Write {readings[0]} or {readings[1]}.",
    )


def _calendar_day(year: str, month: int | str, day: int | str, text: str) -> date:
    try:
        return date(int(year), int(month), int(day))
    except ValueError as error:
        raise NotUnderstoodError(f'There is no such day as "{shown(text)}".', "Correct the date.") from error
