"""Write the proof that one event stands in the log."""

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.exports.proofs import prove_event
from audit.exports.targets import appearing


class Command(BaseCommand):
    help = (
        "Write a file that proves one event: its bytes, its place in the Merkle tree and the signed checkpoint. "
        "verify_log.py --event FILE --key VKEY checks it anywhere, without the rest of the log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="the number of the event")
        parser.add_argument("--out", default="-", help="a file that does not exist yet, or - (default)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            proof = prove_event(options["number"], actor=Actor.system("command:prove_event"), now=timezone.now())
            if options["out"] == "-":
                sys.stdout.buffer.write(proof)
                return
            with appearing(Path(options["out"])) as file:
                file.write(proof)
        except AuditError as error:
            raise CommandError(str(error)) from error
