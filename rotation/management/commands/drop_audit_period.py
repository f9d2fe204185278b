"""Drop a period of the log that was closed and exported, once people have voted for it."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.periods import keeping
from audit.periods.dropping import check_period, refuse_other_logins
from rotation.management.carrying import approved, carry_out
from rotation.operations.log import export_at

ACTOR = Actor.system("command:drop_audit_period")


class Command(BaseCommand):
    help = (
        "Drop the events of a closed period from the database, for good, as a request permits that Security and DevOps "
        "have voted for (Log periods, Ask to drop it). The export must be at hand: it is compared with the events line "
        "by line first. Only with the owner's connection (KEYVAULT_ROLE=migrator). What stays is a stub from which "
        "verify_audit goes on. Without --yes it only says what it would do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="number of the period, as the page Log periods shows it")
        parser.add_argument("--export", type=Path, required=True, help="the file that close_audit_period wrote")
        parser.add_argument("--request", type=int, required=True, help="number of the request that was approved")
        parser.add_argument("--yes", action="store_true", help="do it; it cannot be taken back")

    def handle(self, *args: Any, **options: Any) -> None:
        number, now = options["number"], timezone.now()
        try:
            refuse_other_logins()
            period = check_period(number=number, retention=keeping.kept(), now=now)
        except AuditError as error:
            raise CommandError(str(error)) from error
        request = approved(options["request"], operation="period.drop", subject=period.ref)
        if not options["yes"]:
            self.stdout.write(
                f"Nothing was dropped. With --yes, events {period.first:,} to {period.last:,} leave the database for "
                f"good, once {options['export']} has been compared with them."
            )
            return
        with export_at(options["export"]):
            carry_out(request, actor=ACTOR, now=now)
        self.stdout.write(
            f"Period {number} is dropped: events {period.first:,} to {period.last:,} are in the export alone."
        )
        self.stdout.write(f"The log begins behind event {period.last:,}, digest {bytes(period.digest_after).hex()}.")
        self.stdout.write("Run verify_audit now.")
