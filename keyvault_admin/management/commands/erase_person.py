"""Asks that somebody's personal data are erased, and erases them once people have voted for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from audit.actions import Action
from audit.actor import Actor
from audit.selectors import timeline
from keyvault_admin.access.models import User
from keyvault_admin.access.personal_data import MOST_NUMBERS
from keyvault_admin.management.people import AskingCommand, person_named
from rotation.management.carrying import approved, carry_out
from rotation.requests import about


class Command(AskingCommand):
    help = (
        "Erase the personal data of somebody who was deactivated: destroy the key of their identities in the audit log "
        "and replace name and mail address wherever they are held. It cannot be taken back, and says what it does not "
        "reach. The log still verifies. docs/personal-data.md lists every table. First with --reason: it asks Security "
        "and DevOps to vote. Then with --request: it does it."
    )
    actor_name, operation = "erase_person", "person.erase"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name")
        how = parser.add_mutually_exclusive_group(required=True)
        how.add_argument("--reason", help="ask for it, and why; kept in the audit log, so write no name in it")
        how.add_argument("--request", type=int, help="do it: the number of the request that was approved")
        parser.add_argument("--dry-run", action="store_true", help="say what would be asked, and change nothing")

    def acts_alone(self, options: dict[str, Any]) -> bool:
        return False

    def handle(self, *args: Any, **options: Any) -> None:
        if options["request"] is None:
            super().handle(*args, **options)
            return
        if options["dry_run"]:
            raise CommandError("What was voted for is done or not done: --dry-run goes with --reason.")
        person = person_named(options["name"])
        request = approved(options["request"], operation=self.operation, subject=person.ref)
        carry_out(request, actor=Actor.system(f"command:{self.actor_name}"), now=timezone.now())
        facts = _facts(person, request.ref)
        self.stderr.write(
            "\n".join([_said(person, facts), "Out of reach:", *(f"- {line}" for line in _beyond(person, facts))])
        )


def _facts(person: User, request: str) -> Mapping[str, Any]:
    """Return what the event says of the erasure that this request permitted."""
    for event in timeline(person.ref):
        if event.said and event.said.action == Action.PERSON_ERASED and event.said.facts.get("request") == request:
            return event.said.facts
    raise CommandError(f"{person.ref} is erased, but its event cannot be read. Run verify_audit.")


def _said(person: User, facts: Mapping[str, Any]) -> str:
    return (
        f"{person.ref} is erased: the key of their identities in the log is destroyed; "
        f"{len(facts['owners'])} owners and {facts['mails']} mails were emptied."
    )


def _beyond(person: User, facts: Mapping[str, Any]) -> list[str]:
    lines = [
        f"mails that were sent to them or to others about them ({facts['mails']} to them): they lie in mailboxes",
        "exports of the inventory or of somebody's data that were handed out",
        "backups and dumps made before now: they hold the names and the sealed key; delete them in their turn",
        "the database's files until VACUUM has run and its write-ahead log is recycled",
        "logs of the web server, of a proxy and of the mail server",
    ]
    asked = about(person.ref).exclude(operation=Command.operation).count()
    if asked:
        lines.insert(0, f"{asked} requests about them, which show their user name: people have voted on these bytes")
    return [_naming(facts["named_in"]), *lines]


def _naming(numbers: Sequence[int]) -> str:
    if not numbers:
        return "free text that means them without their name, address or user name, such as a reason"
    listed = ", ".join(f"{number:,}" for number in numbers)
    more = ", and maybe more" if len(numbers) == MOST_NUMBERS else ""
    return f"events whose text names them, such as a reason: {listed}{more}"
