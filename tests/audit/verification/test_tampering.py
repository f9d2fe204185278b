"""Whatever the owner of the database changes is found and named; a whole log never is."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import UUID

import pytest
from django.db import connection

from audit import chain
from audit.tree import EMPTY_ROOT
from audit.verification import Damage, Position, Verdict, verify

GENESIS = Position(0, chain.GENESIS)
Owner = Callable[[], AbstractContextManager[None]]
Fill = Callable[[int], None]


def tamper(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


REWRITE = "UPDATE audit_event SET body = replace(convert_from(body, 'UTF8'), 'why', 'who')::bytea WHERE number = 5"
SWAP = [
    "CREATE TABLE spare AS SELECT * FROM audit_event WHERE number IN (4, 7)",
    "DELETE FROM audit_event WHERE number IN (4, 7)",
    "UPDATE spare SET number = 11 - number",
    "INSERT INTO audit_event SELECT * FROM spare",
]
SHIFT_DOWN = [
    "DELETE FROM audit_event WHERE number = 4",
    *(f"UPDATE audit_event SET number = {number - 1} WHERE number = {number}" for number in range(5, 11)),
]
INSERTED = [
    *(f"UPDATE audit_event SET number = {number + 1} WHERE number = {number}" for number in range(10, 3, -1)),
    "INSERT INTO audit_event SELECT 4, gen_random_uuid(), digest, stamp, body, identity, action, outcome, at, "
    "recorded_at, actor_kind, actor_id, actor_role, on_behalf_of, path FROM audit_event WHERE number = 1",
]
TAMPERINGS = [
    ("bytes", [REWRITE], 5, Damage.EDIT, "its bytes were altered"),
    (
        "stamp",
        ["UPDATE audit_event SET stamp = stamp || '\\x00' WHERE number = 5"],
        5,
        Damage.EDIT,
        "its bytes were altered",
    ),
    (
        "digest",
        ["UPDATE audit_event SET digest = sha256(digest) WHERE number = 5"],
        5,
        Damage.EDIT,
        "its digest was altered",
    ),
    (
        "bytes_and_digest",
        [
            REWRITE,
            "UPDATE audit_event e SET digest = sha256('keyvault-admin/audit/event/v1'::bytea || '\\x00' || p.digest "
            "|| int8send(e.number) || int8send(length(e.stamp)) || e.stamp || int8send(length(e.body)) || e.body) "
            "FROM audit_event p WHERE e.number = 5 AND p.number = 4",
        ],
        6,
        Damage.EDIT,
        "the event before together with its digest",
    ),
    ("delete", ["DELETE FROM audit_event WHERE number = 4"], 4, Damage.DELETE, "missing, the next event is 5"),
    ("delete_first", ["DELETE FROM audit_event WHERE number = 1"], 1, Damage.DELETE, "missing"),
    ("delete_and_renumber", SHIFT_DOWN, 4, Damage.DELETE, "taken out and the later ones were renumbered"),
    ("reorder", SWAP, 4, Damage.REORDER, "what belongs here stands as event 7"),
    ("move", ["UPDATE audit_event SET number = 11 WHERE number = 4"], 4, Damage.REORDER, "it stands as event 11"),
    ("insert", INSERTED, 4, Damage.INSERT, "what belongs here stands as event 5"),
    (
        "cut_tail",
        ["DELETE FROM audit_event WHERE number > 7"],
        8,
        Damage.TRUNCATION,
        "the log ends here, its head is event 10",
    ),
    ("cut_all", ["TRUNCATE audit_event"], 1, Damage.TRUNCATION, "the log ends here"),
    ("head_back", ["UPDATE audit_head SET number = 9"], 10, Damage.HEAD, ""),
    ("head_forward", ["UPDATE audit_head SET number = 11"], 11, Damage.TRUNCATION, "the log ends here"),
    ("head_digest", ["UPDATE audit_head SET digest = sha256(digest)"], 10, Damage.HEAD, ""),
    (
        "column_id",
        ["UPDATE audit_event SET id = gen_random_uuid() WHERE number = 5"],
        5,
        Damage.COPY,
        "the column id was altered",
    ),
    *(
        (
            f"column_{name}",
            [f"UPDATE audit_event SET {name} = {value} WHERE number = 5"],
            5,
            Damage.COPY,
            f"the column {name} was altered",
        )
        for name, value in {
            "action": "'key.destroyed'",
            "outcome": "'refused'",
            "at": "at + interval '1 microsecond'",
            "recorded_at": "recorded_at - interval '1 hour'",
            "actor_kind": "'system'",
            "actor_id": "'user:8'",
            "actor_role": "''",
            "on_behalf_of": "'user:1'",
            "path": "path || ' '",
        }.items()
    ),
    (
        "subject_gone",
        ["DELETE FROM audit_event_subject WHERE number = 5 AND position = 1"],
        5,
        Damage.COPY,
        "the subject index does not list",
    ),
    (
        "subject_other",
        ["UPDATE audit_event_subject SET subject = 'key:99' WHERE number = 5 AND position = 1"],
        5,
        Damage.COPY,
        "the subject index does not list",
    ),
    (
        "subject_order",
        ["UPDATE audit_event_subject SET position = 3 - position WHERE number = 5"],
        5,
        Damage.COPY,
        "the subject index does not list",
    ),
    (
        "subject_more",
        ["INSERT INTO audit_event_subject VALUES ('key:99', 5, 3)"],
        5,
        Damage.COPY,
        "the subject index does not list",
    ),
    (
        "subject_stray",
        ["INSERT INTO audit_event_subject VALUES ('key:99', 99, 1)"],
        99,
        Damage.COPY,
        "there is no such event",
    ),
    ("identity_gone", ["UPDATE audit_event SET identity = NULL WHERE number = 5"], 5, Damage.IDENTITY, "taken away"),
    (
        "identity_other",
        ["UPDATE audit_event SET identity = (SELECT identity FROM audit_event WHERE number = 4) WHERE number = 5"],
        5,
        Damage.IDENTITY,
        "does not open",
    ),
    (
        "identity_bit",
        ["UPDATE audit_event SET identity = set_bit(identity, 200, 1 - get_bit(identity, 200)) WHERE number = 5"],
        5,
        Damage.IDENTITY,
        "does not open",
    ),
    ("identity_key_gone", ["DELETE FROM audit_identity_key"], 1, Damage.IDENTITY, "taken away without an erasure"),
    (
        "identity_key_altered",
        ["UPDATE audit_identity_key SET sealed_key = set_bit(sealed_key, 200, 1 - get_bit(sealed_key, 200))"],
        1,
        Damage.IDENTITY,
        "does not open",
    ),
]


@pytest.mark.django_db
def test_a_whole_log_is_found_whole(fill: Fill) -> None:
    fill(10)
    verdict = verify()
    assert verdict.findings == ()
    assert (verdict.events, verdict.subjects, verdict.identities, verdict.end.number) == (10, 20, 10, 10)
    assert verdict.warnings == ()


@pytest.mark.django_db
def test_an_empty_log_is_found_whole() -> None:
    assert verify() == Verdict(begin=GENESIS, end=GENESIS, root=EMPTY_ROOT)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statements", "number", "damage", "words"), [row[1:] for row in TAMPERINGS], ids=[row[0] for row in TAMPERINGS]
)
def test_whatever_the_owner_changes_is_named(
    fill: Fill, as_owner: Owner, statements: list[str], number: int, damage: Damage, words: str
) -> None:
    fill(10)
    with as_owner():
        tamper(*statements)
    findings = verify().findings
    assert findings
    assert (findings[0].number, findings[0].damage) == (number, damage)
    assert words in findings[0].words


@pytest.mark.django_db
def test_the_finding_names_the_event_by_its_id(fill: Fill, as_owner: Owner) -> None:
    fill(6)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM audit_event WHERE number = 5")
        (event_id,) = cursor.fetchone()
    with as_owner():
        tamper(REWRITE)
    finding = verify().findings[0]
    assert finding.event_id == event_id
    assert str(finding).startswith(f"event 5 ({event_id}): edit: its bytes were altered")


@pytest.mark.django_db
def test_a_body_that_is_not_canonical_is_named(fill: Fill) -> None:
    fill(1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT body, id FROM audit_event")
        raw, first_id = cursor.fetchone()
        spaced = bytes(raw).replace(b'":', b'" :').replace(str(first_id).encode(), str(UUID(int=1)).encode())
        cursor.execute("SELECT audit_append(%s, %s, %s)", [UUID(int=1), spaced, b"sealed"])
        tamper("SET CONSTRAINTS ALL IMMEDIATE")
    (finding,) = verify().findings
    assert (finding.number, finding.damage) == (2, Damage.EDIT)
    assert finding.words == "its bytes are none of ours: The bytes are not in canonical form."
