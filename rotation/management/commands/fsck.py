"""Derive every invariant anew from the database and the key stores; exit 1 and name the first that breaks."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from rotation import fsck
from rotation.fsck.canaries import read_patterns

ACTOR = Actor.system("command:fsck")


class Command(BaseCommand):
    help = (
        "Derive every invariant anew from the database, the audit log and the key stores: every DEK is wrapped and "
        "opens, nothing lies where it may not, the log is whole, every state follows from it, whatever was carried out "
        "had been decided, nothing waits that nobody does. It reads one moment and changes nothing; the result becomes "
        "an event. Exits 0; or 1, and names the first break; or 2, where a key store could not be asked. To open "
        "wrapped DEKs it runs as the worker does: KEYVAULT_ROLE=worker."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-stores", action="store_true", help="open no wrapped DEK, ask no key store")
        parser.add_argument("--sample", type=int, metavar="N", help="open about N wrapped DEKs, chosen by chance")
        parser.add_argument(
            "--canaries", type=Path, metavar="FILE", help="look for these patterns, one a line, in every table"
        )
        parser.add_argument(
            "--only",
            type=int,
            action="append",
            default=[],
            choices=range(1, 9),
            metavar="N",
            help="this invariant alone",
        )
        parser.add_argument("--json", action="store_true", help="print the result for programs")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        asked = self._options(options)
        report = fsck.run(asked, now=timezone.now(), tell=(lambda _result: None) if options["json"] else self._tell)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(), indent=2))
        try:
            fsck.keep(report, actor=ACTOR, now=timezone.now())
        except (AuditError, DatabaseError) as error:
            raise CommandError(f"The result could not be recorded: {error}", returncode=1) from error
        if not report.is_whole:
            raise CommandError(f"Broken: {report.first_break}. docs/fsck.md says what to do.", returncode=1)
        if not report.is_complete:
            raise CommandError("Nothing broken was found, but not everything could be looked at.", returncode=2)

    def _options(self, options: dict[str, Any]) -> fsck.Options:
        if options["sample"] is not None and options["sample"] < 1:
            raise CommandError("--sample takes 1 or more.", returncode=2)
        if not options["no_stores"] and settings.ROLE != "worker":
            raise CommandError(
                "Only the worker's role opens wrapped DEKs: run it with KEYVAULT_ROLE=worker where the worker runs, or "
                "give --no-stores to check everything else.",
                returncode=2,
            )
        try:
            patterns = read_patterns(options["canaries"]) if options["canaries"] else []
        except (OSError, ValueError) as error:
            raise CommandError(f"The file of the patterns cannot be used: {error}", returncode=2) from error
        return fsck.Options(
            opens=not options["no_stores"],
            sample=options["sample"],
            patterns=patterns,
            only=frozenset(options["only"]),
        )

    def _tell(self, result: fsck.Result) -> None:
        for line in result.lines():
            self.stdout.write(line)
