"""Certificates: signed by the signer alone under a label of their own, checked anywhere, and changed nowhere."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from audit import certificates, notes
from audit.actions import Action
from audit.actor import Actor
from audit.certificates import CertificateKind, export_text, open_certificate, sign_due, write_certificate
from audit.checkpoints import make_checkpoint
from audit.errors import AuditError
from audit.models import Certificate, Event
from audit.notes import NoteError, Verifier
from audit.standalone import verify_certificate

KEY, OTHER = bytes(range(7, 39)), bytes(range(90, 122))
NAME = "keys.example.org/audit"
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
SIGNER, WORKER = Actor.system("signer"), Actor.system("worker")
LOG_KEY = Verifier(NAME, Ed25519PrivateKey.from_private_bytes(KEY).public_key())


@pytest.fixture(autouse=True)
def key(settings):
    settings.SIGNING_KEY, settings.LOG_ORIGIN, settings.ANCHORS = KEY, NAME, []


@pytest.fixture
def row(db, as_role, seal_events):
    """A certificate that the worker has written, not signed yet."""
    with as_role("worker"):
        made = write_certificate(
            kind=CertificateKind.DESTRUCTION,
            subject="kekversion:3",
            title="Destruction of payments/kek, version 1",
            facts={"approved_by": ["user:4"], "proof_of_death": "refuses"},
            actor=WORKER,
            now=NOW,
        )
        seal_events()
    return made


@pytest.fixture
def signed(row, as_role, seal_events):
    with as_role("signer"):
        make_checkpoint(actor=SIGNER, now=NOW)
        assert sign_due(actor=SIGNER, now=NOW) == 1
        seal_events()
    return Certificate.objects.get(pk=row.pk)


def test_a_certificate_waits_for_the_first_epoch_and_is_signed_once(row, as_role, seal_events):
    with as_role("signer"):
        assert sign_due(actor=SIGNER, now=NOW) == 0
        make_checkpoint(actor=SIGNER, now=NOW)
        assert sign_due(actor=SIGNER, now=NOW) == 1
        assert sign_due(actor=SIGNER, now=NOW) == 0
        seal_events()
    assert Event.objects.filter(action=Action.CERTIFICATE_SIGNED).count() == 1
    row.refresh_from_db()
    text, _ = notes.open_note(row.note, certificates.verifiers().values())
    assert text.splitlines()[:2] == [f"{NAME}/certificate", "kind destruction"]


def test_what_was_exported_is_checked_without_a_database(signed):
    text = export_text(signed)
    opened = open_certificate(text, [LOG_KEY])
    assert opened.body["facts"]["proof_of_death"] == "refuses"
    assert (opened.epoch, opened.body["subject"]) == (1, "kekversion:3")
    assert verify_certificate.check(text, [str(LOG_KEY)])["title"] == signed.title
    assert verify_certificate.check(text, [opened.signed_by])["title"] == signed.title


@pytest.mark.parametrize("place", ["body", "note", "kind"])
def test_an_altered_certificate_is_refused_here_and_alone(signed, place):
    said = json.loads(export_text(signed))
    if place == "body":
        said["body"] = said["body"].replace("user:4", "user:5")
    elif place == "kind":
        said["body"] = said["body"].replace("destruction", "rewrap")
    else:
        said["note"] = said["note"].replace("epoch 1", "epoch 2")
    with pytest.raises(NoteError):
        open_certificate(json.dumps(said), [LOG_KEY])
    with pytest.raises(verify_certificate.NotValid):
        verify_certificate.check(json.dumps(said), [str(LOG_KEY)])


def test_a_certificate_of_another_key_is_refused(signed):
    other = Verifier(NAME, Ed25519PrivateKey.from_private_bytes(OTHER).public_key())
    with pytest.raises(NoteError):
        open_certificate(export_text(signed), [other])
    with pytest.raises(verify_certificate.NotValid):
        verify_certificate.check(export_text(signed), [str(other)])


def test_a_checkpoint_is_no_certificate_nor_the_other_way_round(signed):
    with pytest.raises(NoteError):
        notes.open_note(signed.note, [LOG_KEY])
    with pytest.raises(NoteError):
        notes.parse_checkpoint(signed.note.partition("\n\n")[0] + "\n")


def test_a_key_that_is_not_of_the_epoch_signs_nothing(row, as_role, settings):
    with as_role("signer"):
        make_checkpoint(actor=SIGNER, now=NOW)
        settings.SIGNING_KEY = OTHER
        with pytest.raises(AuditError, match="not that of epoch 1"):
            sign_due(actor=SIGNER, now=NOW)


def test_nobody_else_signs_and_nobody_changes_one(signed, as_role):
    for role in ("web", "worker", "command"):
        with as_role(role), pytest.raises(DatabaseError), transaction.atomic():
            Certificate.objects.filter(pk=signed.pk).update(note="mine")
    with as_role("signer"), pytest.raises(DatabaseError), transaction.atomic():
        Certificate.objects.filter(pk=signed.pk).update(note="another")
    with as_role("worker"), pytest.raises(DatabaseError), transaction.atomic():
        Certificate.objects.filter(pk=signed.pk).delete()


def test_the_commands_write_and_check_a_file(signed, tmp_path):
    path = tmp_path / "end.certificate"
    call_command("export_certificate", signed.pk, out=str(path))
    said = StringIO()
    call_command("verify_certificate", str(path), key=[str(LOG_KEY)], stdout=said)
    assert said.getvalue().startswith("VALID: Destruction of payments/kek, version 1")
    path.write_text(path.read_text().replace("user:4", "user:5"))
    with pytest.raises(CommandError, match="NOT VALID"):
        call_command("verify_certificate", str(path), key=[str(LOG_KEY)])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_what_a_name_holds_turns_round_no_terminal_and_ends_no_check(signed, as_role, seal_events, tmp_path, encoding):
    title = "Schlüssel 鍵\u202egnp.exe\u009b31m"
    with as_role("worker"):
        made = write_certificate(
            kind=CertificateKind.DESTRUCTION, subject="kekversion:4", title=title, facts={}, actor=WORKER, now=NOW
        )
        seal_events()
    with as_role("signer"):
        assert sign_due(actor=SIGNER, now=NOW) == 1
    path = tmp_path / "end.certificate"
    path.write_text(export_text(Certificate.objects.get(pk=made.pk)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, verify_certificate.__file__, path, "--key", str(LOG_KEY)],
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        timeout=30,
    )
    said = done.stdout.decode(encoding)
    assert (done.returncode, done.stderr, said.startswith("VALID")) == (0, b"", True)
    assert "\\u202egnp.exe\\u009b31m" in said
    assert not {"\u202e", "\u009b"} & set(said)


def test_an_unsigned_one_is_not_exported(row):
    with pytest.raises(CommandError, match="not signed yet"):
        call_command("export_certificate", row.pk)
