"""Files that are tables, files that are none, and files that are too large."""

import csv
import io
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.tables import Limits, Table, TableError, read_table

LIMITS = Limits(max_bytes=5 * 1024 * 1024, max_rows=20_000)


def table(text: str) -> Table:
    return read_table(text.encode(), limits=LIMITS)


def refusal(content: bytes) -> TableError:
    with pytest.raises(TableError) as caught:
        read_table(content, limits=LIMITS)
    assert caught.value.problem
    assert caught.value.mend
    return caught.value


def rows(text: str) -> list[tuple[str, ...]]:
    return [record.cells for record in table(text).records]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_read_table_reads_every_ordinary_dialect(mark: bytes, line_end: str, delimiter: str) -> None:
    lines = [["Name", "Note"], ["a", '"x{}y"'], ["b", '"say ""hi"""']]
    text = line_end.join(delimiter.join(cells) for cells in lines).format(delimiter)
    read = read_table(mark + text.encode(), limits=LIMITS)
    assert read.header == ("Name", "Note")
    assert [record.cells for record in read.records] == [("a", f"x{delimiter}y"), ("b", 'say "hi"')]


def test_read_table_numbers_rows_as_a_spreadsheet_does() -> None:
    read = table('Name,Note\na,"one\r\ntwo\rthree"\n\n,\nb,x\n\n')
    assert [(record.row, record.cells) for record in read.records] == [(2, ("a", "one\ntwo\nthree")), (5, ("b", "x"))]


def test_read_table_takes_the_delimiter_from_the_header_alone() -> None:
    assert rows('"Name; or key, or token";Owner\na,b,c,d;x') == [("a,b,c,d", "x")]


def test_read_table_finds_the_header_below_blank_lines() -> None:
    read = table("\n  \nName;Owner\na;x")
    assert (read.header, read.records[0].row) == (("Name", "Owner"), 4)


def test_read_table_keeps_short_and_long_rows_as_they_are() -> None:
    assert rows("Name,Owner\na\nb,x,y") == [("a",), ("b", "x", "y")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b" \r\n,,\n\n", "empty"),
        (b"Name,Type\n\n,\n", "no row below"),
        (b"PK\x03\x04\x14\x00", "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"<?xml version='1.0'?>", "XML"),
        (b'[{"name": "a"', "JSON"),
        (b'{\n  "keys": []}', "JSON"),
        (b"-----BEGIN CERTIFICATE-----\nMII", "PEM"),
        ("Name,Type\na,kek".encode("utf-16")[:-1], "UTF-16"),
        ("Name,Type\na,kek".encode("utf-16-le"), "zero"),
    ],
)
def test_read_table_says_what_a_file_is_that_is_no_table(content: bytes, words: str) -> None:
    assert words in refusal(content).problem


@pytest.mark.parametrize(("mark", "rest", "offset"), [(b"", b"\x81,kek", 12), (b"\xef\xbb\xbf", b"\xe9,kek", 15)])
def test_read_table_names_the_byte_that_is_not_utf8(mark: bytes, rest: bytes, offset: int) -> None:
    error = refusal(mark + b"Name,Type\nca" + rest)
    assert error.figure == offset
    assert f"byte {offset} " in error.problem
    assert "UTF-8" in error.mend


def test_read_table_names_the_zero_byte() -> None:
    assert refusal(b"Name,Type\na\0b,kek").figure == 11


def test_read_table_names_the_row_in_which_a_quote_stays_open() -> None:
    assert refusal(b'Name,Note\n"a\nb",x\nc,"never closed\nd,y\n').figure == 3


@pytest.mark.parametrize("row", ['5" disk,x', '"a"b,x', '"a" ,x', ' "a",x', '"a"",x'])
def test_read_table_refuses_quotes_that_leave_the_cells_uncertain(row: str) -> None:
    assert refusal(f"Name,Note\n{row}\n".encode()).figure == 2


def test_read_table_refuses_too_many_bytes_with_both_numbers() -> None:
    error = refusal(b"Name,Type\n" + b"a" * LIMITS.max_bytes)
    assert error.figure == LIMITS.max_bytes + 10
    assert "5,242,890" in error.problem
    assert "5,242,880" in error.problem


def test_read_table_refuses_too_many_rows_with_both_numbers() -> None:
    assert len(table("Name\n" + "a\n" * 20_000).records) == 20_000
    error = refusal(b"Name\n" + b'"a\n\nb"\n' * 20_001)
    assert error.figure == 20_001
    assert "20,001" in error.problem
    assert "20,000" in error.problem


def test_read_table_refuses_too_many_columns_with_both_numbers() -> None:
    assert len(table(",".join("c" * 100) + "\n" + "," * 99 + "x").header) == 100
    error = refusal(b"Name,Type\n" + b'"a,\n",' * 100 + b"b\n")
    assert error.figure == 101
    assert "101" in error.problem
    assert "100" in error.problem


def test_read_table_refuses_a_large_cell_counted_in_bytes() -> None:
    assert rows("Name\n" + "é" * 4096)[0][0] == "é" * 4096
    error = refusal(("Name\n" + "é" * 4096 + "a").encode())
    assert (error.figure, "8,192" in error.problem, "8,193" in error.problem) == (8193, True, True)


HOSTILE = {
    "one long line": b"a" * 5_000_000,
    "one long quoted cell": b'"' + b"a" * 5_000_000 + b'"',
    "quote bomb": b'"' * 5_000_001,
    "columns": b"," * 5_000_000,
    "quoted columns": b'"",' * 1_600_000,
    "rows": b"\n" * 5_000_000 + b"a",
    "rows of quotes": b'""\n' * 1_600_000,
    "open quote": b'Name\n"' + b"a\n" * 2_000_000,
    "wide characters": b"Name\n" + "😀".encode() * 1_200_000,
    "spaces": b" " * 5_000_000,
    "brackets": b"[" * 5_000_000,
    "angles": b"Name\n" + b"<" * 5_000_000,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_read_table_refuses_a_hostile_file_at_once(content: bytes) -> None:
    began = time.process_time()
    refusal(content)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_read_table_refuses_a_hostile_file_in_little_memory(content: bytes) -> None:
    tracemalloc.start()
    try:
        refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 50 * 1024 * 1024
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=400) | st.text(alphabet='a,;\t"\r\n\0é', max_size=60).map(str.encode))
@settings(deadline=None, max_examples=300)
def test_read_table_gives_a_table_or_a_sentence(content: bytes) -> None:
    try:
        read = read_table(content, limits=LIMITS)
    except TableError as error:
        told = [error.problem, error.mend]
    else:
        told = [read.header, read.records]
    assert all(told)


@given(st.lists(st.lists(st.text(alphabet='ab ,;"\n', max_size=6), min_size=2, max_size=2), min_size=1, max_size=5))
@settings(deadline=None)
def test_read_table_reads_what_pythons_writer_wrote(cells: list[list[str]]) -> None:
    file = io.StringIO()
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["Name", "Note"], *cells, ["end", "end"]])
    filled = [tuple(row) for row in cells if any(cell.strip() for cell in row)]
    assert rows(file.getvalue()) == [*filled, ("end", "end")]
