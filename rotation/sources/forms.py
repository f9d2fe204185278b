"""How the other table writes a wrapped DEK, and how it is written here: envelope.pack()."""

import base64
import binascii
import re
from dataclasses import dataclass, field

from inventory.custody import Item
from inventory.envelope import Blob, EnvelopeError, kek_digest, pack, unpack
from rotation.models import RewrapSource, SourceForm

_SAYS_VERSION = re.compile(r"[a-z]+:v([0-9]{1,10}):")  # transit's, of Vault and OpenBao: "vault:v3:…"
_LINE_BREAKS = dict.fromkeys(map(ord, "\r\n"))  # PostgreSQL's encode() puts one after every 76 characters
NUMBER = 1  # a row elsewhere has one generation: who makes another one makes another row
Cell = bytes | str


class FormError(ValueError):
    """This cell is not in the form that was registered, or names another version than its row."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of a source, as it was read."""

    id: str
    version: str
    cell: Cell = field(repr=False)
    context: bytes = b""
    binding: bytes | None = None


def row_name(source: RewrapSource, row_id: str) -> bytes:
    """Return what a row's DEK is bound to: it never changes, as neither name nor id do."""
    return f"source:{source.name}/{row_id}".encode()


def item_of(source: RewrapSource, row: Row) -> Item:
    """Return a row as custody takes it. Raises: FormError."""
    uri, algorithm = source.kek.uri, source.kek.algorithm
    try:
        if source.form == SourceForm.ENVELOPE:
            wrapped = _bytes(row.cell)
            blob = unpack(wrapped)
            says = blob.version
        else:
            ciphertext, says = _ciphertext(source, row.cell), _says_version(source, row)
            blob = Blob(algorithm=algorithm, kek=kek_digest(uri), version=row.version, ciphertext=ciphertext)
            wrapped = pack(blob)
    except (EnvelopeError, binascii.Error, UnicodeError, TypeError) as error:
        raise FormError from error
    if says != row.version:
        raise FormError
    return Item(
        dek_id=row_name(source, row.id), number=NUMBER, wrapped=wrapped, binding=row.binding, context=row.context
    )


def cell_of(source: RewrapSource, wrapped: bytes) -> Cell:
    """Return a wrapped DEK as the other table writes it."""
    if source.form == SourceForm.ENVELOPE:
        return wrapped
    ciphertext = unpack(wrapped).ciphertext
    if source.form == SourceForm.BYTES:
        return ciphertext
    return base64.b64encode(ciphertext).decode() if source.form == SourceForm.BASE64 else ciphertext.decode("ascii")


def _ciphertext(source: RewrapSource, cell: Cell) -> bytes:
    if source.form == SourceForm.BYTES:
        return _bytes(cell)
    if not isinstance(cell, str):
        raise FormError
    if source.form == SourceForm.BASE64:
        return base64.b64decode(cell.translate(_LINE_BREAKS), validate=True)
    return cell.encode("ascii")


def _says_version(source: RewrapSource, row: Row) -> str:
    """Return the version that the cell names, where its form does."""
    if source.form != SourceForm.TEXT:
        return row.version
    said = _SAYS_VERSION.match(str(row.cell))
    return said[1] if said else ""


def _bytes(cell: Cell) -> bytes:
    if isinstance(cell, str):
        raise FormError
    return bytes(cell)
