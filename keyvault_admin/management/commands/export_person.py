"""Hands out everything held about somebody."""

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from keyvault_admin.access import services
from keyvault_admin.access.errors import AccessError
from keyvault_admin.management.people import person_named

ACTOR = Actor.system("command:export_person")


class Command(BaseCommand):
    help = (
        "Write everything held about a person into a file, as JSON: account, roles, second factors without secrets, "
        "sessions, owners, keys, mails, and what the audit log says, with names where they still exist. It is recorded."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name")
        parser.add_argument("--out", type=Path, required=True, help="the file; it must not be there yet")
        parser.add_argument("--reason", required=True, help="why; kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["out"]
        person = person_named(options["name"])
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.") from error
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            try:
                pieces = services.export_person(
                    person=person, actor=ACTOR, reason=options["reason"], now=timezone.now()
                )
            except (AccessError, AuditError) as error:
                path.unlink()
                raise CommandError(str(error)) from error
            file.writelines(pieces)
        self.stderr.write(f"{path} holds what is known about {person.ref}. Hand it to nobody else, and delete it.")
