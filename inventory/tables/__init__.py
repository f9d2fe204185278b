"""Bytes of an exported inventory → a table of text cells, or one sentence that says why they are none.

CSV in any of four delimiters and three encodings, Excel workbooks, and JSON. Everything is bounded before it is parsed.
"""

from inventory.tables.delimited import read_delimited
from inventory.tables.encodings import decode
from inventory.tables.objects import is_json, read_objects
from inventory.tables.table import SPLIT, Fault, Limits, Record, Source, Table, TableError
from inventory.tables.workbook import is_workbook, read_workbook

__all__ = ["Fault", "Limits", "Record", "Source", "Table", "TableError", "read_table"]


def read_table(content: bytes, *, limits: Limits) -> Table:
    """Read a file by what it holds, not by its name. Raises: TableError."""
    if len(content) > limits.max_bytes:
        raise TableError(f"The file has {len(content):,} bytes; {limits.max_bytes:,} is the most.", SPLIT, len(content))
    if is_workbook(content):
        return read_workbook(content, limits=limits)
    text, encoding = decode(content)
    if is_json(text):
        return read_objects(text, encoding=encoding, limits=limits)
    return read_delimited(text, encoding=encoding, limits=limits)
