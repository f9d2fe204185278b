"""AUD-03, AUD-04, AUD-05: what shows against checkpoints, in the database and from outside."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection

from audit import notes, verification
from audit.verification import Damage, OutsideError, Position, read_checkpoints, read_keys, results, sections, verify
from tests.audit.verification.conftest import KEY, OTHER_KEY, Sign, rewrite, signer, vkey

Owner = Callable[[], AbstractContextManager[None]]
Fill = Callable[[int], None]
Keep = Callable[..., Path]
pytestmark = pytest.mark.django_db


def tamper(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def found(**given: object) -> list[tuple[int, Damage]]:
    return [(finding.number, finding.damage) for finding in verify(**given).findings]


def test_a_signed_log_is_found_whole_with_all_that_was_kept(fill: Fill, sign: Sign, keep: Keep) -> None:
    for count in (5, 300, 7):
        fill(count)
        sign()
    verdict = verify(given=read_checkpoints([keep()]), pinned=[vkey(KEY)])
    assert verdict.findings == ()
    assert (verdict.checkpoints, verdict.outside, verdict.is_pinned, verdict.events) == (3, 3, True, 316)
    assert results.unseen(verdict) == ""


@pytest.mark.parametrize("rows", [1, 2])
def test_sections_are_joined_into_the_same_root(
    fill: Fill, sign: Sign, keep: Keep, as_owner: Owner, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    fill(520)
    made = sign()
    fill(100)
    monkeypatch.setattr(sections, "ROWS", rows)
    verdict = verify(given=read_checkpoints([keep()]))
    assert (verdict.findings, verdict.events, verdict.checkpoints) == ((), 622, 1)
    assert made.size == 520
    with as_owner():  # a period is dropped
        tamper(*(f"DELETE FROM {table} WHERE number <= 520" for table in ("audit_event", "audit_event_subject")))
    assert found()[0] == (1, Damage.DELETE)
    monkeypatch.setattr(verification.verifying.selectors, "beginning", lambda: Position(520, made.head))
    later = verify(given=read_checkpoints([keep()]))
    assert (later.findings, later.events, later.root) == ((), 102, verdict.root)


CHECKPOINTS = [
    ("root", "UPDATE audit_checkpoint SET root = sha256(root) WHERE size = 10", 10, Damage.CHECKPOINT),
    ("note", "UPDATE audit_checkpoint SET note = replace(note, 'time 2026', 'time 2025')", 10, Damage.CHECKPOINT),
    ("gone", "DELETE FROM audit_checkpoint WHERE size = 22", 23, Damage.REPLAY),
    ("first gone", "DELETE FROM audit_checkpoint WHERE size = 10", 22, Damage.FORK),
    ("all gone", "TRUNCATE audit_checkpoint CASCADE", 12, Damage.REPLAY),
    ("epoch", f"UPDATE audit_signing_epoch SET verifier = '{vkey(OTHER_KEY)}'", 10, Damage.CHECKPOINT),
    ("tile", "UPDATE audit_tile SET digests = set_byte(digests, 96, 255 - get_byte(digests, 96))", 4, Damage.TILE),
    ("no tile", "DELETE FROM audit_tile", 1, Damage.TILE),
    ("more tiles", "INSERT INTO audit_tile VALUES (0, 7, sha256(''))", 22, Damage.TILE),
]


@pytest.mark.parametrize(
    ("statement", "number", "damage"), [row[1:] for row in CHECKPOINTS], ids=[row[0] for row in CHECKPOINTS]
)
def test_whatever_is_done_to_checkpoints_and_tiles_is_named(
    fill: Fill, sign: Sign, as_owner: Owner, statement: str, number: int, damage: Damage
) -> None:
    fill(10)
    sign()
    fill(10)
    sign()
    with as_owner():
        tamper("ALTER TABLE audit_tile DISABLE TRIGGER ALL", statement)
    assert found()[0] == (number, damage)


def test_a_log_that_is_cut_is_found_by_what_was_signed(fill: Fill, sign: Sign, keep: Keep, as_owner: Owner) -> None:
    fill(10)
    sign()
    fill(10)
    sign()
    folder = keep()
    cut = "UPDATE audit_head SET number = 15, digest = (SELECT digest FROM audit_event WHERE number = 15)"
    with as_owner():
        for table in ("audit_event", "audit_event_subject"):
            tamper(f"DELETE FROM {table} WHERE number > 15")
        tamper(cut)
    assert (16, Damage.TRUNCATION) in found()  # the stored checkpoint says so
    with as_owner():  # and cleans up behind
        tamper(
            "DELETE FROM audit_checkpoint WHERE size > 15",
            "DELETE FROM audit_tile",
            "INSERT INTO audit_tile SELECT 0, 0, string_agg(sha256('\\x00'::bytea || 'keyvault-admin/audit/event/v1'"
            " || '\\x00'::bytea || int8send(number) || int8send(length(stamp)) || stamp || int8send(length(body))"
            " || body), '' ORDER BY number) FROM audit_event WHERE number <= 10",
        )
    assert found() == []
    (finding,) = verify(given=read_checkpoints([folder]), pinned=[vkey(KEY)]).findings
    assert (finding.number, finding.damage) == (16, Damage.TRUNCATION)
    assert (
        "the checkpoint over 22 events in 000000000000022.checkpoint was signed, and the log ends at event 15"
        in str(finding)
    )


@pytest.mark.parametrize("key", [KEY, OTHER_KEY], ids=["with the signing key", "with another key"])
def test_a_log_that_its_owner_rewrites_is_found_by_a_checkpoint_from_outside(
    fill: Fill, sign: Sign, keep: Keep, as_owner: Owner, key: bytes
) -> None:
    fill(10)
    sign()
    fill(10)
    sign()
    folder = keep()
    with as_owner():
        rewrite([10, 22], key, altered=15)
    verdict = verify()
    assert verdict.findings == ()  # it fits in itself: keys, checkpoints, tree, chain and copies
    assert results.unseen(verdict) == results.NOTHING_OUTSIDE
    given = read_checkpoints([folder])
    if key == KEY:
        assert found(given=given) == [(11, Damage.REWRITE)]
    else:  # even the first one, whose events are as they were, is not of this database any more
        assert {damage for _, damage in found(given=given)} == {Damage.SIGNER, Damage.REWRITE}
        pinned = verify(given=given, pinned=[vkey(KEY)]).findings
        assert [(each.damage, each.number) for each in pinned] == [
            (Damage.REWRITE, 11),
            (Damage.SIGNER, 0),
            (Damage.SIGNER, 10),
        ]
        assert "none of those given with --key" in pinned[1].words
    words = [finding.words for finding in verify(given=given).findings if finding.damage == Damage.REWRITE]
    assert any("one of the events" in sentence and "is not the one that was signed" in sentence for sentence in words)


def test_checkpoints_put_back_to_an_older_one_are_found(
    fill: Fill, sign: Sign, keep: Keep, as_owner: Owner, now: datetime
) -> None:
    fill(10)
    sign()
    fill(3)
    sign(now + timedelta(hours=1))
    folder = keep()
    with as_owner():
        tamper("DELETE FROM audit_checkpoint WHERE size > 10")
    (finding,) = [each for each in verify(given=read_checkpoints([folder])).findings if "database" in each.words]
    assert (finding.number, finding.damage) == (15, Damage.REPLAY)


def test_two_checkpoints_that_contradict_each_other_are_a_split_view(fill: Fill, sign: Sign, keep: Keep) -> None:
    fill(10)
    made = sign()
    folder = keep()
    other = notes.Checkpoint(**{**vars(made), "root": bytes(32)})
    (folder / "other.checkpoint").write_text(notes.sign(other.text, signer(KEY)), encoding="utf-8")
    damages = {damage for _, damage in found(given=read_checkpoints([folder]))}
    assert Damage.FORK in damages
    earlier = notes.Checkpoint(**{**vars(made), "size": 4, "time": made.time + timedelta(days=1)})
    (folder / "other.checkpoint").write_text(notes.sign(earlier.text, signer(KEY)), encoding="utf-8")
    damages = {damage for _, damage in found(given=read_checkpoints([folder]))}
    assert {Damage.REPLAY, Damage.REWRITE} <= damages


def test_a_checkpoint_that_nobody_known_has_signed_is_named(fill: Fill, sign: Sign, keep: Keep) -> None:
    fill(10)
    sign()
    file = keep() / "000000000000010.checkpoint"
    given = read_checkpoints([file])
    assert found(given=given, pinned=[vkey(OTHER_KEY)]) == [(0, Damage.SIGNER), (10, Damage.SIGNER)]
    file.write_text(file.read_text(encoding="utf-8").replace("— keys", "— kezs"), encoding="utf-8")
    assert found(given=read_checkpoints([file])) == [(10, Damage.SIGNER)]


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff")
    (tmp_path / "b").write_text("no note", encoding="utf-8")
    for path, words in (("a", "it is no text"), ("b", "no checkpoint"), ("c", "No such file"), ("", "holds no file")):
        with pytest.raises(OutsideError, match=words):
            read_checkpoints([tmp_path / path])
    with pytest.raises(OutsideError, match="--key"):
        read_keys(["nonsense"])
    assert read_keys([f"1 {vkey(KEY)}", ""]) == read_keys([str(vkey(KEY))])


def test_a_note_saved_from_a_mail_with_other_line_ends_is_read(fill: Fill, sign: Sign, keep: Keep) -> None:
    fill(3)
    sign()
    file = keep() / "000000000000003.checkpoint"
    file.write_bytes(b"\r\n" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n\r\n")
    assert found(given=read_checkpoints([file])) == []
