"""Have a checkpoint made now, and print it."""

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from kombu.exceptions import OperationalError

from audit import anchoring, checkpoints, selectors, tasks
from audit.actor import Actor
from audit.errors import AuditError

ACTOR = Actor.system("command:checkpoint")
LOOKS_EVERY_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Make a signed checkpoint over the audit log now and print it. The signer makes it: this command asks it and "
        "waits, or, where it is the signer itself (KEYVAULT_ROLE=signer), makes it. With --verifier it prints the "
        "public keys of the log instead, one line for each epoch; whoever checks checkpoints keeps them elsewhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--wait", type=int, default=30, help="seconds to wait for the signer (default: 30)")
        parser.add_argument("--verifier", action="store_true", help="print the public keys of the log and end")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verifier"]:
            self._print_verifiers()
            return
        try:
            note = _made_here() if settings.ROLE == "signer" else _asked_for(options["wait"])
        except AuditError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(note, ending="")

    def _print_verifiers(self) -> None:
        for epoch, verifier in selectors.signing_epochs().items():
            self.stdout.write(f"{epoch} {verifier}")


def _made_here() -> str:
    now = timezone.now()
    made = checkpoints.make_checkpoint(actor=ACTOR, now=now)
    anchoring.deliver(actor=ACTOR, now=now)
    last = selectors.latest_checkpoint()
    if last is None or (made is None and last.size < selectors.head().number):
        raise CommandError("Nothing was signed: the log is empty, or another signer is at it.")
    return last.note


def _asked_for(seconds: int) -> str:
    """Nudge the signer, and wait for a checkpoint over everything that is in the log now."""
    wanted = selectors.head().number
    try:
        tasks.make_checkpoint.apply_async(expires=max(seconds, 1))
    except OperationalError as error:
        raise CommandError("The broker does not answer, so the signer could not be asked.") from error
    ends_at = time.monotonic() + seconds
    while (last := selectors.latest_checkpoint()) is None or last.size < wanted:
        if time.monotonic() >= ends_at:
            raise CommandError(f"The signer made none within {seconds} s. See that it runs, and look at its log.")
        time.sleep(LOOKS_EVERY_SECONDS)
    return last.note
