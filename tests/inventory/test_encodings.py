"""Bytes in three encodings, and bytes in none."""

import pytest

from inventory.tables import Limits, TableError, read_table
from inventory.tables.encodings import decode

TEXT = "Name;Notiz\r\nSchlüssel;„Größe“ – 5 €"  # noqa: RUF001 - as Windows-1252 has it


@pytest.mark.parametrize(
    ("codec", "mark", "encoding"),
    [
        ("utf-8", b"", "UTF-8"),
        ("utf-8-sig", b"", "UTF-8"),
        ("utf-16", b"", "UTF-16"),
        ("utf-16-be", b"\xfe\xff", "UTF-16"),
        ("cp1252", b"", "Windows-1252"),
    ],
)
def test_decode_tells_encodings_apart(codec: str, mark: bytes, encoding: str) -> None:
    assert decode(mark + TEXT.encode(codec)) == (TEXT.replace("\r\n", "\n"), encoding)


def test_read_table_says_how_it_read_the_file() -> None:
    source = read_table(TEXT.encode("cp1252"), limits=Limits(max_bytes=1000, max_rows=10)).source
    assert (source.format, source.encoding) == ("CSV", "Windows-1252")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfM\xfcller",  # a mark says UTF-8
        "Müller\n".encode() + b"M\xfcller",  # UTF-8, but for one place
        "„x“\n".encode() + b"M\xfcller",
        b"M\x8fller",  # a byte that Windows-1252 does not assign
        b"M\xfcller\x02",
    ],
)
def test_decode_mends_nothing(content: bytes) -> None:
    with pytest.raises(TableError, match=r"byte [0-9]+ cannot be read"):
        decode(content)
