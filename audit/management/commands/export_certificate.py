"""Write a signed certificate to a file, for whoever checks it elsewhere."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.certificates import export_text
from audit.errors import AuditError
from audit.exports.targets import appearing
from audit.models import Certificate


class Command(BaseCommand):
    help = (
        "Write a signed certificate: what was done, and the signature over it. verify_certificate FILE --key VKEY "
        "checks it on any machine, without this database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="the number of the certificate")
        parser.add_argument("--out", default="-", help="a file that does not exist yet, or - (default)")

    def handle(self, *args: Any, **options: Any) -> None:
        row = Certificate.objects.filter(pk=options["number"]).first()
        if row is None:
            raise CommandError(f"There is no certificate {options['number']}.")
        try:
            text = export_text(row)
            if options["out"] == "-":
                self.stdout.write(text, ending="")
                return
            with appearing(Path(options["out"])) as file:
                file.write(text.encode())
        except AuditError as error:
            raise CommandError(str(error)) from error
