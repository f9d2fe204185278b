"""Dates as spreadsheets and people write them. What can be read as two days is refused."""

import re
from collections.abc import Callable
from datetime import date

from inventory.recognise import foreign
from inventory.recognise.text import NotUnderstoodError, folded, is_unknown, shown

_LONGEST = 60  # characters; no date is longer, so that the patterns below never see a long text
_EARLIEST = 1970
_NEVER = frozenset({"never", "never rotated", "not yet", "not rotated", "not rotated yet"}) | frozenset(
    foreign.listed(foreign.NEVER)
)
_MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTHS = {word: number for number, name in enumerate(_MONTH_NAMES, 1) for word in (name, name[:3])} | {"sept": 9}
_MONTHS_ABROAD = {word: number for number, words in enumerate(foreign.MONTHS, 1) for word in foreign.listed(words)}
_TIME = re.compile(
    r"(?:t|,? )(?P<hour>[0-9]{1,2}):(?P<minute>[0-5][0-9])(?::[0-5][0-9](?:[.,][0-9]{1,9})?)?"
    r"(?P<half> ?[ap]\.?m\.?)?(?: uhr)?(?: ?(?:z|utc|gmt|[+-][0-9]{2}:?[0-9]{2}|\([a-z0-9:+-]{1,12}\)))?$"
)
_YEAR_FIRST = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})")
_YEAR_LAST = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})")
_MONTH_FIRST = re.compile(r"([a-z]{3,9})\.? ([0-9]{1,2})(?:st|nd|rd|th)?,? ([0-9]{4})")
_DAY_FIRST = re.compile(r"([0-9]{1,2})(?:st|nd|rd|th|er|\.)?([ -])(?:de )?([^\W\d_]{3,10})\.?,?\2(?:de )?([0-9]{4})")
_SHORT_YEAR = re.compile(
    r"[0-9]{1,2}([-/.])[0-9]{1,2}\1[0-9]{2}|[a-z]{3,9}\.? [0-9]{1,2},? '?[0-9]{2}"
    r"|[0-9]{1,2}[ -][a-z]{3,9}\.?,?[ -]'?[0-9]{2}"
)
_ORDERS = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year, month, day"}
DATE_ORDERS = tuple(_ORDERS)
_MEND = "Write it as year-month-day, like 2024-08-30, or leave the cell empty."


class AmbiguousDateError(NotUnderstoodError):
    """A date of three numbers that fits two orders: the file as a whole has to say which."""


def date_of(text: str, *, today: date, order: str | None = None) -> date | None:
    """Read a day. A time of day behind it is dropped, and the day taken as written, in whatever time zone that was.

    `order` (one of DATE_ORDERS) is how the file writes dates of three numbers; one that does not fit it is refused.
    Raises: AmbiguousDateError when only the order could tell.
    """
    if is_unknown(text):
        return None
    plain = folded(text)
    if len(plain) > _LONGEST:
        raise NotUnderstoodError(f'"{shown(text)}" is no date that is understood here.', _MEND)
    day = _day_of(_without_time(plain), text, order)
    if day > today:
        raise NotUnderstoodError(f'"{shown(text)}" lies after today, {today}.', "Write the day on which it happened.")
    if day.year < _EARLIEST:
        raise NotUnderstoodError(f'"{shown(text)}" lies before {_EARLIEST}.', "Correct the year.")
    return day


def last_rotation_of(text: str, *, today: date, order: str | None = None) -> tuple[date | None, bool]:
    """Read the day of the last rotation, and whether the cell says that there was none."""
    if folded(text) in _NEVER:
        return None, True
    return date_of(text, today=today, order=order), False


def order_shown(text: str) -> str:
    """Return which order a date of three numbers proves, "either" if it fits two, "" for every other text."""
    plain = folded(text)
    found = _YEAR_LAST.fullmatch(_without_time(plain)) if len(plain) <= _LONGEST else None
    if found is None or found[1].lstrip("0") == found[3].lstrip("0"):
        return ""
    first, second = (int(found[group]) > _MONTHS["december"] for group in (1, 3))
    return {(False, False): "either", (True, False): "dmy", (False, True): "mdy"}.get((first, second), "")


def _without_time(plain: str) -> str:
    found = _TIME.search(plain)
    if found is None:
        return plain
    hour = int(found["hour"])
    is_real = 1 <= hour <= 12 if found["half"] else hour <= 23  # noqa: PLR2004 - the hours of two clocks
    return plain[: found.start()] if is_real else plain


def _day_of(plain: str, text: str, order: str | None) -> date:
    if found := _YEAR_FIRST.fullmatch(plain):
        return _calendar_day(found[1], found[3], found[4], text)
    if found := _YEAR_LAST.fullmatch(plain):
        return _ORDER_READS[order](int(found[1]), int(found[3]), found[4], text)
    if (found := _MONTH_FIRST.fullmatch(plain)) and found[1] in _MONTHS:
        return _calendar_day(found[3], _MONTHS[found[1]], found[2], text)
    if (found := _DAY_FIRST.fullmatch(plain)) and (month := _MONTHS.get(found[3]) or _MONTHS_ABROAD.get(found[3])):
        return _calendar_day(found[4], month, found[1], text)
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
    raise AmbiguousDateError(
        f'"{shown(text)}" can be read as two days: day or month may come first.',
        f"Write {readings[0]} or {readings[1]}.",
    )


def _day_before_month(first: int, second: int, year: str, text: str) -> date:
    if second > _MONTHS["december"]:
        raise _out_of_order(text, "dmy")
    return _calendar_day(year, second, first, text)


def _month_before_day(first: int, second: int, year: str, text: str) -> date:
    if first > _MONTHS["december"]:
        raise _out_of_order(text, "mdy")
    return _calendar_day(year, first, second, text)


def _year_before_all(first: int, second: int, year: str, text: str) -> date:
    raise _out_of_order(text, "ymd")


def _out_of_order(text: str, order: str) -> NotUnderstoodError:
    return NotUnderstoodError(f'"{shown(text)}" does not fit the order of this file: {_ORDERS[order]}.', _MEND)


_ORDER_READS: dict[str | None, Callable[[int, int, str, str], date]] = {
    None: _day_and_month,
    "dmy": _day_before_month,
    "mdy": _month_before_day,
    "ymd": _year_before_all,
}


def _calendar_day(year: str, month: int | str, day: int | str, text: str) -> date:
    try:
        return date(int(year), int(month), int(day))
    except ValueError as error:
        raise NotUnderstoodError(f'There is no such day as "{shown(text)}".', "Correct the date.") from error
