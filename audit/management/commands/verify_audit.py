"""Check the whole audit log; exit 1 and name the first bad event when it is not what was written."""

import json
import os
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, transaction
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.verification import OutsideError, Progress, Verdict, read_checkpoints, read_keys, results, verify

ACTOR = Actor.system("command:verify_audit")
SILENT_SECONDS = 5


class Command(BaseCommand):
    help = (
        "Check the audit log: the chain and the tree over the stored bytes, every stored checkpoint, then every "
        "searchable column, the subject index and the sealed identities against those bytes. With checkpoints that "
        "were kept outside the database it finds what its owner could have changed. Exits 0; or 1, and names the first "
        "bad event; or 2, when what was given cannot be read. The result becomes an event. docs/verification.md says "
        "what each kind of damage means."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--checkpoint",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="a checkpoint that was kept elsewhere, or a folder of them; may be given several times",
        )
        parser.add_argument(
            "--key",
            action="append",
            default=[],
            metavar="VKEY",
            help="a public key of the log that was kept elsewhere, as checkpoint --verifier prints it, one for each "
            "epoch; with it, no other key is believed",
        )
        parser.add_argument(
            "--jobs", type=int, default=os.cpu_count() or 1, help="processes that check (default: one a core)"
        )
        parser.add_argument("--json", action="store_true", help="print the result for programs")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        if options["jobs"] < 1:
            raise CommandError("--jobs takes 1 or more.", returncode=2)
        try:
            given, pinned = read_checkpoints(options["checkpoint"]), read_keys(options["key"])
        except OutsideError as error:
            raise CommandError(str(error), returncode=2) from error
        verdict = verify(jobs=options["jobs"], given=given, pinned=pinned, progress=self._progress())
        if options["json"]:
            self.stdout.write(json.dumps(results.as_json(verdict), indent=2))
        else:
            for line in results.lines(verdict):
                self.stdout.write(line)
        _record(verdict)
        if not verdict.is_whole:
            raise CommandError(f"The audit log is not what was written. {results.MANUAL}", returncode=1)

    def _progress(self) -> Progress:
        """Return what tells how far it is, at most every five seconds, and nothing in the first five."""
        said_at = time.monotonic()

        def tell(done: int, events: int) -> None:
            nonlocal said_at
            if done < events and time.monotonic() - said_at >= SILENT_SECONDS:
                said_at = time.monotonic()
                self.stderr.write(f"{done:,} of {events:,} events", self.style.NOTICE)

        return tell


def _record(verdict: Verdict) -> None:
    """Leave the result in the log, so that the first page can say when it was last found whole."""
    try:
        with transaction.atomic():
            results.keep(verdict, actor=ACTOR, now=timezone.now())
    except (AuditError, DatabaseError) as error:
        raise CommandError(f"The result could not be recorded: {error}", returncode=1) from error
