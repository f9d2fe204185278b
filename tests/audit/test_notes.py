"""Signed notes against the published example, and checkpoints that can be read in one way only."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit import notes
from audit.notes import Checkpoint, NoteError, Signer, Verifier

# Source: the example of golang.org/x/mod/sumdb/note, on which C2SP's signed-note is built.
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NOTE = (
    TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

SIGNER = Signer("keyvault.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
CHECKPOINT = Checkpoint(
    origin="keyvault.example/log",
    size=65,
    root=b"r" * 32,
    time=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    head=b"h" * 32,
    previous=notes.FIRST,
    epoch=1,
)


def test_the_published_note_opens_under_its_published_key() -> None:
    verifier = Verifier.parse(VKEY)
    assert str(verifier) == VKEY
    assert notes.open_note(NOTE, [verifier]) == (TEXT, verifier)


def test_a_signed_checkpoint_comes_back_as_it_was() -> None:
    note = notes.sign(CHECKPOINT.text, SIGNER)
    text, verifier = notes.open_note(note, [SIGNER.verifier])
    assert notes.parse_checkpoint(text) == CHECKPOINT
    assert Verifier.parse(str(verifier)) == verifier


@pytest.mark.parametrize("place", range(0, len(NOTE), 3))
def test_an_altered_note_is_refused(place: int) -> None:
    altered = NOTE[:place] + ("x" if NOTE[place] != "x" else "y") + NOTE[place + 1 :]
    with pytest.raises(NoteError):
        notes.open_note(altered, [Verifier.parse(VKEY)])


def test_signatures_of_unknown_keys_are_ignored_but_never_enough() -> None:
    note = notes.sign(CHECKPOINT.text, SIGNER)
    other = Signer("witness.example", Ed25519PrivateKey.generate())
    both = note + notes.sign(CHECKPOINT.text, other).rpartition("\n\n")[2]
    assert notes.open_note(both, [SIGNER.verifier])[1] == SIGNER.verifier
    assert notes.open_note(both, [other.verifier])[1] == other.verifier
    with pytest.raises(NoteError, match="No known key"):
        notes.open_note(both, [Verifier.parse(VKEY)])


def test_a_key_of_the_same_name_is_another_key() -> None:
    impostor = Signer(SIGNER.name, Ed25519PrivateKey.generate())
    with pytest.raises(NoteError, match="No known key"):
        notes.open_note(notes.sign(CHECKPOINT.text, impostor), [SIGNER.verifier])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one line",
        "keyvault.example/log\n65\n",
        CHECKPOINT.text.replace("\n65\n", "\n065\n"),
        CHECKPOINT.text.replace("\n65\n", "\n-5\n"),
        CHECKPOINT.text.replace("\n65\n", "\n\uff16\uff15\n"),
        CHECKPOINT.text.replace("epoch 1", "epoch  1"),
        CHECKPOINT.text.replace("epoch 1\n", ""),
        CHECKPOINT.text.replace("epoch 1\n", "epoch 1\nepoch 1\n"),
        CHECKPOINT.text.replace("head ", "Head "),
        CHECKPOINT.text.replace("time 2026", "time 2O26"),
        CHECKPOINT.text.replace("09:30:00.000000Z", "09:30:00Z"),
        CHECKPOINT.text.replace("cnJy", "", 1),
        CHECKPOINT.text.replace("cnI=", "cnJ="),
        CHECKPOINT.text + "more\n",
    ],
)
def test_what_is_not_exactly_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        notes.parse_checkpoint(text)


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (notes.parse_checkpoint, Verifier.parse, lambda said: notes.open_note(said, [SIGNER.verifier])):
        with pytest.raises(NoteError):
            read(text)


@pytest.mark.parametrize("text", ["", "\n", "no end", "a\n\nb\n", "a\x00\n", "a\tb\n"])
def test_what_cannot_be_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        notes.sign(text, SIGNER)


def test_a_signer_shows_no_key() -> None:
    assert "Private" not in repr(SIGNER)
    assert bytes(range(32)).hex() not in repr(SIGNER)
