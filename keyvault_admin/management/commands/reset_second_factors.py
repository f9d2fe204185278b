"""Lets somebody back in who has lost every second factor; everybody of Security and DevOps is told."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import names, selectors, services
from keyvault_admin.access.errors import AccessError, LastOfRoleError
from keyvault_admin.access.models import User


class Command(BaseCommand):
    help = (
        "Remove all second factors and recovery codes of one person and print a one-time link to enrol anew. The "
        "person, Security and DevOps are told by mail. Make sure by voice or in person that it is them who ask."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name")
        parser.add_argument("--reason", required=True, help="why, and how you made sure who asks; goes into the log")
        parser.add_argument(
            "--even-if-last",
            action="store_true",
            help="also where nobody else of Security or of DevOps is left who can vote; everybody is told",
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the link on standard output and everything else on standard error."""
        person = self._person(options["name"])
        reason = options["reason"].strip()
        if not reason:
            raise CommandError("Say why: the log keeps it, and Security and DevOps read it.")
        self.stderr.write(self._plan(person))
        if options["dry_run"]:
            self.stderr.write("Nothing was changed.")
            return
        actor = Actor.system("command:reset_second_factors")
        try:
            link = services.reset_factors(
                person=person,
                actor=actor,
                reason=reason,
                now=timezone.now(),
                even_if_last=options["even_if_last"],
            )
        except LastOfRoleError as error:
            raise CommandError(f"{error} If their factors are lost for certain, add --even-if-last.") from error
        except AccessError as error:
            raise CommandError(str(error)) from error
        hours = int(settings.ENROLMENT_LIFETIME.total_seconds() // 3600)
        self.stderr.write(
            f"Done. Hand this link to {person.username} in person or by a channel you trust; it works once, within "
            f"{hours} hours, and is not shown again. The password stays as it is:"
        )
        self.stdout.write(link)

    def _person(self, typed: str) -> User:
        person = User.objects.filter(username=names.normalise(typed)).first()
        if person is None:
            raise CommandError("Nobody has that name.")
        if not person.is_active:
            raise CommandError("This person is deactivated.")
        return person

    def _plan(self, person: User) -> str:
        factors = selectors.factors_of(person)
        return (
            f"{person.username}: {len(factors.apps)} authenticator apps, {len(factors.passkeys)} passkeys and "
            f"{factors.codes_left} recovery codes are removed, an account linked for single sign-on is unlinked; every "
            "session needs a new sign-in."
        )
