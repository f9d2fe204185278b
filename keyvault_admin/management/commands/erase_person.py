"""Erases somebody's personal data; stands in for the votes that this will need."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from audit.actor import Actor
from audit.errors import AuditError
from keyvault_admin.access import services
from keyvault_admin.access.services.erasure import MOST_NUMBERS
from keyvault_admin.management.people import PersonCommand, person_named


class Command(PersonCommand):
    help = (
        "Erase the personal data of somebody who was deactivated: destroy the key of their identities in the audit log "
        "and replace name and mail address wherever they are held. It cannot be taken back, and says what it does not "
        "reach. The log still verifies. docs/personal-data.md lists every table."
    )
    actor_name = "erase_person"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log, so write no name in it")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def act(self, now: datetime, actor: Actor, options: dict[str, Any]) -> str:
        person = person_named(options["name"])
        try:
            done = services.erase_person(person=person, actor=actor, reason=options["reason"], now=now)
        except AuditError as error:
            raise CommandError(str(error)) from error
        return "\n".join([_said(done), "Out of reach:", *(f"- {line}" for line in _out_of_reach(done))])


def _said(done: services.Erased) -> str:
    key = "their identity key is destroyed" if done.had_identity else "the log held no identity of theirs"
    return f"{done.ref} is erased: {key}; {done.owners} owners and {done.mails} mails were emptied."


def _out_of_reach(done: services.Erased) -> list[str]:
    lines = [
        f"mails that were sent to them or to others about them ({done.mails} to them): they lie in mailboxes",
        "exports of the inventory or of somebody's data that were handed out",
        "backups and dumps made before now: they hold the names and the sealed key; delete them in their turn",
        "the database's files until VACUUM has run and its write-ahead log is recycled",
        "logs of the web server, of a proxy and of the mail server",
    ]
    if done.naming:
        numbers = ", ".join(f"{number:,}" for number in done.naming)
        more = ", and maybe more" if len(done.naming) == MOST_NUMBERS else ""
        lines.insert(0, f"events whose text names them, such as a reason: {numbers}{more}")
    else:
        lines.insert(0, "free text that means them without their name, address or user name, such as a reason")
    return lines
