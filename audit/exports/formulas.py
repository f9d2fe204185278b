"""Cells that a spreadsheet would run as a formula, disarmed so that the way back is exact."""

import re

# OWASP "CSV injection" and ASVS 5.0 §1.2.10 name = + - @, tab, carriage return, line feed and NUL; with them go the
# full-width and small forms of the signs, and signs behind blanks or invisible characters that a program may strip.
# The apostrophes in front are our own: a text that begins like a disarmed one is disarmed too, so nothing is ambiguous.
_RUN = re.compile(
    "'*+(?:[\\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*+"
    "[=+@\\-\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b]|[\t\r\n\x00])"
)


def neutralise(cell: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run. Source: OWASP ASVS 5.0 §1.2.10."""
    return f"'{cell}" if _RUN.match(cell) else cell


def plain(cell: str) -> str:
    """Undo `neutralise`."""
    return cell[1:] if cell.startswith("'") and _RUN.match(cell) else cell
