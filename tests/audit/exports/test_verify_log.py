"""The stand-alone verifier: run as an auditor does, alone, and beside verify_audit on the same damage."""

import ast
import gzip
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from audit import standalone
from audit.chain import GENESIS
from audit.exports import ndjson
from audit.standalone import verify_log
from audit.verification import Position
from audit.verification.diagnosis import first_bad
from audit.verification.links import Link
from tests.audit.exports import made

FULL = "tests.full" in sys.modules
PROGRAM = Path(standalone.__file__).parent / "verify_log.py"
KEY = str(made.SIGNER.verifier)
EVENTS = made.log(2_000, ["why", "naïve = é\n|x", '"id":"', "\U0001f511"])
SIZES = (700, 1_000, 1_999)
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that checks an export with its checkpoints, and gives exit code and words."""

    def check(content: bytes, *more: str, sizes: tuple[int, ...] = SIZES, key: str = KEY) -> tuple[int, str]:
        (tmp_path / "log.ndjson").write_bytes(content)
        _lay(tmp_path / "notes", sizes)
        arguments = [str(tmp_path / "log.ndjson"), "--checkpoint", str(tmp_path / "notes"), "--key", key, *more]
        code = verify_log.main(arguments)
        return code, capsys.readouterr().out

    return check


def _lay(folder: Path, sizes: tuple[int, ...]) -> None:
    folder.mkdir(exist_ok=True)
    previous = bytes(32)
    for size in sizes:
        note = made.checkpoint(EVENTS, size, previous=previous)
        (folder / f"{size:015}.checkpoint").write_text(note)
        previous = made.digest_of(note)


# Alone


def test_it_needs_python_and_cryptography_alone(tmp_path: Path) -> None:
    """An empty folder, no environment, no site of the user: nothing of ours can be found."""
    (tmp_path / "log.ndjson").write_bytes(made.export(EVENTS[:40]))
    (tmp_path / "note").write_text(made.checkpoint(EVENTS, 32))
    (tmp_path / PROGRAM.name).write_bytes(PROGRAM.read_bytes())
    command = [sys.executable, "-I", PROGRAM.name, "log.ndjson", "--checkpoint", "note", "--key", KEY]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "log: keys.example.org/audit",
        "events 1 to 40: numbers and digests follow on each other",
        f"digest of the last one: {EVENTS[39][4].hex()}",
        "checkpoint over 32 events (note), epoch 1, 2026-11-21T09:32:00.000000Z: signature, root and head are right",
        "8 events are newer than that; the chain alone speaks for them",
        "WHOLE: nothing was found.",
    ]


def test_it_imports_nothing_else_and_is_readable_for_python_3_9() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 9))
    found = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert found - set(sys.stdlib_module_names) == {"cryptography"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]


# Whole


def test_a_whole_export_is_whole_packed_or_not(run: Run) -> None:
    for content in (made.export(EVENTS), gzip.compress(made.export(EVENTS))):
        code, said = run(content)
        assert code == 0, said
        assert said.count("signature, root and head are right") == 3
        assert said.endswith(
            "1 events are newer than that; the chain alone speaks for them\nWHOLE: nothing was found.\n"
        )


@pytest.mark.parametrize("after", [1, 2, 699, 700, 701, 1_024, 1_999])
def test_an_export_of_a_later_part_begins_where_its_first_line_says_and_the_checkpoints_prove_it(
    run: Run, after: int
) -> None:
    code, said = run(made.export(EVENTS, after))
    assert code == 0, said
    assert f"events {after + 1:,} to 2,000" in said
    assert said.count("signature, root and head are right") == sum(size >= after for size in SIZES)


def test_a_beginning_that_is_made_up_does_not_fit_the_next_checkpoint(run: Run) -> None:
    forged = [made.event(1, GENESIS, text="forged"), *EVENTS[1:]]
    head, rest = made.export(forged, 600).split(b"\n", 1)
    code, said = run(head.replace(forged[599][4].hex().encode(), EVENTS[599][4].hex().encode()) + b"\n" + rest)
    assert code == 1
    assert (
        "event 601 to 700: rewritten" in said
    )  # the peaks are those of the forged log, the chain that of the true one


def test_without_key_or_checkpoint_it_says_what_that_proves(run: Run, tmp_path: Path, capsys) -> None:
    (tmp_path / "log.ndjson").write_bytes(made.export(EVENTS[:5]))
    assert verify_log.main([str(tmp_path / "log.ndjson")]) == 0
    said = capsys.readouterr().out
    assert "NO CHECKPOINT was compared" in said
    assert "NO KEY was given" in said
    (tmp_path / "keys").write_text(f"1 {KEY}\n2 {made.NEXT_SIGNER.verifier}\n")
    assert run(made.export(EVENTS), key=str(tmp_path / "keys"))[0] == 0


# Damage


def test_one_byte_changed_anywhere_is_found_and_the_event_is_named(run: Run) -> None:
    whole, chance = made.export(EVENTS), random.Random(4)  # noqa: S311 - the same places every time
    starts = [0]
    while (at := whole.find(b"\n", starts[-1])) != -1:
        starts.append(at + 1)
    for _ in range(50 if FULL else 15):
        line = chance.randrange(1, 2_001)
        at = chance.randrange(starts[line], starts[line + 1])
        changed = bytes([chance.choice([each for each in range(32, 127) if each != whole[at]])])
        code, said = run(whole[:at] + changed + whole[at + 1 :])
        assert code == 1, (line, whole[at : at + 1], changed)
        assert f"NOT WHOLE: event {line}" in said or (at + 1 == starts[line + 1] and "has no end" in said), said


def test_a_byte_of_the_first_line_or_of_a_note_is_found(run: Run, tmp_path: Path, capsys) -> None:
    whole = made.export(EVENTS[:702], 700)
    for at in range(0, whole.index(b"\n"), 7):
        code, said = run(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "--partial")
        assert code == 1, said
    note = made.checkpoint(EVENTS, 50).encode()
    (tmp_path / "log").write_bytes(made.export(EVENTS[:60]))
    for at in range(0, len(note), 7):
        (tmp_path / "note").write_bytes(note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :])
        arguments = [str(tmp_path / "log"), "--checkpoint", str(tmp_path / "note"), "--key", KEY]
        assert verify_log.main(arguments) in {1, 2}, capsys.readouterr().out


def test_a_log_that_was_rewritten_to_its_end_differs_from_what_was_signed(run: Run) -> None:
    rewritten = EVENTS[:849]
    rewritten = [*rewritten, made.event(850, rewritten[-1][4], text="nothing happened")]
    while len(rewritten) < len(EVENTS):
        rewritten.append(made.event(len(rewritten) + 1, rewritten[-1][4]))
    code, said = run(made.export(rewritten))
    assert code == 1
    assert "event 701 to 1000: rewritten: the chain is whole in itself" in said


def test_a_log_that_was_cut_is_missed_unless_it_was_asked_for(run: Run) -> None:
    code, said = run(made.export(EVENTS[:1_500]))
    assert code == 1
    assert "event 1501: cut: the export ends at event 1500, but the checkpoint over 1,999 events" in said
    assert run(made.export(EVENTS[:1_500]), "--partial")[0] == 0
    whole = made.export(EVENTS)
    assert "has no end" in run(whole[:-1])[1]
    assert "cannot be unpacked" in run(gzip.compress(whole)[:-9])[1]


def test_notes_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    keys = verify_log.keys_of([KEY, str(made.NEXT_SIGNER.verifier)])
    other = made.log(60, ["another"])

    def agree(*notes: str) -> str:
        checkpoints = [verify_log.checkpoint_of(note, f"n{place}", keys) for place, note in enumerate(notes)]
        with pytest.raises(verify_log.Damage) as raised:
            verify_log.agree(checkpoints, made.ORIGIN)
        return str(raised.value)

    assert "Split view" in agree(made.checkpoint(EVENTS, 50), made.checkpoint(other, 50))
    assert "Replay or cut" in agree(made.checkpoint(EVENTS, 50), made.checkpoint(EVENTS, 40, minutes=55))
    later = {"epoch": 2, "signer": made.NEXT_SIGNER, "previous": b"x" * 32}
    again = made.checkpoint(EVENTS, 60, previous=b"x" * 32)
    assert "an epoch that had ended" in agree(made.checkpoint(EVENTS, 50, **later), again)
    assert "another epoch than it says" in agree(
        made.checkpoint(EVENTS, 50), made.checkpoint(EVENTS, 60, epoch=2, previous=b"x" * 32)
    )
    assert "says that it is the first" in agree(made.checkpoint(EVENTS, 50), made.checkpoint(EVENTS, 60))
    with pytest.raises(verify_log.Damage, match="is of another log"):
        verify_log.agree([verify_log.checkpoint_of(made.checkpoint(EVENTS, 50), "n", keys)], "elsewhere/audit")
    note, known = made.checkpoint(EVENTS, 50, signer=made.NEXT_SIGNER), verify_log.keys_of([KEY])
    with pytest.raises(verify_log.Damage, match="none of the keys"):
        verify_log.checkpoint_of(note, "n", known)


def test_a_clock_that_was_set_back_is_a_warning(run: Run) -> None:
    events = made.log(5)
    events.append(made.event(6, events[-1][4], at=made.BEGUN - timedelta(hours=1)))
    assert run(made.export(events), sizes=())[0] == 2  # an empty folder of notes
    _, _, digest, peaks = verify_log.header_of(made.export(events).splitlines(keepends=True)[0])
    checking = verify_log.Checking("x", 0, digest, peaks)
    lines = iter(made.export(events).splitlines(keepends=True)[1:])
    checking.run(verify_log.links_in(lines, 0), [], None)
    assert checking.warnings == ["event 6: clock jump: the server's clock was 3605 seconds behind the event before"]


# Beside verify_audit, on the same damage


def _edited(events: list[made.Made], at: int) -> list[made.Made]:
    number, event_id, stamp, raw, digest = events[at]
    return [*events[:at], (number, event_id, stamp, raw.replace(b"why", b"who"), digest), *events[at + 1 :]]


def _digest_edited(events: list[made.Made], at: int) -> list[made.Made]:
    number, event_id, stamp, raw, _ = events[at]
    return [*events[:at], (number, event_id, stamp, raw, b"d" * 32), *events[at + 1 :]]


def _renumbered(events: list[made.Made]) -> list[made.Made]:
    return [(place, *each[1:]) for place, each in enumerate(events, start=1)]


DAMAGES: dict[str, Callable[[list[made.Made], int], list[made.Made]]] = {
    "edit": _edited,
    "digest": _digest_edited,
    "delete": lambda events, at: events[:at] + events[at + 1 :],
    "delete and renumber": lambda events, at: _renumbered(events[:at] + events[at + 1 :]),
    "insert": lambda events, at: _renumbered([*events[:at], events[at - 5], *events[at:]]),
    "swap": lambda events, at: _renumbered([*events[:at], events[at + 1], events[at], *events[at + 2 :]]),
    "move": lambda events, at: [*events[:at], *events[at + 1 :], events[at]],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_names_the_event_that_verify_audit_names_and_says_the_same(run: Run, damage: str) -> None:
    events = EVENTS[:300]
    for at in (3, 59, 295):
        damaged = DAMAGES[damage](events, at)
        links = [Link(number, digest, stamp, raw, event_id.bytes) for number, event_id, stamp, raw, digest in damaged]
        end = Position(damaged[-1][0], damaged[-1][4]) if damage != "move" else Position(300, events[-1][4])
        finding = first_bad(links, Position(0, GENESIS), end)
        assert finding is not None
        lines = [ndjson.line(*each) for each in damaged]
        code, said = run(made.export(events).splitlines(keepends=True)[0] + b"".join(lines), sizes=(1,))
        assert code == 1
        assert f"NOT WHOLE: event {finding.number}" in said, (finding, said)
        assert re.search(rf"event {finding.number}[^:]*:[^:]*{finding.damage}[^:]*: ", said), (finding, said)


# One event


@pytest.mark.parametrize("number", [1, 2, 699, 700, 701, 1_500, 1_999])
def test_the_proof_of_one_event_is_made_from_an_export_and_checked_alone(
    run: Run, tmp_path: Path, capsys, number: int
) -> None:
    proof = tmp_path / f"proof-{number}"
    for after in (0, number - 1):
        proof.unlink(missing_ok=True)
        code, said = run(made.export(EVENTS, after), "--proof", str(number), "--out", str(proof))
        assert code == 0, said
        assert verify_log.main(["--event", str(proof), "--key", KEY]) == 0
        assert f"event {number} ({EVENTS[number - 1][1]}) is in the log {made.ORIGIN}" in capsys.readouterr().out
    said = json.loads(proof.read_text())
    for name, forged in (
        ("proof", [*said["proof"][:-1], "00" * 32]),
        ("event", {**said["event"], "body": said["event"]["body"].replace("user:7", "user:8")}),
        ("event", {**said["event"], "number": number + 1}),
        ("size", said["size"] + 1),
        ("checkpoint", said["checkpoint"].replace("epoch 1", "epoch 2")),
    ):
        proof.write_text(json.dumps({**said, name: forged}))
        assert verify_log.main(["--event", str(proof), "--key", KEY]) == 1, (name, capsys.readouterr().out)


def test_what_cannot_be_checked_ends_with_2(run: Run, tmp_path: Path, capsys) -> None:
    (tmp_path / "log").write_bytes(made.export(EVENTS[:5]))
    assert verify_log.main([str(tmp_path / "nothing")]) == 2
    assert verify_log.main([str(tmp_path / "log"), "--key", "name+00000000+AAAA"]) == 2
    assert run(made.export(EVENTS), "--proof", "2000")[0] == 2
    with pytest.raises(SystemExit) as usage:
        verify_log.main([])
    assert usage.value.code == 2
