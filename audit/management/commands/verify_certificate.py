"""Check a certificate that was exported, without the database."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.certificates import MOST_BYTES, open_certificate
from audit.errors import AuditError
from audit.notes import Verifier


class Command(BaseCommand):
    help = (
        "Check that a certificate says what was signed, by a key that you name, and print what it says. Needs no "
        "database. checkpoint --verifier prints the keys of this installation: keep them elsewhere."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="what export_certificate wrote")
        parser.add_argument(
            "--key",
            action="append",
            required=True,
            metavar="VKEY",
            help="a key of the log, name+id+base64, or a file of them; may be given more than once",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            keys = [key for argument in options["key"] for key in _keys(argument)]
            opened = open_certificate(_text(options["file"]), keys)
        except AuditError as error:
            raise CommandError(f"NOT VALID. {error}") from error
        self.stdout.write(f"VALID: {opened.body['title']}")
        self.stdout.write(f"made {opened.body['made_at']}, signed by {opened.signed_by} (epoch {opened.epoch})")
        self.stdout.write(json.dumps(opened.body["facts"], indent=1, ensure_ascii=False))


def _keys(argument: str) -> list[Verifier]:
    text = argument if "+" in argument else _text(Path(argument))
    return [Verifier.parse(line.split()[-1]) for line in text.splitlines() if line.strip()]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read.") from error
