"""Shows a one-time code of somebody of the demo, who has no authenticator app."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from keyvault_admin.access import names, totp
from keyvault_admin.access.models import TotpDevice


class Command(BaseCommand):
    help = "Print the next one-time code that signs somebody of the demo in. Embedded engines only."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the code on standard output and how long it lasts on standard error."""
        if not settings.IS_LOCAL:
            raise CommandError("This works with the embedded engines only: elsewhere, people's own apps show codes.")
        device = TotpDevice.objects.filter(user__username=names.normalise(options["name"]), confirmed=True).first()
        if device is None:
            raise CommandError(f"Nobody called {options['name']} is enrolled here.")
        now = timezone.now()
        current = totp.step_at(now)
        step = next((step for step in (current, current + totp.TOLERANCE_STEPS) if step > device.last_step), None)
        left = totp.seconds_left(now)
        if step is None:
            raise CommandError(f"The codes of this half minute are used. Ask again in {left} seconds.")
        self.stdout.write(totp.code_at(device.seed(), step))
        self.stderr.write(f"Good once, for at least {left} seconds.")
