"""Lets the first people in; closes for good once two of Security and two of DevOps are enrolled."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import alone
from keyvault_admin.access.errors import AccessError
from keyvault_admin.access.roles import Role


class Command(BaseCommand):
    help = (
        "Register one of the first people, grant a role and print a one-time enrolment link. Run it again for another "
        "link: the older one becomes void. It refuses once two people of Security and two of DevOps are enrolled."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name, as the person will type it to sign in")
        parser.add_argument("mail", help="mail address")
        parser.add_argument("--role", required=True, choices=[role.value for role in Role])
        parser.add_argument("--full-name", default="", help="name as others know the person")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the link on standard output and what to do with it on standard error, so that the link can be piped."""
        try:
            link = alone.bootstrap_person(
                username=options["name"],
                mail=options["mail"],
                full_name=options["full_name"],
                role=Role(options["role"]),
                actor=Actor.system("command:bootstrap_admin"),
                now=timezone.now(),
            )
        except AccessError as error:
            raise CommandError(str(error)) from error
        if link is None:
            self.stderr.write(f"{options['name']} is enrolled already and now has the role {options['role']}.")
            return
        hours = int(settings.ENROLMENT_LIFETIME.total_seconds() // 3600)
        self.stderr.write(
            f"{options['name']} has the role {options['role']}. Hand this link over in person or by a channel you "
            f"trust; it works once, within {hours} hours, and is not shown again:"
        )
        self.stdout.write(link)
