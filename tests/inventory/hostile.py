"""Files that somebody might upload to hurt us (IMP-01): each with how it is made and what has to become of it."""

import base64
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.inventory import workbooks
from tests.inventory.workbooks import BOOK, HEADER, NAMESPACE, good_row, sheet, strings, text_cell, workbook

MEGABYTE = 1024 * 1024
MOST = 10 * MEGABYTE
ROWS = 20_000


class Hostile(NamedTuple):
    name: str
    make: Callable[[], bytes]
    reader: Literal["inventory", "material"]
    accepted: int | None  # rows or keys that are good all the same; None: the whole file is refused


def corpus() -> list[Hostile]:
    return [
        *_of("inventory", {**_sizes(), **_texts(), **_archives(), **_workbooks(), **_json()}, None),
        *(Hostile(name, make, "inventory", accepted) for name, (make, accepted) in _rows().items()),
        *_of("material", _material(), None),
        *(Hostile(name, make, "material", accepted) for name, (make, accepted) in _some_material().items()),
    ]


def _of(
    reader: Literal["inventory", "material"], files: dict[str, Callable[[], bytes]], accepted: None
) -> Iterator[Hostile]:
    return (Hostile(name, make, reader, accepted) for name, make in files.items())


def csv(*rows: str, header: str = "Name,Type,Owner,Created,Notes") -> bytes:
    return "\n".join([header, *rows]).encode()


# Too much of something


def _sizes() -> dict[str, Callable[[], bytes]]:
    return {
        "60 MB of a": lambda: b"a" * (60 * MEGABYTE),
        "60 MB of zeros": lambda: bytes(60 * MEGABYTE),
        "one byte too many": lambda: b"Name,Type\n" + b"a" * (MOST - 9),
        "one line of 5 MB": lambda: b"a" * MOST,
        "one line of 5 MB below a header": lambda: b"Name,Type\n" + b"a" * (MOST - 10),
        "a million columns": lambda: b"," * 1_000_000,
        "a million named columns": lambda: b",".join([b"n"] * 1_000_000),
        "a million quoted columns": lambda: b'"",' * 1_000_000,
        "a million columns in the second row": lambda: b"Name,Type\n" + b"," * 1_000_000,
        "101 columns": lambda: b"Name,Type" + b",x" * 99 + b"\n" + b"a,KEK" + b",x" * 99,
        "a million rows": lambda: b"Name,Type\n" + b"a,b\n" * 1_000_000,
        "five million blank rows": lambda: b"\n" * MOST,
        "blank rows, then one": lambda: b"\n" * (MOST - 1) + b"a",
        "a million rows of quotes": lambda: b'""\n' * 1_000_000,
        "20,001 rows": lambda: b"Name,Type\n" + b"a,KEK\n" * 20_001,
        "a cell of 8,193 bytes": lambda: csv("a,KEK,x,," + "n" * 8193),
        "a cell of 3 MB": lambda: csv('a,KEK,x,,"' + "n" * (3 * MEGABYTE) + '"'),
        "a header of 3 MB": lambda: b"Name," + b"T" * (3 * MEGABYTE) + b"\na,KEK\n",
        "10^5 duplicate names": lambda: b"Name,Type\n" + b"same,KEK\n" * 100_000,
        "spaces": lambda: b" " * MOST,
        "tabs": lambda: b"\t" * MOST,
        "carriage returns": lambda: b"\r" * MOST,
        "semicolons": lambda: b";" * MOST,
        "bars": lambda: b"|" * MOST,
        "emoji": lambda: b"Name\n" + "😀".encode() * (MOST // 4 - 2),
    }


# Text that is none


def _texts() -> dict[str, Callable[[], bytes]]:
    return {
        "nothing": lambda: b"",
        "a byte order mark alone": lambda: b"\xef\xbb\xbf",
        "a UTF-16 mark alone": lambda: b"\xff\xfe",
        "NUL in a cell": lambda: b"Name,Type\na\0b,KEK",
        "NUL at the end": lambda: b"Name,Type\na,KEK\n\0",
        "NULs": lambda: bytes(MOST),
        "UTF-16 without a mark": lambda: "Name,Type\na,KEK".encode("utf-16-le"),
        "UTF-16 big-endian without a mark": lambda: "Name,Type\na,KEK".encode("utf-16-be"),
        "UTF-16 with half a character": lambda: "Name,Type\na,KEK".encode("utf-16") + b"x",
        "UTF-16 with a lone surrogate": lambda: b"\xff\xfe" + "Name,Type\na".encode("utf-16-le") + b"\x00\xd8x\x00",
        "UTF-16 with NULs": lambda: "Name,Type\na\0,KEK".encode("utf-16"),
        "UTF-32": lambda: "Name,Type\na,KEK".encode("utf-32"),
        "UTF-16 mark before UTF-8": lambda: b"\xff\xfeName,Type\na,KEK",
        "two marks against each other": lambda: b"\xff\xfe\xfe\xff" + "Name,Type\na,KEK".encode("utf-16-be"),
        "5 MB of UTF-16 brackets": lambda: b"\xff\xfe" + "[".encode("utf-16-le") * (MOST // 2 - 1),
        "UTF-7": lambda: "Name,Type\nä,KEK".encode("utf-7").replace(b",", b"\x00"),
        "UTF-8 cut in a character": lambda: "Name,Type\nä,ü".encode()[:-1],
        "overlong UTF-8": lambda: b"Name,Type\n\xc0\xaf\xc3\xbc,KEK",
        "surrogates in UTF-8": lambda: b"Name,Type\n\xed\xa0\x80\x8d,KEK",
        "UTF-8 broken once": lambda: "Name,Type\nMüller,KEK\n".encode() + b"M\xfcller,KEK",
        "a byte that Windows-1252 lacks": lambda: b"Name,Type\nM\x81ller,KEK",
        "Windows-1252 with control characters": lambda: b"Name,Type\nM\xfc\x02ller,KEK",
        "random-looking bytes": lambda: bytes(index * 7 % 255 + 1 for index in range(100_000)),
        "a picture": lambda: b"\x89PNG\r\n\x1a\n" + b"x" * 1000,
        "a PDF": lambda: b"%PDF-1.7\n" + b"x" * 1000,
        "a program": lambda: b"\x7fELF" + b"x" * 1000,
        "an old workbook": lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000),
        "HTML": lambda: b"<html><table><tr><td>Name</td></tr></table></html>",
        "an XML bomb as it is": lambda: _bomb("x").encode(),
        "an open quote": lambda: b'Name,Type\n"' + b"a\n" * 2_000_000,
        "a quote bomb": lambda: b'"' * MOST,
        "an odd quote bomb": lambda: b'"' * (MOST - 1),
        "a quote in every cell": lambda: b'Name,Type\n5" disk,KEK',
        "text behind a quote": lambda: b'Name,Type\n"a"b,KEK',
        "quotes and commas": lambda: b'",' * (MOST // 2),
    }


# Archives


def _bomb(innermost: str) -> str:
    """Ten entities, each ten of the one before: the billion laughs."""
    levels = [f'<!ENTITY a0 "{innermost}">'] + [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)]
    return f'<?xml version="1.0"?><!DOCTYPE s [{"".join(levels)}]>'


def _archives() -> dict[str, Callable[[], bytes]]:
    good = workbook(sheet(good_row(2)))
    return {
        "a truncated gzip": lambda: gzip.compress(b"Name,Type\na,KEK\n" * 1000)[:-20],
        "a gzip bomb": lambda: gzip.compress(bytes(50 * MEGABYTE)),
        "a ZIP of CSV": lambda: workbooks.archive({"keys.csv": "Name,Type\na,KEK"}),
        "a ZIP of nothing": lambda: workbooks.archive({}),
        "an OpenDocument sheet": lambda: workbooks.archive({"mimetype": "application/x", "content.xml": "<a/>"}),
        "a ZIP mark and no ZIP": lambda: b"PK\x03\x04" + b"x" * 10_000,
        "a workbook cut in half": lambda: good[: len(good) // 2],
        "a workbook without its directory": lambda: good[:-30],
        "a workbook with a wrong checksum": lambda: _with_wrong_checksum(good),
        "a workbook that lies about its sizes": lambda: _with_wrong_size(workbook(sheet(good_row(2)), method=0)),
        "an encrypted workbook": lambda: good.replace(b"\x14\x00\x00\x00\x08\x00", b"\x14\x00\x01\x00\x08\x00"),
        "a workbook packed with LZMA": lambda: workbook(sheet(good_row(2)), method=zipfile.ZIP_LZMA),
        "a workbook packed with bzip2": lambda: workbook(sheet(good_row(2)), method=zipfile.ZIP_BZIP2),
        "a ZIP bomb in the sheet": lambda: workbook(b"<a>" + b" " * (400 * MEGABYTE // 8)),
        "a ZIP bomb in the strings": lambda: workbook(sheet(good_row(2)), strings=b" " * (50 * MEGABYTE)),
        "a ZIP bomb in a part that nobody opens": lambda: _stuffed({"xl/media/a.png": bytes(140 * MEGABYTE)}),
        "10,000 parts": lambda: _stuffed({f"xl/media/{number}": b"" for number in range(10_000)}),
        "a workbook in a workbook": lambda: workbooks.archive({"book.xlsx": good}),
        "a path out of the archive": lambda: workbook(
            sheet(good_row(2)), relations=workbooks.RELATIONS.replace("worksheets/sheet1.xml", "../../../etc/passwd")
        ),
        "a sheet on another host": lambda: workbook(
            sheet(good_row(2)),
            relations=workbooks.RELATIONS.replace(
                'Target="worksheets/sheet1.xml"', 'Target="http://evil.example/s.xml" TargetMode="External"'
            ),
        ),
        "a binary workbook": lambda: workbooks.archive({"xl/workbook.bin": b"\x83\x01", "[Content_Types].xml": "<a/>"}),
    }


def _stuffed(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO(workbook(sheet(good_row(2))))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as packed:
        for name, part in parts.items():
            packed.writestr(name, part)
    return file.getvalue()


def _with_wrong_checksum(content: bytes) -> bytes:
    """Change the checksum of the sheet in the directory."""
    start = content.rindex(b"xl/worksheets/sheet1.xml") - 46
    return content[: start + 16] + b"\0\1\2\3" + content[start + 20 :]


def _with_wrong_size(content: bytes) -> bytes:
    """Let the directory say that the sheet has two gigabytes."""
    start = content.rindex(b"xl/worksheets/sheet1.xml") - 46
    return content[: start + 24] + struct.pack("<I", 2**31 - 1) + content[start + 28 :]


# Workbooks


def _workbooks() -> dict[str, Callable[[], bytes]]:
    many = "".join(f'<row r="{row}"><c r="A{row}"><v>1</v></c></row>' for row in range(2, 20_003))
    attributes = " ".join(f"a{number}='1'" for number in range(100_000))
    laughs = _bomb("lol")
    return {
        "laughs in the sheet": lambda: workbook(f"{laughs}{sheet(good_row(2)).replace('KEK', '&a9;')}"),
        "laughs in the strings": lambda: workbook(sheet(good_row(2)), strings=f"{laughs}{strings('&a9;')}"),
        "laughs in the styles": lambda: workbook(sheet(good_row(2)), styles=f"{laughs}<styleSheet>&a9;</styleSheet>"),
        "laughs in the book": lambda: workbook(sheet(good_row(2)), book=f"{laughs}{BOOK}"),
        "an entity from outside": lambda: workbook(
            f'<!DOCTYPE s [<!ENTITY e SYSTEM "file:///etc/passwd">]>{sheet(good_row(2)).replace("KEK", "&e;")}'
        ),
        "a document type in UTF-16": lambda: workbook(f"{laughs}{sheet(good_row(2))}".encode("utf-16")),
        "XML that breaks off": lambda: workbook(sheet(good_row(2))[:-20]),
        "XML nested 500,000 deep": lambda: workbook(b"<a>" * 500_000),
        "a tag of 10 MB": lambda: workbook(f'<worksheet><row a="{"x" * 10 * MEGABYTE}"/></worksheet>'),
        "a comment of 10 MB": lambda: workbook(f"<worksheet><!--{'> ' * 5 * MEGABYTE}--></worksheet>"),
        "10^5 attributes": lambda: workbook(f"<worksheet><row {attributes}/></worksheet>"),
        "two million blank cells": lambda: workbook(sheet("<row>" + "<c/>" * 4_000_000 + "</row>")),
        "a million columns in one row": lambda: workbook(sheet("<row>" + "<c><v>1</v></c>" * 1_000_000 + "</row>")),
        "a cell in column XFD": lambda: workbook(sheet(good_row(2, text_cell("XFD2", "x")))),
        "a cell in column ZZZ": lambda: workbook(sheet(good_row(2, text_cell("ZZZ2", "x")))),
        "20,001 rows in a workbook": lambda: workbook(sheet(many)),
        "a row number without end": lambda: workbook(sheet('<row r="' + "9" * 10_000 + '"/>')),
        "rows that go back": lambda: workbook(sheet(good_row(3), good_row(2))),
        "the same cell twice": lambda: workbook(sheet(good_row(2, text_cell("B2", "DEK")))),
        "a cell in another row": lambda: workbook(sheet(good_row(2, text_cell("C7", "x")))),
        "a shared string that is not there": lambda: workbook(sheet('<row r="2"><c r="A2" t="s"><v>7</v></c></row>')),
        "a shared string called minus one": lambda: workbook(sheet('<row r="2"><c r="A2" t="s"><v>x</v></c></row>')),
        "500,000 shared strings": lambda: workbook(sheet(good_row(2)), strings=strings(*["a"] * 500_000)),
        "a shared string of 20 MB": lambda: workbook(
            sheet('<row r="2"><c r="A2" t="s"><v>0</v></c></row>'), strings=strings("a" * 20 * MEGABYTE)
        ),
        "one large string in 20,000 cells": lambda: workbook(
            sheet(*(f'<row r="{row}"><c r="A{row}" t="s"><v>0</v></c></row>' for row in range(2, 20_000))),
            strings=strings("a" * 8000),
        ),
        "an inline text of 20 MB": lambda: workbook(sheet(f'<row r="2">{text_cell("A2", "a" * 20 * MEGABYTE)}</row>')),
        "a number that is no number": lambda: workbook(sheet('<row r="2"><c r="A2"><v>one</v></c></row>')),
        "a number of 10^6 digits": lambda: workbook(sheet(f'<row r="2"><c r="A2"><v>{"9" * 10**6}</v></c></row>')),
        "a header that is computed": lambda: workbook(
            sheet(good_row(2), header=HEADER.replace("<is>", "<f>1</f><is>"))
        ),
        "only a hidden sheet": lambda: workbook(
            sheet(good_row(2)), book=BOOK.replace("sheetId", 'state="veryHidden" sheetId')
        ),
        "a workbook without sheets": lambda: workbook(sheet(good_row(2)), book=f'<workbook xmlns="{NAMESPACE}"/>'),
        "an empty sheet": lambda: workbook(sheet(header="")),
        "relations that are missing": lambda: workbook(sheet(good_row(2)), relations=None),
    }


# JSON


def _json() -> dict[str, Callable[[], bytes]]:
    return {
        "JSON 10^5 deep": lambda: b"[" * 100_000 + b"]" * 100_000,
        "JSON objects 10^5 deep": lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "JSON of 5 MB of brackets": lambda: b"[" * MOST,
        "JSON of a million objects": lambda: b"[" + b"{}," * 1_000_000 + b"{}]",
        "JSON of a million numbers": lambda: b"[" + b"1," * 1_000_000 + b"1]",
        "JSON object of 500,000 members": lambda: b"[{" + b'"a":1,' * 500_000 + b'"b":1}]',
        "JSON with NaN": lambda: b'[{"name": "a", "kind": NaN}]',
        "JSON with an infinity": lambda: b'[{"name": "a", "kind": -Infinity}]',
        "JSON with a member twice": lambda: b'[{"name": "a", "name": "b", "kind": "KEK"}]',
        "JSON with a member twice, escaped": lambda: b'[{"name": "a", "na\\u006de": "b", "kind": "KEK"}]',
        "JSON that breaks off": lambda: b'[{"name": "a", "kind": "KEK"}, {"name": ',
        "JSON with something behind it": lambda: b'[{"name": "a", "kind": "KEK"}] [1]',
        "JSON with a comment": lambda: b'[{"name": "a" /* x */, "kind": "KEK"}]',
        "JSON string that never ends": lambda: b'[{"name": "' + b'\\"' * 2_000_000,
        "JSON with 101 members": lambda: json.dumps([{f"m{number}": "x" for number in range(101)}]).encode(),
        "JSON with 20,001 objects": lambda: json.dumps([{"name": "a", "kind": "KEK"}] * 20_001).encode(),
        "JSON of one object": lambda: b'{"name": "a", "kind": "KEK"}',
        "JSON without objects": lambda: b'["name", "kind"]',
        "JSON of empty objects": lambda: b"[" + b"{}," * 10_000 + b"{}]",
        "JSON with a cell of 1 MB": lambda: json.dumps([{"name": "a" * MEGABYTE, "kind": "KEK"}]).encode(),
    }


# Rows that are refused one by one


def _rows() -> dict[str, tuple[Callable[[], bytes], int]]:
    """Each with how many of its rows are good. A kind is missing where a text is there to keep a pattern busy."""

    def busy(text: str, column: int, rows: int = 500) -> Callable[[], bytes]:
        cells = ["", "", "", "", ""]
        cells[column] = text
        return lambda: csv(*([",".join(cells)] * rows))

    faulty = '<c r="C2"><f>SUM(A1:A9)</f><v>3</v></c>'
    owners = HEADER.replace("</row>", text_cell("C1", "Owner") + "</row>")
    return {
        "10^4 duplicate names that differ": (lambda: csv(*(f"same,KEK,o{n},," for n in range(10_000))), 0),
        "formula cells": (lambda: workbook(sheet(good_row(2, faulty), good_row(3), header=owners)), 1),
        "a formula that calls a program": (
            lambda: workbook(sheet(good_row(2, "<c r='C2'><f>cmd|' /C calc'!A0</f></c>"), header=owners)), 0,
        ),
        "an error for a name": (
            lambda: workbook(sheet(f'<row r="2"><c r="A2" t="e"><v>#REF!</v></c>{text_cell("B2", "KEK")}</row>')), 0,
        ),
        "a date that no calendar has": (
            lambda: workbook(sheet(f'<row r="2">{text_cell("A2", "a")}<c r="B2" s="1"><v>-7</v></c></row>')), 0,
        ),
        "JSON lists for text": (lambda: b'[{"name": "a", "kind": ["KEK"]}, {"name": "b", "kind": "KEK"}]', 1),
        "JSON with lone surrogates": (lambda: b'[{"name": "a\\ud800", "kind": "KEK"}]', 0),
        "control characters": (lambda: csv("a\x07b,KEK,x,,", "b,KEK,x,,"), 1),
        "right-to-left overrides": (lambda: csv("a\u202eb,KEK,x,,"), 0),
        "zero-width characters": (lambda: csv("a\u200bb,KEK,x,,"), 0),
        "numbers without end": (busy("1" * 8000, 3), 0),
        "dates that nearly are": (busy("1/" * 4000, 3), 0),
        "mail addresses that nearly are": (busy("a@" + "a." * 4000, 2), 0),
        "mail addresses in mail addresses": (busy("<" * 8000, 2), 0),
        "handles without end": (busy("a-" * 4000, 2), 0),
        "key material that nearly is": (busy("eyJ" + "a" * 8000, 4), 0),
        "URLs that nearly have passwords": (busy("://" * 2600, 4), 0),
        "PEM headers that nearly are": (busy("-----BEGIN " * 700, 4), 0),
        "letters that fold to many": (busy("\ufdfa" * 2600, 0), 0),
        "combining marks": (busy("a" + "\u0301" * 4000, 0), 0),
        "rows of other widths": (lambda: csv(*["a,KEK"] * 10_000), 0),
        "key material in every row": (lambda: csv(*[f"k{n},KEK,x,,AKIA{'A' * 16}" for n in range(10_000)]), 0),
    }  # fmt: skip


# Key material


@cache
def certificate() -> bytes:
    """A good certificate, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name, subject_name=name, public_key=key.public_key(), serial_number=77
    )
    made = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=90)).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@cache
def private_pem(*, der: bool = False) -> bytes:
    encoding = serialization.Encoding.DER if der else serialization.Encoding.PEM
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(label: str, content: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(content).decode()}-----END {label}-----\n".encode()


def _jwk(**members: str) -> bytes:
    return json.dumps({"keys": [members]}).encode()


def _material() -> dict[str, Callable[[], bytes]]:
    return {
        "10 MB of PEM": lambda: certificate() * (10 * MEGABYTE // len(certificate())),
        "bytes of no kind": lambda: b"\x00\x01\x02\xff" * 1000,
        "comments alone": lambda: b"# nothing\n" * 1000,
        "30,000 lines of no key": lambda: b"ssh-rsa\n" * 30_000,
        "30,000 PEM headers": lambda: b"-----BEGIN CERTIFICATE-----\n" * 30_000,
        "key sets 10^5 deep": lambda: b'{"kty":' + b"[" * 100_000,
        "a key set with a member twice": lambda: b'{"keys": [{"kty": "EC", "kty": "RSA"}]}',
        "no bytes": lambda: b"",
    }


def _some_material() -> dict[str, tuple[Callable[[], bytes], int]]:
    good = certificate()
    body = base64.b64decode(b"".join(good.splitlines()[1:-1]))
    serial = _der(0x30, _der(0x30, _der(0x02, b"\x7f" * MEGABYTE)))
    long = base64.urlsafe_b64encode(b"\xff" * 40_000).decode()
    return {
        "PEM with garbage in it": (lambda: good.replace(b"\n", b"\n!?\x07\n", 3), 0),
        "PEM that ends in garbage": (lambda: good + b"-----BEGIN CERTIFICATE-----\nAAAA", 1),
        "PEM of another kind": (lambda: good + _pem("PGP MESSAGE", b"abc"), 1),
        "DER that is longer than it says": (lambda: body + b"tail", 0),
        "DER that breaks off": (lambda: body[:100], 0),
        "DER with a length of 2^63": (lambda: b"\x30\x88\x7f\xff\xff\xff\xff\xff\xff\xff" + body, 0),
        "DER of indefinite length": (lambda: b"\x30\x80" + body + b"\0\0", 0),
        "DER nested 10^5 deep": (lambda: b"\x30\x82\xff\xff" * 100_000, 0),
        "a serial number of 1 MB": (lambda: _pem("CERTIFICATE", serial), 0),
        "a bit flipped in a certificate": (lambda: _pem("CERTIFICATE", b"\x31" + body[1:]), 0),
        "a private key": (private_pem, 0),
        "a private key behind a certificate": (lambda: good + private_pem(), 1),
        "a private key in DER": (lambda: private_pem(der=True), 0),
        "a private key that breaks off": (lambda: b"-----BEGIN RSA PRIVATE KEY-----\nMIIE", 0),
        "a PuTTY key": (lambda: b"PuTTY-User-Key-File-3: ssh-ed25519\n", 0),
        "a private JSON web key": (lambda: _jwk(kty="OKP", crv="Ed25519", x="AAAA", d="AAAA"), 0),
        "a symmetric JSON web key": (lambda: _jwk(kty="oct", k="AAAA"), 0),
        "an RSA key of 320,000 bits": (lambda: _jwk(kty="RSA", n=long, e="AQAB"), 0),
        "a point off its curve": (lambda: _jwk(kty="EC", crv="P-256", x="AQ", y="AQ"), 0),
        "an SSH key of 1 MB": (lambda: b"ssh-rsa " + b"A" * MEGABYTE, 0),
        "SSH options that never end": (lambda: b'command="' + b'\\"' * 10_000 + b" ssh-rsa AAAA", 0),
        "SSH lengths that lie": (lambda: b"ssh-ed25519 " + base64.b64encode(b"\xff\xff\xff\xffssh-ed25519"), 0),
    }  # fmt: skip


def _der(tag: int, content: bytes) -> bytes:
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
