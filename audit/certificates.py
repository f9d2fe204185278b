"""Certificates of what was done: written by who did it, signed by the signer under a label of their own.

    body  canonical JSON (RFC 8785): {"format", "kind", "subject", "title", "made_at", "facts"}
    note  a C2SP signed note of the key "<name of the log>/certificate", which is the signing key of an epoch:

        <name of the log>/certificate
        kind destruction
        made 2026-11-22T09:30:00.000000Z
        sha256 <base64 of the 32 bytes over the body>
        epoch 1

What is exported is one JSON object: {"format", "body" (its text), "note"}. No certificate can pass for a checkpoint,
nor a checkpoint for one: the first line of the text and the name of the key differ, and the key's id with its name.
"""

import base64
import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db import transaction

from audit import notes, selectors
from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON, canonical, parse_timestamp, read, timestamp
from audit.errors import AuditError
from audit.models import Certificate, CertificateKind
from audit.notes import NoteError, Verifier
from audit.services import Subject, record
from audit.signing import signer_named

__all__ = [
    "CertificateKind",
    "Opened",
    "export_text",
    "open_certificate",
    "sign_due",
    "verifiers",
    "verifiers_of",
    "write_certificate",
]

logger = logging.getLogger(__name__)

FORMAT = "keyvault-admin/certificate/v1"
EXPORT_FORMAT = "keyvault-admin/certificate-file/v1"
LABEL = "/certificate"
MOST_AT_ONCE = 100
MOST_BYTES = 4 * 1024 * 1024
_LINES = ("kind", "made", "sha256", "epoch")
_EPOCH = re.compile(r"[1-9][0-9]{0,8}")
SHOWN_CERTIFICATES = 20


def write_certificate(
    *, kind: CertificateKind, subject: str, title: str, facts: Mapping[str, JSON], actor: Actor, now: datetime
) -> Certificate:
    """Write a certificate in the transaction of what it certifies; the signer signs it within a minute of the commit.

    For the worker. `facts` hold no key material and no names of people. Event: certificate.made.
    """
    said: dict[str, JSON] = {
        "format": FORMAT,
        "kind": str(kind),
        "subject": subject,
        "title": title,
        "made_at": timestamp(now),
        "facts": dict(facts),
    }
    body = canonical(said)
    row = Certificate(
        kind=kind, subject=subject, title=title[:300], body=body, digest=sha256(body).digest(), made_at=now
    )
    row.save(force_insert=True)
    _tell(Action.CERTIFICATE_MADE, row, {"kind": str(kind)}, actor, now)
    return row


def sign_due(*, actor: Actor, now: datetime) -> int:
    """Sign the certificates that wait, oldest first; return how many. For the signer alone.

    Under the key of the epoch that stands; before the first checkpoint there is none, and they wait for it. A body that
    does not say what its row says is left, and told in the log of the process.
    Event: certificate.signed for each. Raises: AuditError in a process without the key, or with another one.
    """
    epochs = selectors.signing_epochs()
    waiting = list(Certificate.objects.filter(note="").order_by("made_at", "pk").values_list("pk", flat=True))
    if not waiting or not epochs:
        return 0
    epoch = max(epochs)
    signer = signer_named(epochs[epoch].name + LABEL)
    if signer.verifier.public_bytes != epochs[epoch].public_bytes:
        raise AuditError(f"The signing key is not that of epoch {epoch}, so no certificate is signed with it.")
    return sum(_sign(pk, signer, epoch, actor, now) for pk in waiting[:MOST_AT_ONCE])


@transaction.atomic
def _sign(pk: int, signer: notes.Signer, epoch: int, actor: Actor, now: datetime) -> bool:
    row = Certificate.objects.select_for_update(skip_locked=True).filter(pk=pk, note="").first()
    if row is None:
        return False
    said = _said(bytes(row.body))
    if said is None or (said["kind"], said["subject"], said["made_at"]) != (
        row.kind,
        row.subject,
        timestamp(row.made_at),
    ):
        logger.error("certificate %d is not signed: its body says something else than its row", pk)
        return False
    text = _text(signer.name, row.kind, row.made_at, sha256(bytes(row.body)).digest(), epoch)
    row.note, row.signed_at = notes.sign(text, signer), now
    row.save(update_fields=["note", "signed_at"])
    _tell(Action.CERTIFICATE_SIGNED, row, {"epoch": epoch}, actor, now)
    return True


def _text(name: str, kind: str, made_at: datetime, digest: bytes, epoch: int) -> str:
    values = (kind, timestamp(made_at), base64.b64encode(digest).decode(), str(epoch))
    return f"{name}\n" + "".join(f"{word} {value}\n" for word, value in zip(_LINES, values, strict=True))


def _tell(action: Action, row: Certificate, facts: Mapping[str, JSON], actor: Actor, now: datetime) -> None:
    about = [Subject(ref=row.ref, label=row.title)]
    said: dict[str, JSON] = {"about": row.subject, "sha256": bytes(row.digest).hex(), **facts}
    record(action, actor=actor, now=now, subjects=about, facts=said)


# Taking one elsewhere, and checking it without a database


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A certificate that was checked: what it says, and who has signed that."""

    body: Mapping[str, Any]
    epoch: int
    signed_by: str  # the verifier key


def export_text(row: Certificate) -> str:
    """Return a signed certificate as it leaves the house. Raises: AuditError while nobody has signed it."""
    if not row.note:
        raise AuditError("This certificate is not signed yet: the signer does it within a minute. See that it runs.")
    said = {"format": EXPORT_FORMAT, "body": bytes(row.body).decode(), "note": row.note}
    return json.dumps(said, ensure_ascii=False, indent=1) + "\n"


def open_certificate(text: str, keys: Iterable[Verifier]) -> Opened:
    """Check what export_text() wrote with keys that the reader trusts: those of the log, or of its certificates.

    Pure; needs no database. Raises: NoteError.
    """
    body, note = _parts(text)
    signed, verifier = notes.open_note(note, verifiers_of(keys))
    lines = signed.split("\n")
    said = _said(body)
    if said is None or len(lines) != len(_LINES) + 2:
        raise NoteError("This is no certificate of Keyvault Admin.")
    words = dict(line.partition(" ")[::2] for line in lines[1:-1])
    if tuple(words) != _LINES or not _EPOCH.fullmatch(words["epoch"]):
        raise NoteError("What was signed is no certificate.")
    try:
        made_at = parse_timestamp(said["made_at"])
    except ValueError as error:
        raise NoteError("The time of the certificate cannot be read.") from error
    epoch = int(words["epoch"])
    if _text(verifier.name, said["kind"], made_at, sha256(body).digest(), epoch) != signed:
        raise NoteError("What the certificate says is not what was signed.")
    return Opened(body=said, epoch=epoch, signed_by=str(verifier))


def verifiers() -> dict[int, Verifier]:
    """Return the keys of certificates by epoch. Queries: 1."""
    return dict(zip(epochs := selectors.signing_epochs(), verifiers_of(epochs.values()), strict=True))


def verifiers_of(keys: Iterable[Verifier]) -> list[Verifier]:
    """Return these public keys under the name that certificates are signed with; those that have it stay."""
    return [key if key.name.endswith(LABEL) else Verifier(key.name + LABEL, key.key) for key in keys]


def _parts(text: str) -> tuple[bytes, str]:
    try:
        said = json.loads(text) if len(text) <= MOST_BYTES else None
    except (ValueError, RecursionError) as error:
        raise NoteError("This file is no certificate: it cannot be read as JSON.") from error
    if not isinstance(said, dict) or said.keys() != {"format", "body", "note"} or said["format"] != EXPORT_FORMAT:
        raise NoteError("This file is no certificate of Keyvault Admin.")
    if not isinstance(said["body"], str) or not isinstance(said["note"], str):
        raise NoteError("This file is no certificate of Keyvault Admin.")
    return said["body"].encode(), said["note"]


def _said(body: bytes) -> dict[str, Any] | None:
    """Return what a body says; None for bytes that write_certificate() would not have written."""
    try:
        said = read(body)
    except AuditError:
        return None
    names = {"format", "kind", "subject", "title", "made_at", "facts"}
    return said if isinstance(said, dict) and said.keys() == names and said["format"] == FORMAT else None


def certificates_about(subjects: Iterable[str]) -> list[Certificate]:
    """Return the certificates about some records ("rewrap:3"), the newest first, without their bytes. Queries: 1."""
    found = Certificate.objects.filter(subject__in=list(subjects)).defer("body", "note")
    return list(found.order_by("-made_at", "-pk")[:SHOWN_CERTIFICATES])
