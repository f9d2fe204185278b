"""Flag what has become late and write the notices; what the beat does every hour."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from rotation import overdue


class Command(BaseCommand):
    help = "Flag keys that have become late and write the notices to their owners. Running it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            done = overdue.flag_overdue(actor=Actor.system("command:flag_overdue"), now=timezone.now())
            if options["dry_run"]:
                transaction.set_rollback(True)
        if options["dry_run"]:
            self.stdout.write("nothing was written (--dry-run)")
        self.stdout.write(
            f"{done.newly_late} newly overdue, {done.soon_due} newly due soon, {done.notices} notices to send"
        )
        if done.unaddressed:
            self.stderr.write(f"keys of which nobody could be told: {done.unaddressed}. Add people to Security.")
