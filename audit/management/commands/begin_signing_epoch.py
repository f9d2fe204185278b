"""Sign checkpoints under another key from now on."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit import anchoring, checkpoints
from audit.actor import Actor
from audit.errors import AuditError

ACTOR = Actor.system("command:begin_signing_epoch")


class Command(BaseCommand):
    help = (
        "Begin an epoch of signing: make the first checkpoint under the key that the signer has now, which must be a "
        "new one. The key before it has ended and never signs again; what it signed stays valid. Runs as the signer "
        "alone (KEYVAULT_ROLE=signer). docs/checkpoints.md says when."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why the key is another one, for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        try:
            made = checkpoints.begin_epoch(actor=ACTOR, reason=options["reason"], now=now)
            anchoring.deliver(actor=ACTOR, now=now)
        except AuditError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Epoch {made.epoch} has begun with the checkpoint of {made.size:,} events.")
        self.stdout.write("Give its public key (manage.py checkpoint --verifier) to whoever checks checkpoints.")
        self.stdout.write("Restart the signer, and run register_own_keys: the key was rotated.")
