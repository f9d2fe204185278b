"""Reading a file of wrapped DEKs that an application keeps: CSV with a header, or a JSON object a line. Pure."""

import base64
import binascii
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from inventory.recognise import holds_key_material, shown

COLUMNS = ("tenant", "integration", "secret", "version", "ciphertext", "context")
LONGEST_NAME = 200
LONGEST_BYTES = 16_384  # of a ciphertext or a context
MOST_ROWS = 1_000_000
_STORE_TEXT = "vault:v"
_B64 = "Write it as base64, without line breaks."
# What wraps in eights makes 16 bytes of key into 24, 32 into 40; an RSA ciphertext is as long as its modulus.
_KW_BYTES = {24, 40}
_RSA_BITS = {"RSA-2048": 2048, "RSA-3072": 3072, "RSA-4096": 4096}
_SHORTEST = 40  # of every other kind: a key in clear has 16, 24 or 32 bytes


@dataclass(frozen=True, kw_only=True)
class RowError:
    """Why a row cannot go in, and how to mend it; repeats no bytes of it."""

    row: int  # as a person counts: the first one after the header is 1
    field: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.field}: {self.problem} {self.mend}"


class RowProblemError(ValueError):
    def __init__(self, name: str, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.name, self.problem, self.mend = name, problem, mend


@dataclass(frozen=True, kw_only=True)
class WrappedRow:
    """One DEK of the file."""

    row: int
    tenant: str
    integration: str
    secret: str
    version: str  # as the key store names it
    ciphertext: bytes = field(repr=False)  # as the key store gave it
    context: bytes = field(repr=False)

    @property
    def scope(self) -> tuple[str, ...]:
        return ("secret", self.secret) if self.secret else ("tenant", self.tenant, self.integration)

    @property
    def name(self) -> str:
        return f"dek/secret/{self.secret}" if self.secret else f"dek/{self.tenant}/{self.integration}"


def read_wrapped(content: bytes, *, algorithm: str, needs_context: bool) -> tuple[list[WrappedRow], list[RowError]]:
    """Read all rows, and what is wrong with the others. `algorithm` is that of the KEK which wraps them."""
    rows, errors = [], []
    try:
        lines = _objects(content)
        for number, said in enumerate(islice(lines, MOST_ROWS + 1), 1):
            try:
                rows.append(_row(number, said, algorithm, needs_context=needs_context))
            except RowProblemError as error:
                errors.append(RowError(row=number, field=error.name, problem=error.problem, mend=error.mend))
    except RowProblemError as error:
        errors.append(RowError(row=0, field=error.name, problem=error.problem, mend=error.mend))
    if len(rows) > MOST_ROWS:
        errors.append(RowError(row=0, field="file", problem="It has too many rows.", mend="Take it over in parts."))
    return rows, errors


def _objects(content: bytes) -> Iterator[Mapping[str, object]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RowProblemError("file", "It is not written in UTF-8.", "Export it as UTF-8.") from error
    yield from _json_lines(text) if text.lstrip()[:1] == "{" else _table(text)


def _json_lines(text: str) -> Iterator[Mapping[str, object]]:
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = None
        yield said if isinstance(said, dict) else {"": "no JSON object"}


def _table(text: str) -> Iterator[Mapping[str, object]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        unknown = [name for name in reader.fieldnames or () if name.strip().lower() not in COLUMNS]
        if unknown or not reader.fieldnames:
            problem = f"The header names {shown(unknown[0])}." if unknown else "It is empty."
            raise RowProblemError("file", problem, f"The columns are {', '.join(COLUMNS)}.")
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames]
        yield from reader
    except csv.Error as error:
        raise RowProblemError(
            "file", "It is no CSV from some row on.", "Quote cells that hold commas or quotes."
        ) from error


def _row(number: int, said: Mapping[str, object], algorithm: str, *, needs_context: bool) -> WrappedRow:
    if not set(said) <= set(COLUMNS):
        problem = "It is no JSON object of text, or it has more cells than the header."
        raise RowProblemError("row", problem, f"The fields are {', '.join(COLUMNS)}.")
    cells = {name: _text(said.get(name), name) for name in COLUMNS}
    if bool(cells["secret"]) == bool(cells["tenant"]) or bool(cells["tenant"]) != bool(cells["integration"]):
        problem = "A DEK is for one integration of one tenant, or for one secret."
        raise RowProblemError(
            "tenant", problem, "Give tenant and integration, or the name of the secret, and not both."
        )
    if not cells["version"]:
        raise RowProblemError(
            "version", "It does not say which version of the KEK wraps it.", "Name it as the store does."
        )
    context = _bytes(cells["context"], "context") if cells["context"] else b""
    if needs_context and not context:
        problem = "This key store binds each DEK to a context, and there is none."
        raise RowProblemError("context", problem, "Give the context that the DEK was wrapped with, as base64.")
    return WrappedRow(
        row=number,
        tenant=cells["tenant"],
        integration=cells["integration"],
        secret=cells["secret"],
        version=cells["version"],
        ciphertext=_ciphertext(cells["ciphertext"], cells["version"], algorithm),
        context=context,
    )


def _text(said: object, name: str) -> str:
    if isinstance(said, int) and not isinstance(said, bool) and name == "version":
        said = str(said)
    if said is not None and not isinstance(said, str):
        raise RowProblemError(name, "It is no text.", "Write it in quotes.")
    text = (said or "").strip()
    if name in {"ciphertext", "context"}:
        return text
    if len(text) > LONGEST_NAME or not text.isprintable():
        raise RowProblemError(
            name, "It is longer than 200 characters, or holds some that cannot be shown.", "Correct it."
        )
    if holds_key_material(text):
        raise RowProblemError(
            name, "It looks like key material.", "Name what the DEK is for; no secret stands in a name."
        )
    return text


def _bytes(text: str, name: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowProblemError(name, "It is no base64.", _B64) from error
    if not 0 < len(found) <= LONGEST_BYTES:
        raise RowProblemError(name, f"It is empty, or longer than {LONGEST_BYTES} bytes.", _B64)
    return found


def _ciphertext(text: str, version: str, algorithm: str) -> bytes:
    """Return what the store gave. Raises: RowProblemError, also for what is as long as a key in clear."""
    if text.startswith(_STORE_TEXT):
        if algorithm != "AES-256-GCM96":
            raise RowProblemError(
                "ciphertext", "Transit has written it, and the KEK is not kept there.", "Check --kek."
            )
        if not text.startswith(f"{_STORE_TEXT}{version}:"):
            mend = "Name the version that stands in the ciphertext."
            raise RowProblemError("version", "The ciphertext is of another version.", mend)
        _bytes(text.split(":", 2)[2], "ciphertext")
        return text.encode("ascii")
    found = _bytes(text, "ciphertext")
    if not _may_be(found, algorithm):
        problem = f"It is not as long as what {algorithm} makes of a DEK."
        raise RowProblemError("ciphertext", problem, "Give the wrapped DEK, and never one in clear.")
    return found


def _may_be(ciphertext: bytes, algorithm: str) -> bool:
    size = len(ciphertext)
    if algorithm == "AES-256-GCM96":
        return False  # transit writes text
    if algorithm == "AES-256-KW":
        return size in _KW_BYTES
    bits = next((bits for name, bits in _RSA_BITS.items() if algorithm.startswith(name)), None)
    return size == bits // 8 if bits else size >= _SHORTEST


def doubled(rows: Sequence[WrappedRow]) -> Iterator[RowError]:
    """Find DEKs that stand twice in the file: their scope, or one wrapped DEK for two scopes."""
    scopes: dict[tuple[str, ...], int] = {}
    names: dict[str, int] = {}
    wrapped: dict[bytes, int] = {}
    for one in rows:
        if (first := scopes.setdefault(one.scope, one.row)) != one.row:
            problem = f"Row {first} is for the same, and each has one DEK."
            yield RowError(row=one.row, field=one.scope[0], problem=problem, mend="Leave one of the two out.")
        elif (first := names.setdefault(one.name, one.row)) != one.row:
            problem = f"Its record would be called as that of row {first}."
            yield RowError(row=one.row, field=one.scope[0], problem=problem, mend="Rename one of the two.")
        elif (first := wrapped.setdefault(one.ciphertext, one.row)) != one.row:
            problem = f"Row {first} has the same wrapped DEK, and two must not share one."
            yield RowError(
                row=one.row, field="ciphertext", problem=problem, mend="Give one of the two a DEK of its own."
            )
