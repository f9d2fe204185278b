"""Workbooks as other programs write them, and cells that are not taken at their word."""

import io
import zipfile
from datetime import date, datetime

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.tables import Limits, Table, TableError, read_table
from tests.inventory.workbooks import BOOK, NAMESPACE, good_row, sheet, strings, text_cell, workbook

LIMITS = Limits(max_bytes=5 * 1024 * 1024, max_rows=20_000)
NAMES = text_cell("A1", "Name") + text_cell("B1", "Type") + text_cell("C1", "Note")


def table(content: bytes) -> Table:
    return read_table(content, limits=LIMITS)


def cells_of(*cells: str, **parts: str) -> tuple[str, ...]:
    """Read one row below a header of three columns."""
    (record,) = table(
        workbook(sheet(f'<row r="2">{"".join(cells)}</row>', header=f"<row>{NAMES}</row>"), **parts)
    ).records
    return record.cells


def test_read_workbook_reads_what_openpyxl_wrote() -> None:
    book = openpyxl.Workbook()
    page = book.active
    page.title = "Schlüssel"
    page.append(["Name", "Created", "At", "Bits", "Flag", "Ratio"])
    page.append(["grün & <b>\n2", date(2025, 6, 5), datetime(2025, 6, 5, 14, 30), 2048, True, 0.5])  # noqa: DTZ001
    page.append([])
    page.append(["last", None, None, 2048.0, False, None])
    book.create_sheet("Other").append(["x"])
    file = io.BytesIO()
    book.save(file)
    read = table(file.getvalue())
    assert read.header == ("Name", "Created", "At", "Bits", "Flag", "Ratio")
    assert [(record.row, record.cells) for record in read.records] == [
        (2, ("grün & <b>\n2", "2025-06-05", "2025-06-05 14:30", "2048", "true", "0.5")),
        (4, ("last", "", "", "2048", "false", "")),
    ]
    assert (read.source.format, read.source.sheet, read.source.other_sheets) == (
        "Excel workbook",
        "Schlüssel",
        ("Other",),
    )


def test_read_workbook_joins_the_runs_of_a_text_and_leaves_its_pronunciation_out() -> None:
    text = "<si><r><t>ru</t></r><r><t>ns</t></r><rPh sb='0' eb='1'><t>x</t></rPh></si>"
    inline = '<c r="B2" t="inlineStr"><is><r><t>a</t></r><rPh><t>x</t></rPh><r><t>b</t></r></is></c>'
    shared = f'<sst xmlns="{NAMESPACE}">{text}</sst>'
    assert cells_of('<c r="A2" t="s"><v>0</v></c>', inline, strings=shared) == ("runs", "ab", "")


def test_read_workbook_restores_characters_that_xml_cannot_hold() -> None:
    assert cells_of(text_cell("A2", "a_x000D__x000A_b"), text_cell("B2", "_x005F_x0041_")) == ("a\nb", "_x0041_", "")


@pytest.mark.parametrize(
    ("style", "number", "text"),
    [
        ("1", "45813", "2025-06-05"),
        ("2", "45813", "2025-06-05"),
        ("2", "45813.604166667", "2025-06-05 14:30"),
        ("3", "45813", "45813"),
        ("0", "45813", "45813"),
        ("0", "2048.0", "2048"),
        ("0", "4.5E-3", "4.5E-3"),
        ("1", "61", "1900-03-01"),
    ],
)
def test_read_workbook_tells_dates_from_numbers_by_their_format(style: str, number: str, text: str) -> None:
    assert cells_of(f'<c r="A2" s="{style}"><v>{number}</v></c>')[0] == text


def test_read_workbook_counts_from_1904_where_the_workbook_does() -> None:
    book = BOOK.replace("<sheets>", '<workbookPr date1904="1"/><sheets>')
    assert cells_of('<c r="A2" s="1"><v>44351</v></c>', book=book)[0] == "2025-06-05"


def test_read_workbook_passes_over_prefixes_hidden_sheets_and_blank_columns() -> None:
    prefixed = sheet(good_row(2, '<c r="XFD2" s="1"/>')).replace("<", "<x:").replace("<x:/", "</x:")
    prefixed = prefixed.replace("xmlns=", "xmlns:x=")
    assert table(workbook(prefixed)).records[0].cells == ("key 2", "KEK")
    book = BOOK.replace("<sheets>", '<sheets><sheet name="Old" sheetId="2" state="hidden" r:id="rId9"/>')
    assert table(workbook(sheet(good_row(2)), book=book)).source.sheet == "Keys"


@pytest.mark.parametrize(
    ("cell", "text", "words"),
    [
        ("<c r='C2'><f>A1&amp;B1</f><v>7</v></c>", "=A1&B1", "Cell C2 holds a formula"),
        ("<c r='C2' t='str'><f/><v>KEK</v></c>", "=", "Cell C2 holds a formula"),
        ("<c r='C2' t='e'><v>#REF!</v></c>", "#REF!", "Cell C2 holds an error"),
        ("<c r='C2' s='1'><v>0</v></c>", "0", "Cell C2 is a date"),
    ],
)
def test_read_workbook_names_the_cell_that_has_no_text_of_its_own(cell: str, text: str, words: str) -> None:
    (record,) = table(workbook(sheet(good_row(2, cell), header=f"<row>{NAMES}</row>"))).records
    assert record.cells[2] == text
    (fault,) = record.faults
    assert (fault.index, words in fault.problem, bool(fault.mend)) == (2, True, True)


def test_read_workbook_refuses_too_many_rows_and_columns() -> None:
    row = '<row r="{0}"><c r="A{0}"><v>1</v></c></row>'
    full = [row.format(number) for number in range(2, 20_002)]
    assert len(table(workbook(sheet(*full))).records) == 20_000
    with pytest.raises(TableError, match="more than 20,000 rows"):
        table(workbook(sheet(*full, row.format(20_002))))
    with pytest.raises(TableError, match="16,384 columns"):
        table(workbook(sheet(good_row(2, text_cell("XFD2", "x")))))


def test_read_workbook_takes_shared_strings_from_anywhere() -> None:
    header = '<row><c t="s"><v>1</v></c><c t="s"><v>0</v></c></row>'
    read = table(
        workbook(sheet('<row><c t="s"><v>2</v></c></row>', header=header), strings=strings("Type", "Name", "a"))
    )
    assert (read.header, read.records[0].cells) == (("Name", "Type"), ("a", ""))


GOOD = workbook(sheet(good_row(2), good_row(3)), strings=strings("a"))
STORED = workbook(sheet(good_row(2), good_row(3)), strings=strings("a"), method=zipfile.ZIP_STORED)


@given(st.sampled_from([GOOD, STORED]), st.integers(0, len(STORED)), st.binary(min_size=1, max_size=8))
@settings(deadline=None, max_examples=500)
def test_read_workbook_gives_a_table_or_a_sentence(content: bytes, at: int, noise: bytes) -> None:
    try:
        read = table(content[:at] + noise + content[at + len(noise) :])
    except TableError as error:
        assert error.problem  # noqa: PT017 - either end is right
        assert error.mend  # noqa: PT017
    else:
        assert read.records
