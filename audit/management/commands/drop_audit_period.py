"""Drop a period of the log that was closed and exported."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.periods.demands import retention
from audit.periods.dropping import check_period, drop_period, refuse_other_logins

ACTOR = Actor.system("command:drop_audit_period")


class Command(BaseCommand):
    help = (
        "Drop the events of a closed period from the database, for good. The export must be at hand: it is compared "
        "with the events line by line first. Only with the owner's connection (KEYVAULT_ROLE=migrator). What stays is "
        "a stub from which verify_audit goes on. Without --yes it only says what it would do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="number of the period, as the page Log periods shows it")
        parser.add_argument("--export", type=Path, required=True, help="the file that close_audit_period wrote")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log")
        parser.add_argument("--yes", action="store_true", help="do it; it cannot be taken back")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["reason"].strip():
            raise CommandError("Say why: --reason is empty.")
        now = timezone.now()
        try:
            kept = retention(settings.AUDIT_RETENTION_DAYS)
            refuse_other_logins()
            if not options["yes"]:
                period = check_period(number=options["number"], retention=kept, now=now)
                self.stdout.write(
                    f"Nothing was dropped. With --yes, events {period.first:,} to {period.last:,} leave the database "
                    f"for good, once {options['export']} has been compared with them."
                )
                return
            dropped = drop_period(
                number=options["number"],
                export=options["export"],
                retention=kept,
                actor=ACTOR,
                reason=options["reason"],
                now=now,
            )
        except AuditError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Period {dropped.number} is dropped: events {dropped.first:,} to {dropped.last:,} are in the export alone."
        )
        self.stdout.write(f"The log begins behind event {dropped.last:,}, digest {bytes(dropped.digest_after).hex()}.")
        self.stdout.write("Run verify_audit now.")
