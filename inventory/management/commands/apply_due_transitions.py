"""Do the transitions whose date has come; what the beat does every minute."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from inventory import services


class Command(BaseCommand):
    help = "Activate and deactivate the keys whose dates have come. Running it again changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            actor = Actor.system("command:apply_due_transitions")
            done = services.apply_due_transitions(actor=actor, now=timezone.now())
            if options["dry_run"]:
                transaction.set_rollback(True)
        if options["dry_run"]:
            self.stdout.write("nothing was written (--dry-run)")
        self.stdout.write(f"{done.activated} keys come into use, {done.deactivated} stop protecting")
