"""The bytes of a text file → its text, or what they are instead."""

import re

from inventory.tables.table import EXPORT_AGAIN, TableError

_FORMATS = (
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook, or one with a password"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "a database"),
    (b"-----BEGIN", "a PEM file"),
)
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# An accented letter or a typographic sign in UTF-8. In Windows-1252 nobody writes "Ã¼" or "â€œ".
_SOME_UTF8 = re.compile(rb"\xc3[\x80-\xbf]|\xe2[\x80-\x84][\x80-\xbf]")
_CONTROL = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")


def decode(content: bytes) -> tuple[str, str]:
    """Return the text with "\\n" as its only line end, and the name of its encoding.

    UTF-8 with or without a byte order mark, UTF-16 with one, or Windows-1252 (cp1252): the last only where the bytes
    cannot be anything else. A zero byte, half a character, or UTF-8 with a broken place in it is refused, never mended.
    """
    for mark, what in _FORMATS:
        if content.startswith(mark):
            raise TableError(f"The file is no table but {what}.", EXPORT_AGAIN)
    text, encoding = _from_utf16(content) if content.startswith(_UTF16_MARKS) else _from_bytes(content)
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n"), encoding


def _from_utf16(content: bytes) -> tuple[str, str]:
    try:
        text = content.decode("utf-16")
    except UnicodeDecodeError as error:
        problem = f"The file begins like UTF-16, but byte {error.start:,} cannot be read."
        raise TableError(problem, EXPORT_AGAIN, error.start) from error
    if (zero := text.find("\0")) >= 0:
        raise TableError(f"The file is no table: character {zero:,} is zero.", EXPORT_AGAIN, zero)
    return text, "UTF-16"


def _from_bytes(content: bytes) -> tuple[str, str]:
    if (zero := content.find(0)) >= 0:
        raise TableError(f"The file is no table: byte {zero:,} is zero.", EXPORT_AGAIN, zero)
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError as error:
        is_marked = content.startswith(_UTF8_MARK)
        start = error.start + (len(_UTF8_MARK) if is_marked else 0)  # the codec counts behind the mark
        if is_marked or _SOME_UTF8.search(content) or _CONTROL.search(content):
            raise _unreadable(start) from error
    try:
        return content.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError as error:  # the five bytes that Windows-1252 does not assign
        raise _unreadable(start) from error


def _unreadable(start: int) -> TableError:
    problem = f"The file is neither in UTF-8 nor in Windows-1252: byte {start:,} cannot be read."
    return TableError(problem, EXPORT_AGAIN, start)
