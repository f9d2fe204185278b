"""Workbooks made by hand, part by part, so that each can be wrong in its own way."""

import io
import zipfile
from collections.abc import Mapping

NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
BOOK = (
    f'<workbook xmlns="{NAMESPACE}" xmlns:r="{RELATION}"><sheets><sheet name="Keys" sheetId="1" r:id="rId1"/></sheets>'
    "</workbook>"
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{RELATION}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{RELATION}/sharedStrings" Target="sharedStrings.xml"/>'
    f'<Relationship Id="rId3" Type="{RELATION}/styles" Target="styles.xml"/></Relationships>'
)
STYLES = (
    f'<styleSheet xmlns="{NAMESPACE}"><numFmts><numFmt numFmtId="164" formatCode="dd\\.mm\\.yyyy"/>'
    '<numFmt numFmtId="165" formatCode="0.00&quot;days&quot;"/></numFmts>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs></styleSheet>'
)
HEADER = (
    '<row r="1"><c r="A1" t="inlineStr"><is><t>Name</t></is></c><c r="B1" t="inlineStr"><is><t>Type</t></is></c></row>'
)


def text_cell(reference: str, text: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{text}</t></is></c>'


def good_row(row: int, *more: str) -> str:
    return f'<row r="{row}">{text_cell(f"A{row}", f"key {row}")}{text_cell(f"B{row}", "KEK")}{"".join(more)}</row>'


def sheet(*rows: str, header: str = HEADER) -> str:
    return f'<worksheet xmlns="{NAMESPACE}"><sheetData>{header}{"".join(rows)}</sheetData></worksheet>'


def strings(*texts: str) -> str:
    return f'<sst xmlns="{NAMESPACE}">{"".join(f"<si><t>{text}</t></si>" for text in texts)}</sst>'


def workbook(sheet_xml: str | bytes, /, *, method: int = zipfile.ZIP_DEFLATED, **parts: str | bytes | None) -> bytes:
    """Pack a workbook; further parts replace ours by name: book, relations, strings, styles; None leaves one out."""
    named: Mapping[str, str | bytes | None] = {
        "xl/workbook.xml": parts.get("book", BOOK),
        "xl/_rels/workbook.xml.rels": parts.get("relations", RELATIONS),
        "xl/sharedStrings.xml": parts.get("strings", strings()),
        "xl/styles.xml": parts.get("styles", STYLES),
        "xl/worksheets/sheet1.xml": sheet_xml,
    }
    return archive({name: part for name, part in named.items() if part is not None}, method=method)


def archive(parts: Mapping[str, str | bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    return file.getvalue()
