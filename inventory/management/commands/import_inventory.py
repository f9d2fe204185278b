"""Bring an exported spreadsheet, or a file of certificates or public keys, into the inventory."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.errors import AuditError
from audit.services import record_refusal
from inventory.errors import FileTooLargeError, InventoryError, PrivateKeyError
from inventory.reading import DATE_ORDERS, FIELDS, ColumnsError, Question
from inventory.services import ImportOptions, Plan, apply_import, checked, plan_import

SOME_REFUSED = 2
TOLD_FROM = 2_000  # rows: what has more takes long enough to say how far it is
ACTOR = Actor.system("command:import_inventory")


class Command(BaseCommand):
    help = (
        "Import an inventory from a CSV file, an Excel workbook or JSON, or certificates and public keys from PEM, "
        "DER, PKCS#7, SSH lines or a set of JSON web keys; what a file is, is told by its content. Keys are recognised "
        "by their exact name; the same file twice changes nothing. Rows that cannot be understood are refused one by "
        "one, with what to mend; rows that would give a key more time wait until somebody of DevOps approves them; the "
        "rest goes in. A file with a private key in it is refused as a whole. "
        "Exit code: 0 when no row was refused, 2 when some were refused or wait for --dates, 1 when nothing was read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="say what it would do, and do nothing")
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="HEADER=field",
            help='read the column of that header as a field, or leave it out with "HEADER="; may be repeated. '
            f"The fields: {', '.join(FIELDS)}",
        )
        parser.add_argument(
            "--dates",
            choices=DATE_ORDERS,
            help="what stands first in dates like 05/06/2025: d(ay), m(onth) or y(ear). Without it, rows with a date "
            "that can be two days stay out",
        )
        parser.add_argument("--reason", default="", help="why, for the audit log (default: the file's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path = options["file"]
        try:
            answers = checked(date_order=options["dates"] or "", mapping=_mapping(options["map"]))
            content = self._read(path)
            plan = self._plan(path, content, answers, reason=options["reason"], dry_run=options["dry_run"])
        except ColumnsError as error:
            raise CommandError(f"{error.problem} {_way_out(error)}") from error
        except PrivateKeyError as error:
            if not options["dry_run"]:
                _record(error, path)
            raise CommandError(str(error)) from error
        except (InventoryError, AuditError) as error:
            raise CommandError(str(error)) from error
        self._report(plan, dry_run=options["dry_run"])
        if plan.refused:
            raise SystemExit(SOME_REFUSED)

    def _plan(self, path: Path, content: bytes, answers: ImportOptions, *, reason: str, dry_run: bool) -> Plan:
        now, name = timezone.now(), _name(path)
        if dry_run:
            return plan_import(content=content, now=now, options=answers, tell=self._tell)
        return apply_import(
            content=content,
            file_name=name,
            actor=ACTOR,
            reason=reason or f"import of {name}",
            now=now,
            options=answers,
            tell=self._tell,
        )

    def _tell(self, doing: str, rows: int, of: int) -> None:
        if of > TOLD_FROM:
            self.stderr.write(f"{doing}: {rows:,} of {of:,}")

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
            raise FileTooLargeError(_name(path), max(size, len(content)), most)
        return content

    def _tell_of_held(self, plan: Plan) -> None:
        asked = {one.parameters["key"]: one.ref for one in plan.asked}
        for held in plan.held:
            waits = f"{held.request.ref} waits already" if held.request else "it waits from now on"
            if new := asked.get(held.key.pk):
                waits = f"{new} waits from now on"
            self.stdout.write(
                f"row {held.row}, {', '.join(held.fields)}: would give {held.key.name} more time; {waits} "
                "for somebody of DevOps to approve."
            )

    def _warn(self, plan: Plan, place: str) -> None:
        for warning in plan.brought.warnings:
            self.stdout.write(f"warning, {place} {warning.row}, {warning.name}: {warning.sentence}")

    def _report(self, plan: Plan, *, dry_run: bool) -> None:
        place = plan.brought.place
        for refusal in plan.to_mend:
            where = f"{place} {refusal.row}, {refusal.field}" if refusal.field else f"{place} {refusal.row}"
            self.stdout.write(f"{where}: {refusal.problem} {refusal.mend}")
        for question in plan.brought.questions:
            self._ask(question, plan)
        self._warn(plan, place)
        self._tell_of_held(plan)
        if plan.ignored:
            self.stdout.write(f"columns not understood and left out: {', '.join(plan.ignored)}")
        if plan.owners or plan.services:
            self.stdout.write(f"registered with it: {len(plan.owners)} owners, {len(plan.services)} services")
        if plan.findings:
            self.stdout.write(f"findings on the new and changed records: {plan.findings}; their pages say what to mend")
        if dry_run:
            self.stdout.write("nothing was written (--dry-run)")
        self.stdout.write(plan.summary)

    def _ask(self, question: Question, plan: Plan) -> None:
        self.stdout.write(f"{question.text} For example: {', '.join(question.examples)}.")
        for choice in question.choices:
            suggested = f" (likely: {question.because})" if choice.value == question.suggested else ""
            self.stdout.write(f"  --dates {choice.value}   {choice.label}{suggested}")
        rows = plan.waiting_rows
        stay = "row stays" if rows == 1 else "rows stay"
        self.stdout.write(f"{rows:,} {stay} out until you answer: import the file again with one of the two.")


def _name(path: Path) -> str:
    return os.fsencode(path.name).decode(errors="replace")


def _mapping(said: list[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for text in said:
        header, sign, name = text.rpartition("=")
        if not sign or not header.strip():
            raise CommandError(f'--map takes "HEADER=field", and "{text}" is none.')
        if header in mapping:
            raise CommandError(f'--map says twice what "{header}" holds.')
        mapping[header] = name.strip()
    return mapping


def _way_out(error: ColumnsError) -> str:
    headers = ", ".join(
        f'"{heading.header}"' + (f" ({heading.field})" * bool(heading.field)) for heading in error.headings
    )
    return f'{error.mend} Or say it with --map "HEADER=field". The columns: {headers}.'


def _record(error: PrivateKeyError, path: Path) -> None:
    facts: dict[str, JSON] = {"file": _name(path), "private_keys": error.count}
    try:
        record_refusal(Action.KEY_MATERIAL_REFUSED, actor=ACTOR, now=timezone.now(), facts=facts)
    except AuditError as failed:
        raise CommandError(f"{error} {failed}") from failed
