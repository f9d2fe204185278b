"""Export the periods of the log that need not be kept in the database any more, and close them."""

from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError, PeriodError
from audit.models import Period
from audit.periods import closing, keeping

ACTOR = Actor.system("command:close_audit_period")


class Command(BaseCommand):
    help = (
        "Close the oldest period of the audit log whose newest event is older than events are kept: "
        "verify its events, export them into a folder with the checkpoint that covers them, read the file back, and "
        "write it down. Nothing is dropped: drop_audit_period does that, as the owner of the database. It may be "
        "killed and run again. Exit code: 0, also when there is nothing to close; 1 when it was refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", type=Path, required=True, help="an existing folder, for three files a period")
        parser.add_argument("--until", type=date.fromisoformat, help="only events up to this day (YYYY-MM-DD, UTC)")
        parser.add_argument("--dry-run", action="store_true", help="say which period it would be, and write nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            kept = keeping.kept()
            candidate = closing.next_candidate()
            if candidate is None:
                self.stdout.write("Nothing to close: no period of the log is full that is not closed already.")
                return
            try:
                closing.refuse_young(candidate, retention=kept, until=options["until"], now=timezone.now())
            except PeriodError as error:
                self.stdout.write(f"Nothing to close. {error}")
                return
            if options["dry_run"]:
                covering = closing.covering_checkpoint(candidate.last)
                self.stdout.write(
                    f"Dry run, nothing was written. Period {candidate.number}, {candidate.label}, would be closed; the "
                    f"checkpoint of {covering.size:,} events covers it."
                )
                return
            closed = closing.close_period(
                out=options["out"], retention=kept, until=options["until"], actor=ACTOR, now=timezone.now()
            )
        except AuditError as error:
            raise CommandError(str(error)) from error
        if closed is not None:
            self._tell(closed, options["out"])

    def _tell(self, closed: Period, out: Path) -> None:
        self.stdout.write(f"Period {closed.number} is closed: events {closed.first:,} to {closed.last:,}.")
        self.stdout.write(f"file: {out / closed.export_name} ({closed.export_bytes:,} bytes)")
        self.stdout.write(f"sha256: {bytes(closed.export_digest).hex()}")
        self.stdout.write(f"covered by the checkpoint of {closed.checkpoint_id:,} events, which lies beside it")
        self.stdout.write("Keep all three files in two places. Names and addresses of people are not in them.")
