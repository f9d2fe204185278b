"""Whatever the owner of the database changes is found and named; a whole log never is."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from audit import chain, verification
from audit.verification import GENESIS, Finding, Link, Position, check_chain

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
    ("bytes", [REWRITE], 5, "altered bytes"),
    ("stamp", ["UPDATE audit_event SET stamp = stamp || '\\x00' WHERE number = 5"], 5, "altered bytes"),
    ("digest", ["UPDATE audit_event SET digest = sha256(digest) WHERE number = 5"], 5, "altered column digest"),
    (
        "bytes_and_digest",
        [
            REWRITE,
            "UPDATE audit_event e SET digest = sha256('keyvault-admin/audit/event/v1'::bytea || '\\x00' || p.digest "
            "|| int8send(e.number) || int8send(length(e.stamp)) || e.stamp || int8send(length(e.body)) || e.body) "
            "FROM audit_event p WHERE e.number = 5 AND p.number = 4",
        ],
        6,
        "the event before together with its digest",
    ),
    ("delete", ["DELETE FROM audit_event WHERE number = 4"], 4, "missing: the next event is 5"),
    ("delete_first", ["DELETE FROM audit_event WHERE number = 1"], 1, "missing"),
    ("delete_and_renumber", SHIFT_DOWN, 4, "taken out and the later ones were renumbered"),
    ("reorder", SWAP, 4, "out of order: what belongs here stands as event 7"),
    ("move", ["UPDATE audit_event SET number = 11 WHERE number = 4"], 4, "out of order: it stands as event 11"),
    ("insert", INSERTED, 4, "something was inserted or moved"),
    ("cut_tail", ["DELETE FROM audit_event WHERE number > 7"], 8, "missing: the log ends here, its head is event 10"),
    ("cut_all", ["TRUNCATE audit_event"], 1, "missing: the log ends here"),
    ("head_back", ["UPDATE audit_head SET number = 9"], 10, "head mismatch"),
    ("head_forward", ["UPDATE audit_head SET number = 11"], 11, "missing"),
    ("head_digest", ["UPDATE audit_head SET digest = sha256(digest)"], 10, "head mismatch"),
    ("column_id", ["UPDATE audit_event SET id = gen_random_uuid() WHERE number = 5"], 5, "altered column id"),
    *(
        (f"column_{name}", [f"UPDATE audit_event SET {name} = {value} WHERE number = 5"], 5, f"altered column {name}")
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
        "subject index mismatch",
    ),
    (
        "subject_other",
        ["UPDATE audit_event_subject SET subject = 'key:99' WHERE number = 5 AND position = 1"],
        5,
        "subject index mismatch",
    ),
    (
        "subject_order",
        ["UPDATE audit_event_subject SET position = 3 - position WHERE number = 5"],
        5,
        "subject index mismatch",
    ),
    ("subject_more", ["INSERT INTO audit_event_subject VALUES ('key:99', 5, 3)"], 5, "subject index mismatch"),
    ("subject_stray", ["INSERT INTO audit_event_subject VALUES ('key:99', 99, 1)"], 99, "without event"),
    ("identity_gone", ["UPDATE audit_event SET identity = NULL WHERE number = 5"], 5, "identity altered"),
    (
        "identity_other",
        ["UPDATE audit_event SET identity = (SELECT identity FROM audit_event WHERE number = 4) WHERE number = 5"],
        5,
        "identity altered",
    ),
    (
        "identity_bit",
        ["UPDATE audit_event SET identity = set_bit(identity, 200, 1 - get_bit(identity, 200)) WHERE number = 5"],
        5,
        "identity altered",
    ),
    ("identity_key_gone", ["DELETE FROM audit_identity_key"], 1, "taken away without an erasure"),
    (
        "identity_key_altered",
        ["UPDATE audit_identity_key SET sealed_key = set_bit(sealed_key, 200, 1 - get_bit(sealed_key, 200))"],
        1,
        "identity altered",
    ),
]


@pytest.mark.django_db
def test_a_whole_log_is_found_whole(fill: Fill) -> None:
    fill(10)
    verdict = verification.verify()
    assert verdict.findings == ()
    assert (verdict.events, verdict.subjects, verdict.identities, verdict.end.number) == (10, 20, 10, 10)
    assert verdict.warnings == ()


@pytest.mark.django_db
def test_an_empty_log_is_found_whole() -> None:
    assert verification.verify() == verification.Verdict(end=GENESIS)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("statements", "number", "words"), [row[1:] for row in TAMPERINGS], ids=[row[0] for row in TAMPERINGS]
)
def test_whatever_the_owner_changes_is_named(
    fill: Fill, as_owner: Owner, statements: list[str], number: int, words: str
) -> None:
    fill(10)
    with as_owner():
        tamper(*statements)
    findings = verification.verify().findings
    assert findings
    assert findings[0].number == number
    assert words in findings[0].looks_like


@pytest.mark.django_db
def test_the_finding_names_the_event_by_its_id(fill: Fill, as_owner: Owner) -> None:
    fill(6)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM audit_event WHERE number = 5")
        (event_id,) = cursor.fetchone()
    with as_owner():
        tamper(REWRITE)
    (finding,) = verification.verify().findings
    assert finding.event_id == event_id
    assert str(finding).startswith(f"event 5 ({event_id}): altered bytes")


@pytest.mark.django_db
def test_a_body_that_is_not_canonical_is_named(fill: Fill) -> None:
    fill(1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT body, id FROM audit_event")
        raw, first_id = cursor.fetchone()
        spaced = bytes(raw).replace(b'":', b'" :').replace(str(first_id).encode(), str(UUID(int=1)).encode())
        cursor.execute("SELECT audit_append(%s, %s, %s)", [UUID(int=1), spaced, b"sealed"])
        tamper("SET CONSTRAINTS ALL IMMEDIATE")
    (finding,) = verification.verify().findings
    assert (finding.number, finding.looks_like) == (2, "altered bytes: The bytes are not in canonical form.")


# The chain alone, in numbers that a database would take long for


def links(count: int, *, back: timedelta | None = None) -> list[Link]:
    made, last = [], chain.GENESIS
    for number in range(1, count + 1):
        late = back and number > count // 2
        moment = f"2026-11-21T{8 if late else 9:02}:00:00.{number:06}Z"
        stamp = b"\0".join((chain.STAMP_LABEL, b"keyvault_web", b"1", str(number).encode(), moment.encode(), b""))
        body = f'{{"number":{number}}}'.encode()
        last = chain.chain_digest(last, number, stamp, body)
        made.append(Link(number, UUID(int=number).bytes, last, stamp, body))
    return made


def end_of(events: list[Link]) -> Position:
    return Position(events[-1].number, events[-1].digest)


def flipped(blob: bytes, chance: random.Random) -> bytes:
    altered = bytearray(blob)
    altered[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
    return bytes(altered)


def mutate(events: list[Link], chance: random.Random) -> tuple[list[Link], int]:
    """Return the events after one random mutation, and the number of the first one that is wrong then."""
    place = chance.randrange(len(events))
    link, changed = events[place], list(events)
    kind = chance.choice(["body", "stamp", "digest", "delete", "duplicate", "swap", "cut", "renumber"])
    if kind in {"body", "stamp", "digest"}:
        changed[place] = link._replace(**{kind: flipped(getattr(link, kind), chance)})
        return changed, link.number
    if kind == "delete":
        del changed[place]
    elif kind == "cut":
        del changed[place:]
    elif kind == "renumber":
        changed.append(changed.pop(place)._replace(number=len(events) + 1))
    elif kind == "duplicate":
        changed.insert(place + 1, link)
        return changed, link.number + 1
    else:
        other = chance.choice([number for number in range(len(events)) if number != place])
        changed[place] = events[other]._replace(number=place + 1)
        changed[other] = link._replace(number=other + 1)
        return changed, min(place, other) + 1
    return changed, link.number


def test_a_thousand_random_mutations_are_found_and_placed() -> None:
    chance = random.Random(20261121)  # noqa: S311 - the same mutations every time
    events = links(100)
    for _ in range(1_000):
        changed, number = mutate(events, chance)
        finding = check_chain(changed, begin=GENESIS, end=end_of(events))
        assert finding is not None
        assert finding.number == number


def test_twenty_clean_logs_raise_no_alarm() -> None:
    for size in range(1, 21):
        events = links(size * 37)
        assert check_chain(events, begin=GENESIS, end=end_of(events)) is None


def test_a_later_part_verifies_from_where_it_begins() -> None:
    events = links(50)
    assert check_chain(events[20:], begin=end_of(events[:20]), end=end_of(events)) is None
    assert check_chain(events[21:], begin=end_of(events[:20]), end=end_of(events)) == Finding(
        21, None, "missing: the next event is 22"
    )


def test_a_clock_that_was_set_back_is_a_warning() -> None:
    events = links(10, back=timedelta(hours=1))
    tally = verification._Tally()
    assert check_chain(events, begin=GENESIS, end=end_of(events), tally=tally) is None
    assert tally.warnings == ["event 6: the server's clock was 3600 seconds behind the event before"]


def test_a_log_that_is_rewritten_as_a_whole_is_not_found_without_a_digest_from_outside() -> None:
    events, noted = links(20), end_of(links(20))
    rewritten, last = [], chain.GENESIS
    for link in events:
        last = chain.chain_digest(last, link.number, link.stamp, b"{}")
        rewritten.append(link._replace(body=b"{}", digest=last))
    assert check_chain(rewritten, begin=GENESIS, end=end_of(rewritten)) is None  # what checkpoints are for
    assert check_chain(rewritten, begin=GENESIS, end=noted) is not None
