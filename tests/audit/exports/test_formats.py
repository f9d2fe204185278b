"""What leaves: 200 hostile texts come back from every format, and each format is what its standard says."""

import csv
import io
import json
import re
import tomllib
from base64 import b64decode
from itertools import product
from pathlib import Path

import pytest

from audit import body, chain
from audit.actions import Action, Outcome
from audit.actor import Actor, Identity
from audit.exports import cef, ndjson, ocsf, tables
from audit.exports import product as ours
from audit.exports.delimited import csv_stream
from audit.exports.formulas import plain
from audit.selectors import ReadEvent
from audit.services import Subject
from tests.audit.exports import made
from tests.engines import ROOT

PIECES = (
    "=cmd|' /C calc'!A0", "@SUM(1)", "-1+1", "+1", "\t=1", "\r=1", "a|b", "a\\|b", "a=b", "a\\=b", "\\", "\\n", "a\nb",
    "a\r\nb", "\u2028x\u2029", "\x85y", "\x0b\x0c", "\x1b[31m", "\x7f", "a,b;c", '"', '""', "'", "'=1", "</script>",
    "{\"a\":1}", "\ufeffx", "\u202eabc", "\u200b=1", "\U0001f511", "\ufffd", "\uffff", "e\u0301", "%s%n", "<109>1 ",
    "CEF:0|x|y|z|1|n|9|act=root", "outcome=done act=x", "externalId=1", "\ud7ff", " ", "  lead", "trail  ", "\x01",
    "é" * 50,
)  # fmt: skip
HOSTILE = [first + second for first, second in product(PIECES[:10], PIECES[:16])] + list(PIECES)
SCHEMA = json.loads((ROOT / "tests/data/ocsf_1.6.0.json").read_text())


def read_event(number: int, previous: bytes, text: str) -> tuple[ReadEvent, made.Made]:
    whole = made.event(number, previous, text=text)
    return ReadEvent(whole[0], whole[4], whole[2], whole[3]), whole


EVENTS = [read_event(number, chain.GENESIS, text) for number, text in enumerate(HOSTILE, start=1)]


def test_there_are_200_hostile_texts() -> None:
    assert len(set(HOSTILE)) >= 200


def test_ndjson_gives_every_byte_back() -> None:
    for event, whole in EVENTS:
        line = ndjson.line(*whole)
        assert line.count(b"\n") == 1
        assert line.isascii()
        said = json.loads(line)
        assert said["body"].encode() == event.raw
        assert b64decode(said["stamp"]) == event.stamp
        digest = chain.chain_digest(chain.GENESIS, said["number"], event.stamp, said["body"].encode())
        assert digest.hex() == said["digest"]
    damaged = ndjson.line(1, EVENTS[0][1][1], b"", b"\xff", bytes(32))
    assert json.loads(damaged)["body_base64"] == "/w=="


def test_csv_gives_every_text_back_and_runs_nothing() -> None:
    content = b"".join(csv_stream([tables.HEADER, *(tables.row(event) for event, _ in EVENTS)]))
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert len(rows) == len(HOSTILE)
    for row, text in zip(rows, HOSTILE, strict=True):
        assert plain(row["reason"]) == text
        assert json.loads(row["facts"]) == {"text": text}
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())


def read_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Read a line as a receiver does: seven bars that are not escaped, then key=value."""
    *head, extension = re.split(r"(?<!\\)(?:\\\\)*\|", line, maxsplit=7)
    pairs = re.findall(r"(?:^| )([A-Za-z0-9]+)=((?:[^\\=]|\\[\\=nr])*?)(?= [A-Za-z0-9]+=|$)", extension)
    ends = {"n": "\n", "r": "\r"}
    return head, {key: re.sub(r"\\(.)", lambda it: ends.get(it[1], it[1]), value) for key, value in pairs}


def test_cef_gives_every_text_back_on_one_line() -> None:
    for (event, _), text in zip(EVENTS, HOSTILE, strict=True):
        line = cef.line(event)
        assert len(line.splitlines()) == 1
        head, said = read_cef(line)
        assert head == ["CEF:0", "Keyvault Admin", "Keyvault Admin", "0.1.0", "key.edited", "Key edited", "3"]
        assert event.said is not None
        assert (said["externalId"], said["cn1"]) == (str(event.said.id), str(event.number))
        assert (said["act"], said["outcome"], said["suid"]) == ("key.edited", "done", "user:7")
        assert said["rt"] == said["start"] == str(int(event.said.at.timestamp() * 1000))
        assert said.get("reason", "").strip() == text.translate(cef.ENDS | {10: 10, 13: 13}).strip()


def test_cef_escapes_as_its_standard_shows() -> None:
    """Source: ArcSight CEF, "Character Encoding": detected a \\| in message; act=blocked a \\=; msg with \\n."""
    assert cef._header("detected a | in message\\ on\ntwo lines") == r"detected a \| in message\\ on two lines"
    assert cef._value("msg", "blocked a = and a \\\nNo | here") == r"blocked a \= and a \\\nNo | here"
    assert len(cef._value("act", "x" * 100)) == 63


# OCSF


def wrong(said: dict, spec: dict, where: str) -> list[str]:
    """Return what breaks the schema: something missing, unknown, of another type, or not in its enumeration."""
    known, found = spec["attributes"], []
    found += [
        f"{where}.{name} is missing"
        for name, its in known.items()
        if its.get("requirement") == "required" and name not in said
    ]
    if one_of := spec["constraints"].get("at_least_one"):
        found += [] if set(one_of) & set(said) else [f"{where} has none of {one_of}"]
    for name, fact in said.items():
        if name not in known:
            found.append(f"{where}.{name} is unknown")
            continue
        found += _wrong_fact(fact, known[name], f"{where}.{name}")
    return found


def _wrong_fact(fact: object, its: dict, where: str) -> list[str]:
    if its.get("is_array"):
        assert isinstance(fact, list), where
        return [each for part in fact for each in _wrong_fact(part, {**its, "is_array": False}, where)]
    kind = its["type"]
    if kind in SCHEMA["objects"]:
        return wrong(fact, SCHEMA["objects"][kind], where) if isinstance(fact, dict) else [f"{where} is no {kind}"]
    python = {"integer_t": int, "long_t": int, "timestamp_t": int, "string_t": str, "boolean_t": bool, "object": dict}[
        kind
    ]
    if not isinstance(fact, python) or (isinstance(fact, bool) and python is int):
        return [f"{where} is no {kind}"]
    enum = its.get("enum", {})
    return [f"{where} is {fact}"] if enum and where.endswith("_id") and str(fact) not in enum else []


def any_event(action: str, outcome: Outcome, actor: Actor, subjects: list[Subject]) -> ReadEvent:
    raw = body.compose(
        made.event(1, chain.GENESIS)[1], action, outcome,
        actor=actor, identity_digest="", at=made.BEGUN, subjects=subjects, reason="because", facts={"role": "Security"},
    )  # fmt: skip
    return ReadEvent(1, bytes(32), made.event(1, chain.GENESIS)[2], raw, actor.identity)


ALICE = Identity(name="Alice", mail="", address="192.0.2.1", agent="")
ACTORS = (
    Actor(kind="person", id="user:3", role="DevOps+Security", verified_by="totp:1", identity=ALICE),
    Actor.system("beat", on_behalf_of="user:4"),
    Actor(kind="anonymous", id="anonymous"),
)
SUBJECTS = ([], [Subject(ref="user:5", before={"roles": []}, after={"roles": ["Auditor"]}), Subject(ref="key:1")])


def test_every_action_is_a_valid_object_of_the_pinned_schema() -> None:
    assert SCHEMA["version"] == ocsf.SCHEMA
    for action, outcome, actor, subjects in product(Action, Outcome, ACTORS, SUBJECTS):
        said = json.loads(ocsf.line(any_event(action, outcome, actor, subjects), origin="x/audit"))
        spec = SCHEMA["classes"][str(said["class_uid"])]
        assert wrong(said, spec, action) == []
        assert said["class_name"] == spec["caption"]
        assert said["type_uid"] == said["class_uid"] * 100 + said["activity_id"]
        captions = spec["attributes"]["activity_id"]["enum"]
        assert said["activity_name"] == (captions[str(said["activity_id"])] if said["activity_id"] != 99 else action)
        assert (said["status_id"] == 1) == (outcome == Outcome.DONE)
    for event, _ in EVENTS:
        assert wrong(ocsf.mapped(event, origin="x"), SCHEMA["classes"]["3004"], "hostile") == []
    unreadable = ocsf.mapped(ReadEvent(9, bytes(32), b"", b"\xff"), origin="x")
    assert wrong(unreadable, SCHEMA["classes"]["3004"], "unreadable") == []
    assert unreadable["severity"] == "High"


@pytest.mark.parametrize(
    ("action", "type_uid"),
    [
        (Action.SESSION_OPENED, 300201),
        (Action.PERSON_DEACTIVATED, 300105),
        (Action.ROLE_GRANTED, 300501),
        (Action.KEY_REGISTERED, 300401),
        (Action.KEY_SUSPENDED, 300412),
        (Action.AUDIT_EXPORTED, 300402),
        (Action.KEY_FLAGGED_OVERDUE, 300499),
    ],
)
def test_the_classes_are_those_that_a_siem_looks_for(action: Action, type_uid: int) -> None:
    said = ocsf.mapped(any_event(action, Outcome.DONE, ACTORS[0], SUBJECTS[1]), origin="x")
    assert said["type_uid"] == type_uid


def test_a_check_of_the_schema_can_fail() -> None:
    said = ocsf.mapped(any_event(Action.KEY_EDITED, Outcome.DONE, ACTORS[0], SUBJECTS[1]), origin="x")
    spec = SCHEMA["classes"]["3004"]
    for broken in (
        {**said, "severity_id": 7},
        {**said, "time": "today"},
        {**said, "digest": "x"},
        {**said, "entity": {"type": "key"}},
        {name: fact for name, fact in said.items() if name != "metadata"},
    ):
        assert wrong(broken, spec, "broken")


def test_ocsf_keeps_all_of_ours_and_names_what_a_receiver_needs_to_drop_a_duplicate() -> None:
    event = any_event(Action.ROLE_GRANTED, Outcome.DONE, ACTORS[0], SUBJECTS[1])
    said = ocsf.mapped(event, origin="keys/audit")
    assert event.said is not None
    assert (said["metadata"]["uid"], said["metadata"]["sequence"]) == (str(event.said.id), 1)
    assert said["privileges"] == ["Auditor", "Security"]
    assert said["user"] == {"uid": "user:5", "type_id": 1}
    assert said["actor"]["user"]["name"] == "Alice"
    assert said["unmapped"]["subjects"][0]["after"] == {"roles": ["Auditor"]}


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(ROOT) / "pyproject.toml").read_text())
    assert project["project"]["version"] == ours.VERSION
