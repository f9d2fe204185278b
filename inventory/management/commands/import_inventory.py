"""Bring an exported spreadsheet into the inventory."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actor import Actor
from audit.errors import AuditError
from inventory.errors import InventoryError
from inventory.services import Plan, apply_import, plan_import

SOME_REFUSED = 2


class Command(BaseCommand):
    help = (
        "Import an inventory from a CSV file. Keys are recognised by their exact name; the same file twice changes "
        "nothing. Rows that cannot be understood are refused one by one, with what to mend; rows that would give a key "
        "more time wait until somebody of DevOps confirms them; the rest goes in. "
        "Exit code: 0 when no row was refused, 2 when some were, 1 when the file is no table."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")
        parser.add_argument("--reason", default="", help="why, for the audit log (default: the file's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        content = self._read(path)
        try:
            plan = self._plan(path, content, reason=options["reason"], dry_run=options["dry_run"])
        except (InventoryError, AuditError) as error:
            raise CommandError(str(error)) from error
        self._report(plan, dry_run=options["dry_run"])
        if plan.refused:
            raise SystemExit(SOME_REFUSED)

    def _plan(self, path: Path, content: bytes, *, reason: str, dry_run: bool) -> Plan:
        now = timezone.now()
        if dry_run:
            return plan_import(content=content, now=now)
        name = os.fsencode(path.name).decode(errors="replace")
        return apply_import(
            content=content,
            file_name=name,
            actor=Actor.system("command:import_inventory"),
            reason=reason or f"import of {name}",
            now=now,
        )

    def _read(self, path: Path) -> bytes:
        """Return the bytes of the file; what has no size of its own, such as a pipe, is read up to the limit."""
        most = settings.IMPORT_MAX_BYTES
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                content = file.read(most + 1)
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        if len(content) > most:
            raise CommandError(f"{path} has {max(size, len(content)):,} bytes; at most {most:,} are read. Split it.")
        return content

    def _report(self, plan: Plan, *, dry_run: bool) -> None:
        for refusal in plan.refused:
            where = f"row {refusal.row}, {refusal.field}" if refusal.field else f"row {refusal.row}"
            self.stdout.write(f"{where}: {refusal.problem} {refusal.mend}")
        for held in plan.held:
            since = "waits already" if held.is_waiting else "waits from now on"
            self.stdout.write(
                f"row {held.row}, {', '.join(held.fields)}: would give {held.key.name} more time; it {since} "
                "for somebody of DevOps to confirm, under Changes to confirm."
            )
        if plan.ignored:
            self.stdout.write(f"columns not understood and left out: {', '.join(plan.ignored)}")
        if plan.owners or plan.services:
            self.stdout.write(f"registered with it: {len(plan.owners)} owners, {len(plan.services)} services")
        if plan.findings:
            self.stdout.write(f"findings on the new and changed records: {plan.findings}; their pages say what to mend")
        if dry_run:
            self.stdout.write("nothing was written (--dry-run)")
        self.stdout.write(plan.summary)
