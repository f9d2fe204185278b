"""What the commands share that do, for one person on the machine, what will need several people's votes."""

from datetime import date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from keyvault_admin.access import names
from keyvault_admin.access.errors import AccessError, NameRefusedError
from keyvault_admin.access.models import User


class PersonCommand(BaseCommand):
    """Acts on a person: exit code 0 when it is done (or would be), 1 when a rule said no, 2 for a wrong call."""

    actor_name = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log and told by mail")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def act(self, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        """Ask the service; return what it did, to be read after the name."""
        raise NotImplementedError

    def shown_once(self) -> str:
        """Return what goes to standard output after it was done, such as a link."""
        return ""

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as BaseCommand hands them over
        """Do it in one transaction, which a dry run takes back together with its event and its letters."""
        try:
            with transaction.atomic():
                did = self.act(timezone.now(), Actor.system(f"command:{self.actor_name}"), options)
                if options["dry_run"]:
                    transaction.set_rollback(True)
        except AccessError as error:
            raise CommandError(str(error)) from error
        if options["dry_run"]:
            self.stderr.write(f"Dry run, nothing was changed. It would say: {did}")
            return
        self.stderr.write(did)
        if shown := self.shown_once():
            self.stdout.write(shown)


def person_named(typed: str) -> User:
    """Return the person of that name, however it is typed. Raises: CommandError."""
    try:
        return User.objects.get(username=names.username_of(typed))
    except (User.DoesNotExist, NameRefusedError) as error:
        raise CommandError(f"Nobody is called {typed}.") from error


def day(text: str) -> date:
    """Read a day, as YYYY-MM-DD; for argparse."""
    return date.fromisoformat(text)
