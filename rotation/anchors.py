"""Anchor `mail:somebody@example.org`: each checkpoint as a mail, through the outbox like every other mail.

It has arrived when the mail server has taken it, which the outbox says. Two anchors at different providers are better
than one: whoever owns the database rarely owns both mailboxes.
"""

import uuid
from datetime import datetime
from urllib.parse import unquote

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.template.loader import render_to_string

from audit.anchors.base import Anchor, AnchorError, AnchorWaitsError, SentCheckpoint
from rotation.models import Digest, DigestState
from rotation.notifications import message_id

LETTERS = uuid.UUID("5e0f7d52-6d0b-4a56-9c2c-8a8f6a5d1f07")  # the space of the letters' ids


class MailAnchor(Anchor):
    """A mailbox."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.address = unquote(name.removeprefix("mail:"))
        try:
            validate_email(self.address)
        except ValidationError as error:
            raise AnchorError("An anchor mail: of KEYVAULT_ANCHORS is written as mail:somebody@example.org.") from error

    def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
        """Put the letter into the outbox once, and ask there until it is sent; return its Message-ID.

        The letter's id comes from the checkpoint and the address, so that asking again writes no second one.
        """
        pk = uuid.uuid5(LETTERS, f"{sent.digest.hex()} {self.address}")
        Digest.objects.bulk_create([_letter(pk, self.address, sent, now)], ignore_conflicts=True)
        letter = Digest.objects.get(pk=pk)
        if letter.state == DigestState.FAILED:
            raise AnchorError("The mail server did not take the letter; see Mail.")
        if letter.state != DigestState.SENT:
            raise AnchorWaitsError("The letter waits in the outbox.")
        return message_id(letter)


def _letter(pk: uuid.UUID, address: str, sent: SentCheckpoint, now: datetime) -> Digest:
    context = {"size": sent.size, "note": sent.note, "made_at": sent.made_at}
    return Digest(
        id=pk,
        recipient=address,
        subject=f"Checkpoint of the audit log: {sent.size:,} events",
        text=render_to_string("emails/checkpoint/checkpoint.txt", context),
        html=render_to_string("emails/checkpoint/checkpoint.html", context),
        composed_at=now,
        next_attempt_at=now,
    )
