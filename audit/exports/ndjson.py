"""The log as NDJSON: the record itself, byte for byte, so that whoever has the file can compute everything. Pure.

The first line says where the events begin; then one line an event, in the order of numbers, without a gap:

    {"format":"keyvault-admin/audit/export/v1","origin":…,"after":0,"digest":HEX,"peaks":[HEX, …]}
    {"number":1,"id":UUID,"stamp":BASE64,"body":TEXT,"digest":HEX}

`body` is the text of the hashed bytes, JSON inside a JSON string; where damaged bytes are no UTF-8, `body_base64`
stands in its place. `after` and `digest` are number and digest of the event before the first one (0 and GENESIS at the
very beginning), `peaks` the full subtrees of the tree of that size, the highest first. Nobody has to believe them: a
signed checkpoint at that size or later shows whether they are true. Lines are ASCII: no line end hides in a text.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any
from uuid import UUID

FORMAT = "keyvault-admin/audit/export/v1"
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), check_circular=False).encode


def header(*, origin: str, after: int, digest: bytes, peaks: Sequence[bytes]) -> bytes:
    """Return the first line: the name of the log, and where the events in the file begin."""
    said = {"format": FORMAT, "origin": origin, "after": after, "digest": digest.hex()}
    return _line({**said, "peaks": [peak.hex() for peak in peaks]})


def line(number: int, event_id: UUID, stamp: bytes, body: bytes, digest: bytes) -> bytes:
    """Return the line of one event, ended by a line feed: from it entry, digest and leaf can be computed."""
    said: dict[str, Any] = {"number": number, "id": str(event_id), "stamp": b64encode(stamp).decode()}
    try:
        said["body"] = body.decode()
    except UnicodeDecodeError:
        said["body_base64"] = b64encode(body).decode()
    said["digest"] = digest.hex()
    return _line(said)


def _line(said: dict[str, Any]) -> bytes:
    return _encode(said).encode() + b"\n"
