"""Ship what is new in the log to the SIEM now; exit 1 when a sink did not take it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from audit.exports import shipping


class Command(BaseCommand):
    help = (
        "Ship what is new in the audit log to every address of KEYVAULT_SIEM, as the worker does each minute, and say "
        "what became of it. Exits 1 when one of them did not take it. docs/exports.md says more."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            runs = shipping.ship(actor=Actor.system("command:ship_audit"), now=timezone.now())
        except AuditError as error:
            raise CommandError(str(error)) from error
        if not runs:
            raise CommandError("KEYVAULT_SIEM of this process names no address: there is nowhere to ship to.")
        for run in runs:
            became = "another process is at it" if run.is_busy else f"{run.events:,} events"
            self.stdout.write(f"{run.name}: {became}{f'; {run.error}' if run.error else ''}")
        if any(run.error for run in runs):
            raise CommandError("Not every sink has everything.")
