"""Bring an exported spreadsheet into the inventory."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from inventory.reading import TableError
from inventory.services import Plan, apply_import, plan_import


class Command(BaseCommand):
    help = (
        "Import an inventory from a CSV file. Keys are recognised by their exact name; the same file twice changes nothing. "
        "Rows that cannot be understood are refused one by one, with what to mend, and the rest goes in. "
        "Exit code: 0 when every row went in, 2 when some were refused, 1 when the file is no table."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")
        parser.add_argument("--reason", default="", help="why, for the audit log (default: the file's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        content = self._read(path)
        now = timezone.now()
        try:
            if options["dry_run"]:
                plan = plan_import(content=content, now=now)
            else:
                plan = apply_import(
                    content=content,
                    file_name=path.name,
                    actor=Actor.system("command:import_inventory"),
                    reason=options["reason"] or f"import of {path.name}",
                    now=now,
                )
        except TableError as error:
            raise CommandError(str(error)) from error
        self._report(plan, dry_run=options["dry_run"])
        if plan.refused:
            raise SystemExit(2)

    def _read(self, path: Path) -> bytes:
        try:
            size = path.stat().st_size
            if size > settings.IMPORT_MAX_BYTES:
                raise CommandError(
                    f"{path} has {size:,} bytes; at most {settings.IMPORT_MAX_BYTES:,} are read. Split it."
                )
            return path.read_bytes()
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error

    def _report(self, plan: Plan, *, dry_run: bool) -> None:
        for refusal in plan.refused:
            self.stdout.write(f"row {refusal.row}, {refusal.field}: {refusal.problem}. {refusal.mend}")
        if plan.ignored:
            self.stdout.write(f"columns not understood and left out: {', '.join(plan.ignored)}")
        if plan.owners or plan.services:
            self.stdout.write(f"{len(plan.owners)} owners and {len(plan.services)} services are registered with it")
        if plan.findings:
            self.stdout.write(
                f"{plan.findings} findings on the new and changed records: open them to see what is missing"
            )
        if dry_run:
            self.stdout.write("nothing was written (--dry-run)")
        self.stdout.write(plan.summary)
