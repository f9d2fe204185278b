"""The ZIP archive around a workbook, opened only as far as a stranger's archive may be."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

from inventory.tables.table import EXPORT_AGAIN, FEWER_COLUMNS, SPLIT, TableError

_CHUNK_BYTES = 64 * 1024
_MAX_PARTS = 1_000
_MAX_BYTES = 128 * 1024 * 1024  # of all parts, unpacked; most of them are never opened
_MAX_RATIO = 400  # deflate reaches 1,032; a sheet of repeated words 20 to 60
_MAX_TAG_BYTES = 256 * 1024  # of one tag or comment, which the parser has to keep in memory
_MAX_TAGS = 3_000_000  # opening and closing; 20,000 rows of 25 texts have as many
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_DAMAGED = "The file begins like an Excel workbook or a ZIP archive, but it is damaged or incomplete."
_UNUSUAL = "The workbook is encrypted, or packed in a way that no spreadsheet uses."


class Part:
    """What is made of the XML of one part, tag by tag."""

    def __init__(self) -> None:
        self.name_of = _LocalNames()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""

    def end(self, tag: str) -> None:
        """End an element."""

    def text(self, text: str) -> None:
        """Take a piece of the text between two tags."""


class _LocalNames(dict[str, str]):
    """The name of a tag without its namespace prefix, looked up at the speed of a dictionary."""

    def __missing__(self, tag: str) -> str:
        return self.setdefault(tag, tag.rpartition(":")[2])


class Archive:
    """The parts of a workbook, read one at a time, in pieces, and never further than their declared size."""

    def __init__(self, content: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise TableError(_DAMAGED, EXPORT_AGAIN) from error
        self._parts = {part.filename: part for part in self._zip.infolist()}
        self._refuse_bomb(len(content))

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def _refuse_bomb(self, packed: int) -> None:
        if len(self._zip.infolist()) > _MAX_PARTS:
            raise TableError(f"The workbook has more than {_MAX_PARTS:,} parts.", EXPORT_AGAIN, len(self._parts))
        unpacked = sum(part.file_size for part in self._parts.values())
        if unpacked > _MAX_BYTES or unpacked > packed * _MAX_RATIO:
            raise TableError(f"The workbook unpacks to {unpacked:,} bytes, far more than it should.", SPLIT, unpacked)

    def parse(self, name: str, part: Part, *, max_bytes: int) -> None:
        """Walk through the XML of one part. Raises: TableError.

        A document type is refused, and with it every entity of a stranger's making.
        """
        parser, fed = _parser(part), 0
        try:
            self._refuse_dense(name, max_bytes)
            for chunk in self._chunks(name, max_bytes):
                parser.Parse(chunk, False)  # noqa: FBT003 - expat takes it by position only
                fed += len(chunk)
                if fed - parser.CurrentByteIndex > _MAX_TAG_BYTES:
                    raise TableError("The workbook holds a tag that no spreadsheet would write.", EXPORT_AGAIN)
            parser.Parse(b"", True)  # noqa: FBT003
        except (expat.ExpatError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError) as error:
            raise TableError(f"{_DAMAGED} (Part {name}.)", EXPORT_AGAIN) from error
        except NotImplementedError as error:
            raise TableError(_UNUSUAL, EXPORT_AGAIN) from error

    def _refuse_dense(self, name: str, max_bytes: int) -> None:
        """Count the tags of a part before it is parsed: their number is what costs time."""
        tags = sum(chunk.count(b"<") for chunk in self._chunks(name, max_bytes))
        if tags > _MAX_TAGS:
            raise TableError("The workbook has far more cells than the inventory needs.", FEWER_COLUMNS, tags)

    def _chunks(self, name: str, max_bytes: int) -> Iterator[bytes]:
        part = self._parts.get(name)
        if part is None:
            raise TableError(f"{_DAMAGED} (Part {name} is missing.)", EXPORT_AGAIN)
        if part.flag_bits & _ENCRYPTED or part.compress_type not in _METHODS:
            raise TableError(_UNUSUAL, EXPORT_AGAIN)
        if part.file_size > max_bytes:
            problem = f"A part of the workbook has {part.file_size:,} bytes; {max_bytes:,} is the most."
            raise TableError(problem, SPLIT, part.file_size)
        with self._zip.open(part) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk


def _parser(part: Part) -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = part.start
    parser.EndElementHandler = part.end
    parser.CharacterDataHandler = part.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    return parser


def _refuse_doctype(*_declaration: object) -> NoReturn:
    raise TableError("The workbook declares a document type, which no spreadsheet does.", EXPORT_AGAIN)
