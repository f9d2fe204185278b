"""What the commands about people share: some act at once, on the machine; some ask for what people vote on."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from audit.actor import Actor
from audit.canonical import JSON
from inventory.errors import InventoryError
from keyvault_admin.access import names, selectors
from keyvault_admin.access.errors import AccessError, NameRefusedError
from keyvault_admin.access.models import User
from rotation import approvals, requests
from rotation.approvals.mails import page_of
from rotation.errors import RotationError
from rotation.models import Request


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
        except (AccessError, RotationError, InventoryError) as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        if options["dry_run"]:
            self.stderr.write(f"Dry run, nothing was changed. It would say: {did}")
            return
        self.stderr.write(did)
        if shown := self.shown_once():
            self.stdout.write(shown)


class AskingCommand(PersonCommand):
    """Opens a request in nobody's name once people can vote; before that it acts alone, where it can."""

    operation = ""

    def parameters(self, person: User, options: dict[str, Any]) -> Mapping[str, JSON]:
        """Return what is asked. Raises: CommandError for a wrong call."""
        return {"person": person.pk}

    def act_alone(self, person: User, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        """Do it while there is no quorum yet; return what was done. Raises: CommandError where that is no way."""
        raise NotImplementedError

    def acts_alone(self, options: dict[str, Any]) -> bool:
        """Whether to act in place of those who would vote."""
        return not selectors.is_bootstrap_closed()

    def act(self, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        person = person_named(options["name"])
        if self.acts_alone(options):
            return self.act_alone(person, now, actor, options)
        request = approvals.ask(
            operation=self.operation,
            parameters=self.parameters(person, options),
            actor=actor,
            reason=options["reason"],
            now=now,
        )
        return asked(request)


def asked(request: Request) -> str:
    """Say what was asked for, who can vote on it, and where."""
    could = requests.voters(request, list(requests.missing_steps(request)))
    known = dict(User.objects.filter(pk__in=set().union(*could.values())).values_list("pk", "username"))
    lines = [f"- {role}: {', '.join(sorted(known[pk] for pk in people)) or 'nobody'}" for role, people in could.items()]
    if empty := requests.unfillable(request):
        lines.append(f"Nobody can vote for {' and '.join(empty)} as things are: have somebody enrolled first.")
    return "\n".join(
        [
            f"Asked as request {request.pk}: {request.title}. Nothing is done before people have voted. These can:",
            *lines,
            f"It expires on {request.expires_at:%-d %B %Y at %H:%M} UTC. They are told by mail, and vote here:",
            page_of(request),
        ]
    )


def person_named(typed: str) -> User:
    """Return the person of that name, however it is typed. Raises: CommandError."""
    try:
        return User.objects.get(username=names.username_of(typed))
    except (User.DoesNotExist, NameRefusedError) as error:
        raise CommandError(f"Nobody is called {typed}.") from error


def day(text: str) -> date:
    """Read a day, as YYYY-MM-DD; for argparse."""
    return date.fromisoformat(text)
