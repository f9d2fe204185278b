"""WEB-04: cells that a spreadsheet would run, in three formats, and the way back."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.exporting import csv_stream, json_stream, neutralise, xlsx_stream
from inventory.tables import Limits, read_table

SIGNS = "=+-@＝＋－＠"  # noqa: RUF001 - full-width forms are signs too
CALLS = ["1+1", "cmd|' /C calc'!A0", 'HYPERLINK("http://evil.example","x")', "SUM(A1:A9)*cmd"]
HOSTILE = [
    *(sign + call for sign in SIGNS for call in CALLS),
    *(blank + "=1+1" for blank in ("\t", "\r", "\n", "\0", " ", "\u00a0", "\u200b", "\ufeff", "\t\r\n ")),
    *("\tx", "\rx", "\nx", "\0x", "'=1+1", "''=1+1", "' =1+1", "'x", "'"),
    *(
        '"=1+1"',
        '",=1+1',
        ";=1+1",
        "a\n=1+1",
        "a,=1+1",
        "=",
        "-",
        "@j.silva",
        "-2+3+cmd",
        "_x003D_1+1",
        "﹦1+1",
        "naïve 😀",
    ),
]
RUNS = (*SIGNS, "\t", "\r", "\n", "\0")
LIMITS = Limits(max_bytes=5 * 1024 * 1024, max_rows=20_000)
STREAMS = [csv_stream, xlsx_stream, json_stream]


def written(stream: Callable[[Iterable[list[str]]], Iterator[bytes]], cells: Iterable[str]) -> bytes:
    return b"".join(stream([["Name", "Cell"], *(["x", cell] for cell in cells)]))


def kept(cell: str, stream: object) -> str:
    """Return what a cell comes back as: one kind of line end, in CSV no NUL, in a workbook no blank cell."""
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")
    if stream is xlsx_stream and not cell.strip():
        return ""
    return cell.replace("\0", "\ufffd") if stream is csv_stream else cell


def test_there_are_sixty_hostile_cells() -> None:
    assert len(set(HOSTILE)) >= 60


def test_csv_stream_begins_no_cell_with_a_sign() -> None:
    text = written(csv_stream, HOSTILE).decode("utf-8-sig")
    cells = [row[1] for row in csv.reader(io.StringIO(text, newline=""))]
    assert len(cells) == len(HOSTILE) + 1
    assert [cell for cell in cells if cell.startswith(RUNS)] == []
    assert [cell for cell in cells if cell.lstrip("\t\r\n \u00a0\u200b\ufeff").startswith(tuple(SIGNS))] == []


def test_csv_stream_writes_what_rfc_4180_says() -> None:
    assert written(csv_stream, ['a"b', "c,d"]) == b'\xef\xbb\xbfName,Cell\r\nx,"a""b"\r\nx,"c,d"\r\n'


def test_xlsx_stream_types_every_cell_as_text() -> None:
    page = openpyxl.load_workbook(io.BytesIO(written(xlsx_stream, HOSTILE))).worksheets[0]
    cells = [cell for row in page.iter_rows() for cell in row]
    assert {cell.data_type for cell in cells} == {"s"}
    assert len(cells) == 2 * (len(HOSTILE) + 1)
    assert page["B2"].value == HOSTILE[0] == "=1+1"


def test_json_stream_is_json() -> None:
    assert json.loads(written(json_stream, HOSTILE)) == [{"Name": "x", "Cell": cell} for cell in HOSTILE]
    assert json.loads(b"".join(json_stream([["Name"]]))) == json.loads(b"".join(json_stream([]))) == []


@pytest.mark.parametrize("stream", STREAMS)
def test_what_is_exported_comes_back_the_same(stream: Callable[[Iterable[list[str]]], Iterator[bytes]]) -> None:
    read = read_table(written(stream, HOSTILE), limits=LIMITS)
    assert [record.cells[1] for record in read.records] == [kept(cell, stream) for cell in HOSTILE]


CELLS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.text(
    "'=+- \t\n_x04,\";", max_size=8
)


@given(st.lists(CELLS, min_size=1, max_size=5), st.sampled_from(STREAMS))
@settings(deadline=None, max_examples=300)
def test_any_text_comes_back_the_same(
    cells: list[str], stream: Callable[[Iterable[list[str]]], Iterator[bytes]]
) -> None:
    read = read_table(written(stream, cells), limits=LIMITS)
    assert [record.cells[1] for record in read.records] == [kept(cell, stream) for cell in cells]


@given(CELLS)
def test_neutralise_leaves_ordinary_text_alone(cell: str) -> None:
    assert neutralise(cell) in {cell, f"'{cell}"}
    assert neutralise(f"a{cell}") == f"a{cell}"


@pytest.mark.parametrize("stream", STREAMS)
def test_streams_ask_for_rows_as_they_go(stream: Callable[[Iterable[list[str]]], Iterator[bytes]]) -> None:
    taken = 0

    def rows() -> Iterator[list[str]]:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield ["a", "b"]

    pieces = stream(rows())
    next(pieces)
    next(pieces)
    assert 0 < taken < 2_000
    assert len(list(pieces)) > 10
